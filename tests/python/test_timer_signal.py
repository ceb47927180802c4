"""Every service while each thread of each process gets a signal a thousand times a second, as
profilers send it.

The signal's handler does nothing and is installed without SA_RESTART: see
tests/support/timer_signal.cc.
"""

from __future__ import annotations

import pathlib
from typing import Callable

import pytest

import memfabric_hybrid as mf
from rank import Rank, free_url
from shm_rank import SETTINGS, together
from test_tls import authority, info, key  # noqa: F401  (a fixture)

MIB = 1 << 20

Start = Callable[..., Rank]

POOL = """
def copies(peer, rounds):
    theirs = pool.peer_rank_ptr(peer, mf.bm.BmMemType.HOST)
    for i in range(rounds):
        for size in (8, 5000, 1 << 20) if i % 16 == 0 else (8, 5000):
            sent, got = np.full(size, i % 251, np.uint8), np.zeros(size, np.uint8)
            codes = [pool.copy_data(sent, theirs, size, mf.bm.BmCopyType.H2G),
                     pool.copy_data_batch([sent.ctypes.data] * 2, [theirs, theirs + size // 2],
                                          [size // 2] * 2, 2, mf.bm.BmCopyType.H2G),
                     pool.copy_data(theirs, got, size, mf.bm.BmCopyType.G2H, flags=1), pool.wait()]
            if any(codes) or not (got == sent).all():
                return f"round {i}, {size} bytes: {codes}, {mf.get_last_err_msg()}"
    return ""

def cycles(rounds):
    for i in range(rounds):
        other = mf.bm.create(1 + i % 2, 2 << 20)
        codes = [other.join(), other.leave(), other.join()]
        if any(codes): return f"round {i}: {codes}, {mf.get_last_err_msg()}"
        other.destroy()
    return ""
"""

ENGINE = """
def start(url, name):
    global engine, memory, blocks
    engine = mf.TransferEngine()
    if engine.initialize(url, name, "Decode", 0): raise RuntimeError(mf.get_last_err_msg())
    memory, blocks = np.zeros(8 << 20, np.uint8), mf.empty(1 << 20, np.uint8)
    for each in (memory, blocks):
        if engine.register_memory(each, each.nbytes): raise RuntimeError(mf.get_last_err_msg())
    return memory.ctypes.data, blocks.ctypes.data

def transfers(peer, addresses, rounds, sizes):
    mine = np.zeros(8 << 20, np.uint8)
    for i in range(rounds):
        for size in sizes:
            for address in addresses:
                for call in (engine.transfer_sync_write, engine.transfer_sync_read):
                    if code := call(peer, mine.ctypes.data, address, size):
                        return f"round {i}, {size} bytes: {code}, {mf.get_last_err_msg()}"
    return ""
"""


@pytest.fixture
def start_under_timer(start_rank: Start, build_dir: str) -> Start:
    library = pathlib.Path(build_dir, "tests/support/libmf_test_timer_signal.so")
    assert library.exists(), "build the target mf_test_timer_signal"

    def start(hertz: int = 1000, **environment: str) -> Rank:
        return start_rank(LD_PRELOAD=str(library), TIMER_SIGNAL_HZ=str(hertz), **environment)

    return start


def test_the_timer_interrupts_every_thread(start_under_timer: Start) -> None:
    rank = start_under_timer()
    rank.run("""
import ctypes, errno, threading
libc = ctypes.CDLL(None, use_errno=True)
found = []
def sleep():
    found.append(libc.poll(None, 0, 5000) == -1 and ctypes.get_errno() == errno.EINTR)
thread = threading.Thread(target=sleep)
thread.start(); thread.join(); sleep()
""")
    assert rank("found") == [True, True]


@pytest.mark.parametrize("path", ["mapped", "tcp", "tcp+tls"])
def test_pools(start_under_timer: Start, path: str) -> None:
    url = free_url()
    hosts = [{"MEMFABRIC_HOST_ID": f"timer-{i}"} if path != "mapped" else {} for i in range(2)]
    ranks = [
        start_under_timer(MEMFABRIC_DATA_TLS="1" if path == "tcp+tls" else "0", **host)
        for host in hosts
    ]
    for number, rank in enumerate(ranks):
        rank.run(POOL)
        rank.start(f"_ = init({url!r}, 4, {number})")
    assert [rank.finish() for rank in ranks] == [0, 0]
    for rank in ranks:
        rank.start("pool = mf.bm.create2(0, 4 << 20, 8 << 20); _ = pool.join()")
    assert [rank.finish() for rank in ranks] == [0, 0]
    assert [rank(f"pool.path({1 - number})") for number, rank in enumerate(ranks)] == [path, path]
    for number, rank in enumerate(ranks):
        rank.start(f"_ = copies({1 - number}, 100)" if number == 0 else "_ = cycles(4)")
    assert [rank.finish() for rank in ranks] == ["", ""]
    assert ranks[0]("pool.extend_local_mem(size=2 << 20)") == 0
    assert ranks[1]("copies(0, 10)") == ""
    assert [rank("pool.leave()") for rank in ranks] == [0, 0]


# A call of microseconds is hit by chance: here the chance is made great.
@pytest.mark.parametrize("path", ["cma", "tcp"])
def test_engines(start_under_timer: Start, path: str) -> None:
    url = free_url()
    assert mf.create_config_store(url) == 0, mf.get_last_err_msg()
    peers = []
    for i in range(2):
        peer = start_under_timer(
            hertz=10_000, **({"MEMFABRIC_HOST_ID": f"timer-{i}"} if path == "tcp" else {})
        )
        peer.run(ENGINE)
        peers.append((peer, peer(f"start({url!r}, 'timer-{path}-{i}')")))
    (near, _), (_, addresses) = peers
    assert near(f"engine.path('timer-{path}-1')") == path
    assert (
        near(f"transfers('timer-{path}-1', {addresses}, {3000 if path == 'cma' else 300}, (8,))")
        == ""
    )
    assert near(f"transfers('timer-{path}-1', {addresses[:1]}, 20, (100_000, 8 << 20))") == ""


@pytest.mark.parametrize("across", [False, True])
def test_shared_memory(start_under_timer: Start, across: bool) -> None:
    url = free_url()
    ranks = [
        start_under_timer(**({"MEMFABRIC_HOST_ID": f"timer-{i}"} if across else {}))
        for i in range(3)
    ]
    for number, rank in enumerate(ranks):
        rank.run(SETTINGS + f"rank = {number}")
        rank.start(f"_ = init_shm({url!r}, 3, {number})")
    assert [rank.finish() for rank in ranks] == [0, 0, 0]
    for rank in ranks:
        rank.start("shm = sm.create(0, 3, rank, 2 << 20); _ = None")
    for rank in ranks:
        rank.finish()
    rounds = 200 if not across else 60
    assert (
        together(ranks, f"[code for i in range({rounds}) if (code := shm.barrier())]") == [[]] * 3
    )
    assert (
        together(
            ranks,
            f"[i for i in range({rounds}) if shm.all_gather(bytes([rank, i])) != bytes([0, i, 1, "
            "i, 2, i])]",
        )
        == [[]] * 3
    )
    # A flag goes round: each waits for the one before, in a sleep that the timer interrupts.
    for rank in ranks:
        rank.run(f"""
def go_round():
    for i in range(1, {rounds}):
        if rank == 0: shm.put_signal((rank + 1) % 3, 64, b'x' * 100, 0, i)
        if code := shm.wait_until(0, sm.ShmCmp.GE, i):
            return f"round {{i}}: {{code}} {{mf.get_last_err_msg()}}"
        if rank != 0: shm.put_signal((rank + 1) % 3, 64, b'x' * 100, 0, i)
    return ""
""")
    assert together(ranks, "go_round()") == ["", "", ""]


def test_a_wait_ends_at_its_bound(start_under_timer: Start) -> None:
    """A time-out that began anew with each signal would never end."""
    rank = start_under_timer()
    rank.run(SETTINGS)
    assert rank(f"init_shm({free_url()!r}, 2, 0, create_timeout=1)") == 0
    rank.run("""
import time
begin = time.monotonic()
try: sm.create(0, 2, 0, 2 << 20)
except RuntimeError: pass
took = time.monotonic() - begin
""")
    assert 0.9 < rank("took") < 5
    # Nobody serves this store.
    other = start_under_timer()
    other.run("import time; begin = time.monotonic()")
    assert other(f"init({free_url()!r}, 2, 1, init_timeout=1)") == mf.ErrorCode.TIMEOUT
    assert 0.9 < other("time.monotonic() - begin") < 5


def test_a_store_with_tls(start_under_timer: Start, authority: pathlib.Path) -> None:  # noqa: F811
    url = free_url()
    ranks = [start_under_timer() for _ in range(2)]
    for number, (rank, name) in enumerate(zip(ranks, ("one", "two"))):
        rank.run(POOL)
        assert rank(f"mf.set_conf_store_tls(True, {info(authority, name)!r})") == 0
        assert rank(f"mf.set_conf_store_tls_key({key(authority, name)!r}, '', None)") == 0
        rank.start(f"_ = init({url!r}, 2, {number})")
    assert [rank.finish() for rank in ranks] == [0, 0]
    for rank in ranks:
        rank.start("_ = cycles(4)")
    assert [rank.finish() for rank in ranks] == ["", ""]
