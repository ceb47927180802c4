"""Whatever iterates over integers is a list of sizes or addresses; what doesn't is a TypeError that
names the element.
"""

from __future__ import annotations

import array
import collections
import ctypes
import pickle
from typing import Any, Callable, Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import memfabric_hybrid as mf
from memfabric_hybrid import bm

H2G, G2H = bm.BmCopyType.H2G, bm.BmCopyType.G2H
INVALID = mf.ErrorCode.INVALID_PARAM


class Yields:
    """Iterates by __getitem__ alone."""

    def __init__(self, numbers: list[int]) -> None:
        self.numbers = numbers

    def __getitem__(self, index: int) -> int:
        return self.numbers[index]


class Tensor:
    """Exports itself by DLPack alone, and iterates over nothing."""

    def __init__(self, numbers: np.ndarray) -> None:
        self.numbers = numbers

    def __dlpack__(self, **options: Any) -> Any:
        return self.numbers.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.numbers.__dlpack_device__()


def strided(numbers: list[int], dtype: str, step: int) -> np.ndarray:
    wide = np.zeros(len(numbers) * abs(step), dtype)
    view = wide[::step][: len(numbers)]
    view[:] = numbers
    return view


def ctypes_array(kind: Any, numbers: list[int]) -> Any:
    return (kind * len(numbers))(*numbers)


def unaligned(numbers: list[int]) -> np.ndarray:
    return np.frombuffer(b"x" + np.array(numbers, np.uint64).tobytes(), np.uint64, offset=1)


# Forms of a list of numbers of any size up to 2**63 - 1.
WIDE: dict[str, Callable[[list[int]], Any]] = {
    "generator": lambda numbers: (number for number in numbers),
    "iterator": iter,
    "map": lambda numbers: map(int, numbers),
    "keys": lambda numbers: dict.fromkeys(numbers).keys(),
    "values": lambda numbers: dict(enumerate(numbers)).values(),
    "dict": dict.fromkeys,
    "deque": collections.deque,
    "__getitem__": Yields,
    "object array": lambda numbers: np.array(numbers, object),
    "ctypes u64": lambda numbers: ctypes_array(ctypes.c_uint64, numbers),
    "ctypes i64": lambda numbers: ctypes_array(ctypes.c_int64, numbers),
    "ctypes big-endian": lambda numbers: ctypes_array(ctypes.c_uint64.__ctype_be__, numbers),
    "ctypes size_t": lambda numbers: ctypes_array(ctypes.c_size_t, numbers),
    "ctypes pointers": lambda numbers: ctypes_array(ctypes.c_void_p, numbers),
    "view of ctypes": lambda numbers: memoryview(ctypes_array(ctypes.c_uint64, numbers)),
    "reversed view of ctypes": lambda numbers: memoryview(
        ctypes_array(ctypes.c_uint64, numbers[::-1])
    )[::-1],
    "big-endian": lambda numbers: np.array(numbers, ">u8"),
    "big-endian signed": lambda numbers: np.array(numbers, ">i8"),
    "every third": lambda numbers: strided(numbers, "u8", 3),
    "backwards": lambda numbers: strided(numbers, "i8", -2),
    "strided view": lambda numbers: memoryview(strided(numbers, "u8", 2)),
    "unaligned": unaligned,
    "read-only": lambda numbers: np.frombuffer(np.array(numbers, np.uint64).tobytes(), np.uint64),
    "PickleBuffer": lambda numbers: pickle.PickleBuffer(np.array(numbers, np.uint64)),
    "DLPack": lambda numbers: Tensor(np.array(numbers, np.int64)),
    "strided DLPack": lambda numbers: Tensor(strided(numbers, "u8", 3)),
    "records' field": lambda numbers: np.array([(0, number) for number in numbers], "u4,u8")["f1"],
}
# And of numbers that fit fewer bits.
NARROW: dict[str, Callable[[list[int]], Any]] = {
    "range": lambda numbers: range(numbers[0], numbers[0] + len(numbers)),
    "bytes": bytes,
    "bytearray": bytearray,
    **{
        f"array of {code}": (lambda numbers, code=code: array.array(code, numbers))
        for code in "BHIihq"
    },
    **{
        f"numpy {kind}": (lambda numbers, kind=kind: np.array(numbers, kind))
        for kind in ("u1", "u2", "u4", "i2", "i4", ">u2", ">i4", ">u4")
    },
    **{
        f"ctypes {kind.__name__}": (lambda numbers, kind=kind: ctypes_array(kind, numbers))
        for kind in (ctypes.c_ubyte, ctypes.c_ushort, ctypes.c_uint, ctypes.c_int32.__ctype_be__)
    },
    "strided u4": lambda numbers: strided(numbers, "u4", 2),
    "set": set,
    "frozenset": frozenset,
}


@pytest.mark.parametrize("form", sorted(WIDE))
def test_addresses_and_sizes_by(form: str, pool: bm.BigMemory, host: int, slot: memoryview) -> None:
    make = WIDE[form]
    source = np.arange(300, dtype=np.uint8)
    slot[:300] = bytes(300)
    sources = make([source.ctypes.data + offset for offset in (0, 100, 250)])
    destinations = make([host + offset for offset in (0, 100, 250)])
    assert pool.copy_data_batch(sources, destinations, make([100, 150, 50]), 3, H2G) == 0, (
        mf.get_last_err_msg()
    )
    assert bytes(slot[:300]) == source.tobytes()


@pytest.mark.parametrize("form", sorted(NARROW))
def test_sizes_by(form: str, pool: bm.BigMemory, host: int, slot: memoryview) -> None:
    source = np.arange(100, 200, dtype=np.uint8)
    slot[:100] = bytes(100)
    sizes = NARROW[form]([20, 21, 22])
    addresses = [source.ctypes.data, source.ctypes.data + 20, source.ctypes.data + 41]
    assert pool.copy_data_batch(addresses, [host, host + 20, host + 41], sizes, 3, H2G) == 0, (
        mf.get_last_err_msg()
    )
    assert bytes(slot[:63]) == source[:63].tobytes() and slot[63] == 0


def test_registrations_and_transfers_take_the_same() -> None:
    engine = mf.TransferEngine()
    assert engine.initialize("tcp://127.0.0.1", "127.0.0.1", "Both", 0) == 0, mf.get_last_err_msg()
    memory = np.zeros(64, np.uint8)
    begin = memory.ctypes.data
    assert (
        engine.batch_register_memory(range(begin, begin + 64, 16), (16 for _ in range(4))) == 0
    ), mf.get_last_err_msg()
    sources = [b"abcd", bytearray(b"efgh")]
    code = engine.batch_transfer_sync_write(
        engine.name,
        iter(sources),
        {begin: None, begin + 16: None}.keys(),
        (ctypes.c_uint64 * 2)(4, 4),
    )
    assert code == 0, mf.get_last_err_msg()
    assert memory[:4].tobytes() + memory[16:20].tobytes() == b"abcdefgh"
    engine.destroy()


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        (np.zeros(2), "[0]"),
        (np.zeros(2, np.float16), "[0]"),
        (np.zeros(2, bool), "[0]"),
        (np.zeros((2, 2), np.uint64), "2 dim"),
        (np.zeros((), np.uint64), ""),
        (np.array([1, "x"], object), "[1]"),
        (np.zeros(2, "M8[s]"), ""),
        (np.zeros(2, "u4,u8"), "[0]"),
        ([1, None], "[1]"),
        ([1, 1.0], "[1]"),
        ([1, np.float64(1)], "[1]"),
        ([1, np.bool_(True)], "[1]"),
        (iter([1, 1, "1"]), "[2]"),
        ("12", "[0]"),
        (1, ""),
        (None, ""),
        (ctypes.c_uint64(1), ""),
        ((ctypes.c_double * 2)(), "[0]"),
        ((ctypes.c_char * 2)(), "[0]"),
        (((ctypes.c_uint64 * 2) * 2)(), "2 dim"),
        (Tensor(np.zeros(2, np.float32)), "[0]"),
        (Tensor(np.zeros((2, 2), int)), "2 dim"),
        ([[1], 1], "[0]"),
        (object(), ""),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_is_no_int_is_named(wrong: Any, names: str, pool: bm.BigMemory, host: int) -> None:
    with pytest.raises(TypeError, match=r"sizes") as raised:
        pool.copy_data_batch([bytes(8)] * 2, [host, host], wrong, 2, H2G)
    assert names in str(raised.value)


@pytest.mark.parametrize(
    "wrong", [1.5, np.float64(1), np.float32(1), np.bool_(True), None, "1"], ids=repr
)
def test_numbers_that_are_no_addresses(wrong: Any, pool: bm.BigMemory, host: int) -> None:
    with pytest.raises(TypeError, match=r"src_addrs\[1\]"):
        pool.copy_data_batch([bytes(8), wrong], [host, host], [1, 1], 2, H2G)
    with pytest.raises(TypeError, match="src_ptr"):
        pool.copy_data(wrong, host, 1, H2G)


@pytest.mark.parametrize(
    "numbers",
    [
        [8, -1],
        (8, -1),
        np.array([8, -1]),
        np.array([8, -1], ">i2"),
        array.array("b", [8, -1]),
        iter([8, -1]),
        ctypes_array(ctypes.c_int32, [8, -1]),
    ],
    ids=lambda numbers: type(numbers).__name__,
)
def test_a_negative_number_is_named(numbers: Any, pool: bm.BigMemory, host: int) -> None:
    assert pool.copy_data_batch([bytes(8)] * 2, [host, host], numbers, 2, H2G) == INVALID
    assert "sizes[1] is -1" in mf.get_last_err_msg()


def test_what_an_iteration_raises_is_raised(pool: bm.BigMemory, host: int) -> None:
    def numbers() -> Iterator[int]:
        yield 8
        raise LookupError("gone")

    class Broken:
        def __index__(self) -> int:
            raise LookupError("gone")

    for wrong in (numbers(), [8, Broken()], iter([8, Broken()])):
        with pytest.raises(LookupError, match="gone"):
            pool.copy_data_batch([bytes(8)] * 2, [host, host], wrong, 2, H2G)
    for broken in (numbers(), [b"12345678", Broken()]):
        with pytest.raises((LookupError, TypeError)):
            pool.copy_data_batch(broken, [host, host], [1, 1], 2, H2G)


def test_an_iteration_may_destroy_what_it_is_for(job: str) -> None:
    pool = bm.create2(40, 2 << 20, 2 << 20)
    assert pool.join() == 0
    target = pool.peer_rank_ptr(0, bm.BmMemType.HOST)
    grown: list[int] = []

    def sizes() -> Iterator[int]:
        yield 8
        pool.destroy()
        grown.append(1)
        yield 8

    assert (
        pool.copy_data_batch([bytes(8)] * 2, [target, target], sizes(), 2, H2G)
        == mf.ErrorCode.OBJECT_NOT_EXISTS
    )
    assert grown == [1]


def test_a_ctypes_pointer_is_the_address_that_it_holds(
    pool: bm.BigMemory, host: int, slot: memoryview
) -> None:
    memory = ctypes.create_string_buffer(b"0123456789abcdef", 16)
    address = ctypes.addressof(memory)
    pointers = [
        ctypes.c_void_p(address),
        ctypes.cast(memory, ctypes.POINTER(ctypes.c_uint8)),
        ctypes.c_char_p(address),
        ctypes.cast(memory, ctypes.c_wchar_p),
        ctypes.pointer(memory),
    ]
    for pointer in pointers:
        slot[:16] = bytes(16)
        assert pool.copy_data(pointer, ctypes.c_void_p(host), 16, H2G) == 0, mf.get_last_err_msg()
        assert bytes(slot[:16]) == b"0123456789abcdef"
        slot[:16] = bytes(16)
        assert (
            pool.copy_data_batch(
                [pointer, memory], [ctypes.c_void_p(host), host + 8], [8, 8], 2, H2G
            )
            == 0
        )
        assert bytes(slot[:16]) == b"0123456701234567"
    first, second = (ctypes.pointer(ctypes.c_uint64(number)) for number in (3, 4))
    both = (ctypes.POINTER(ctypes.c_uint64) * 2)(first, second)
    assert pool.copy_data_batch(both, [host, host + 8], [8, 8], 2, H2G) == 0, mf.get_last_err_msg()
    assert bytes(slot[:16]) == (3).to_bytes(8, "little") + (4).to_bytes(8, "little")
    with pytest.raises(TypeError, match=r"sizes\[0\]"):
        pool.copy_data_batch([1, 1], [host, host], both, 2, H2G)
    assert pool.get_rank_id_by_gva(ctypes.c_void_p(host)) == 0
    assert pool.copy_data(ctypes.c_void_p(), host, 16, H2G) == INVALID
    assert pool.copy_data(ctypes.c_void_p(None), host, 16, H2G) == INVALID
    # What isn't a pointer is memory.
    assert pool.copy_data(ctypes.c_uint64(7), host, 8, H2G) == 0
    assert bytes(slot[:8]) == (7).to_bytes(8, "little")


def test_exporters_that_do_not_say_their_strides_are_memory(
    pool: bm.BigMemory, host: int, slot: memoryview
) -> None:
    for memory in ((ctypes.c_uint64 * 2)(1, 2), (ctypes.c_uint32 * 2 * 2)((1, 2), (3, 4))):
        slot[:16] = bytes(16)
        assert pool.copy_data(memory, host, 16, H2G) == 0, mf.get_last_err_msg()
        assert bytes(slot[:16]) == bytes(memory)


NUMBERS = st.lists(st.integers(-(1 << 63), (1 << 64) - 1), min_size=1, max_size=9)
DTYPES = st.sampled_from(
    [order + kind for order in "<>" for kind in ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8")]
)


@settings(
    max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    numbers=NUMBERS, dtype=DTYPES, step=st.sampled_from([-3, -1, 1, 2]), offset=st.integers(0, 7)
)
def test_every_array_of_ints_is_read_as_it_is(
    pool: bm.BigMemory, numbers: list[int], dtype: str, step: int, offset: int
) -> None:
    plain = np.array([number % (1 << 64) for number in numbers], np.uint64).astype(dtype)
    bytes_of = bytearray(offset + plain.nbytes * abs(step))
    laid = np.frombuffer(bytes_of, dtype, offset=offset)[::step][: len(numbers)]
    laid[:] = plain
    # The first size that is refused tells how the array was read: its own value, or the sum's.
    code = pool.copy_data_batch(
        np.ones(len(numbers), np.uint64), np.ones(len(numbers), np.uint64), laid, len(numbers), H2G
    )
    assert code == INVALID
    negative = [k for k, number in enumerate(plain.tolist()) if number < 0]
    if negative:
        assert f"sizes[{negative[0]}] is {plain.tolist()[negative[0]]}," in mf.get_last_err_msg()
    else:
        expected = pool.copy_data_batch(
            [1] * len(numbers), [1] * len(numbers), plain.tolist(), len(numbers), H2G
        )
        assert expected == INVALID
        message = mf.get_last_err_msg()
        pool.copy_data_batch([1] * len(numbers), [1] * len(numbers), laid, len(numbers), H2G)
        assert mf.get_last_err_msg() == message


ELEMENTS = st.one_of(
    st.integers(0, 64),
    st.booleans(),
    st.none(),
    st.floats(),
    st.text(max_size=2),
    st.binary(max_size=2),
    st.builds(np.uint16, st.integers(0, 64)),
    st.builds(ctypes.c_void_p, st.just(None)),
)


@settings(
    max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    elements=st.lists(ELEMENTS, max_size=5),
    form=st.sampled_from([list, tuple, iter, collections.deque, lambda x: (e for e in x)]),
)
def test_any_iterable_is_a_code_or_a_type_error_that_names_the_first_wrong_one(
    pool: bm.BigMemory, host: int, elements: list[Any], form: Callable[[list[Any]], Any]
) -> None:
    wrong = [k for k, element in enumerate(elements) if not isinstance(element, (int, np.integer))]
    try:
        code = pool.copy_data_batch(
            [bytes(64)] * len(elements), [host] * len(elements), form(elements), len(elements), H2G
        )
    except TypeError as error:
        assert wrong and f"sizes[{wrong[0]}]" in str(error)
    else:
        assert not wrong and code == (0 if elements and min(elements) > 0 else INVALID)
