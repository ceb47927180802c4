"""Makes the package of a build tree: <root>/memfabric_hybrid and mf_adapter, links to the sources, headers and library.

Arguments: the source tree, <root>, the built libmf_smem.so.
"""

import sys
from pathlib import Path


def link(path: Path, target: Path) -> None:
    if path.is_symlink() and path.readlink() == target:
        return
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def main(source: Path, root: Path, library: Path) -> None:
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
    link(package / "lib" / "libmf_smem.so", library)
    link(package / "lib" / "libmemfabric.so", Path("libmf_smem.so"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
