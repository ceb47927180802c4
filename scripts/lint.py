#!/usr/bin/python3
"""make lint: the rules about how the tree looks that a program can check. Each check is one line
and one test case.

Needs build/release, or MEMFABRIC_BUILD_DIR, built (the Makefile sees to it): the headers' include
paths and what is generated come from there.
"""

import json
import os
import pathlib
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator

import check_includes
import check_links
import checks
import picture

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("MEMFABRIC_BUILD_DIR", ROOT / "build/release"))
REPORT = ROOT / "build/results/lint.xml"
OURS = ("benchmarks", "examples", "include", "python", "src", "tests")
COLUMNS = 100
BANNED_WORDS = ("manager", "helper", "common", "util", "utils", "default", "entity", "impl2")
# The one file that lists every backend: docs/design.md, "Shape".
ALLOWED_NAMES = {"src/runtime/default_backends.cc", "src/runtime/default_backends.h"}


def tracked(*suffixes: str) -> list[pathlib.Path]:
    """Files of the tree with these suffixes; new ones count, ignored ones don't."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout.split("\0")
    return [
        ROOT / n
        for n in sorted(set(names))
        if n and (not suffixes or n.endswith(suffixes)) and (ROOT / n).is_file()
    ]


def c_files(*suffixes: str) -> list[pathlib.Path]:
    return [p for p in tracked(*suffixes) if p.relative_to(ROOT).parts[0] in OURS]


def output(*command: str) -> Iterator[str]:
    """The output of a command that should succeed; nothing when it does."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode != 0:
        yield from [line for line in done.stdout.splitlines() if line.strip()][:40] or [
            f"exit status {done.returncode}"
        ]


def formatted() -> Iterator[str]:
    files = [str(p.relative_to(ROOT)) for p in c_files(".h", ".cc", ".c")]
    for line in output("clang-format-14", "--dry-run", "-Werror", *files):
        if "error:" in line:
            yield line
    python = [str(p.relative_to(ROOT)) for p in tracked(".py")]
    yield from output(str(ROOT / ".venv/bin/ruff"), "format", "--quiet", "--diff", *python)


def columns() -> Iterator[str]:
    """What the formatters can't break: comments, strings, macros, pages. Rows of tables are as long
    as they must be.
    """
    for path in [*c_files(".h", ".cc", ".c"), *tracked(".py", ".md")]:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if len(line) > COLUMNS and not (path.suffix == ".md" and line.startswith("|")):
                yield f"{path.relative_to(ROOT)}:{number}: {len(line)} columns, of {COLUMNS}"


def include_flags(commands: list[dict]) -> list[str]:
    """Every include path and definition that the build uses."""
    flags: dict[str, None] = {}
    for entry in commands:
        words = iter(shlex.split(entry["command"]))
        for word in words:
            if word == "-isystem":
                flags[f"-isystem{next(words)}"] = None
            elif word.startswith(("-I", "-isystem")):
                flags[word] = None
    return list(flags)


def compiles(header: pathlib.Path, *command: str) -> checks.Check:
    return lambda: output(
        *command,
        "-Wall",
        "-Wextra",
        "-Werror",
        "-fsyntax-only",
        "-include",
        str(header.relative_to(ROOT)),
        "-Iinclude",
        "/dev/null",
    )


def comes_first(header: pathlib.Path, built: set[str]) -> bool:
    """Whether a source file of the build includes it before all else: then the build compiled it
    alone already.
    """
    source = header.with_suffix(".cc")
    if not source.exists():
        return False
    included = re.search(r'^#include [<"]([^>"]+)[>"]', source.read_text(), re.MULTILINE)
    return included is not None and str(header).endswith("/" + included[1]) and str(source) in built


def header_checks() -> dict[str, checks.Check]:
    commands = json.loads((BUILD / "compile_commands.json").read_text())
    flags, built = include_flags(commands), {entry["file"] for entry in commands}
    found: dict[str, checks.Check] = {}
    for header in c_files(".h"):
        name = str(header.relative_to(ROOT))
        cxx = ("g++", "-std=c++20", "-fvisibility=hidden", *flags, "-Itests", "-x", "c++")
        if name.startswith("include/"):
            found[f"{name} alone, as C99"] = compiles(
                header, "gcc", "-std=c99", "-pedantic-errors", "-x", "c"
            )
            found[f"{name} alone, as C++"] = compiles(
                header, "g++", "-std=c++11", "-pedantic-errors", "-x", "c++"
            )
        elif comes_first(header, built):
            found[f"{name} first in its source"] = tuple
        else:
            found[f"{name} alone"] = compiles(header, *cxx)
    return found


def names() -> Iterator[str]:
    for path in tracked():
        name = str(path.relative_to(ROOT))
        if name in ALLOWED_NAMES or path.suffix not in (
            ".h",
            ".cc",
            ".c",
            ".py",
            ".cmake",
            ".proto",
        ):
            continue
        words = re.split(r"[_\-.]", path.stem.lower())
        if banned := [w for w in words if w in BANNED_WORDS]:
            yield f"{name}: banned word in a name: {banned[0]}"
        if path.suffix in (".h", ".cc", ".c", ".py") and not re.fullmatch(r"[a-z0-9_]+", path.stem):
            yield f"{name}: file names are snake_case"
    banned_type = re.compile(
        r"\b(?:class|struct|enum(?: class)?)\s+(\w*(?:Manager|Helper|Common|Utils?|Entity|Impl2))\b"
    )
    for path in c_files(".h", ".cc", ".py"):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if match := banned_type.search(line):
                yield f"{path.relative_to(ROOT)}:{number}: banned word in a name: {match[1]}"


def machine_names() -> list[str]:
    """What names this machine: the checkout's place, the user's home, the host, the package index
    it is told to use.
    """
    found = [str(ROOT) + "/"]
    home = os.path.expanduser("~")
    if home.count("/") > 1:
        found.append(home + "/")
    if len(socket.gethostname()) >= 8:
        found.append(socket.gethostname())
    pip = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    settings = pip.stdout + "\n".join(
        v for k, v in os.environ.items() if k.lower().endswith("proxy") or k.startswith("PIP_")
    )
    hosts = re.findall(r"https?://(?:[^@/\s']*@)?([A-Za-z0-9.\-]+)", settings)
    return found + [
        h for h in hosts if h not in ("pypi.org", "files.pythonhosted.org", "localhost")
    ]


def no_machine_names() -> Iterator[str]:
    marks = machine_names()
    for path in tracked():
        try:
            lines = path.read_text().splitlines()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(lines, 1):
            for mark in marks:
                if mark in line:
                    yield f"{path.relative_to(ROOT)}:{number}: names the machine it was written on"


def citations() -> Iterator[str]:
    """A page that code cites is in the tree."""
    page = re.compile(r"(?<![\w./])[\w./-]+\.md\b")
    for path in tracked(".h", ".cc", ".c", ".py", ".cmake", ".proto", "CMakeLists.txt"):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for name in page.findall(line):
                if not (ROOT / name).exists():
                    yield f"{path.relative_to(ROOT)}:{number}: {name}: no such page"


def threads() -> Iterator[str]:
    """Threads are started in one place, which names them, blocks their signals and turns a refusal
    into a Status; they wait for a limited time in one place, which goes by the kernel's clock."""
    rules = {
        re.compile(
            r"\bstd::(?:jthread|async)\b|\bstd::thread\b(?!::)|\bpthread_create\b"
        ): "base/thread",
        re.compile(r"\bwait_(?:for|until)\("): "base/timed_wait",
    }
    for path in c_files(".h", ".cc"):
        file = str(path.relative_to(ROOT))
        if not file.startswith("src/"):
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for rule, place in rules.items():
                if file != f"src/{place}.cc" and (match := rule.search(line.split("//")[0])):
                    yield f"{file}:{number}: {match[0]}: that is for {place}.h"


def transport_names() -> Iterator[str]:
    """Services ask transports what they can do (transport::Capabilities), never who they are: a new
    one needs no line in a service."""
    names = {folder.parent.name for folder in (ROOT / "src/transport").glob("*/*_transport.h")}
    each = "|".join(sorted(names | {"rdma", "ucx"}))
    named = re.compile(
        rf'"(?:{each})(?:\+\w+)?"|\b(?:name|path)\(\) *[!=]=|\b(?:{each})::|'
        rf"\b(?:{each})(?:Transport|Link|Port)\b",
        re.IGNORECASE,
    )
    for path in c_files(".h", ".cc"):
        file = str(path.relative_to(ROOT))
        if not file.startswith(("src/bm/", "src/shm/", "src/trans/")):
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if match := named.search(re.sub(r"(^|\s)//.*", "", line)):
                yield f"{file}:{number}: {match[0]}: a service asks for capabilities"


def stubs() -> Iterator[str]:
    return output(str(ROOT / ".venv/bin/python"), "python/check_stubs.py")


def main() -> int:
    found: dict[str, checks.Check] = {
        "includes point downward": check_includes.core_violations,
        "programs include only public headers": check_includes.program_violations,
        "public headers stand alone": check_includes.public_violations,
        "clang-format and ruff": formatted,
        "lines of at most 100 columns": columns,
        "names": names,
        "threads start, and wait, in one place": threads,
        "pages that code cites": citations,
        "no service names a transport": transport_names,
        "no name of this machine": no_machine_names,
        "links in the documentation": check_links.broken_links,
        "files that pages name": check_links.missing_files,
        "docs/architecture.svg in step": picture.out_of_step,
    }
    if (ROOT / "python/check_stubs.py").exists():
        found["stubs in step"] = stubs
    found |= header_checks()
    return checks.run("lint", found, REPORT, jobs=os.cpu_count() or 1)


if __name__ == "__main__":
    sys.exit(main())
