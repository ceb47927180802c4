"""A good program prints nothing at level 2 (warn), however its ranks meet, and however they go."""

from __future__ import annotations

import os
import socket
from typing import Callable, Sequence

import pytest

from rank import Rank, free_url
from shm_rank import SETTINGS, together

Start = Callable[..., Rank]
QUIET = {"MEMFABRIC_LOG_LEVEL": "2"}


def ranks_of(start_rank: Start, count: int, hosts: int) -> list[Rank]:
    """Of several hosts, as MEMFABRIC_HOST_ID has it; on one host without."""
    ranks = []
    for number in range(count):
        host = {"MEMFABRIC_HOST_ID": f"quiet-{number % hosts}"} if hosts > 1 else {}
        ranks.append(start_rank(**QUIET, **host))
        ranks[-1].run(SETTINGS + f"rank = {number}")
    return ranks


def said(ranks: Sequence[Rank]) -> list[str]:
    """What they have printed by their ends."""
    return [rank.exit()[1] for rank in ranks]


PLACES = [(1, 1), (2, 1), (2, 2), (3, 3), (8, 1), (8, 4)]


@pytest.mark.parametrize("count, hosts", PLACES)
def test_pools(start_rank: Start, count: int, hosts: int) -> None:
    # Who dials whom, and when, is chance: two ranks that dial each other at once are to be among
    # the tries.
    for _ in range(4 if count == 2 else 1):
        url = free_url()
        ranks = ranks_of(start_rank, count, hosts)
        assert together(ranks, f"init({url!r}, {count}, rank)") == [0] * count
        for rank in ranks:
            rank.run("pool = mf.bm.create2(0, 2 << 20, 4 << 20)")
        for _ in range(4):
            assert together(ranks, "pool.join()") == [0] * count
            assert (
                together(
                    ranks,
                    "pool.copy_data(np.zeros(100, np.uint8), pool.peer_rank_ptr((rank + 1) % "
                    f"{count}, "
                    "mf.bm.BmMemType.HOST), 100, mf.bm.BmCopyType.H2G)",
                )
                == [0] * count
            )
            assert together(ranks, "pool.leave()") == [0] * count
        assert together(ranks, "pool.join()") == [0] * count
        assert together(ranks, "pool.extend_local_mem(size=2 << 20)") == [0] * count
        for rank in ranks[::2]:  # the others end with their pools open
            rank.run("pool.destroy(); mf.bm.uninitialize()")
        assert said(ranks) == [""] * count


@pytest.mark.parametrize("count, hosts", PLACES)
def test_shared_memory(start_rank: Start, count: int, hosts: int) -> None:
    url = free_url()
    ranks = ranks_of(start_rank, count, hosts)
    assert together(ranks, f"init_shm({url!r}, {count}, rank)") == [0] * count
    for number in (0, 1):
        for rank in ranks:
            # MTE, the default, asks for loads and stores, which between hosts there aren't: of that
            # a warning tells.
            rank.start(
                f"shm = sm.create({number}, {count}, rank, 2 << 20, sm.ShmDataOpType.SDMA); _ = "
                "shm.barrier()"
            )
        assert [rank.finish() for rank in ranks] == [0] * count
        assert together(ranks, "len(shm.all_gather(b'x' * 100))") == [100 * count] * count
        assert together(ranks, "shm.destroy()") == [0] * count
    for rank in ranks[::2]:
        rank.run("sm.uninitialize()")
    assert said(ranks) == [""] * count


@pytest.mark.parametrize("count, hosts", [(1, 1), (2, 1), (2, 2), (4, 4)])
def test_engines(start_rank: Start, count: int, hosts: int) -> None:
    for _ in range(4 if count == 2 else 1):
        url = free_url()
        store = start_rank(**QUIET)
        assert store(f"mf.create_config_store({url!r})") == 0
        ranks = ranks_of(start_rank, count, hosts)
        for rank in ranks:
            rank.run("engine = mf.TransferEngine(); memory = np.zeros(1 << 20, np.uint8)")
        assert (
            together(ranks, f"engine.initialize({url!r}, f'quiet{{rank}}', 'Decode', 0)")
            == [0] * count
        )
        assert together(ranks, "engine.register_memory(memory, memory.nbytes)") == [0] * count
        for rank in ranks:
            rank.run(
                f"theirs = {[rank('memory.ctypes.data') for rank in ranks]}; own = np.zeros(1 << "
                "20, np.uint8)"
            )
        for size in (8, 1 << 20):  # all of them at once, so that they dial each other
            assert (
                together(
                    ranks,
                    f"[engine.transfer_sync_write(f'quiet{{i}}', own, theirs[i], {size}) for i in "
                    f"range({count})]",
                )
                == [[0] * count] * count
            )
        for rank in ranks[::2]:
            rank.run("engine.destroy()")
        assert said([*ranks, store]) == [""] * (count + 1)


def test_a_scanner_of_ports_is_no_news(start_rank: Start) -> None:
    """Who connects and closes has been refused nothing."""
    url = free_url()
    ranks = ranks_of(start_rank, 2, 2)
    assert together(ranks, f"init({url!r}, 2, rank)") == [0, 0]
    for rank in ranks:
        rank.run("pool = mf.bm.create(0, 2 << 20)")
    assert together(ranks, "pool.join()") == [0, 0]
    pids = {rank.process.pid for rank in ranks}
    for port in listening_ports(pids):
        for _ in range(3):
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
    assert (
        ranks[0](
            "pool.copy_data(np.zeros(8, np.uint8), pool.peer_rank_ptr(1, mf.bm.BmMemType.HOST), "
            "8, mf.bm.BmCopyType.H2G)"
        )
        == 0
    )
    assert said(ranks) == ["", ""]


def listening_ports(pids: set[int]) -> list[int]:
    """Of TCP, by these processes."""
    inodes = set()
    for pid in pids:
        for name in os.listdir(f"/proc/{pid}/fd"):
            try:
                link = os.readlink(f"/proc/{pid}/fd/{name}")
            except OSError:
                continue
            if link.startswith("socket:["):
                inodes.add(link[8:-1])
    ports = []
    with open("/proc/net/tcp") as table:
        for line in list(table)[1:]:
            words = line.split()
            if words[3] == "0A" and words[9] in inodes:
                ports.append(int(words[1].split(":")[1], 16))
    assert ports
    return ports
