"""`memfabric doctor`: what there is, and what to change."""

from __future__ import annotations

import os
import resource
from pathlib import Path

from rich.console import Console
from rich.table import Table

import memfabric_hybrid as mf

from . import environment


def report() -> int:
    """Prints it; returns the exit status, 1 when something keeps the fabric from working."""
    console = Console()
    console.print(f"memfabric {mf.__version__}, library {mf.get_lib_path()}/libmf_smem.so")
    console.print(_environment())
    for name in environment.unknown():
        console.print(f"{name} is set, but means nothing to this version: misspelt?")
    console.print(_devices())
    console.print(_machine())
    problems = _problems()
    for problem in problems:
        console.print(f"PROBLEM: {problem}")
    return 1 if problems else 0


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", show_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _environment() -> Table:
    table = _table("Environment", "variable", "value", "meaning")
    for variable in environment.VARIABLES:
        table.add_row(
            variable.name, "-" if variable.value is None else variable.value, variable.meaning
        )
    return table


def _devices() -> Table:
    table = _table("Devices", "id", "backend", "name", "NUMA node", "memory")
    for device in mf.devices():
        table.add_row(
            str(device.id), device.backend, device.name, str(device.numa_node), _size(device.bytes)
        )
    return table


def _machine() -> Table:
    table = _table("Machine", "what", "value")
    memory = _meminfo()
    table.add_row("memory available", _size(memory.get("MemAvailable", 0)))
    table.add_row(
        "huge pages reserved",
        f"{memory.get('HugePages_Free', 0)} of {memory.get('HugePages_Total', 0)} free, "
        f"{_size(memory.get('Hugepagesize', 0))} each",
    )
    table.add_row("transparent huge pages for shared memory", _transparent_huge_pages())
    for name, limit in (
        ("address space", resource.RLIMIT_AS),
        ("open files", resource.RLIMIT_NOFILE),
    ):
        soft, _ = resource.getrlimit(limit)
        unlimited = soft == resource.RLIM_INFINITY
        table.add_row(f"limit: {name}", "unlimited" if unlimited else str(soft))
    table.add_row(
        "path between processes of this host", "mapped: shared memory, by loads and stores"
    )
    return table


def _problems() -> list[str]:
    problems = []
    try:
        fd = os.memfd_create("memfabric-doctor", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except OSError as error:
        problems.append(
            f"memory can't be shared between processes: memfd_create fails with {error.strerror}"
        )
    else:
        os.close(fd)
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        problems.append(
            f"the address space is limited to {_size(soft)}: pools reserve addresses for all "
            "ranks (ulimit -v unlimited)"
        )
    return problems


def _meminfo() -> dict[str, int]:
    """Bytes; for the HugePages_ entries, pages."""
    values = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        values[name] = int(words[0]) * (1024 if words[1:] == ["kB"] else 1)
    return values


def _transparent_huge_pages() -> str:
    try:
        words = Path("/sys/kernel/mm/transparent_hugepage/shmem_enabled").read_text().split()
    except OSError:
        return "not in this kernel"
    chosen = next((word.strip("[]") for word in words if word.startswith("[")), "?")
    advice = " (advise would let pools have them)" if chosen in ("never", "deny") else ""
    return chosen + advice


def _size(size_bytes: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size_bytes < 1024:
            return f"{size_bytes:.4g} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.4g} TiB"
