"""One data-plane presence a process: however many pools, objects and engines it has, others call at
one port.
"""

from __future__ import annotations

import os
import pathlib
from typing import Callable

import pytest

import memfabric_hybrid as mf
from rank import Rank, free_url

Start = Callable[..., Rank]

POOLS, OBJECTS, ENGINES = 64, 16, 8
MAPPED_AND_CMA = 2  # transports with a listener on this host
# What one more may cost in files: its memory, and for an engine its own connection to the store.
FILES_OF_A_POOL, FILES_OF_AN_OBJECT, FILES_OF_AN_ENGINE = 1, 4, 16

PROGRAM = """
config = mf.bm.BmConfig()
config.rank_id, config.start_store = 0, False
config.set_nic(nic)
assert mf.bm.initialize(url, 4, 0, config) == 0, mf.get_last_err_msg()
shm_config = mf.shm.ShmConfig()
shm_config.start_store = False
assert mf.shm.initialize(url, 1, 0, 0, shm_config) == 0, mf.get_last_err_msg()
pools, objects, engines = [], [], []
def more(pool_count, object_count, engine_count):
    for _ in range(pool_count):
        pools.append(mf.bm.create(len(pools), 2 << 20))
        assert pools[-1].join() == 0, mf.get_last_err_msg()
    for _ in range(object_count):
        objects.append(mf.shm.create(len(objects), 1, 0, 2 << 20))
    for _ in range(engine_count):
        engine = mf.TransferEngine()
        code = engine.initialize(url, f"engine {len(engines)}", "Both", 0, nic=nic)
        assert code == 0, mf.get_last_err_msg()
        engines.append(engine)
"""


def files(rank: Rank) -> list[str]:
    names = []
    for each in pathlib.Path(f"/proc/{rank.process.pid}/fd").iterdir():
        try:
            names.append(os.readlink(each))
        except FileNotFoundError:  # closed meanwhile
            pass
    return names


def tcp_ports(rank: Rank) -> list[int]:
    """Where it listens."""
    own, ports = set(files(rank)), []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in pathlib.Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in own:
                ports.append(int(fields[1].rsplit(":", 1)[1], 16))
    return ports


def unix_listeners(rank: Rank) -> int:
    own, count = set(files(rank)), 0
    for line in pathlib.Path("/proc/net/unix").read_text().splitlines()[1:]:
        fields = line.split()
        listens = fields[3] == "00010000" and fields[-1].startswith("@memfabric-port-")
        count += listens and f"socket:[{fields[6]}]" in own
    return count


@pytest.mark.parametrize("given", [True, False])
def test_one_listener_serves_everything(start_rank: Start, given: bool) -> None:
    url = free_url()
    store, rank = start_rank(), start_rank()
    assert store(f"mf.create_config_store('{url}')") == 0
    port = int(free_url().rsplit(":", 1)[1]) if given else 0
    rank.run(f"url, nic = '{url}', 'tcp://127.0.0.1:{port}'" + PROGRAM + "more(1, 0, 0)")
    ports = tcp_ports(rank)
    assert len(ports) == 1
    assert ports[0] == port or not given

    def cost(pools: int, objects: int, engines: int) -> int:
        before = len(files(rank))
        rank.run(f"more({pools}, {objects}, {engines})")
        assert tcp_ports(rank) == ports
        return len(files(rank)) - before

    assert cost(POOLS - 1, 0, 0) <= (POOLS - 1) * FILES_OF_A_POOL
    assert unix_listeners(rank) == 1
    assert cost(0, OBJECTS, 0) <= OBJECTS * FILES_OF_AN_OBJECT
    assert cost(0, 0, ENGINES) <= ENGINES * FILES_OF_AN_ENGINE
    assert unix_listeners(rank) == MAPPED_AND_CMA

    # Another host, as far as it says, reaches the last of each there.
    peer = start_rank(MEMFABRIC_HOST_ID="another")
    peer.run(
        f"""
assert init('{url}', 4, 1, start_store=False) == 0, mf.get_last_err_msg()
pool = mf.bm.create({POOLS - 1}, 2 << 20)
assert pool.join() == 0, mf.get_last_err_msg()
engine = mf.TransferEngine()
assert engine.initialize('{url}', 'peer', 'Both', 0) == 0, mf.get_last_err_msg()
"""
    )
    assert peer("pool.path(0)") == "tcp"
    assert peer(f"engine.path('engine {ENGINES - 1}')") == "tcp"
    assert tcp_ports(rank) == ports
