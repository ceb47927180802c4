"""Wrong types are TypeErrors, numbers that don't fit are INVALID_PARAM with a message, and nothing
is a ValueError.
"""

from __future__ import annotations

import pickle
from typing import Any, Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import memfabric_hybrid as mf
from memfabric_hybrid import bm

INVALID = mf.ErrorCode.INVALID_PARAM


def test_enums_have_the_published_values() -> None:
    assert {member.name: member.value for member in bm.BmCopyType} == {
        "L2G": 0,
        "G2L": 1,
        "G2H": 2,
        "H2G": 3,
        "L2GH": 4,
        "GH2L": 5,
        "GH2H": 6,
        "H2GH": 7,
        "G2G": 8,
        "AUTO": 9,
    }
    assert {member.name: member.value for member in bm.BmMemType} == {
        "LOCAL_DEVICE": 0,
        "LOCAL_HOST": 1,
        "DEVICE": 2,
        "HOST": 3,
    }
    assert {name: int(member) for name, member in bm.BmDataOpType.__members__.items()} == {
        "SDMA": 1,
        "HOST_RDMA": 2,
        "HOST_TCP": 4,
        "DEVICE_RDMA": 8,
        "ROCE": 8,
        "HOST_URMA": 16,
        "HOST_SHM": 32,
        "DEVICE_URMA": 64,
        "DEVICE_UBOE": 128,
    }
    assert (bm.BmGroupEvent.JOIN_EVENT, bm.BmGroupEvent.LEAVE_EVENT) == (0, 1)
    assert {member.name: member.value for member in mf.ErrorCode} == {
        "OK": 0,
        "ERROR": -1,
        "INVALID_PARAM": -2000,
        "MALLOC_FAILED": -2001,
        "NEW_OBJECT_FAILED": -2002,
        "NOT_STARTED": -2003,
        "TIMEOUT": -2004,
        "REPEAT_CALL": -2005,
        "DUPLICATED_OBJECT": -2006,
        "OBJECT_NOT_EXISTS": -2007,
        "NOT_INITIALIZED": -2008,
        "RESOURCE_IN_USE": -2009,
        "RECONNECT": -2010,
        "GET_OBJECT": -2011,
        "PARTIAL_FAILED": -2012,
        "NOT_CONNECTED": -2014,
        "NOT_SUPPORTED": -2015,
        "IO_ERROR": -2016,
    }


def test_enums_are_ints_and_pickle() -> None:
    assert (
        bm.BmDataOpType.ROCE
        is bm.BmDataOpType.DEVICE_RDMA
        is bm.BmDataOpType["ROCE"]
        is bm.BmDataOpType(8)
    )
    assert isinstance(bm.BmCopyType.H2G, int)
    assert pickle.loads(pickle.dumps(bm.BmCopyType.G2G)) is bm.BmCopyType.G2G
    assert pickle.loads(pickle.dumps(mf.ErrorCode.TIMEOUT)) is mf.ErrorCode.TIMEOUT


NOT_INTS = [None, "1", 1.0, [1], b"1", object()]


@pytest.mark.parametrize("wrong", NOT_INTS, ids=repr)
@pytest.mark.parametrize(
    "call",
    [
        lambda x: mf.initialize(x),
        lambda x: mf.set_log_level(x),
        lambda x: mf.strerror(x),
        lambda x: bm.initialize("tcp://127.0.0.1:1", x, 0, bm.BmConfig()),
        lambda x: bm.initialize("tcp://127.0.0.1:1", 1, x, bm.BmConfig()),
        lambda x: bm.uninitialize(x),
        lambda x: bm.create(x, 2 << 20),
        lambda x: bm.create(0, x),
        lambda x: bm.create(0, 2 << 20, x),
        lambda x: bm.create(0, 2 << 20, 0, x),
        lambda x: bm.create(0, 2 << 20, 0, 1, x),
        lambda x: bm.create2(0, 2 << 20, x),
        lambda x: bm.create2(0, 2 << 20, 2 << 20, shm_fd=x),
    ],
)
def test_functions_refuse_what_is_no_int(call: Callable[[Any], Any], wrong: Any) -> None:
    with pytest.raises(TypeError):
        call(wrong)


@pytest.mark.parametrize("wrong", NOT_INTS, ids=repr)
@pytest.mark.parametrize(
    "call",
    [
        lambda pool, x: pool.join(x),
        lambda pool, x: pool.leave(x),
        lambda pool, x: pool.local_mem_size(x),
        lambda pool, x: pool.peer_rank_ptr(x),
        lambda pool, x: pool.peer_rank_ptr(0, x),
        lambda pool, x: pool.copy_data(1, 1, x, 9),
        lambda pool, x: pool.copy_data(1, 1, 8, x),
        lambda pool, x: pool.copy_data(1, 1, 8, 9, x),
        lambda pool, x: pool.copy_data(1, 1, 8, 9, 0, x),
        lambda pool, x: pool.copy_data_batch([1], [1], [8], x, 9),
        lambda pool, x: pool.extend_local_mem(3, x),
        lambda pool, x: pool.path(x),
        lambda pool, x: pool.view(x),
        lambda pool, x: pool.view(0, x),
        lambda pool, x: pool.register(1, x),
    ],
)
def test_methods_refuse_what_is_no_int(
    pool: bm.BigMemory, call: Callable[[bm.BigMemory, Any], Any], wrong: Any
) -> None:
    with pytest.raises(TypeError):
        call(pool, wrong)


@pytest.mark.parametrize("wrong", [None, 1, bytearray(b"tcp://127.0.0.1:1"), []], ids=repr)
def test_urls_are_str_or_bytes(wrong: Any) -> None:
    for call in (
        mf.create_config_store,
        bm.update_store_url,
        lambda url: bm.initialize(url, 1, 0, bm.BmConfig()),
    ):
        with pytest.raises(TypeError):
            call(wrong)


def test_a_config_is_a_config() -> None:
    with pytest.raises(TypeError):
        bm.initialize("tcp://127.0.0.1:1", 1, 0, None)
    with pytest.raises(TypeError):
        bm.initialize("tcp://127.0.0.1:1", 1, 0)


@pytest.mark.parametrize("wrong", [1, "f", object()], ids=repr)
def test_callbacks_are_callable_or_none(pool: bm.BigMemory, wrong: Any) -> None:
    with pytest.raises(TypeError):
        mf.set_extern_logger(wrong)
    with pytest.raises(TypeError):
        pool.set_group_event_handler(wrong)
    with pytest.raises(TypeError):
        mf.set_conf_store_tls_key("", "", wrong)


@pytest.mark.parametrize("number", [-1, 1 << 32, 1 << 64, -(1 << 70)])
def test_a_number_that_does_not_fit_is_an_invalid_parameter(
    pool: bm.BigMemory, number: int
) -> None:
    for call in (
        lambda: bm.initialize("tcp://127.0.0.1:1", number, 0, bm.BmConfig()),
        lambda: bm.initialize("tcp://127.0.0.1:1", 1, number, bm.BmConfig()),
        lambda: pool.copy_data(1, 1, 8, number),
        lambda: pool.copy_data(1, 1, 8, 9, number),
    ):
        assert call() == INVALID
        assert str(number) in mf.get_last_err_msg()
    with pytest.raises(RuntimeError, match=str(number)):
        bm.create(number, 2 << 20)
    assert pool.peer_rank_ptr(number, bm.BmMemType.HOST) == 0


@pytest.mark.parametrize("address", [-1, 1 << 64])
def test_addresses_are_64_bits(pool: bm.BigMemory, address: int) -> None:
    buffer = bytearray(8)
    for call in (
        lambda: pool.copy_data(address, buffer, 8, 9),
        lambda: pool.copy_data(buffer, address, 8, 9),
        lambda: pool.copy_data_batch([address], [buffer], [8], 1, 9),
        lambda: pool.register(address, 8),
        lambda: pool.unregister(address),
    ):
        assert call() == INVALID
        assert str(address) in mf.get_last_err_msg()
    assert pool.get_rank_id_by_gva(address) == 2**32 - 1
    assert pool.gva_to_va(address) == 0


def test_numbers_of_numpy_are_ints(pool: bm.BigMemory, host: int) -> None:
    source = bytearray(b"12345678")
    assert pool.copy_data(source, np.uint64(host), np.int64(8), np.int32(bm.BmCopyType.H2G)) == 0
    assert pool.get_rank_id_by_gva(np.uint64(host)) == 0


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(),
    st.lists(st.integers(), max_size=3),
)


@settings(
    max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    source=st.one_of(
        st.none(), st.integers(max_value=0), st.floats(), st.text(), st.binary(max_size=7)
    ),
    size=VALUES,
    kind=VALUES,
    flags=VALUES,
)
def test_a_copy_answers_any_arguments_with_a_code_or_a_type_error(
    pool: bm.BigMemory, host: int, source: Any, size: Any, kind: Any, flags: Any
) -> None:
    try:
        code = pool.copy_data(source, host, size, kind, flags)
    except TypeError:
        return
    # Only the bytes objects are sources that could be copied from.
    assert code < 0 or isinstance(source, bytes)
    assert code == 0 or mf.get_last_err_msg() != ""


@settings(
    max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(st.lists(VALUES, max_size=4), st.lists(VALUES, max_size=4), VALUES)
def test_a_batch_answers_any_lists_with_a_code_or_a_type_error(
    pool: bm.BigMemory, host: int, sources: list[Any], sizes: list[Any], count: Any
) -> None:
    sources = [0 if isinstance(source, int) else source for source in sources]
    try:
        code = pool.copy_data_batch(sources, [host] * len(sources), sizes, count, bm.BmCopyType.H2G)
    except TypeError:
        return
    assert code in (0, INVALID)
