"""TransferEngine in one process: what it takes, what it refuses, streams, memory, names."""

from __future__ import annotations

import gc
import socket
import threading
import time
from typing import Iterator

import numpy as np
import pytest

import memfabric_hybrid as mf
from rank import free_url

INVALID_PARAM = mf.ErrorCode.INVALID_PARAM


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    url = free_url()
    assert mf.create_config_store(url) == 0, mf.get_last_err_msg()
    yield url


@pytest.fixture
def engines(url: str) -> Iterator[tuple[mf.TransferEngine, mf.TransferEngine]]:
    """'one' and 'two', ready."""
    one, two = mf.TransferEngine(), mf.TransferEngine()
    assert one.initialize(url, "one", "Prefill", 0) == 0, mf.get_last_err_msg()
    assert two.initialize(url, "two", "Decode", 0) == 0, mf.get_last_err_msg()
    yield one, two
    one.destroy()
    two.destroy()


def error() -> str:
    return mf.get_and_clear_last_err_msg()


def test_writes_and_reads_by_address_and_by_object(engines) -> None:
    one, two = engines
    theirs = np.zeros(1000, np.uint32)
    assert two.register_memory(theirs, theirs.nbytes) == 0
    mine = np.arange(1000, dtype=np.uint32)
    assert one.transfer_sync_write("two", mine, theirs.ctypes.data, mine.nbytes) == 0, error()
    assert (theirs == mine).all()
    back = bytearray(400)
    assert one.transfer_sync_read("two", back, theirs, 400) == 0, error()
    assert back == mine[:100].tobytes()
    assert (
        one.transfer_sync_read(
            dest_session="two", buffer=mine.ctypes.data + 4, peer_buffer=theirs, length=4
        )
        == 0
    )
    assert mine[1] == 0
    assert one.path("two") == "cma"
    assert two.unregister_memory(theirs) == 0
    assert one.transfer_sync_write("two", mine, theirs, 4) == INVALID_PARAM
    assert "has not registered" in error()
    assert two.unregister_memory(theirs) == mf.ErrorCode.OBJECT_NOT_EXISTS


def test_batches_take_lists_and_arrays(engines) -> None:
    one, two = engines
    theirs = np.zeros((64, 100), np.uint8)
    assert two.batch_register_memory([row for row in theirs], [100] * 64) == 0, error()
    mine = np.random.default_rng(1).integers(0, 255, (64, 100), np.uint8)
    order = np.random.default_rng(2).permutation(64)
    remote = theirs.ctypes.data + order.astype(np.uint64) * 100
    assert (
        one.batch_transfer_sync_write(
            "two", [row for row in mine], remote, np.full(64, 100, np.int64)
        )
        == 0
    ), error()
    assert (theirs[order] == mine).all()
    back = np.zeros_like(mine)
    rows = (back.ctypes.data + np.arange(64) * 100).tolist()
    assert (
        one.batch_transfer_sync_read(
            dest_session="two",
            buffers=tuple(rows),
            peer_buffers=remote.tolist(),
            lengths=[100] * 64,
        )
        == 0
    )
    assert (back == mine).all()


def test_lists_that_do_not_fit_are_refused(engines) -> None:
    one, two = engines
    memory = np.zeros(100, np.uint8)
    assert two.register_memory(memory, 100) == 0
    at = memory.ctypes.data
    write = one.batch_transfer_sync_write
    assert write("two", [at, at], [at], [1, 1]) == INVALID_PARAM and "differ in length" in error()
    assert write("two", [], [], []) == INVALID_PARAM and "empty" in error()
    assert write("two", [at], [at], [0]) == INVALID_PARAM and "length is 0" in error()
    assert write("two", [at, 0], [at, at], [1, 1]) == INVALID_PARAM and "entry 1" in error()
    assert write("two", [at], [at], [2**63]) == INVALID_PARAM
    assert write("two", [at], [-1], [1]) == INVALID_PARAM
    assert write("two", [at], [2**64], [1]) == INVALID_PARAM
    assert (
        one.batch_transfer_sync_read("two", [memory[:10]], [at], [11]) == INVALID_PARAM
        and "holds 10 bytes" in error()
    )
    for wrong in (
        (None for _ in range(1)),
        np.zeros(1, np.float64),
        np.zeros((1, 1), np.uint64),
        "x",
        None,
    ):
        with pytest.raises(TypeError):
            write("two", wrong, [at], [1])
    with pytest.raises(TypeError):
        one.batch_transfer_sync_read("two", [b"read-only"], [at], [4])
    with pytest.raises(TypeError):
        one.transfer_sync_read("two", np.zeros((8, 8), np.uint8)[:, 1], at, 8)
    with pytest.raises(TypeError):
        one.transfer_sync_write("two", memory, at, 1.5)
    assert two.batch_register_memory([at + 50], [10]) == mf.ErrorCode.DUPLICATED_OBJECT
    assert two.batch_register_memory([], []) == INVALID_PARAM
    assert two.register_memory(at, 100) == 0
    assert two.register_memory(0, 1) == INVALID_PARAM
    assert two.register_memory(at + 1000, 0) == INVALID_PARAM
    assert memory.sum() == 0


def test_streams(engines) -> None:
    one, two = engines
    theirs = np.zeros(64, np.uint64)
    assert two.register_memory(theirs, theirs.nbytes) == 0
    streams = [mf.Stream() for _ in range(4)]
    lengths = np.full(2, 8, np.uint64)
    for k, stream in enumerate(streams):
        assert (
            one.transfer_async_write_submit(
                "two", np.array([k + 1], np.uint64), theirs[k:], 8, stream
            )
            == 0
        ), error()
        lists = [
            np.array([theirs.ctypes.data + 8 * at for at in (16 + 2 * k, 17 + 2 * k)], np.uint64)
            for _ in range(2)
        ]
        source = np.array([100 + k, 200 + k], np.uint64)
        local = source.ctypes.data + np.arange(2, dtype=np.uint64) * 8
        assert (
            one.batch_transfer_async_write_submit(
                "two", [source[:1], source[1:]], lists[0], lengths, stream.handle
            )
            == 0
        ), error()
        lists[0][:] = 0  # the caller may use its lists again
        del source, local
    gc.collect()
    for stream in streams:
        assert stream.synchronize() == 0, error()
        assert stream.query()
    assert theirs[:4].tolist() == [1, 2, 3, 4]
    assert theirs[16:24].tolist() == [100, 200, 101, 201, 102, 202, 103, 203]
    back = np.zeros(4, np.uint64)
    assert one.transfer_async_read_submit("two", back, theirs, 32, streams[0]) == 0
    assert one.transfer_async_read_submit("two", back, 4096, 32, streams[0]) == 0
    assert streams[0].synchronize() == INVALID_PARAM
    assert "async" not in error()
    assert streams[0].synchronize() == 0
    assert back.tolist() == [1, 2, 3, 4]

    assert (
        one.transfer_async_write_submit("two", back, theirs, 8, 0) == INVALID_PARAM
        and "stream is 0" in error()
    )
    assert one.transfer_async_write_submit("two", back, theirs, 8, 12345678) == INVALID_PARAM
    assert one.transfer_async_write_submit("two", back, theirs, 0, streams[1]) == INVALID_PARAM
    streams[1].destroy()
    assert one.transfer_async_write_submit("two", back, theirs, 8, streams[1]) == INVALID_PARAM
    assert streams[1].synchronize() == mf.ErrorCode.OBJECT_NOT_EXISTS
    with pytest.raises(RuntimeError):
        streams[1].query()
    with pytest.raises(TypeError):
        one.transfer_async_write_submit("two", back, theirs, 8, "stream")


def test_mapped_memory(engines) -> None:
    one, two = engines
    theirs = mf.empty((4, 1 << 20), np.uint8)
    assert theirs.shape == (4, 1 << 20) and theirs.sum() == 0
    assert two.register_memory(theirs, theirs.nbytes) == 0
    mine = np.random.default_rng(3).integers(0, 255, theirs.nbytes, np.uint8)
    assert one.transfer_sync_write("two", mine, theirs, mine.nbytes) == 0, error()
    assert (theirs.reshape(-1) == mine).all()
    assert two.unregister_memory(theirs) == 0
    assert one.transfer_sync_write("two", mine, theirs, 1) == INVALID_PARAM
    block = mf.alloc(10)
    assert len(block) == 10 and not block.readonly
    assert mf.empty(0, np.uint8).size == 0
    with pytest.raises(RuntimeError):
        mf.alloc(0)
    with pytest.raises(RuntimeError):
        mf.alloc(2**63)


def test_names_ports_and_arguments(url: str) -> None:
    engine = mf.TransferEngine()
    assert engine.register_memory(4096, 8) == mf.ErrorCode.NOT_INITIALIZED
    assert engine.transfer_sync_write("x", 4096, 4096, 8) == mf.ErrorCode.NOT_INITIALIZED
    port = engine.get_rpc_port()
    assert 15000 <= port <= 25000 and engine.get_rpc_port() == port
    others = [mf.TransferEngine() for _ in range(20)]
    assert len({other.get_rpc_port() for other in others} | {port}) == 21
    with socket.create_server(("127.0.0.1", port)):  # who was given the port may listen there
        pass
    with socket.socket() as stranger, pytest.raises(OSError):
        stranger.bind(("", others[0].get_rpc_port()))
    assert engine.initialize(url, f"127.0.0.1:{port}", "Prefill", 0) == 0, error()
    assert engine.initialize(url, f"127.0.0.1:{port}", "Prefill", 0) == 0
    assert engine.initialize(url, "other", "Prefill", 0) == mf.ErrorCode.REPEAT_CALL
    assert engine.get_rpc_port() == port and engine.name == f"127.0.0.1:{port}"
    assert (
        others[0].initialize(url, f"127.0.0.1:{port}", "Decode", 0)
        == mf.ErrorCode.DUPLICATED_OBJECT
    )
    assert "pid" in error()
    for bad in (
        {"role": "Neither"},
        {"unique_id": "a/b"},
        {"unique_id": ""},
        {"store_url": "nonsense"},
        {"device_id": -1},
        {"data_op_type": 3},
        {"store_server_role": "x"},
        {"nic": "n" * 64},
        {"unique_id": "a\0b"},
    ):
        arguments = {"store_url": url, "unique_id": "x", "role": "Decode", "device_id": 0, **bad}
        assert others[1].initialize(**arguments) == INVALID_PARAM, bad
        assert error()
    assert (
        others[1].initialize(
            url,
            session_id="by-session",
            role="Both",
            device_id=0,
            data_op_type=mf.TransferEngine.TransDataOpType.SDMA,
        )
        == 0
    ), error()
    assert mf.TransferEngine.TransferOpcode.Read is mf.TransferOpcode.READ
    engine.destroy()
    engine.destroy()
    assert engine.register_memory(4096, 8) == mf.ErrorCode.OBJECT_NOT_EXISTS
    assert engine.initialize(url, "again", "Prefill", 0) == 0, "an object may be used again"
    engine.unInitialize()
    for other in others:
        other.destroy()


def test_without_a_shared_store() -> None:
    one, two = mf.TransferEngine(), mf.TransferEngine()
    port = two.get_rpc_port()
    assert one.initialize("", "127.0.0.1", "Prefill", 0) == 0, error()
    assert two.initialize("tcp://127.0.0.1", "127.0.0.1", "Decode", 0) == 0, error()
    assert two.name == f"127.0.0.1:{port}"
    memory = np.zeros(4, np.uint8)
    assert two.register_memory(memory, 4) == 0
    assert one.transfer_sync_write(two.name, b"abcd", memory, 4) == 0, error()
    assert memory.tobytes() == b"abcd"
    one.destroy()
    two.destroy()


def test_an_unknown_peer_is_waited_for_within_a_bound(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMFABRIC_PEER_TIMEOUT", "1")
    engine = mf.TransferEngine()
    assert engine.initialize(url, "asker", "Prefill", 0) == 0
    began = time.monotonic()
    assert engine.transfer_sync_write("ghost", b"x", 4096, 1) == mf.ErrorCode.NOT_CONNECTED
    assert "no engine 'ghost' has appeared within 1 s" in error()
    assert 0.9 < time.monotonic() - began < 10
    with pytest.raises(RuntimeError):
        engine.path("ghost")
    engine.destroy()


def test_a_destroy_in_another_thread_ends_a_wait(url: str) -> None:
    engine = mf.TransferEngine()
    assert engine.initialize(url, "waiter", "Prefill", 0) == 0
    asking = threading.Event()
    codes: list[int] = []

    def ask() -> None:
        asking.set()
        codes.append(engine.transfer_sync_write("nobody-at-all", b"x", 4096, 1))

    thread = threading.Thread(target=ask)
    thread.start()
    asking.wait()
    engine.destroy()
    thread.join(20)
    assert codes == [mf.ErrorCode.OBJECT_NOT_EXISTS]
