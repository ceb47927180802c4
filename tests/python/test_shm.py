"""Shared Memory from Python: one rank in this process for arguments and values, several processes
for what needs others.
"""

from __future__ import annotations

import ctypes
import gc
from typing import Callable, Iterator

import numpy as np
import pytest

import memfabric_hybrid as mf
from conftest import MIB
from memfabric_hybrid import shm as sm
from rank import Rank, free_url
from shm_rank import created, initialized, together

INVALID = mf.ErrorCode.INVALID_PARAM
GONE = mf.ErrorCode.NOT_CONNECTED


@pytest.fixture(scope="module")
def shm() -> Iterator[sm.ShareMemory]:
    """Object 0 of this process alone."""
    config = sm.ShmConfig()
    config.init_timeout = config.create_timeout = config.operation_timeout = 20
    assert sm.initialize(free_url(), 1, 0, 0, config) == 0, mf.get_last_err_msg()
    yield sm.create(0, 1, 0, 2 * MIB)
    sm.uninitialize()


def test_what_it_says(shm: sm.ShareMemory) -> None:
    assert (shm.local_rank, shm.rank_size, shm.symmetric_size) == (0, 1, 2 * MIB)
    assert shm.gva % MIB == 0 and shm.gva > 0
    assert repr(shm) == "<ShareMemory id=0 rank=0 of 1 size=2 MiB>"
    for name in ("local_rank", "rank_size", "gva", "symmetric_size"):
        with pytest.raises(AttributeError):
            setattr(shm, name, 1)
    assert shm.query_support_data_operation() & 3 == 3
    assert shm.path(0) == "mapped"
    assert shm.live_ranks() == [0]


def test_initialize_again(shm: sm.ShareMemory) -> None:
    assert sm.initialize("tcp://127.0.0.1:1", 1, 0, 0, sm.ShmConfig()) == mf.ErrorCode.REPEAT_CALL
    assert mf.get_last_err_msg() != ""


def test_config() -> None:
    config = sm.ShmConfig()
    assert (config.init_timeout, config.create_timeout, config.operation_timeout) == (120, 120, 120)
    assert (config.start_store, config.flags) == (True, 0)
    config.init_timeout = 1 << 40
    assert sm.initialize("tcp://127.0.0.1:1", 1, 0, 0, config) == INVALID
    assert "init_timeout" in mf.get_last_err_msg()
    with pytest.raises(TypeError):
        config.start_store = "yes"
    assert repr(sm.ShmConfig()).startswith("ShmConfig(init_timeout=120")


def test_enums() -> None:
    assert (sm.ShmDataOpType.MTE, sm.ShmDataOpType.SDMA, sm.ShmDataOpType.ROCE) == (1, 2, 4)
    assert sm.ShmDataOpType.RDMA is sm.ShmDataOpType.ROCE
    assert [int(cmp) for cmp in sm.ShmCmp] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("arguments", "limit"),
    [
        ((64, 1, 0, 2 * MIB), "63"),
        ((-1, 1, 0, 2 * MIB), "0"),
        ((1, 0, 0, 2 * MIB), "1024"),
        ((1, 2, 0, 2 * MIB), "1 ranks"),
        ((1, 1, 1, 2 * MIB), "0"),
        ((1, 1, 0, MIB), "2 MiB"),
        ((1, 1, 0, 3 * MIB), "multiple"),
        ((1, 1, 0, (64 << 30) + 2 * MIB), "64 GiB"),
        ((0, 1, 0, 2 * MIB), "already"),
    ],
)
def test_create_refuses(shm: sm.ShareMemory, arguments: tuple[int, ...], limit: str) -> None:
    with pytest.raises(RuntimeError, match=limit):
        sm.create(*arguments)


def test_create_and_destroy(shm: sm.ShareMemory) -> None:
    for op in (sm.ShmDataOpType.MTE, sm.ShmDataOpType.SDMA, sm.ShmDataOpType.ROCE, 1):
        other = sm.create(
            id=1, rank_size=1, rank_id=0, local_mem_size=4 * MIB, data_op_type=op, flags=128
        )
        view = other.view(0)
        assert other.barrier() == 0
        assert other.destroy() == 0
        assert other.destroy() == mf.ErrorCode.OBJECT_NOT_EXISTS
        assert other.barrier() == mf.ErrorCode.OBJECT_NOT_EXISTS
        assert repr(other) == "<ShareMemory id=1 destroyed>"
        with pytest.raises(RuntimeError):
            other.view(0)
        view[0] = 7  # stays mapped
    sm.create(1, 1, 0, 2 * MIB)
    gc.collect()  # nobody refers to it
    sm.create(1, 1, 0, 2 * MIB)


def test_context(shm: sm.ShareMemory) -> None:
    assert shm.set_context(b"x" * 65536) == 0
    assert shm.set_context(np.arange(3)) == 0
    stored = (ctypes.c_int64 * 3).from_address(shm.gva - (2 << 20) + 4096)
    assert list(stored) == [0, 1, 2]
    assert shm.set_context(b"") == INVALID
    assert shm.set_context(b"x" * 65537) == INVALID
    with pytest.raises(TypeError):
        shm.set_context("text")


def test_gather_alone(shm: sm.ShareMemory) -> None:
    assert shm.barrier() == 0
    assert shm.all_gather(b"abc") == b"abc"
    assert shm.all_gather(np.array([5], np.int32)) == b"\5\0\0\0"
    assert shm.barrier(("only me", 1, 0)) == 0
    assert shm.all_gather(b"z", group=("only me", 1, 0)) == b"z"
    for wrong in (b"", b"x" * 65537):
        with pytest.raises(RuntimeError, match="65536"):
            shm.all_gather(wrong)
    for wrong in ("text", None, 7):
        with pytest.raises(TypeError):
            shm.all_gather(wrong)
    for wrong in ("k", ("k", 1), (1, 1, 0), ("k", "1", 0)):
        with pytest.raises(TypeError):
            shm.barrier(wrong)
    assert shm.barrier(("k", 2, 2)) == INVALID
    assert shm.barrier(("", 1, 0)) == INVALID


def test_reach(shm: sm.ShareMemory) -> None:
    for info in (ctypes.c_uint32(), np.zeros(1, np.uint32), bytearray(4)):
        assert shm.topology_can_reach(0, info) == 0
        assert bytes(memoryview(info).cast("B")[:4]) == b"\3\0\0\0"
    bits: list[int] = []
    assert shm.topology_can_reach(0, bits) == 0 and bits == [3]
    assert shm.topology_can_reach(0, bits) == 0 and bits == [3]
    assert shm.topology_can_reach(remote_rank=0, reach_info=0) == 0
    assert shm.topology_can_reach(1, 0) == INVALID
    assert shm.topology_can_reach(0, bytearray(3)) == INVALID
    for wrong in (b"read", "text", None):
        with pytest.raises(TypeError):
            shm.topology_can_reach(0, wrong)
    assert shm.reachable_ops(0) == sm.ShmDataOpType.MTE | sm.ShmDataOpType.SDMA
    with pytest.raises(RuntimeError):
        shm.reachable_ops(1)


def test_put_and_get(shm: sm.ShareMemory) -> None:
    numbers = np.arange(10000, dtype=np.float32)
    assert shm.put(0, 64, numbers) == 0
    assert shm.get(0, 64, numbers.nbytes) == numbers.tobytes()
    out = np.zeros_like(numbers)
    assert shm.get_into(0, 64, out) == 0 and np.array_equal(out, numbers)
    assert shm.put(0, 0, numbers.ctypes.data, 8) == 0
    assert shm.put(0, 0, bytearray(b"12345678"), size=4, blocking=False) == 0
    assert shm.fence() == 0 and shm.quiet() == 0
    assert shm.get(0, 0, 4) == b"1234"
    assert shm.put(0, 2 * MIB - 1, b"x") == 0
    for offset, data in (
        (2 * MIB, b"x"),
        (2 * MIB - 1, b"xy"),
        (-1, b"x"),
        (1 << 64, b"x"),
        (0, b""),
    ):
        assert shm.put(0, offset, data) == INVALID, offset
    assert shm.put(1, 0, b"x") == INVALID
    assert shm.put(0, 0, b"x", size=2) == INVALID
    for size in (0, 2 * MIB + 1, -1, 1 << 64):
        with pytest.raises(RuntimeError):
            shm.get(0, 0, size)
    with pytest.raises(TypeError):
        shm.put(0, 0, numbers.ctypes.data)
    with pytest.raises(TypeError):
        shm.get_into(0, 0, b"read-only")


def test_atomics(shm: sm.ShareMemory) -> None:
    assert shm.atomic_set(0, 128, 5) == 0
    assert shm.atomic_fetch_add(0, 128, -6) == 5
    assert shm.atomic_fetch(0, 128) == 2**64 - 1
    assert shm.atomic_swap(0, 128, 12) == 2**64 - 1
    assert shm.atomic_fetch_and(0, 128, 10) == 12
    assert shm.atomic_fetch_or(0, 128, 3) == 8
    assert shm.atomic_fetch_xor(rank=0, offset=128, value=1) == 11
    assert shm.atomic_compare_swap(0, 128, 99, 1) == 10
    assert shm.atomic_compare_swap(0, 128, condition=10, value=2**64 - 1) == 10
    assert shm.wait_until(128, sm.ShmCmp.EQ, -1) == 0
    for offset in (129, 2 * MIB, -8):
        with pytest.raises(RuntimeError):
            shm.atomic_fetch_add(0, offset, 1)
        assert shm.atomic_set(0, offset, 1) == INVALID
    assert shm.atomic_set(0, 0, 1 << 64) == INVALID
    with pytest.raises(TypeError):
        shm.atomic_set(0, 0, 1.5)
    assert shm.put_signal(0, 4096, b"data", 128, 3, sm.ShmSignalOp.ADD) == 0
    assert shm.atomic_fetch(0, 128) == 2
    assert shm.put_signal(0, 4096, b"data", 128, 3, 7) == INVALID
    assert shm.wait_until(128, 9, 0) == INVALID


def test_values(shm: sm.ShareMemory) -> None:
    assert [shm.alloc_value(), shm.alloc_value(2)] == [0, 1]
    with pytest.raises(RuntimeError, match="taken"):
        shm.alloc_value(2)
    assert shm.release_value(0) == 0
    assert shm.release_value(0) == mf.ErrorCode.OBJECT_NOT_EXISTS
    assert shm.alloc_value(2) == 0


def test_arrays_without_a_copy(shm: sm.ShareMemory) -> None:
    array = np.from_dlpack(shm.tensor(0, (4, 8), "float32", 8192))
    assert (array.shape, array.dtype) == ((4, 8), np.float32)
    array[:] = 2.5
    assert np.array_equal(
        np.frombuffer(shm.view(0), np.float32, 32, 8192), np.full(32, 2.5, np.float32)
    )
    assert np.from_dlpack(shm.tensor(0)).nbytes == 2 * MIB
    assert np.from_dlpack(shm.tensor(0, 3, "int64")).shape == (3,)
    for wrong in (
        {"dtype": "complex64"},
        {"shape": (MIB, 4)},
        {"offset": 2 * MIB},
        {"dtype": "int64", "offset": 4},
        {"rank": 1},
    ):
        with pytest.raises(RuntimeError):
            shm.tensor(**{"rank": 0, **wrong})


@pytest.mark.parametrize("count", [2, 3])
def test_several_ranks(start_rank: Callable[..., Rank], count: int) -> None:
    ranks = created(start_rank, count)
    assert len(set(together(ranks, "shm.gva"))) == 1
    assert together(ranks, "shm.barrier()") == [0] * count
    wanted = "".join(f"<{rank}>" for rank in range(count))
    assert together(ranks, "shm.all_gather(b'<%d>' % rank).decode()") == [wanted] * count
    assert (
        together(ranks, f"shm.put_signal((rank + 1) % {count}, 64, np.full(100, rank), 0, 1)")
        == [0] * count
    )
    assert together(ranks, "shm.wait_until(0, sm.ShmCmp.EQ, 1)") == [0] * count
    assert together(ranks, f"int(np.frombuffer(shm.view(rank), np.int64, 100, 64).sum())") == [
        100 * ((rank - 1) % count) for rank in range(count)
    ]
    together(ranks, "[shm.atomic_fetch_add(0, 8, 1) for _ in range(500)]")
    assert ranks[-1]("shm.atomic_fetch(0, 8)") == 500 * count
    assert together(ranks, "shm.destroy()") == [0] * count


def test_create_names_who_is_missing(start_rank: Callable[..., Rank]) -> None:
    ranks = initialized(start_rank, 2, create_timeout=1)
    with pytest.raises(RuntimeError, match=r"rank\(s\) 1"):
        ranks[0]("sm.create(0, 2, 0, 2 << 20)")


def test_a_death(start_rank: Callable[..., Rank]) -> None:
    ranks = created(start_rank, 3)
    for rank in ranks[:2]:
        rank.start("_ = [shm.barrier(), mf.get_last_err_msg()]")
    ranks[2].kill()
    for rank in ranks[:2]:
        code, message = rank.finish()
        assert code == GONE and "rank 2" in message
        assert rank("shm.live_ranks()") == [0, 1]
    with pytest.raises(RuntimeError, match="rank 2"):
        ranks[0]("shm.all_gather(b'x')")


def test_ctrl_c_ends_a_wait(start_rank: Callable[..., Rank]) -> None:
    ranks = created(start_rank, 2)
    # Whether it comes before the wait or in it, the barrier is there for the next call.
    ranks[0].start(
        "import os, signal, threading\n"
        "threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()\n_ = shm.barrier()"
    )
    with pytest.raises(RuntimeError, match="KeyboardInterrupt"):
        ranks[0].finish()
    assert together(ranks, "shm.barrier()") == [0, 0]
