#!/usr/bin/python3
"""Draws docs/architecture.svg: the folders of src/ in the layers of check_includes.py, and an arrow
where one folder includes another. An arrow that a longer way implies is left out.

--check: complains when the file is out of step, and writes nothing.
"""

import collections
import dataclasses
import pathlib
import sys
from collections.abc import Iterator

import check_includes

ROOT = check_includes.ROOT
PICTURE = ROOT / "docs/architecture.svg"

CAPTIONS = {
    "capi": "the C functions",
    "bm": "Big Memory",
    "shm": "Shared Memory",
    "trans": "TransferEngine",
    "runtime": "a process's parts; its place in a job",
    "group": "barrier, all-gather",
    "copy": "from addresses to moves",
    "transport": "reaching other processes' memory",
    "store": "etcd's API, records",
    "memory": "segments, registrations, kernels",
    "address": "addresses and windows",
    "base": "Status, log, waits, threads, descriptors",
}

WIDTH, MARGIN = 720, 30
BOX_HEIGHT, CHIP_HEIGHT, ROW_GAP, BOX_GAP = 46, 24, 40, 48
LETTER, SMALL = 9, 7  # widths of a letter, roughly


@dataclasses.dataclass
class Box:
    name: str
    caption: str
    chips: list[str]
    x: float = 0
    y: float = 0

    @property
    def width(self) -> float:
        chips = sum(self.chip_width(chip) + 8 for chip in self.chips) + 16
        return max(120, chips, len(self.name) * LETTER + 32, len(self.caption) * SMALL + 32)

    @property
    def height(self) -> float:
        return BOX_HEIGHT + (CHIP_HEIGHT + 8 if self.chips else 0)

    @property
    def middle(self) -> float:
        return self.x + self.width / 2

    @staticmethod
    def chip_width(chip: str) -> float:
        return len(chip) * SMALL + 16


def includes() -> set[tuple[str, str]]:
    """Which folder of src/ includes which, as they are."""
    found = set()
    for path in sorted((ROOT / "src").rglob("*")):
        if path.suffix not in (".h", ".cc", ".c"):
            continue
        here = path.relative_to(ROOT / "src").parts[0]
        for _, included in check_includes.lines(path, check_includes.QUOTED):
            there = included.split("/")[0]
            if there != here:
                found.add((here, there))
    return found


def without_implied(edges: set[tuple[str, str]]) -> list[tuple[str, str]]:
    below = collections.defaultdict(set)
    for source, target in edges:
        below[source].add(target)

    def reaches(source: str, target: str) -> bool:
        return target in below[source] or any(reaches(b, target) for b in below[source])

    return sorted(
        (source, target)
        for source, target in edges
        if not any(reaches(other, target) for other in below[source] - {target})
    )


def chips(folder: str) -> list[str]:
    return sorted(p.name for p in (ROOT / "src" / folder).iterdir() if p.is_dir())


def rows() -> list[list[Box]]:
    programs = [Box(p, "", []) for p in check_includes.PROGRAMS if "." not in p]
    public = [Box("include/memfabric", "the public headers", [])]
    return [programs, public] + [
        [Box(name, CAPTIONS.get(name, ""), chips(name)) for name in layer]
        for layer in check_includes.LAYERS
    ]


def place(all_rows: list[list[Box]]) -> float:
    """Sets every box's x and y; gives the picture's height."""
    y = MARGIN
    for row in all_rows:
        x = (WIDTH - sum(box.width for box in row) - BOX_GAP * (len(row) - 1)) / 2
        for box in row:
            box.x, box.y = x, y
            x += box.width + BOX_GAP
        y += max(box.height for box in row) + ROW_GAP
    return y - ROW_GAP + MARGIN + 40


def spread(box: Box, others: list[Box], other: Box) -> float:
    """Where along its edge a box's arrow from or to `other` ends: in the order of those."""
    order = sorted(others, key=lambda b: b.middle)
    return box.x + box.width * (order.index(other) + 1) / (len(order) + 1)


def arrow(points: list[tuple[float, float]]) -> str:
    way = " L ".join(f"{x:.0f} {y:.0f}" for x, y in points)
    return f'<path d="M {way}" class="arrow" marker-end="url(#tip)"/>'


def arrows(all_rows: list[list[Box]]) -> Iterator[str]:
    boxes = {box.name: (number, box) for number, row in enumerate(all_rows) for box in row}
    edges = [(p.name, "include/memfabric") for p in all_rows[0]]
    edges += [("capi", "include/memfabric"), *without_implied(includes())]
    into, out = collections.defaultdict(list), collections.defaultdict(list)
    for source, target in edges:
        out[source].append(boxes[target][1])
        into[target].append(boxes[source][1])
    for source, target in edges:
        (first, upper), (last, lower) = boxes[source], boxes[target]
        if first > last:  # capi implements what stands above it
            yield arrow([(upper.middle, upper.y), (lower.middle, lower.y + lower.height)])
            continue
        begin = (spread(upper, out[source], lower), upper.y + upper.height)
        end = (spread(lower, into[target], upper), lower.y)
        points = [begin]
        for row in all_rows[first + 1 : last]:  # past the rows between
            left, right = row[0].x - 20, row[-1].x + row[-1].width + 20
            beside = left if abs(end[0] - left) < abs(end[0] - right) else right
            points += [
                (beside, row[0].y - 8),
                (beside, row[0].y + max(box.height for box in row) + 8),
            ]
        yield arrow([*points, end])


def rectangle(x: float, y: float, width: float, height: float, kind: str) -> str:
    place = f'x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{height:.0f}"'
    return f'<rect {place} rx="5" class="{kind}"/>'


def text(x: float, y: float, kind: str, words: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" class="{kind}">{words}</text>'


def drawn(box: Box) -> Iterator[str]:
    yield rectangle(box.x, box.y, box.width, box.height, "box")
    yield text(box.middle, box.y + (20 if box.caption else 28), "name", box.name)
    if box.caption:
        yield text(box.middle, box.y + 37, "small", box.caption)
    x = box.middle - sum(box.chip_width(c) + 8 for c in box.chips) / 2 + 4
    for chip in box.chips:
        kind = "backend" if f"{box.name}/{chip}" in check_includes.BACKENDS else "part"
        width, y = box.chip_width(chip), box.y + BOX_HEIGHT
        yield rectangle(x, y, width, CHIP_HEIGHT, kind)
        yield text(x + width / 2, y + 16, "small", chip)
        x += width + 8


def svg() -> str:
    all_rows = rows()
    height = place(all_rows)
    lines = [
        "<!-- scripts/picture.py makes this from the includes of src/. -->",
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}"',
        ' font-family="sans-serif" text-anchor="middle">',
        "<style>",
        ".box { fill: #f4f6f8; stroke: #46566a }",
        ".part { fill: #ffffff; stroke: #9aa7b5 }",
        ".backend { fill: #ffffff; stroke: #9aa7b5; stroke-dasharray: 4 3 }",
        ".name { font-size: 15px; font-weight: bold; fill: #1d2733 }",
        ".small { font-size: 12px; fill: #46566a }",
        ".arrow { fill: none; stroke: #46566a; stroke-width: 1.4 }",
        "</style>",
        '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"',
        ' orient="auto"><path d="M 0 0 L 8 4 L 0 8 z" fill="#46566a"/></marker>',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        *arrows(all_rows),
    ]
    for row in all_rows:
        for box in row:
            lines += drawn(box)
    lines += [
        text(
            WIDTH / 2,
            height - 30,
            "small",
            "An arrow means: includes. Arrows that a longer way implies are left out.",
        ),
        text(
            WIDTH / 2,
            height - 14,
            "small",
            f"Dashed: backends, which {check_includes.BACKEND_LIST} alone includes.",
        ),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def out_of_step() -> Iterator[str]:
    if not PICTURE.exists() or PICTURE.read_text() != svg():
        yield f"{PICTURE.relative_to(ROOT)} is not what src/ includes: run scripts/picture.py"


if __name__ == "__main__":
    if "--check" not in sys.argv[1:]:
        PICTURE.write_text(svg())
    found = list(out_of_step())
    print("\n".join(found), end="\n" if found else "")
    sys.exit(1 if found else 0)
