"""Makes the package of a build tree: <root>/memfabric_hybrid and mf_adapter, which are links to the
sources, headers and libraries.

Arguments: the source tree, <root>, the built libraries.
"""

import sys
from pathlib import Path


def link(path: Path, target: Path) -> None:
    if path.is_symlink() and path.readlink() == target:
        return
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def main(source: Path, root: Path, *libraries: Path) -> None:
    for package in ("memfabric_hybrid", "mf_adapter"):
        for file in sorted((source / "python" / package).rglob("*")):
            if file.suffix not in (".py", ".pyi") and file.name != "py.typed":
                continue
            path = root / file.relative_to(source / "python")
            path.parent.mkdir(parents=True, exist_ok=True)
            link(path, file)
        for path in (root / package).rglob("*"):
            if path.is_symlink() and not path.exists():
                path.unlink()  # its source is gone
    package = root / "memfabric_hybrid"
    (package / "lib").mkdir(parents=True, exist_ok=True)
    (package / "include").mkdir(exist_ok=True)
    link(package / "include" / "memfabric", source / "include" / "memfabric")
    for library in libraries:
        link(package / "lib" / library.name, library)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
