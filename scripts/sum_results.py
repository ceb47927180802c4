#!/usr/bin/python3
"""Sums the JUnit files named as arguments (ctest's, pytest's, lint's, fuzz's) and prints `passed failed skipped`."""

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


def main(paths: list[str]) -> None:
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for path in paths:
        if not pathlib.Path(path).exists():
            continue
        for case in xml.parse(path).getroot().iter("testcase"):
            counts[outcome(case)] += 1
    print(*counts.values())


if __name__ == "__main__":
    main(sys.argv[1:])
