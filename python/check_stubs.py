"""Compares the checked-in stubs with what the built package gives; with --write, writes them.

Run it by a Python that has nanobind. The built package is that of build/release, or of
MEMFABRIC_BUILD_DIR.
"""

import argparse
import difflib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

PYTHON = Path(__file__).parent.absolute()
PACKAGE = Path(os.environ.get("MEMFABRIC_BUILD_DIR", PYTHON.parent / "build/release")) / "python"
STUBS = {
    "memfabric_hybrid": "__init__.pyi",
    "memfabric_hybrid.bm": "bm.pyi",
    "memfabric_hybrid.shm": "shm.pyi",
}


def generate(module: str) -> str:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "stub.pyi"
        command = [sys.executable, "-m", "nanobind.stubgen", "-q", "-m", module, "-o", str(path)]
        environment = {**os.environ, "PYTHONPATH": str(PACKAGE)}
        subprocess.run(
            [*command, "-p", str(PYTHON / "stubs.patterns")], check=True, env=environment
        )
        return path.read_text()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--write", action="store_true", help="write the stubs instead of comparing them"
    )
    write = parser.parse_args().write
    if not (PACKAGE / "memfabric_hybrid").exists():
        print(
            f"no package in {PACKAGE}: build it first (scripts/build release memfabric_python)",
            file=sys.stderr,
        )
        return 1
    stale = False
    for module, name in STUBS.items():
        path = PYTHON / "memfabric_hybrid" / name
        stub = generate(module)
        if write:
            path.write_text(stub)
            continue
        kept = path.read_text() if path.exists() else ""
        difference = list(
            difflib.unified_diff(
                kept.splitlines(), stub.splitlines(), str(path), "generated", lineterm=""
            )
        )
        if difference:
            stale = True
            print("\n".join(difference))
    if stale:
        print("the stubs are out of step: run python/check_stubs.py --write", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
