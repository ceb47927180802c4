"""A Python program that holds the GIL, or a logger or callback that takes its time, holds up its
own calls and nobody else.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import socket
import time
from typing import Callable

import memfabric_hybrid as mf
from rank import Rank, free_url

Start = Callable[..., Rank]


def listening(pid: int) -> set[tuple[str, int]]:
    """Names (abstract) and types of the Unix sockets on which a process listens."""
    own = set()
    for entry in os.scandir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            own.add(os.readlink(entry.path))
    with open("/proc/net/unix", encoding="utf-8") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    return {
        (row[7][1:], int(row[4], 16))
        for row in rows
        if len(row) > 7
        and row[7].startswith("@")
        and int(row[3], 16) & 0x10000
        and f"socket:[{row[6]}]" in own
    }


def knock(names: set[tuple[str, int]]) -> None:
    """Sends what no peer sends; the listener logs it on the thread that serves all its peers."""
    for name, kind in sorted(names) * 5:  # one that is closed before it has spoken says nothing
        with socket.socket(socket.AF_UNIX, kind) as stranger, contextlib.suppress(BrokenPipeError):
            stranger.connect("\0" + name)
            stranger.send(b"no peer")


def test_peers_do_not_feel_that_a_program_holds_the_gil(
    start_rank: Start, tmp_path: pathlib.Path
) -> None:
    url = free_url()
    busy, other = start_rank(), start_rank()
    busy.run(f"""
import ctypes, signal, time
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGURG])  # would end a sleep() (timer_signal.cc)
lines = []
mf.set_log_level(0)
mf.set_extern_logger(lambda level, message: lines.append((time.monotonic(), message)))
assert init('{url}', 2, 0) == 0, mf.get_last_err_msg()
pool = mf.bm.create(0, 2 << 20)
assert pool.join() == 0
lines.clear()
""")
    ports = listening(busy.process.pid)
    assert ports
    other.run(
        f"assert init('{url}', 2, 1, start_store=False) == 0; pool = mf.bm.create(0, 2 << 20)"
    )
    marker = tmp_path / "busy"
    busy.start(
        f"open({str(marker)!r}, 'w').close(); _ = time.monotonic(), ctypes.PyDLL(None).sleep(6), "
        "time.monotonic()"
    )
    while not marker.exists():
        assert busy.process.poll() is None
    knock(ports)
    other.run("""
import time
begun = time.monotonic()
assert pool.join() == 0, mf.get_last_err_msg()
joined = time.monotonic()
for _ in range(100):
    assert pool.copy_data(b'12345678', pool.peer_rank_ptr(0, 3), 8, 3) == 0, mf.get_last_err_msg()
copied = time.monotonic()
""")
    begun, joined, copied = other("(begun, joined, copied)")
    began, _, ended = busy.finish()
    assert joined - begun < 2 and copied - joined < 1
    assert began < begun and copied < ended, "the rank was not busy meanwhile"
    # What was logged meanwhile has not been lost.
    end = time.monotonic() + 20
    while not any("no peer" in message for _, message in busy("lines")):
        assert time.monotonic() < end, busy("lines")
    busy.run("mf.set_log_level(4)")  # it counts the strangers at its end
    assert busy.exit() == (0, "") and other.exit() == (0, "")


def test_a_stalled_logger_holds_up_the_calls_of_nobody_else(start_rank: Start) -> None:
    rank = start_rank()
    rank.run(f"""
import threading, time
entered, go = threading.Event(), threading.Event()
lines = []
def log(level, message):
    lines.append(message)
    if len(lines) == 1:
        entered.set()
        go.wait()
mf.set_log_level(2)
mf.set_extern_logger(log)
first = threading.Thread(target=mf.set_log_level, args=(1000,))
first.start()
entered.wait()
begun = time.monotonic()
for number in range(1001, 6001):
    assert mf.set_log_level(number) < 0
took = time.monotonic() - begun
assert len(lines) == 1
go.set()
first.join()
end = time.monotonic() + 20
while len(lines) < 4098 and time.monotonic() < end:
    time.sleep(0.001)
""")
    assert rank("took") < 5
    # In order, up to what fits; then how much didn't.
    assert rank("[str(1000 + k) in line for k, line in enumerate(lines[:4097])].count(False)") == 0
    assert "lines of the log were dropped" in rank("lines[4097]")
    assert rank.exit() == (0, "")


def test_the_lines_of_a_call_are_there_when_it_returns() -> None:
    lines: list[str] = []
    assert mf.set_log_level(2) == 0
    try:
        assert mf.set_extern_logger(lambda level, message: lines.append(message)) == 0
        for number in range(1000, 1500):
            assert mf.set_log_level(number) < 0
            assert len(lines) == number - 999 and str(number) in lines[-1]
        for number in range(1 << 40, (1 << 40) + 100):  # refused by the binding
            assert mf.set_log_level(number) < 0
            assert str(number) in lines[-1]
    finally:
        assert mf.set_extern_logger(None) == 0
        assert mf.set_log_level(3) == 0
    count = len(lines)
    assert mf.set_log_level(1000) < 0
    assert len(lines) == count


def test_a_handler_that_waits_holds_up_no_peer_and_misses_nothing(start_rank: Start) -> None:
    rank = start_rank()
    rank.run(f"""
import threading
url = '{free_url()}'
assert init(url, 4, 0) == 0
pool = mf.bm.create(0, 2 << 20)
assert pool.join() == 0
seen, go = [], threading.Event()
pool.set_group_event_handler(lambda rank, event: (seen.append(event), go.wait()))
""")
    peer = start_rank()
    peer.run(
        f"assert init('{rank('url')}', 4, 1, start_store=False) == 0; pool = mf.bm.create(0, 2 << "
        "20)"
    )
    begun = time.monotonic()
    peer.run(
        "for _ in range(20): assert pool.join() == 0 and pool.leave() == 0, mf.get_last_err_msg()"
    )
    assert time.monotonic() - begun < 10
    assert rank("len(seen)") == 1
    rank.run("go.set()")
    end = time.monotonic() + 20
    while rank("len(seen)") < 40 and time.monotonic() < end:
        pass
    assert rank("[int(event) for event in seen]") == [0, 1] * 20
    assert peer.exit() == (0, "") and rank.exit() == (0, "")
