#!/usr/bin/python3
"""make fuzz: runs every libFuzzer target of build/asan for FUZZ_SECONDS (20); a crash, leak or hang
fails it.

Seeds come from tests/fuzz/corpus/<target>/, what is found new stays in build/fuzz/corpus/<target>/,
and an input that crashes is kept in build/fuzz/crashes/ with the command that replays it printed.
"""

import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import checks

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGETS = ROOT / "build/asan/tests/fuzz"
FOUND = ROOT / "build/fuzz"
REPORT = ROOT / "build/results/fuzz.xml"
SECONDS = int(os.environ.get("FUZZ_SECONDS", "20"))


def fuzz(target: pathlib.Path) -> Iterator[str]:
    found = FOUND / "corpus" / target.name
    found.mkdir(parents=True, exist_ok=True)
    crashes = FOUND / "crashes"
    crashes.mkdir(parents=True, exist_ok=True)
    seeds = ROOT / "tests/fuzz/corpus" / target.name
    command = [
        str(target),
        f"-max_total_time={SECONDS}",
        "-timeout=10",
        "-rss_limit_mb=2048",
        "-print_final_stats=1",
        f"-artifact_prefix={crashes}/{target.name}-",
        str(found),
        *([str(seeds)] if seeds.is_dir() else []),
    ]
    environment = os.environ | {
        "ASAN_OPTIONS": "detect_leaks=1",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
        "LSAN_OPTIONS": f"suppressions={ROOT}/scripts/lsan.supp:print_suppressions=0",
    }
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=SECONDS + 120,
        )
    except subprocess.TimeoutExpired:
        yield f"still running {120} s after its time was up"
        return
    lines = done.stdout.splitlines()
    if done.returncode != 0:
        yield (
            f"exit status {done.returncode}; run it again with: {target} {crashes}/{target.name}-…"
        )
        yield from lines[-60:]
    runs = [line.split()[-1] for line in lines if line.startswith("stat::number_of_executed_units")]
    if done.returncode == 0 and (not runs or int(runs[0]) < 100):
        yield f"only {runs[0] if runs else 'no'} runs in {SECONDS} s: it does not fuzz anything"


def main() -> int:
    targets = sorted(p for p in TARGETS.glob("*_fuzz") if p.is_file() and os.access(p, os.X_OK))
    if not targets:
        print(f"no targets in {TARGETS}")
        return 1
    return checks.run(
        "fuzz", {t.name: (lambda t=t: fuzz(t)) for t in targets}, REPORT, jobs=os.cpu_count() or 1
    )


if __name__ == "__main__":
    sys.exit(main())
