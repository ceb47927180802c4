"""The threads that the library starts in a process: their names, their signal masks, and how many
there are.
"""

from __future__ import annotations

import signal
from typing import Callable

from rank import Rank, free_url

Start = Callable[..., Rank]

# Of the kernel's mask, bit n - 1 is signal n. Faults stay: whoever reports crashes wants them. 9
# and 19 can't be blocked, 32 and 33 are glibc's own.
FAULTS = {
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGTRAP,
    signal.SIGSYS,
}
BLOCKABLE = (
    {n for n in range(1, 65)} - {int(s) for s in FAULTS} - {signal.SIGKILL, signal.SIGSTOP, 32, 33}
)

# Statements for a rank: `threads()` is {name: count} of the threads that aren't Python's,
# `takes_signals()` what of them doesn't block every signal.
LOOK = """
import os
def read(tid, file):
    try:
        with open(f'/proc/self/task/{tid}/{file}') as text:
            return text.read()
    except OSError:
        return ''  # it has ended meanwhile
before = set(os.listdir('/proc/self/task'))
def tasks():
    return [tid for tid in os.listdir('/proc/self/task') if tid not in before]
def threads():
    names = [read(tid, 'comm').strip() for tid in tasks()]
    return {name: names.count(name) for name in names if name}
def takes_signals():
    found = []
    for tid in tasks():
        lines = read(tid, 'status').splitlines()
        masks = [line.split()[1] for line in lines if line.startswith('SigBlk:')]
        if masks and any(not int(masks[0], 16) >> n - 1 & 1 for n in BLOCKABLE):
            found.append((read(tid, 'comm').strip(), masks[0]))
    return found
""".replace("BLOCKABLE", repr(sorted(int(n) for n in BLOCKABLE)))

# A pool with a peer by memory and one by tcp, copies of every kind, a logger, an event handler,
# engines and a Shared Memory object.
EVERYTHING = """
import numpy, threading
from memfabric_hybrid import shm
lines = []
assert mf.set_log_level(1) == 0  # so that there is something to tell
assert mf.set_extern_logger(lambda level, text: lines.append(text)) == 0
assert pool.copy_data(0, 0, 0, mf.bm.BmCopyType.H2GH, 0) != 0  # a line for the logger
heard = threading.Event()
assert pool.set_group_event_handler(lambda rank, event: heard.set()) == 0
data = numpy.ones(8 << 20, numpy.uint8)
for peer in (1, 2):
    for flags in (0, 1):
        there = pool.peer_rank_ptr(peer, mf.bm.BmMemType.HOST)
        assert pool.copy_data(data, there, data.nbytes, mf.bm.BmCopyType.H2GH, flags) == 0
assert pool.wait() == 0
engine = mf.TransferEngine()
assert engine.initialize(url, 'one', 'Prefill', 0) == 0, mf.get_last_err_msg()
other = mf.TransferEngine()
assert other.initialize(url, 'two', 'Decode', 0) == 0, mf.get_last_err_msg()
target = numpy.zeros(1 << 20, numpy.uint8)
assert other.register_memory(target, target.nbytes) == 0
stream = mf.Stream()
code = engine.transfer_async_write_submit('two', data, target.ctypes.data, target.nbytes, stream)
assert code == 0, mf.get_last_err_msg()
assert stream.synchronize() == 0, mf.get_last_err_msg()
config = shm.ShmConfig()
assert shm.initialize(url, 1, 0, 0, config) == 0, mf.get_last_err_msg()
object = shm.create(0, 1, 0, 2 << 20)
object.barrier()
"""


def test_all_have_names_and_take_no_signals(start_rank: Start) -> None:
    url = free_url()
    ranks = [start_rank(), start_rank(), start_rank(MEMFABRIC_HOST_ID="elsewhere")]
    ranks[0].run(LOOK)
    for number, rank in enumerate(ranks):
        rank.run(f"url = '{url}'\nassert init(url, 3, {number}) == 0, mf.get_last_err_msg()")
        rank.run("pool = mf.bm.create(0, 8 << 20)")
    for rank in ranks:
        assert rank("pool.join()") == 0
    ranks[0].run(EVERYTHING)
    assert ranks[1]("pool.leave()") == 0
    assert ranks[0]("heard.wait(30)")
    names = ranks[0]("threads()")
    assert {
        "mf-reactor",
        "mf-session",
        "mf-store-io",
        "mf-listener",
        "mf-leases",
        "mf-grpc",
        "mf-copy",
        "mf-lane",
        "mf-stream",
        "mf-logger",
        "mf-callbacks",
    } <= names.keys(), names
    assert [name for name in names if name.startswith(("python", "rank"))] == [], names
    assert ranks[0]("takes_signals()") == []
    ranks[0].run(
        "engine.destroy(); other.destroy(); shm.uninitialize(); pool.destroy(); "
        "mf.bm.uninitialize()"
    )
    assert ranks[0]("takes_signals()") == []


def test_a_rank_has_few_threads(start_rank: Start) -> None:
    url = free_url()
    server, rank = start_rank(), start_rank()
    rank.run(LOOK)
    for number, each in enumerate((server, rank)):
        each.run(f"assert init('{url}', 2, {number}) == 0, mf.get_last_err_msg()")
        each.run("pool = mf.bm.create(0, 8 << 20)")
    for each in (server, rank):
        assert each("pool.join()") == 0
    rank.run("""
data = np.ones(8 << 20, np.uint8)
for flags in (0, 1):
    there = pool.peer_rank_ptr(0, mf.bm.BmMemType.HOST)
    assert pool.copy_data(data, there, data.nbytes, mf.bm.BmCopyType.H2GH, flags) == 0
assert pool.wait() == 0
""")
    names = rank("threads()")
    helpers = names.pop("mf-copy", 0)  # one for each processor but one
    assert helpers <= 7
    assert sum(names.values()) <= 9, names  # and the main thread
    rank.run("pool.destroy(); mf.bm.uninitialize()")
