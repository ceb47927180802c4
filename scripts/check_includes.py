#!/usr/bin/python3
"""Include direction: what each folder of src/ may include (docs/design.md, "Shape"). Prints
violations, exits 1 if any.

A folder may include itself, its parents (a backend its own interface, a recipe the store's headers)
and what its row lists; never a sibling backend. Only runtime/default_backends.cc may name backends.
Programs see the public headers only."""

import pathlib
import re
import sys
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).resolve().parent.parent
QUOTED = re.compile(r'^\s*#\s*include\s+"([^"]+)"')
ANY_INCLUDE = re.compile(r'^\s*#\s*include\s+[<"]([^">]+)[">]')

# Top to bottom; a layer may use the layers below it, and what it names of its own. Folders in one
# layer don't see each other, but for `address`, whose types the others of the bottom layer speak.
LAYERS = [
    ["capi"],
    ["bm", "shm", "trans"],
    ["runtime"],
    ["group", "copy"],
    ["transport"],
    ["store", "memory"],
    ["address"],
    ["base"],
]
# Folders of one module that build on each other.
WITHIN = {
    "store/client": ["store/proto", "store/tls"],
    "store/embedded": ["store/proto", "store/tls"],
    "store/recipes": ["store/client", "store/embedded", "store/proto", "store/tls"],
    "transport/cma": ["transport/meeting"],
    "transport/fake": ["transport/meeting"],
    "transport/mapped": ["transport/meeting"],
    "transport/tcp": ["transport/meeting"],
}
# Implementations behind an interface: nobody but themselves includes them, and the one file that
# lists them.
BACKENDS = [
    "transport/mapped",
    "transport/fake",
    "transport/cma",
    "transport/tcp",
    "transport/ucx",
    "memory/host",
    "memory/cuda",
    "memory/fake",
]
BACKEND_LIST = "runtime/default_backends.cc"
PROGRAMS = [
    "examples",
    "python/binding",
    "benchmarks/capi_bench.cc",
    "benchmarks/transfer_bench.cc",
]


def layer(folder: str) -> int | None:
    top = folder.split("/")[0]
    return next((i for i, names in enumerate(LAYERS) if top in names), None)


def complaint(file: str, included: str) -> str | None:
    """Why `file` (from src/) may not include `included` (from src/); None when it may."""
    here, there = str(pathlib.PurePath(file).parent), str(pathlib.PurePath(included).parent)
    if there == ".":
        return "include by the full path from src/"
    if there == here or here.startswith(there + "/"):
        return None
    if there in BACKENDS and file != BACKEND_LIST:
        return f"only {BACKEND_LIST} may include the backend {there}"
    if here.split("/")[0] == there.split("/")[0]:
        if (
            there in WITHIN.get(here, [])
            or here.count("/") < there.count("/")
            and there not in BACKENDS
        ):
            return None
        return f"{here} may not include its sibling {there}"
    mine, theirs = layer(here), layer(there)
    if mine is None or theirs is None:
        return f"no row for {here if mine is None else there} in the table of allowed includes"
    if theirs <= mine:
        return f"{here} is not above {there}"
    return None


def lines(path: pathlib.Path, pattern: re.Pattern) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if match := pattern.match(line):
            yield number, match[1]


def core_violations() -> Iterator[str]:
    graph: dict[str, list[str]] = {}
    for path in sorted((ROOT / "src").rglob("*")):
        if path.suffix not in (".h", ".cc", ".c"):
            continue
        file = str(path.relative_to(ROOT / "src"))
        graph[file] = []
        for number, included in lines(path, QUOTED):
            graph[file].append(included)
            if why := complaint(file, included):
                yield f"src/{file}:{number}: {included}: {why}"
    yield from cycles(graph)


def cycles(graph: dict[str, list[str]]) -> Iterator[str]:
    done: set[str] = set()

    def visit(file: str, trail: list[str]) -> Iterator[str]:
        if file in trail:
            yield "src/" + " -> ".join([*trail[trail.index(file) :], file]) + ": a cycle"
            return
        if file in done:
            return
        for included in graph.get(file, []):
            yield from visit(included, [*trail, file])
        done.add(file)

    for file in graph:
        yield from visit(file, [])


def program_violations() -> Iterator[str]:
    internal = {p.name for p in (ROOT / "src").iterdir() if p.is_dir()}
    for program in PROGRAMS:
        top = ROOT / program
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            if path.suffix not in (".h", ".cc", ".c"):
                continue
            for number, included in lines(path, ANY_INCLUDE):
                if (
                    included.split("/")[0] in internal
                    and "/" in included
                    and not (path.parent / included).exists()
                ):
                    yield (
                        f"{path.relative_to(ROOT)}:{number}: {included}: programs include only "
                        "<memfabric/...>"
                    )


def public_violations() -> Iterator[str]:
    for path in sorted((ROOT / "include").rglob("*.h")):
        for number, included in lines(path, ANY_INCLUDE):
            if "/" in included and not included.startswith(("memfabric/", "sys/")):
                yield (
                    f"{path.relative_to(ROOT)}:{number}: {included}: public headers include the "
                    "C library and each other only"
                )


def violations() -> Iterator[str]:
    yield from core_violations()
    yield from program_violations()
    yield from public_violations()


if __name__ == "__main__":
    found = list(violations())
    print("\n".join(found))
    sys.exit(1 if found else 0)
