#!/usr/bin/python3
"""Sums the JUnit files named as arguments (ctest's, pytest's, lint's, fuzz's) and prints `passed failed skipped`.

X.again.xml beside X.xml has the second try of what failed in the first; it is what counts for them, and they are named.
"""

import pathlib
import sys
import xml.etree.ElementTree as xml


def outcome(case: xml.Element) -> str:
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    skipped = case.find("skipped")
    if skipped is None:
        return "passed"
    # ctest calls a test that it could not start skipped too; only a skip that the test itself asked for is one.
    if case.get("status") == "notrun" and "SKIP" not in skipped.get("message", ""):
        return "failed"
    return "skipped"


def outcomes(path: pathlib.Path) -> list[tuple[str, str]]:
    if not path.exists():
        return []
    return [(f"{case.get('classname')} {case.get('name')}", outcome(case)) for case in xml.parse(path).getroot().iter("testcase")]


def main(paths: list[str]) -> None:
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for path in map(pathlib.Path, paths):
        again = dict(outcomes(path.with_suffix(".again.xml")))
        for name, first in outcomes(path):
            if first == "failed" and again.get(name) == "passed":
                print(f"passed at the second try only: {name}", file=sys.stderr)
            counts[again.get(name, first) if first == "failed" else first] += 1
    print(*counts.values())


if __name__ == "__main__":
    main(sys.argv[1:])
