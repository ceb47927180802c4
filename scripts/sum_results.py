#!/usr/bin/python3
"""Sums the JUnit files named as arguments (ctest's, pytest's, lint's, fuzz's) and prints `passed
failed skipped`.

X.again.xml beside X.xml has the second try of what failed in the first; it is what counts for them.
What failed, with the end of its output, and what passed at the second try only goes to stderr.
"""

import pathlib
import sys
import xml.etree.ElementTree as xml


MOST_LINES = 40  # of the output of one test


def outcome(case: xml.Element) -> str:
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    skipped = case.find("skipped")
    if skipped is None:
        return "passed"
    # ctest calls a test that it could not start skipped too; only a skip that the test itself asked
    # for is one.
    if case.get("status") == "notrun" and "SKIP" not in skipped.get("message", ""):
        return "failed"
    return "skipped"


def cases(path: pathlib.Path) -> dict[str, xml.Element]:
    if not path.exists():
        return {}
    return {
        f"{case.get('classname')} {case.get('name')}": case
        for case in xml.parse(path).getroot().iter("testcase")
    }


def said(case: xml.Element) -> list[str]:
    texts = [
        element.text or element.get("message") or ""
        for element in case
        if element.tag in ("failure", "error", "system-out")
    ]
    return [f"    {line[:300]}" for line in "\n".join(texts).splitlines()[-MOST_LINES:]]


def main(paths: list[str]) -> None:
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for path in map(pathlib.Path, paths):
        again = cases(path.with_suffix(".again.xml"))
        for name, case in cases(path).items():
            if outcome(case) == "failed" and name in again:
                case = again[name]
                if outcome(case) == "passed":
                    print(f"{path.stem}: passed at the second try only: {name}", file=sys.stderr)
            counts[outcome(case)] += 1
            if outcome(case) == "failed":
                print(f"{path.stem}: failed: {name}", *said(case), sep="\n", file=sys.stderr)
    print(*counts.values())


if __name__ == "__main__":
    main(sys.argv[1:])
