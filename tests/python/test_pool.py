"""A pool with one rank: sizes, addresses, copies in every direction, registrations, views, and what
it says when refused.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
import weakref

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import memfabric_hybrid as mf
from conftest import MIB
from memfabric_hybrid import bm

INVALID = mf.ErrorCode.INVALID_PARAM
HOST, DEVICE, LOCAL_HOST, LOCAL_DEVICE = (
    bm.BmMemType.HOST,
    bm.BmMemType.DEVICE,
    bm.BmMemType.LOCAL_HOST,
    bm.BmMemType.LOCAL_DEVICE,
)
Copy = bm.BmCopyType


def test_initialize_again(job: str) -> None:
    config = bm.BmConfig()
    config.rank_id = 0
    config.init_timeout = config.create_timeout = config.operation_timeout = 20
    assert bm.initialize(job, 4, 0, config) == 0
    assert bm.initialize(job, 5, 0, config) == mf.ErrorCode.REPEAT_CALL
    assert mf.get_last_err_msg() != ""
    assert mf.initialize() == 0
    assert mf.initialize(7) == 0


def test_rank(job: str) -> None:
    assert bm.bm_rank_id() == 0


def test_sizes_and_addresses(pool: bm.BigMemory) -> None:
    assert pool.local_mem_size() == pool.local_mem_size(LOCAL_DEVICE) == 2 * MIB
    assert pool.local_mem_size(HOST) == pool.local_mem_size(mem_type=LOCAL_HOST) == 4 * MIB
    assert pool.local_mem_size(99) == 0
    host = [pool.peer_rank_ptr(rank, HOST) for rank in range(4)]
    assert [address - host[0] for address in host] == [0, 8 * MIB, 16 * MIB, 24 * MIB]
    device = [pool.peer_rank_ptr(peer_rank=rank) for rank in range(4)]
    assert [address - device[0] for address in device] == [0, 2 * MIB, 4 * MIB, 6 * MIB]
    for rank in (4, 1024, 65535, 65536, 1 << 40, -1):
        assert pool.peer_rank_ptr(rank, HOST) == 0
    assert pool.get_rank_id_by_gva(host[3] + 8 * MIB - 1) == 3
    assert pool.get_rank_id_by_gva(host[0] - 1) in (3, 2**32 - 1)
    assert pool.get_rank_id_by_gva(host[3] + 8 * MIB) == 2**32 - 1
    assert pool.get_rank_id_by_gva(0) == 2**32 - 1


def test_gva_to_va(pool: bm.BigMemory, host: int, slot: memoryview) -> None:
    slot[5] = 77
    address = pool.gva_to_va(host + 5)
    assert np.ctypeslib.as_array((np.ctypeslib.ctypes.c_uint8 * 1).from_address(address))[0] == 77
    assert pool.gva_to_va(host + 5, HOST) == address
    assert pool.gva_to_va(12345) == 0
    assert pool.gva_to_va(pool.peer_rank_ptr(1, HOST)) == 0  # nobody there


def test_repr(pool: bm.BigMemory) -> None:
    assert repr(pool) == "<BigMemory id=0 rank=0 host=4 MiB device=2 MiB>"


def test_members_and_path(pool: bm.BigMemory) -> None:
    (member,) = pool.members()
    assert (member.rank, member.host_bytes, member.device_bytes) == (0, 4 * MIB, 2 * MIB)
    assert member.pid > 0 and member.host != "" and member.epoch > 0
    assert repr(member).startswith(f"Member(rank=0, host='{member.host}', pid={member.pid}, ")
    assert pool.path(0) == "mapped"
    with pytest.raises(RuntimeError, match="1"):
        pool.path(1)


def test_stats_count_by_rank_and_path(job: str) -> None:
    pool = bm.create(9, 2 * MIB)
    assert pool.join() == 0, mf.get_last_err_msg()
    assert pool.stats() == {}
    host = pool.peer_rank_ptr(0, HOST)
    assert pool.copy_data(b"12345678", host, 8, Copy.H2G) == 0
    # read and written
    assert (
        pool.copy_data_batch([host, host + 8], [host + 64, host + 128], [8, 16], 2, Copy.G2G) == 0
    )
    assert pool.stats() == {
        0: {"mapped": {"bytes": 56, "operations": 5, "errors": 0, "retries": 0}}
    }
    assert (
        pool.copy_data(b"12345678", pool.peer_rank_ptr(1, HOST), 8, Copy.H2G)
        == mf.ErrorCode.NOT_CONNECTED
    )
    assert pool.stats()[1] == {"none": {"bytes": 0, "operations": 0, "errors": 1, "retries": 0}}
    pool.destroy()


DIRECTIONS = [
    (Copy.H2G, "local", HOST),
    (Copy.H2GH, "local", HOST),
    (Copy.H2G, "local", DEVICE),
    (Copy.L2G, "local", HOST),
    (Copy.L2G, "local", DEVICE),
    (Copy.L2GH, "local", HOST),
    (Copy.AUTO, "local", HOST),
    (Copy.AUTO, "local", DEVICE),
    (Copy.G2H, HOST, "local"),
    (Copy.GH2H, HOST, "local"),
    (Copy.G2L, DEVICE, "local"),
    (Copy.GH2L, HOST, "local"),
    (Copy.AUTO, HOST, "local"),
    (Copy.G2G, HOST, DEVICE),
    (Copy.G2G, DEVICE, HOST),
    (Copy.AUTO, HOST, DEVICE),
]


@pytest.mark.parametrize(("kind", "source", "destination"), DIRECTIONS)
@pytest.mark.parametrize("size", [1, 8, 4097, 65536, 65537, 1 << 20])
def test_copy(
    pool: bm.BigMemory, kind: Copy, source: object, destination: object, size: int
) -> None:
    pattern = np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8)
    local = np.zeros(size, np.uint8)
    views = {
        HOST: np.frombuffer(pool.view(0, HOST), np.uint8),
        DEVICE: np.frombuffer(pool.view(0, DEVICE), np.uint8),
    }
    ends = {}
    for end in (source, destination):
        ends[end] = local if end == "local" else views[end][3 : 3 + size]
        ends[end][:] = 0
    if destination != "local":
        views[destination][[2, 3 + size]] = 0xAA
    ends[source][:] = pattern
    address = {
        "local": local.ctypes.data,
        HOST: pool.peer_rank_ptr(0, HOST) + 3,
        DEVICE: pool.peer_rank_ptr(0, DEVICE) + 3,
    }
    assert pool.copy_data(address[source], address[destination], size, kind) == 0, (
        mf.get_last_err_msg()
    )
    assert np.array_equal(ends[destination], pattern)
    if destination != "local":
        assert list(views[destination][[2, 3 + size]]) == [0xAA, 0xAA], (
            "a byte beside the range changed"
        )


def test_wrong_sides(pool: bm.BigMemory, host: int) -> None:
    local = bytearray(64)
    device = pool.peer_rank_ptr(0, DEVICE)
    for source, destination, kind in (
        (local, local, Copy.H2G),
        (local, local, Copy.G2H),
        (local, local, Copy.G2G),
        (local, local, Copy.AUTO),
        (local, device, Copy.H2GH),
        (device, local, Copy.GH2H),
        (0, host, Copy.H2G),
        (host, 0, Copy.G2H),
    ):
        assert pool.copy_data(source, destination, 8, kind) == INVALID, (source, destination, kind)
        assert mf.get_last_err_msg() != ""


def test_sizes_of_a_copy(pool: bm.BigMemory, host: int) -> None:
    address = np.zeros(8, np.uint8).ctypes.data
    for size in (0, 1 << 63, (1 << 63) + 1, (1 << 64) - 1, 4 * MIB + 1, 1 << 40):
        assert pool.copy_data(address, host, size, Copy.H2G) == INVALID, size
        assert mf.get_last_err_msg() != ""


def test_the_slots_ends(pool: bm.BigMemory, host: int) -> None:
    byte = bytearray(2)
    for offset, size, code in (
        (0, 1, 0),
        (4 * MIB - 1, 1, 0),
        (4 * MIB, 1, INVALID),
        (4 * MIB - 1, 2, INVALID),
    ):
        assert pool.copy_data(byte, host + offset, size, Copy.H2G) == code, offset
        assert pool.copy_data(host + offset, byte, size, Copy.G2H) == code, offset


def test_addresses_beside_the_pool(pool: bm.BigMemory) -> None:
    byte = bytearray(1)
    ends = [(pool.peer_rank_ptr(0, kind), pool.peer_rank_ptr(3, kind)) for kind in (DEVICE, HOST)]
    first, last = min(ends[0][0], ends[1][0]), max(ends[0][1] + 2 * MIB, ends[1][1] + 8 * MIB)
    for address in (first - 1, last):
        assert pool.copy_data(byte, address, 1, Copy.H2G) == INVALID
        assert pool.copy_data(address, byte, 1, Copy.G2H) == INVALID


def test_a_peer_that_is_not_there(pool: bm.BigMemory) -> None:
    assert (
        pool.copy_data(bytearray(8), pool.peer_rank_ptr(1, HOST), 8, Copy.H2G)
        == mf.ErrorCode.NOT_CONNECTED
    )
    assert mf.get_last_err_msg() != ""


def test_a_refused_batch_moves_nothing(pool: bm.BigMemory, host: int, slot: memoryview) -> None:
    slot[:8] = bytes(8)
    code = pool.copy_data_batch([b"12345678"] * 2, [host, host + 4 * MIB], [8, 8], 2, Copy.H2G)
    assert code == INVALID
    assert bytes(slot[:8]) == bytes(8)


def test_a_batch_is_in_order(pool: bm.BigMemory, host: int, slot: memoryview) -> None:
    blocks = [bytes([k]) * 4096 for k in range(1, 101)]
    assert pool.copy_data_batch(blocks, [host] * 100, [4096] * 100, 100, Copy.H2G) == 0
    assert bytes(slot[:4096]) == blocks[-1]


@settings(
    max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    st.lists(
        st.tuples(st.integers(0, 5000), st.integers(0, 5000), st.integers(1, 300)),
        min_size=1,
        max_size=20,
    )
)
def test_batches_are_what_single_copies_are(
    pool: bm.BigMemory, host: int, slot: memoryview, pieces: list[tuple[int, int, int]]
) -> None:
    source = np.random.default_rng(1).integers(0, 256, 6000, dtype=np.uint8)
    expected = np.zeros(6000, np.uint8)
    slot[:6000] = bytes(6000)
    for from_, to, size in pieces:
        expected[to : to + size] = source[from_ : from_ + size]
    columns = np.array(pieces, np.uint64).T
    code = pool.copy_data_batch(
        source.ctypes.data + columns[0], host + columns[1], columns[2].copy(), len(pieces), Copy.H2G
    )
    assert code == 0, mf.get_last_err_msg()
    assert bytes(slot[:6000]) == expected.tobytes()


def test_asynchronous_copies(pool: bm.BigMemory, host: int, slot: memoryview) -> None:
    slot[: 2 * MIB] = bytes(2 * MIB)
    # the source lives on until wait()
    assert pool.copy_data(bytes([1]) * MIB, host, MIB, Copy.H2G, 1) == 0
    assert pool.copy_data_batch([bytes([2]) * MIB], [host + MIB], [MIB], 1, Copy.H2G, flags=1) == 0
    assert pool.wait() == 0
    assert bytes(slot[:MIB]) == bytes([1]) * MIB
    assert bytes(slot[MIB : 2 * MIB]) == bytes([2]) * MIB
    assert pool.wait() == 0


def test_an_asynchronous_copy_keeps_its_object_until_wait(pool: bm.BigMemory, host: int) -> None:
    class Kept(bytearray):
        pass

    source = Kept(8)
    gone = weakref.ref(source)
    assert pool.copy_data(source, host, 8, Copy.H2G, 1) == 0
    del source
    gc.collect()
    assert gone() is not None
    assert pool.wait() == 0
    gc.collect()
    assert gone() is None


def test_flags_of_a_copy(pool: bm.BigMemory, host: int) -> None:
    assert pool.copy_data(b"12345678", host, 8, Copy.H2G, 2) == 0
    assert pool.copy_data(b"12345678", host, 8, Copy.H2G, flags=0, stream=0) == 0
    assert pool.copy_data(b"12345678", host, 8, 99) == INVALID
    assert pool.copy_data(b"12345678", host, 8, -1) == INVALID


def test_registrations(pool: bm.BigMemory) -> None:
    memory = np.zeros(8192, np.uint8)
    address = memory.ctypes.data
    assert pool.register(address, 4096) == 0
    assert pool.register(addr=address, size=4096) == 0
    assert pool.register(address + 1, 4096) == mf.ErrorCode.DUPLICATED_OBJECT
    assert pool.register(memory[4096:], 4096) == 0
    assert pool.register(memory, 8193) == INVALID
    assert pool.register(0, 4096) == INVALID
    assert pool.register(address, 0) == INVALID
    assert pool.unregister(address) == 0
    assert pool.unregister(memory[4096:]) == 0
    assert pool.unregister(address) == mf.ErrorCode.OBJECT_NOT_EXISTS
    assert mf.get_last_err_msg() != ""


def test_views_are_the_slot(pool: bm.BigMemory, host: int) -> None:
    view = pool.view(0, HOST)
    assert (view.nbytes, view.format, view.readonly, view.contiguous) == (4 * MIB, "B", False, True)
    array = np.frombuffer(view, np.uint64)
    array[1] = 0x0102030405060708
    back = bytearray(8)
    assert pool.copy_data(host + 8, back, 8, Copy.G2H) == 0
    assert int.from_bytes(back, sys.byteorder) == 0x0102030405060708
    assert pool.view(0, DEVICE).nbytes == 2 * MIB
    for rank, kind in ((1, HOST), (4, HOST), (-1, HOST), (0, 99)):
        with pytest.raises(RuntimeError):
            pool.view(rank, kind)


@pytest.mark.parametrize("kind", [HOST, DEVICE])
def test_pools_without_one_kind_of_memory(job: str, kind: bm.BmMemType) -> None:
    sizes = {
        "local_dram_size": 2 * MIB * (kind == HOST),
        "local_hbm_size": 2 * MIB * (kind == DEVICE),
    }
    other = DEVICE if kind == HOST else HOST
    pool = bm.create(1, **sizes)
    assert pool.join() == 0
    assert (pool.local_mem_size(kind), pool.local_mem_size(other)) == (2 * MIB, 0)
    assert pool.peer_rank_ptr(0, kind) != 0 and pool.peer_rank_ptr(0, other) == 0
    with pytest.raises(RuntimeError):
        pool.view(0, other)
    pool.destroy()


def test_extend(job: str) -> None:
    pool = bm.create2(1, 2 * MIB, 6 * MIB)
    assert pool.join() == 0
    host = pool.peer_rank_ptr(0, HOST)
    assert pool.copy_data(b"x", host + 2 * MIB, 1, Copy.H2G) == INVALID
    assert pool.extend_local_mem(size=2 * MIB) == 0, mf.get_last_err_msg()
    assert pool.local_mem_size(HOST) == 4 * MIB
    assert pool.copy_data(b"x", host + 4 * MIB - 1, 1, Copy.H2G) == 0
    for size in (0, 1, 4 * MIB, 1 << 50):
        assert pool.extend_local_mem(HOST, size) == INVALID, size
    assert pool.extend_local_mem(HOST, 2 * MIB) == 0
    assert pool.extend_local_mem(HOST, 2 * MIB) == INVALID
    assert len(pool.view(0)) == 6 * MIB
    pool.destroy()


@pytest.mark.parametrize(
    "arguments",
    [
        {"id": 64},
        {"id": 0},
        {"local_dram_size": 1},
        {"local_dram_size": 3 * MIB},
        {"local_hbm_size": MIB},
        {"local_dram_size": (2 << 40) + 2 * MIB},
        {"local_hbm_size": (64 << 30) + 2 * MIB},
        {"data_op_type": 0},
        {"data_op_type": 3},
        {"data_op_type": 256},
    ],
    ids=str,
)
def test_create_refuses(pool: bm.BigMemory, arguments: dict[str, int]) -> None:
    with pytest.raises(RuntimeError) as caught:
        bm.create(**{"id": 2, "local_dram_size": 2 * MIB, **arguments})
    assert str(caught.value) == mf.get_last_err_msg() != ""


@pytest.mark.parametrize(
    "arguments",
    [
        {"max_dram_size": 0},
        {"max_dram_size": 3 * MIB},
        {"local_dram_size": 4 * MIB},
        {"max_hbm_size": 2 * MIB, "local_hbm_size": 4 * MIB},
        {"tag": "x" * 32},
        {"tag_op_info": "x" * 256},
        {"tag": "a\0b"},
        {"flags": 256, "shm_fd": -1},
        {"flags": 256, "shm_fd": 1 << 40},
    ],
    ids=lambda arguments: str(arguments)[:40],
)
def test_create2_refuses(job: str, arguments: dict[str, object]) -> None:
    with pytest.raises(RuntimeError) as caught:
        bm.create2(**{"id": 2, "local_dram_size": 2 * MIB, "max_dram_size": 2 * MIB, **arguments})
    assert str(caught.value) == mf.get_last_err_msg() != ""
    free = bm.create(2, 2 * MIB)  # the id is free again
    free.destroy()


def test_shm_fd_is_ignored_without_its_flag(job: str) -> None:
    bm.create2(2, 2 * MIB, 2 * MIB, shm_fd=12345, tag="x" * 31, tag_op_info="y" * 255).destroy()


def test_join_and_leave(job: str) -> None:
    pool = bm.create(2, 2 * MIB)
    assert pool.leave() == mf.ErrorCode.NOT_STARTED
    for _ in range(3):
        assert pool.join() == pool.join(flags=1) == 0
        assert pool.copy_data(b"x", pool.peer_rank_ptr(0, HOST), 1, Copy.H2G) == 0
        assert pool.leave() == 0
        assert pool.leave() == mf.ErrorCode.NOT_STARTED
    pool.destroy()


def test_a_destroyed_pool(job: str) -> None:
    pool = bm.create(2, 2 * MIB)
    assert pool.join() == 0
    view = pool.view(0)
    view[:4] = b"live"
    pool.destroy()
    pool.destroy()
    gone = mf.ErrorCode.OBJECT_NOT_EXISTS
    for call in (
        pool.join,
        pool.leave,
        pool.wait,
        lambda: pool.copy_data(1, 1, 8, 9),
        lambda: pool.copy_data_batch([1], [1], [8], 1, 9),
        lambda: pool.register(1, 1),
        lambda: pool.unregister(1),
        lambda: pool.extend_local_mem(HOST, 2 * MIB),
        lambda: pool.set_group_event_handler(None),
    ):
        assert call() == gone, call
        assert mf.get_last_err_msg() != ""
    for call in (pool.members, pool.stats, lambda: pool.path(0), lambda: pool.view(0)):
        with pytest.raises(RuntimeError):
            call()
    assert pool.local_mem_size(HOST) == pool.peer_rank_ptr(0, HOST) == 0
    assert repr(pool) == "<BigMemory id=2 destroyed>"
    assert bytes(view[:4]) == b"live"  # what was viewed stays mapped
    view[:4] = b"last"
    again = bm.create(2, 2 * MIB)  # the id is free
    again.destroy()
    assert bytes(view[:4]) == b"last"


def test_collecting_a_pool_destroys_it(job: str) -> None:
    pool = bm.create(2, 2 * MIB)
    assert pool.join() == 0
    array = np.frombuffer(pool.view(0), np.uint8)
    del pool
    gc.collect()
    array[:] = 7
    bm.create(2, 2 * MIB).destroy()
    assert array.sum() == 7 * 2 * MIB


def test_a_pool_that_its_handler_refers_to_is_collected(job: str) -> None:
    pool = bm.create(2, 2 * MIB)
    pool.set_group_event_handler(lambda rank, event, pool=pool: None)
    del pool
    gc.collect()
    bm.create(2, 2 * MIB).destroy()


def test_a_long_copy_releases_the_gil_and_a_short_one_keeps_it(
    pool: bm.BigMemory, host: int
) -> None:
    ran = threading.Event()
    go = threading.Lock()
    go.acquire()
    thread = threading.Thread(target=lambda: (go.acquire(), ran.set()))
    thread.start()
    source = bytearray(4 * MIB)
    former = sys.getswitchinterval()
    sys.setswitchinterval(1000)  # the other thread gets the GIL only from who gives it away
    try:
        go.release()
        for _ in range(1000):
            assert pool.copy_data(source, host, 64 << 10, Copy.H2G) == 0
        assert not ran.is_set()
        limit = time.monotonic() + 60
        while not ran.is_set() and time.monotonic() < limit:
            assert pool.copy_data(source, host, 4 * MIB, Copy.H2G) == 0
        assert ran.is_set()
    finally:
        sys.setswitchinterval(former)
        thread.join()
