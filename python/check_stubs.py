"""Compares the checked-in stubs with what the built package gives; with --write, writes them.

Run it by a Python that has nanobind, with the built package on its path: PYTHONPATH=<build>/python python python/check_stubs.py
"""

import argparse
import difflib
import subprocess
import sys
import tempfile
from pathlib import Path

PYTHON = Path(__file__).parent.absolute()
STUBS = {"memfabric_hybrid": "__init__.pyi", "memfabric_hybrid.bm": "bm.pyi"}


def generate(module: str) -> str:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "stub.pyi"
        command = [sys.executable, "-m", "nanobind.stubgen", "-q", "-m", module, "-o", str(path)]
        subprocess.run([*command, "-p", str(PYTHON / "stubs.patterns")], check=True)
        return path.read_text()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write the stubs instead of comparing them")
    write = parser.parse_args().write
    stale = False
    for module, name in STUBS.items():
        path = PYTHON / "memfabric_hybrid" / name
        stub = generate(module)
        if write:
            path.write_text(stub)
            continue
        kept = path.read_text() if path.exists() else ""
        difference = list(difflib.unified_diff(kept.splitlines(), stub.splitlines(), str(path), "generated", lineterm=""))
        if difference:
            stale = True
            print("\n".join(difference))
    if stale:
        print("the stubs are out of step: run python/check_stubs.py --write", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
