"""make docs: the Python reference in build/docs, by pdoc, from the built package's docstrings.

pdoc takes nanobind's functions for variables and would leave their docstrings out: plain functions
stand in for them. Their signatures are the first line of the docstring.
"""

import pathlib
import sys
import types
import warnings

import memfabric_hybrid
import memfabric_hybrid.bm
import pdoc

OUTPUT = pathlib.Path(__file__).resolve().parent.parent / "build/docs"


def stand_in(name: str, module: str, doc: str) -> types.FunctionType:
    def function(*arguments, **options):
        raise NotImplementedError

    function.__name__, function.__qualname__, function.__module__, function.__doc__ = (
        name,
        name,
        module,
        doc,
    )
    return function


def main() -> None:
    for module in (memfabric_hybrid, memfabric_hybrid.bm):
        for name in module.__all__:
            value = getattr(module, name)
            if type(value).__name__ == "nb_func":
                setattr(module, name, stand_in(name, module.__name__, value.__doc__))
    # the stubs' names are used before they are defined, as stubs may
    warnings.simplefilter("ignore")
    pdoc.render.configure(show_source=False, search=False)
    pdoc.pdoc("memfabric_hybrid", "!memfabric_hybrid.cli", output_directory=OUTPUT)
    page = (OUTPUT / "memfabric_hybrid/bm.html").read_text()
    if memfabric_hybrid.bm.create.__doc__.splitlines()[-1][:40] not in page:
        sys.exit(f"{OUTPUT}/memfabric_hybrid/bm.html lacks the docstring of create")
    print(f"the Python reference is in {OUTPUT}/index.html")


if __name__ == "__main__":
    main()
