"""What may stand for an address, and for a list of them."""

from __future__ import annotations

import array
import ctypes
import mmap
from typing import Any, Callable

import numpy as np
import pytest

import memfabric_hybrid as mf
from memfabric_hybrid import bm

INVALID = mf.ErrorCode.INVALID_PARAM
H2G, G2H, AUTO = bm.BmCopyType.H2G, bm.BmCopyType.G2H, bm.BmCopyType.AUTO
TEXT = b"0123456789abcdef"


class ArrayInterface:
    """Memory described by __array_interface__ alone."""

    def __init__(self, owner: np.ndarray, **changes: Any) -> None:
        self.owner = owner
        self.__array_interface__ = {**owner.__array_interface__, **changes}


class Tensor:
    """What a torch CPU tensor offers, and numpy doesn't."""

    class Device:
        type = "cpu"

    def __init__(self, owner: np.ndarray, contiguous: bool = True) -> None:
        self.owner, self.device, self.contiguous, self.nbytes = (
            owner,
            Tensor.Device(),
            contiguous,
            owner.nbytes,
        )

    def data_ptr(self) -> int:
        return self.owner.ctypes.data

    def is_contiguous(self) -> bool:
        return self.contiguous


class Dlpack:
    """Memory exported by DLPack alone."""

    def __init__(self, owner: np.ndarray) -> None:
        self.owner = owner

    def __dlpack__(self, **options: Any) -> Any:
        return self.owner.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.owner.__dlpack_device__()


def writable() -> dict[str, Any]:
    text = np.frombuffer(bytearray(TEXT), np.uint8)
    mapping = mmap.mmap(-1, mmap.PAGESIZE)
    mapping[:16] = TEXT
    return {
        "bytearray": bytearray(TEXT),
        "memoryview": memoryview(bytearray(TEXT)),
        "array": array.array("B", TEXT),
        "ctypes": (ctypes.c_char * 16)(*TEXT),
        "mmap": mapping,
        "numpy": text.copy(),
        "numpy of doubles": text.copy().view(np.float64),
        "numpy 2-D": text.copy().reshape(4, 4),
        "numpy in Fortran's order": np.asfortranarray(text.copy().view(np.uint32)[:, None]),
        "array interface": ArrayInterface(text.copy()),
        "array interface with strides": ArrayInterface(text.copy().reshape(4, 4), strides=(4, 1)),
        "data_ptr": Tensor(text.copy()),
        "dlpack": Dlpack(text.copy()),
    }


KINDS = sorted(writable())


def bytes_of(owner: Any) -> bytes:
    return bytes(memoryview(getattr(owner, "owner", owner)).cast("B")[:16])


@pytest.mark.parametrize("kind", KINDS)
def test_source_and_destination_by(
    kind: str, pool: bm.BigMemory, host: int, slot: memoryview
) -> None:
    source = writable()[kind]
    slot[:16] = bytes(16)
    assert pool.copy_data(source, host, 16, H2G) == 0, mf.get_last_err_msg()
    assert bytes(slot[:16]) == TEXT

    slot[:16] = TEXT[::-1]
    assert pool.copy_data(host, source, 16, G2H) == 0, mf.get_last_err_msg()
    assert bytes_of(source) == TEXT[::-1]


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_must_hold_what_is_copied(kind: str, pool: bm.BigMemory, host: int) -> None:
    source = writable()[kind]
    size = 16 if kind != "mmap" else mmap.PAGESIZE
    assert pool.copy_data(source, host, size + 1, H2G) == INVALID
    assert f"src_ptr holds {size} bytes" in mf.get_last_err_msg()
    assert pool.copy_data(host, source, size + 1, G2H) == INVALID
    assert f"dst_ptr holds {size} bytes" in mf.get_last_err_msg()


def read_only() -> dict[str, Any]:
    frozen = np.frombuffer(TEXT, np.uint8)
    return {
        "bytes": TEXT,
        "memoryview": memoryview(TEXT),
        "numpy": frozen,
        "array interface": ArrayInterface(frozen),
    }


@pytest.mark.parametrize("kind", sorted(read_only()))
def test_read_only_memory_is_a_source_but_no_destination(
    kind: str, pool: bm.BigMemory, host: int, slot: memoryview
) -> None:
    source = read_only()[kind]
    assert pool.copy_data(source, host, 16, H2G) == 0, mf.get_last_err_msg()
    assert bytes(slot[:16]) == TEXT
    with pytest.raises(TypeError, match="dst_ptr"):
        pool.copy_data(host, source, 16, G2H)
    with pytest.raises(TypeError, match=r"dst_addrs\[0\]"):
        pool.copy_data_batch([host], [source], [16], 1, G2H)


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        1.0,
        "text",
        object(),
        [1],
        {},
        np.zeros(32, np.uint8)[::2],
        memoryview(bytearray(32))[::2],
        ArrayInterface(np.zeros((4, 4), np.uint8), strides=(8, 1)),
        ArrayInterface(np.zeros(4), typestr="?"),
        ArrayInterface(np.zeros(4), data=None),
        ArrayInterface(np.zeros(4), shape=(-1,)),
        Tensor(np.zeros(4), contiguous=False),
    ],
    ids=lambda wrong: type(wrong).__name__,
)
def test_what_is_no_address(wrong: Any, pool: bm.BigMemory, host: int) -> None:
    for call in (
        lambda: pool.copy_data(wrong, host, 4, H2G),
        lambda: pool.copy_data(host, wrong, 4, G2H),
        lambda: pool.copy_data_batch([wrong], [host], [4], 1, H2G),
        lambda: pool.register(wrong, 4),
    ):
        with pytest.raises(TypeError):
            call()


def test_memory_of_another_device_is_refused(pool: bm.BigMemory, host: int) -> None:
    class Gpu:
        type = "cuda"

    tensor = Tensor(np.zeros(16, np.uint8))
    tensor.device = Gpu()
    with pytest.raises(TypeError, match="cuda"):
        pool.copy_data(tensor, host, 16, H2G)


def test_what_an_attribute_raises_is_raised(pool: bm.BigMemory, host: int) -> None:
    class Broken:
        def data_ptr(self) -> int:
            raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        pool.copy_data(Broken(), host, 4, H2G)


LISTS: dict[str, Callable[[list[int]], Any]] = {
    "list": list,
    "tuple": tuple,
    "uint64 array": lambda numbers: np.array(numbers, np.uint64),
    "int64 array": lambda numbers: np.array(numbers, np.int64),
    "array of Q": lambda numbers: array.array("Q", numbers),
    "array of l": lambda numbers: array.array("l", numbers),
    "memoryview": lambda numbers: memoryview(array.array("Q", numbers)),
    "list of numpy numbers": lambda numbers: [np.uint64(number) for number in numbers],
    "part of a larger array": lambda numbers: np.array([0, *numbers, 0], np.uint64)[1:-1],
}


@pytest.mark.parametrize("form", sorted(LISTS))
def test_lists_by(form: str, pool: bm.BigMemory, host: int, slot: memoryview) -> None:
    make = LISTS[form]
    source = np.arange(300, dtype=np.uint8)
    slot[:300] = bytes(300)
    sources = make([source.ctypes.data + offset for offset in (0, 100, 250)])
    destinations = make([host + offset for offset in (0, 100, 250)])
    assert pool.copy_data_batch(sources, destinations, make([100, 150, 50]), 3, H2G) == 0, (
        mf.get_last_err_msg()
    )
    assert bytes(slot[:300]) == source.tobytes()


def test_a_list_of_objects(pool: bm.BigMemory, host: int, slot: memoryview) -> None:
    sources = [b"abcd", bytearray(b"efgh"), np.frombuffer(b"ijkl", np.uint8)]
    assert pool.copy_data_batch(sources, [host, host + 4, host + 8], [4, 4, 4], 3, H2G) == 0, (
        mf.get_last_err_msg()
    )
    assert bytes(slot[:12]) == b"abcdefghijkl"
    assert pool.copy_data_batch(sources, [host, host + 4, host + 8], [4, 5, 4], 3, H2G) == INVALID
    assert "src_addrs[1] holds 4 bytes" in mf.get_last_err_msg()


@pytest.mark.parametrize(
    "wrong",
    [np.zeros(1, np.float64), np.zeros((1, 1), np.uint64), 1, None, "1", ["1"], [1.5]],
    ids=repr,
)
def test_what_is_no_list_of_numbers(wrong: Any, pool: bm.BigMemory, host: int) -> None:
    for call in (
        lambda: pool.copy_data_batch(wrong, [host], [1], 1, H2G),
        lambda: pool.copy_data_batch([host], wrong, [1], 1, G2H),
        lambda: pool.copy_data_batch([bytearray(8)], [host], wrong, 1, H2G),
    ):
        with pytest.raises(TypeError):
            call()


def test_negative_numbers_in_arrays(pool: bm.BigMemory, host: int) -> None:
    negative = np.array([-1], np.int64)
    assert pool.copy_data_batch(negative, [host], [8], 1, H2G) == INVALID
    assert "src_addrs[0] is -1" in mf.get_last_err_msg()
    assert pool.copy_data_batch([bytearray(8)], [host], negative, 1, H2G) == INVALID
    assert "sizes[0] is -1" in mf.get_last_err_msg()


@pytest.mark.parametrize("count", [0, 1, 3, 1 << 32, 1 << 40])
def test_count_is_the_length_of_the_lists(count: int, pool: bm.BigMemory, host: int) -> None:
    source = bytearray(16)
    assert pool.copy_data_batch([source] * 2, [host] * 2, [8] * 2, count, H2G) == INVALID
    assert "count" in mf.get_last_err_msg()


def test_lists_of_different_lengths(pool: bm.BigMemory, host: int) -> None:
    source = bytearray(16)
    assert pool.copy_data_batch([source] * 2, [host] * 3, [8] * 2, 2, H2G) == INVALID
    assert "dst_addrs 3" in mf.get_last_err_msg()


def test_a_list_that_changes_while_it_is_read(pool: bm.BigMemory, host: int) -> None:
    class Emptying:
        def __index__(self) -> int:
            sizes.clear()
            return 8

    sizes: list[Any] = [Emptying(), 8]
    assert pool.copy_data_batch([bytearray(8)] * 2, [host, host + 8], sizes, 2, H2G) == 0, (
        mf.get_last_err_msg()
    )
