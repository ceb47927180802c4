"""
Shared Memory: every rank contributes the same size and sees all of it at gva + rank * size.

Ranks create an object together. Then they read and write each other's memory: directly on one host,
by view() or a kernel of their own, and by put() and get() anywhere. They meet by barrier(),
all_gather(), signals and atomics, named as in OpenSHMEM.

    import memfabric_hybrid as mf
    import numpy as np

    # rank 0 serves the store there
    if mf.shm.initialize("tcp://127.0.0.1:8570", 2, rank, 0, mf.shm.ShmConfig()):
        raise RuntimeError(mf.get_last_err_msg())
    shm = mf.shm.create(0, 2, rank, 2 << 20)  # returns when both are there

    shm.put_signal(1 - rank, 4096, np.arange(1000.0), 0, 1)  # the bytes, then cell 0 becomes 1
    shm.wait_until(0, mf.shm.ShmCmp.EQ, 1, writer=1 - rank)
    print(np.frombuffer(shm.view(rank), np.float64, 1000, 4096).sum())
    shm.barrier()

Functions that return a code return 0 or a negative memfabric_hybrid.ErrorCode, and never raise for
a failure at run time; memfabric_hybrid.get_last_err_msg() says what was wrong. create(),
all_gather(), get(), view() and others that return a value raise RuntimeError. An int that doesn't
fit is INVALID_PARAM; a wrong type raises TypeError. Ctrl-C ends any call that waits.
"""

from collections.abc import Sequence
import enum

import memfabric_hybrid._types


class ShareMemory:
    """
    Symmetric memory of several ranks, as this rank holds it.

    create() makes it. Rank r's memory begins at gva + r * symmetric_size in every process. On one host
    ranks can read and write it there, or by view(). Offsets are bytes from the begin of a rank's
    memory. Any thread may call any method. Methods that return a code return 0 or a negative ErrorCode,
    and get_last_err_msg() then says why. An object that is no longer referred to is destroyed.
    """

    @property
    def local_rank(self) -> int:
        """This process's rank in the object."""

    @property
    def rank_size(self) -> int:
        """How many ranks the object has."""

    @property
    def gva(self) -> int:
        """Where rank 0's memory begins."""

    @property
    def symmetric_size(self) -> int:
        """Bytes from the begin of one rank's memory to the next one's: the size."""

    def __repr__(self) -> str: ...

    def set_context(self, context: memfabric_hybrid._types.SupportsBuffer) -> int:
        """
        Keeps 1 to 65536 bytes for this process's kernels.

        Kernels find them by smem_shm_get_extra_context_addr(gva).
        Returns 0. INVALID_PARAM (-2000): another length.
        """

    def destroy(self, flags: int = 0) -> int:
        """
        Ends this rank's part in the object. Not collective.

        Calls in other threads end with an error. Views stay valid.

        flags: reserved.
        Returns 0. OBJECT_NOT_EXISTS (-2007): destroyed before.
        """

    def query_support_data_operation(self) -> int:
        """What this machine really has, as bits of ShmDataOpType."""

    def topology_can_reach(self, remote_rank: int, reach_info: memfabric_hybrid._types.SupportsBuffer | list[int] | int) -> int:
        """
        Writes how a rank can be reached now to `reach_info`, as bits of ShmDataOpType.

        reach_info: a writable buffer of 4 bytes (ctypes.c_uint32), or a list, whose first element becomes
            the bits. An int is accepted and tells nothing; reachable_ops() returns the bits.
        Returns 0. INVALID_PARAM (-2000): a bad rank, or a buffer that is too small.
        """

    def reachable_ops(self, remote_rank: int) -> int:
        """
        How a rank can be reached now, as bits of ShmDataOpType; 0 for one that has gone.

        Raises RuntimeError for a bad rank.
        """

    def path(self, rank: int) -> str:
        """
        The path that puts and gets to a rank take.

        Returns 'mapped' (the same host: loads and stores), 'tcp' or 'tcp+tls'.
        Raises RuntimeError when the rank isn't there.
        """

    def view(self, rank: int) -> memoryview:
        """
        A rank's memory, on the same host, without a copy.

        It stays valid after the rank's death and after destroy().
        Raises RuntimeError: a bad rank, or one on another host.

        >>> np.frombuffer(shm.view(1), np.float32)[:4] = 1.0
        """

    def tensor(self, rank: int, shape: Sequence[int] | int | None = None, dtype: str = 'uint8', offset: int = 0) -> object:
        """
        A rank's memory as an array that has __dlpack__, without a copy.

        It is for numpy.from_dlpack, torch.from_dlpack and the like.

        shape: None: one dimension, up to the end of the memory.
        dtype: 'uint8' to 'int64', 'float16', 'bfloat16', 'float32', 'float64'.
        offset: bytes from the begin of the rank's memory.
        Raises RuntimeError as view() does.

        >>> weights = np.from_dlpack(shm.tensor(0, (1024, 64), 'float32'))
        """

    def barrier(self, group: tuple[str, int, int] | None = None) -> int:
        """
        Returns when every rank has called it.

        What a rank wrote before it, the others see after it.

        group: (key, size, rank): only the `size` ranks that call with the same key, of which this is
            `rank`. A key has 1 to 128 bytes. The ranks meet in the store when a key is first used, and in
            microseconds from then on. An object has room for 45 keys.
        Returns 0. NOT_CONNECTED (-2014): a rank died or left; get_last_err_msg() names it and the ranks
            that are left. TIMEOUT (-2004): get_last_err_msg() names the ranks that did not call it within
            operation_timeout; a second call goes on waiting for the same barrier.
        Threads: any. Calls of several threads are taken one after another, and each counts as one call of
            this rank.
        """

    def all_gather(self, local_data: memfabric_hybrid._types.SupportsBuffer, group: tuple[str, int, int] | None = None) -> bytes:
        """
        The bytes that every rank gives, in the order of ranks. A barrier, too.

        local_data: bytes, or anything with a buffer; 1 to 65536 bytes, as many on every rank.
        group: as barrier().
        Raises RuntimeError with a message that names the rank that gave another length, died or did not
            come.

        >>> shm.all_gather(b'%04d' % shm.local_rank)
        b'00000001'
        """

    def live_ranks(self) -> list[int]:
        """
        The ranks that have neither died nor left, this one included.

        Raises RuntimeError when the object is destroyed.
        """

    def alloc_value(self, limit: int = 1024) -> int:
        """
        The lowest number below `limit` that no rank owns.

        The number is this rank's until release_value(), or until the rank goes.

        limit: 1 to 1024.
        Raises RuntimeError: all numbers are taken, or rank 0, which keeps them, has gone.
        """

    def release_value(self, value: int) -> int:
        """
        Gives a number of alloc_value() back.

        Returns 0. OBJECT_NOT_EXISTS (-2007): the number isn't this rank's.
        """

    def put(self, rank: int, offset: int, data: memfabric_hybrid._types.Address, size: int | None = None, blocking: bool = True) -> int:
        """
        Copies bytes to `offset` of a rank's memory, on this host or another.

        data: anything with a buffer (bytes, numpy array, torch CPU tensor), or an address.
        size: bytes; required for an address.
        blocking: False: the call may return before the bytes are in place. quiet() waits for them, and
            `data` must not change until then.
        Returns 0. INVALID_PARAM (-2000): a bad rank, or a range that leaves its memory. NOT_CONNECTED
            (-2014): the rank has gone.
        """

    def get(self, rank: int, offset: int, size: int) -> bytes:
        """
        Gives `size` bytes from `offset` of a rank's memory.

        get_into() takes a buffer of yours instead. Raises RuntimeError.
        """

    def get_into(self, rank: int, offset: int, out: memfabric_hybrid._types.Address, size: int | None = None, blocking: bool = True) -> int:
        """
        Copies from `offset` of a rank's memory to `out`, a writable buffer or an address.

        Other arguments and codes as put().
        """

    def put_signal(self, rank: int, offset: int, data: memfabric_hybrid._types.Address, signal_offset: int, value: int, op: ShmSignalOp | int = ShmSignalOp.SET, size: int | None = None) -> int:
        """
        Puts, then sets the 8-byte cell at `signal_offset` of the same rank, or adds to it.

        Whoever sees the signal, by wait_until() or an atomic, sees the bytes. Other arguments and codes as
        put().
        """

    def wait_until(self, offset: int, cmp: ShmCmp | int, value: int, writer: int | None = None) -> int:
        """
        Waits until this rank's own 8-byte cell at `offset` compares true with `value`.

        The comparison is unsigned. Signals and atomics are seen at once, puts and plain stores within a
        millisecond. What was written before the cell is then seen, too.

        writer: the rank that is expected to write the cell; its end ends the wait. None: the end of any
            rank does.
        Returns 0. NOT_CONNECTED (-2014): the writer has gone. TIMEOUT (-2004): operation_timeout has
            passed.
        """

    def fence(self) -> int:
        """
        At each rank, this thread's puts before the call are seen before its puts after it.
        """

    def quiet(self) -> int:
        """
        Waits until all puts and gets of this thread are in place.

        Returns 0. NOT_CONNECTED (-2014): a rank on another host has gone.
        """

    def atomic_fetch_add(self, rank: int, offset: int, value: int) -> int:
        """
        Adds to the 8-byte cell at `offset` of a rank's memory; returns what it held before.

        Atomics are sequentially consistent, in one order for each cell, whoever does them from wherever.
        They come after this thread's earlier puts to that rank.

        offset: a multiple of 8.
        value: -2**63 to 2**64 - 1; sums wrap.
        Raises RuntimeError.
        """

    def atomic_swap(self, rank: int, offset: int, value: int) -> int:
        """
        Stores `value`; returns what the cell held before. As atomic_fetch_add().
        """

    def atomic_fetch_and(self, rank: int, offset: int, value: int) -> int:
        """Bitwise and; returns what the cell held before. As atomic_fetch_add()."""

    def atomic_fetch_or(self, rank: int, offset: int, value: int) -> int:
        """Bitwise or; returns what the cell held before. As atomic_fetch_add()."""

    def atomic_fetch_xor(self, rank: int, offset: int, value: int) -> int:
        """
        Bitwise exclusive or; returns what the cell held before. As atomic_fetch_add().
        """

    def atomic_fetch(self, rank: int, offset: int) -> int:
        """Returns what the cell holds. As atomic_fetch_add()."""

    def atomic_set(self, rank: int, offset: int, value: int) -> int:
        """Stores `value`, as atomic_swap(); returns a code."""

    def atomic_compare_swap(self, rank: int, offset: int, condition: int, value: int) -> int:
        """
        Stores `value` if the cell holds `condition`; returns what it held before.

        Otherwise as atomic_fetch_add().
        """

class ShmCmp(enum.IntEnum):
    """What wait_until() asks of a cell, unsigned; numbers as OpenSHMEM's."""

    EQ = 0
    """The cell equals the value."""

    NE = 1
    """The cell doesn't equal the value."""

    GT = 2
    """The cell is greater than the value."""

    LE = 3
    """The cell is at most the value."""

    LT = 4
    """The cell is less than the value."""

    GE = 5
    """The cell is at least the value."""

class ShmConfig:
    """
    Settings of initialize().

    Attributes take ints and bools; anything else raises TypeError. A number out of range is
    INVALID_PARAM from initialize().
    """

    def __init__(self) -> None:
        """A config with the values that each attribute names."""

    @property
    def init_timeout(self) -> int:
        """Seconds that initialize() may take, 1 to 4294967295. At first 120."""

    @init_timeout.setter
    def init_timeout(self, arg: int, /) -> None: ...

    @property
    def create_timeout(self) -> int:
        """
        Seconds that create() waits for the other ranks, 1 to 4294967295. At first 120.
        """

    @create_timeout.setter
    def create_timeout(self, arg: int, /) -> None: ...

    @property
    def operation_timeout(self) -> int:
        """
        Seconds that any other wait for ranks may take, such as barrier(), 1 to 4294967295. At first
        120.
        """

    @operation_timeout.setter
    def operation_timeout(self, arg: int, /) -> None: ...

    @property
    def start_store(self) -> bool:
        """
        Whether rank 0 serves a tcp:// store, and ranks of its host take it over. At first True.
        """

    @start_store.setter
    def start_store(self, value: bool | None, /) -> None: ...

    @property
    def flags(self) -> int:
        """Reserved. At first 0."""

    @flags.setter
    def flags(self, arg: int, /) -> None: ...

    def __repr__(self) -> str: ...

    def __reduce__(self) -> tuple[object, ...]:
        """For copy and pickle."""

class ShmDataOpType(enum.IntFlag):
    """How an object is to be used; also, as bits, how a rank can be reached."""

    __str__ = __repr__

    def __repr__(self, /):
        """Return repr(self)."""

    MTE = 1
    """Loads and stores: ranks of one host."""

    SDMA = 2
    """Copies by the library: put(), get(), atomics."""

    ROCE = 4
    """RDMA where the host has it; RDMA is another name of it."""

    RDMA = 4
    """RDMA where the host has it; RDMA is another name of it."""

class ShmSignalOp(enum.IntEnum):
    """What put_signal() does to the signal's cell."""

    SET = 0
    """Stores the value in the cell."""

    ADD = 1
    """Adds the value to the cell."""

def create(id: int, rank_size: int, rank_id: int, local_mem_size: int, data_op_type: ShmDataOpType | int = ShmDataOpType.MTE, flags: int = 0) -> ShareMemory:
    """
    Creates object `id` together with its other ranks; returns when all have mapped each other.

    id: 0 to 63; a process has each at most once, and may have it again after destroy().
    rank_size: how many ranks the object has, 1 to world_size.
    rank_id: this process's rank in the object, which may differ from initialize()'s.
    local_mem_size: bytes of each rank, the same on all: a multiple of 2 MiB from 2 MiB to 64 GiB.
    data_op_type: ShmDataOpType. Where the machine doesn't have it, the next best is used and a warning
        says so; with the environment variable MEMFABRIC_STRICT=1 create() fails. Several bits: any of
        them will do. Unknown bits are ignored.
    flags: hints. Bits 0-6: NUMA node; 0, 127 and a node that doesn't exist are the kernel's choice.
        Bit 7: back the memory at once.
    Raises RuntimeError on every rank, with a message that names the ranks that did not come within
        create_timeout, died, or gave another size or rank_size. Nothing is left behind.

    >>> shm = mf.shm.create(0, 2, rank, 2 << 20)
    >>> shm.barrier()
    0
    """

def initialize(store_url: str | bytes, world_size: int, rank_id: int, device_id: int, config: ShmConfig) -> int:
    """
    Takes a rank of the job at a store; returns once this process has it.

    store_url: 'tcp://host:port' (served by rank 0, see ShmConfig.start_store) or
        'etcd://h1:p1,h2:p2[/prefix]'.
    world_size: how many ranks there may be, 1 to 1024.
    rank_id: this process's rank, below that. It has nothing to do with Big Memory's.
    device_id: one that memfabric_hybrid.devices() lists; without devices any of 0 to 65535.
    Returns 0, also when called again with equal arguments; with others REPEAT_CALL (-2005).
        INVALID_PARAM (-2000): get_last_err_msg() names the argument, its value and the limit.
        DUPLICATED_OBJECT (-2006): a live process holds the rank; the message names it.
        TIMEOUT (-2004), NOT_CONNECTED (-2014): the store didn't answer within init_timeout.

    >>> mf.shm.initialize('tcp://127.0.0.1:8570', 2, 0, 0, mf.shm.ShmConfig())
    0
    """

def uninitialize(flags: int = 0) -> None:
    """
    Destroys this process's objects and gives its rank back. Harmless when not initialized.

    flags: reserved.
    """

__all__: list = ['ShareMemory', 'ShmCmp', 'ShmConfig', 'ShmDataOpType', 'ShmSignalOp', 'create', 'initialize', 'uninitialize']
