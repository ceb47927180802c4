"""What programs written for other releases pass, and what Python programs do with any object:
copies, pickles, weak references.
"""

from __future__ import annotations

import copy
import enum
import gc
import multiprocessing
import pickle
import weakref
from typing import Any

import numpy as np
import pytest

import memfabric_hybrid as mf
from memfabric_hybrid import bm, shm
from rank import Rank, free_url

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
ENUMS = [
    mf.ErrorCode,
    mf.TransferOpcode,
    mf.TransDataOpType,
    bm.BmMemType,
    bm.BmDataOpType,
    bm.BmCopyType,
    bm.BmGroupEvent,
    shm.ShmDataOpType,
    shm.ShmCmp,
    shm.ShmSignalOp,
]


class DerivedConfig(bm.BmConfig):
    """With an attribute of its own."""


def configs() -> list[Any]:
    one = bm.BmConfig()
    one.rank_id, one.init_timeout, one.flags, one.auto_ranking, one.start_store = (
        7,
        1 << 70,
        -3,
        True,
        False,
    )
    one.set_nic("tcp://127.0.0.1:1234")
    derived = DerivedConfig()
    derived.rank_id = 2
    derived.label = "mine"
    other = shm.ShmConfig()
    other.create_timeout, other.start_store = 9, None
    return [one, derived, other, bm.BmConfig(), shm.ShmConfig()]


def copies(value: Any) -> list[Any]:
    return [
        copy.copy(value),
        copy.deepcopy(value),
        *(pickle.loads(pickle.dumps(value, protocol)) for protocol in PROTOCOLS),
    ]


@pytest.mark.parametrize("index", range(5))
def test_configs_are_copied_and_pickled(index: int) -> None:
    config = configs()[index]
    for made in copies(config):
        assert type(made) is type(config) and made is not config
        assert repr(made) == repr(config)
        assert getattr(made, "label", None) == getattr(config, "label", None)
    made = copy.copy(config)
    made.flags = 5
    assert config.flags != 5


@pytest.mark.parametrize("kind", ENUMS, ids=lambda kind: kind.__name__)
def test_enums_are_copied_and_pickled(kind: type[enum.IntEnum]) -> None:
    for member in kind.__members__.values():
        assert all(made is member for made in copies(member))
        assert kind(int(member)) is member and member == int(member)


def initialize(
    config: bm.BmConfig, kind: bm.BmCopyType, url: str, results: multiprocessing.Queue
) -> None:
    results.put((mf.bm.initialize(url, 4, 0, config), bm.bm_rank_id(), kind))


def test_a_config_reaches_a_spawned_process() -> None:
    context = multiprocessing.get_context("spawn")
    config, results = bm.BmConfig(), context.Queue()
    config.rank_id = 3
    config.start_store_only = True
    process = context.Process(
        target=initialize, args=(config, bm.BmCopyType.G2G, free_url(), results)
    )
    process.start()
    code, _, kind = results.get(timeout=60)
    process.join(30)
    assert (code, kind) == (0, bm.BmCopyType.G2G) and kind is bm.BmCopyType.G2G


def test_weak_references(pool: bm.BigMemory) -> None:
    assert weakref.ref(pool)() is pool
    for make in (mf.TransferEngine, mf.Stream, bm.BmConfig, shm.ShmConfig):
        ended: list[int] = []
        value = make()
        reference = weakref.ref(value, lambda _: ended.append(1))
        weakref.finalize(value, ended.append, 2)
        assert reference() is value and value in weakref.WeakSet([value])
        del value
        gc.collect()
        assert reference() is None and sorted(ended) == [1, 2]


def test_urls_and_ids_may_be_bytes(fresh: Rank) -> None:
    url = free_url()
    assert mf.create_config_store(url.encode()) == 0, mf.get_last_err_msg()
    engine, peer = mf.TransferEngine(), mf.TransferEngine()
    assert (
        engine.initialize(
            url.encode(), b"bytes-0", b"Decode", 0, store_server_role=b"Decode", nic=b"lo"
        )
        == 0
    )
    assert (
        peer.initialize(url, "bytes-1", "Prefill", np.int32(0), store_server_role="", nic=None) == 0
    ), mf.get_last_err_msg()
    memory = bytearray(4)
    assert engine.register_memory(memory, 4) == 0
    address = np.frombuffer(memory, np.uint8).ctypes.data
    assert peer.transfer_sync_write(b"bytes-0", b"abcd", address, 4) == 0, mf.get_last_err_msg()
    assert memory == b"abcd" and peer.path(b"bytes-0") in ("cma", "mapped")
    again = {"store_url": url, "unique_id": "bytes-1", "role": "Prefill", "device_id": 0}
    assert (
        peer.initialize(**again)
        == peer.initialize(**again, nic="", store_server_role="Decode")
        == 0
    )
    config = bm.BmConfig()
    config.set_nic(b"lo")
    assert config.nic == "lo"
    config.nic = None
    assert config.nic == ""


@pytest.mark.parametrize(
    "names",
    [
        ("destflag", "buffers", "peer_buffer_addresses", "lengths"),
        ("destflag", "buffer", "peer_buffer_address", "length"),
        ("dest_session", "buffers", "peer_buffers", "lengths"),
    ],
)
def test_the_names_of_a_batchs_arguments(names: tuple[str, ...]) -> None:
    engine = mf.TransferEngine()
    for name in ("sync_write", "sync_read", "async_write_submit", "async_read_submit"):
        more = {"stream": 1} if "async" in name else {}
        call = getattr(engine, f"batch_transfer_{name}")
        assert (
            call(**dict(zip(names, ("peer", [bytearray(1)], [1], [1]))), **more)
            == mf.ErrorCode.NOT_INITIALIZED
        )


def test_flags_that_nobody_knows_are_ignored(
    pool: bm.BigMemory, host: int, slot: memoryview
) -> None:
    assert pool.copy_data(b"hint", host, 4, bm.BmCopyType.H2G, 0xFFFFFFF8) == 0, (
        mf.get_last_err_msg()
    )
    assert bytes(slot[:4]) == b"hint"
    assert pool.copy_data_batch([b"more"], [host], [4], 1, bm.BmCopyType.H2G, 8) == 0, (
        mf.get_last_err_msg()
    )
    for flags in (1, 5, 63, 1 << 9, 3 << 30):
        made = bm.create(33, 2 << 20, flags=flags)
        assert made.join(flags) == 0, mf.get_last_err_msg()
        made.destroy()


@pytest.mark.parametrize("kind", [0, 1, 2, 3, 4, 64])
def test_values_of_the_shared_memorys_operation(kind: int, fresh: Rank) -> None:
    assert int(shm.ShmDataOpType(kind)) == kind
    fresh.run(f"""
from memfabric_hybrid import shm
if not globals().get('shm_url'):
    shm_url = '{free_url()}'
    assert shm.initialize(shm_url, 1, 0, 0, shm.ShmConfig()) == 0, mf.get_last_err_msg()
made = shm.create(0, 1, 0, 2 << 20, shm.ShmDataOpType({kind}), 0x1f)
bits = made.query_support_data_operation()
code = made.destroy(), made.destroy()
""")
    assert fresh("code") == [0, mf.ErrorCode.OBJECT_NOT_EXISTS] and fresh("bits") & 1
