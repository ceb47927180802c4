"""`timeout=`: a bound for one call as a whole, whatever else bounds it."""

from __future__ import annotations

import signal
import time
from typing import Callable, Iterator

import numpy as np
import pytest

import memfabric_hybrid as mf
from rank import Rank, free_url

TIMEOUT = mf.ErrorCode.TIMEOUT
INVALID = mf.ErrorCode.INVALID_PARAM

SETUP = """
import time
def took(call):
    begin = time.monotonic()
    code = call()
    return code, time.monotonic() - begin
"""


@pytest.fixture
def pair(start_rank: Callable[..., Rank]) -> Iterator[tuple[Rank, Rank]]:
    """Two ranks of pool 0 that reach each other by TCP."""
    url = free_url()
    ranks = [start_rank(MEMFABRIC_HOST_ID=f"timeout-{i}") for i in range(2)]
    for number, rank in enumerate(ranks):
        rank.run(SETUP)
        rank.start(f"_ = init({url!r}, 2, {number})")
    assert [rank.finish() for rank in ranks] == [0, 0]
    for rank in ranks:
        rank.start("pool = mf.bm.create(0, 8 << 20); _ = pool.join()")
    assert [rank.finish() for rank in ranks] == [0, 0]
    ranks[0].run(
        "there = pool.peer_rank_ptr(1, mf.bm.BmMemType.HOST); block = np.zeros(8 << 20, np.uint8)"
    )
    yield ranks[0], ranks[1]


COPY = "pool.copy_data(block, there, block.nbytes, mf.bm.BmCopyType.H2G, timeout={})"
BATCH = (
    "pool.copy_data_batch([block], [there], [block.nbytes], 1, mf.bm.BmCopyType.H2G, timeout={})"
)


@pytest.mark.parametrize("call", [COPY, BATCH])
def test_call_timeouts_of_copies(pair: tuple[Rank, Rank], call: str) -> None:
    rank, other = pair
    assert rank(call.format(30)) == rank(call.format(0.5)) == rank(call.format(None)) == 0
    other.stop()
    code, seconds = rank(f"took(lambda: {call.format(0.2)})")
    other.send(signal.SIGCONT)
    assert code == TIMEOUT and 0.1 < seconds < 1.5
    assert rank("took(lambda: pool.copy_data(block, there, 100, mf.bm.BmCopyType.H2G))")[0] == 0


def test_call_timeouts_of_transfers(start_rank: Callable[..., Rank]) -> None:
    url = free_url()
    assert mf.create_config_store(url) == 0, mf.get_last_err_msg()
    ranks = [start_rank(MEMFABRIC_HOST_ID=f"timeout-{i}") for i in range(2)]
    for number, rank in enumerate(ranks):
        rank.run(SETUP + "engine = mf.TransferEngine(); memory = np.zeros(8 << 20, np.uint8)")
        assert rank(f"engine.initialize({url!r}, 'timeout-{number}', 'Decode', 0)") == 0
        assert rank("engine.register_memory(memory, memory.nbytes)") == 0
    rank, other = ranks
    theirs = other("memory.ctypes.data")
    for call in (
        f"engine.transfer_sync_write('timeout-1', memory, {theirs}, memory.nbytes, timeout={{}})",
        f"engine.batch_transfer_sync_read('timeout-1', [memory], [{theirs}], [memory.nbytes], "
        f"timeout={{}})",
    ):
        assert rank(call.format(30)) == 0
        other.stop()
        code, seconds = rank(f"took(lambda: {call.format(0.2)})")
        other.send(signal.SIGCONT)
        assert code == TIMEOUT and 0.1 < seconds < 1.5
        assert rank(call.format(30)) == 0
    # An engine that nobody knows is waited for, but not longer.
    code, seconds = rank(
        f"took(lambda: engine.transfer_sync_write('nobody', memory, {theirs}, 8, timeout=0.2))"
    )
    assert code in (TIMEOUT, mf.ErrorCode.NOT_CONNECTED) and seconds < 2


def test_a_timeout_is_a_number_of_seconds(pool: mf.bm.BigMemory, host: int) -> None:
    block = np.zeros(8, np.uint8)
    for bad in (-1, -0.001, float("nan")):
        assert pool.copy_data(block, host, 8, mf.bm.BmCopyType.H2G, timeout=bad) == INVALID
        assert "timeout" in mf.get_and_clear_last_err_msg()
    with pytest.raises(TypeError):
        pool.copy_data(block, host, 8, mf.bm.BmCopyType.H2G, timeout="soon")
    for good in (0, 1, 2.5, float("inf"), np.float32(3), None):
        assert pool.copy_data(block, host, 8, mf.bm.BmCopyType.H2G, timeout=good) == 0
    # It was that call's only.
    begin = time.monotonic()
    assert pool.copy_data(block, host, 8, mf.bm.BmCopyType.H2G) == 0
    assert time.monotonic() - begin < 1
