"""Runs named checks, prints one line for each and writes them as JUnit XML, so that lint and fuzz
count like tests.
"""

import concurrent.futures
import pathlib
import sys
import time
import xml.etree.ElementTree as xml
from collections.abc import Callable, Iterable

# A check gives the complaints it found; none means that it passed.
Check = Callable[[], Iterable[str]]


def run(suite: str, checks: dict[str, Check], report: pathlib.Path, jobs: int = 1) -> int:
    """Runs `checks`, `jobs` at a time; gives the exit status: 0 when all passed."""
    root = xml.Element("testsuite", name=suite, tests=str(len(checks)))
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        futures = {name: pool.submit(_timed, check) for name, check in checks.items()}
        for name, future in futures.items():
            complaints, seconds = future.result()
            case = xml.SubElement(
                root, "testcase", classname=suite, name=name, time=f"{seconds:.3f}"
            )
            if complaints:
                failed += 1
                xml.SubElement(case, "failure", message=complaints[0][:200]).text = "\n".join(
                    complaints
                )
            print(
                f"{'FAIL' if complaints else 'ok  '} {suite}: {name} ({seconds:.1f} s)", flush=True
            )
            for complaint in complaints:
                print(f"     {complaint}", flush=True)
    root.set("failures", str(failed))
    report.parent.mkdir(parents=True, exist_ok=True)
    xml.ElementTree(root).write(report, encoding="utf-8", xml_declaration=True)
    print(f"{suite}: {len(checks) - failed} passed, {failed} failed")
    return 1 if failed else 0


def _timed(check: Check) -> tuple[list[str], float]:
    begin = time.monotonic()
    try:
        complaints = list(check())
    # a check that breaks is a failure of that check, not the end of the run
    except Exception as error:
        complaints = [f"{type(error).__name__}: {error}"]
    return complaints, time.monotonic() - begin


if __name__ == "__main__":
    sys.exit("a module: run scripts/lint.py or scripts/fuzz.py")
