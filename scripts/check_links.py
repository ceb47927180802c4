#!/usr/bin/python3
"""Links of the Markdown pages: every relative target exists, every #anchor is a heading of its
page, and every `file` that a page names is there. Exits 1 if not.
"""

import pathlib
import re
import sys
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).resolve().parent.parent
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$")
# `a/file.h`, from the root, src/ or include/
FILE = re.compile(r"`([\w.-]+(?:/[\w.-]+)+\.(?:h|cc|c|py|md|cmake|txt|json))`")
FENCE = re.compile(r"^\s*(```|~~~)")


def text_lines(page: pathlib.Path) -> Iterator[tuple[int, str]]:
    """The lines outside code blocks."""
    fenced = False
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if FENCE.match(line):
            fenced = not fenced
        elif not fenced:
            yield number, line


def anchors(page: pathlib.Path) -> set[str]:
    """As GitHub makes them: lower case, punctuation dropped, blanks to hyphens."""
    headings = (HEADING.match(line) for _, line in text_lines(page))
    return {re.sub(r"[^\w\- ]", "", h[1].lower()).replace(" ", "-") for h in headings if h}


def pages() -> list[pathlib.Path]:
    return [
        p
        for p in [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
        if p.is_file()
    ]


def broken_links() -> Iterator[str]:
    for page in pages():
        for number, line in text_lines(page):
            for match in LINK.finditer(line):
                link = match[1] or match[2]
                if re.match(r"[a-z]+:", link):
                    continue
                target, _, anchor = link.partition("#")
                file = (page.parent / target).resolve() if target else page
                where = f"{page.relative_to(ROOT)}:{number}: {link}"
                if not file.exists():
                    yield f"{where}: no such file"
                elif anchor and file.suffix == ".md" and anchor not in anchors(file):
                    yield f"{where}: no such heading"


def missing_files() -> Iterator[str]:
    for page in pages():
        for number, line in text_lines(page):
            for match in FILE.finditer(line):
                if not any((ROOT / root / match[1]).exists() for root in ("", "src", "include")):
                    yield f"{page.relative_to(ROOT)}:{number}: {match[1]}: no such file"


if __name__ == "__main__":
    found = [*broken_links(), *missing_files()]
    print("\n".join(found) if found else f"{len(pages())} pages, every link leads somewhere")
    sys.exit(1 if found else 0)
