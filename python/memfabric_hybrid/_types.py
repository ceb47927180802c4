"""The types of arguments, for annotations."""

from __future__ import annotations

from typing import Any, Callable, Iterable, Protocol, Union


class SupportsBuffer(Protocol):
    """An object with the buffer protocol: numpy array, bytearray, memoryview, array.array, mmap."""

    def __buffer__(self, flags: int, /) -> memoryview: ...


class SupportsArrayInterface(Protocol):
    """An object that describes its memory by numpy's __array_interface__."""

    @property
    def __array_interface__(self) -> dict[str, Any]: ...


class SupportsDataPointer(Protocol):
    """A torch CPU tensor, or what looks like one."""

    data_ptr: Callable[[], int]


class SupportsDlpack(Protocol):
    """An object that exports its (CPU) memory by DLPack."""

    def __dlpack__(self, *args: Any, **kwargs: Any) -> Any: ...


#: An address: an int, a ctypes pointer (the address that it holds), or an object with contiguous
#: memory.
Address = Union[int, SupportsBuffer, SupportsArrayInterface, SupportsDataPointer, SupportsDlpack]
#: Addresses: whatever iterates over them, or a one-dimensional array of ints, which is read without
#: a copy if it is of uint64 or int64.
AddressList = Union[Iterable[Address], SupportsBuffer, SupportsDlpack]
#: Ints: whatever iterates over them, or a one-dimensional array of them, which is read without a
#: copy if it is of uint64 or int64.
IntList = Union[Iterable[int], SupportsBuffer, SupportsDlpack]
