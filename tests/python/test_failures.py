"""What failures leave in the log, and the order in which what can be wrong is looked at."""

from __future__ import annotations

from typing import Any, Callable, Iterator

import pytest

import memfabric_hybrid as mf
from memfabric_hybrid import bm, shm
from rank import Rank, free_url

INVALID, NOT_INITIALIZED = mf.ErrorCode.INVALID_PARAM, mf.ErrorCode.NOT_INITIALIZED
Start = Callable[..., Rank]


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """The lines at level warn and above."""
    kept: list[str] = []
    assert mf.set_log_level(2) == 0
    assert mf.set_extern_logger(lambda level, message: kept.append(message)) == 0
    yield kept
    assert mf.set_extern_logger(None) == 0
    assert mf.set_log_level(3) == 0


FAILING: dict[str, Callable[[bm.BigMemory], Any]] = {
    "set_log_level": lambda pool: mf.set_log_level(9),
    "create_config_store": lambda pool: mf.create_config_store("nonsense"),
    "set_conf_store_tls": lambda pool: mf.set_conf_store_tls(True, "nonsense"),
    "bm.initialize": lambda pool: bm.initialize("nonsense", 1, 0, bm.BmConfig()),
    "bm.initialize of the binding": lambda pool: bm.initialize(
        "tcp://127.0.0.1:1", 1 << 40, 0, bm.BmConfig()
    ),
    "bm.create": lambda pool: bm.create(99, 2 << 20),
    "bm.create of the binding": lambda pool: bm.create(-7, 2 << 20),
    "shm.create": lambda pool: shm.create(99, 1, 0, 2 << 20),
    "copy_data": lambda pool: pool.copy_data(0, 0, 8, 3),
    "copy_data of the binding": lambda pool: pool.copy_data(b"x", -1234, 8, 3),
    "copy_data_batch": lambda pool: pool.copy_data_batch([1], [1], [0], 1, 3),
    "register": lambda pool: pool.register(0, 8),
    "unregister": lambda pool: pool.unregister(12345),
    "extend_local_mem": lambda pool: pool.extend_local_mem(3, 1),
    "view": lambda pool: pool.view(3),
    "TransferEngine.initialize": lambda pool: mf.TransferEngine().initialize(
        "tcp://127.0.0.1:1", "a/b", "Both", 0
    ),
    "TransferEngine.register_memory": lambda pool: mf.TransferEngine().register_memory(
        b"12345678", 8
    ),
}


@pytest.mark.parametrize("name", sorted(FAILING))
def test_a_failure_is_a_line(name: str, pool: bm.BigMemory, lines: list[str]) -> None:
    try:
        code = FAILING[name](pool)
    except RuntimeError as error:
        code = -1
        assert str(error) == mf.get_last_err_msg()
    assert code < 0 and len(lines) == 1
    assert mf.get_last_err_msg() in lines[0] and " failed: " in lines[0]


QUESTIONS: dict[str, Callable[[bm.BigMemory], Any]] = {
    "path": lambda pool: pool.path(3),
    "gva_to_va": lambda pool: pool.gva_to_va(1),
    "get_rank_id_by_gva": lambda pool: pool.get_rank_id_by_gva(1),
    "peer_rank_ptr": lambda pool: pool.peer_rank_ptr(9999, 3),
    "local_mem_size": lambda pool: pool.local_mem_size(77),
}


@pytest.mark.parametrize("name", sorted(QUESTIONS))
def test_a_question_is_none(name: str, pool: bm.BigMemory, lines: list[str]) -> None:
    try:
        QUESTIONS[name](pool)
    except RuntimeError:
        pass
    assert lines == []


def test_polling_for_a_peer_is_a_line_a_second(pool: bm.BigMemory, lines: list[str]) -> None:
    target = pool.peer_rank_ptr(2, bm.BmMemType.HOST)
    for _ in range(500):
        assert (
            pool.copy_data(b"12345678", target, 8, bm.BmCopyType.H2GH) == mf.ErrorCode.NOT_CONNECTED
        )
    assert 1 <= len(lines) <= 10 and "smem_bm_copy failed: NOT_CONNECTED" in lines[0]


def test_a_good_program_is_silent_at_level_warn(start_rank: Start) -> None:
    ranks = [start_rank(MEMFABRIC_LOG_LEVEL="2") for _ in range(2)]
    url = free_url()
    for number, rank in enumerate(ranks):
        rank.run(f"""
assert init('{url}', 2, {number}) == 0
pool = mf.bm.create(0, 2 << 20)
assert pool.join() == 0
""")
    for number, rank in enumerate(ranks):
        rank.run(f"""
there = pool.peer_rank_ptr({1 - number}, 3)
assert pool.copy_data(b'12345678', there, 8, 3) == 0
assert pool.copy_data(b'12345678', there, 8, 3, 1) == 0 and pool.wait() == 0
assert pool.path({1 - number}) == 'mapped' and pool.register(b'12345678', 8) == 0
""")
    for rank in reversed(ranks):  # rank 0 serves the store
        rank.run("assert pool.leave() == 0; pool.destroy(); mf.uninitialize()")
        assert rank.exit() == (0, "")


@pytest.mark.parametrize(
    ("op", "name"),
    [(2, "HOST_RDMA"), (8, "DEVICE_RDMA"), (64, "DEVICE_URMA"), (128, "DEVICE_UBOE")],
)
def test_an_engines_path_is_named_and_what_is_used(op: int, name: str, lines: list[str]) -> None:
    engine = mf.TransferEngine()
    assert engine.initialize("tcp://127.0.0.1", "127.0.0.1", "Both", 0, op) == 0, (
        mf.get_last_err_msg()
    )
    engine.destroy()
    assert len(lines) == 1
    assert (
        f"data_op_type {name} asks for a path that this machine doesn't have" in lines[0]
        and "tcp" in lines[0]
    )


ENGINE_CALLS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "register_memory": (mf.TransferEngine.register_memory, (4096, 8)),
    "unregister_memory": (mf.TransferEngine.unregister_memory, (4096,)),
    "batch_register_memory": (mf.TransferEngine.batch_register_memory, ([4096], [8])),
    "transfer_sync_write": (mf.TransferEngine.transfer_sync_write, ("peer", 4096, 4096, 8)),
    "batch_transfer_sync_read": (
        mf.TransferEngine.batch_transfer_sync_read,
        ("peer", [4096], [4096], [8]),
    ),
    "transfer_async_read_submit": (
        mf.TransferEngine.transfer_async_read_submit,
        ("peer", 4096, 4096, 8, 77),
    ),
    "batch_transfer_async_write_submit": (
        mf.TransferEngine.batch_transfer_async_write_submit,
        ("peer", [4096], [4096], [8], 77),
    ),
}


@pytest.mark.parametrize("name", sorted(ENGINE_CALLS))
def test_null_and_zero_come_before_an_engine_that_is_not_initialized(name: str) -> None:
    call, arguments = ENGINE_CALLS[name]
    engine = mf.TransferEngine()
    assert call(engine, *arguments) == NOT_INITIALIZED
    for k, argument in enumerate(arguments):
        if isinstance(argument, str):
            continue
        wrong = [0] if isinstance(argument, list) else 0
        assert call(engine, *arguments[:k], wrong, *arguments[k + 1 :]) == INVALID, (name, k)


def test_an_engine_that_is_not_initialized_says_so() -> None:
    engine = mf.TransferEngine()
    for ask in (lambda: engine.path("peer"), lambda: engine.name):
        with pytest.raises(RuntimeError, match="initialize"):
            ask()
