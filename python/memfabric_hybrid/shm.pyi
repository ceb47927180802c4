"""
Shared Memory: every rank contributes the same size, and sees everybody's at gva + rank * size.

Ranks create an object together; then they read and write each other's memory directly (on one host,
by view() or a kernel of their own) or by put() and get() (anywhere), and meet by barrier(),
all_gather(), signals and atomics, named as in OpenSHMEM.

    import memfabric_hybrid as mf
    import numpy as np

    if mf.shm.initialize("tcp://127.0.0.1:8570", 2, rank, 0, mf.shm.ShmConfig()):   # rank 0 serves
    the store there
        raise RuntimeError(mf.get_last_err_msg())
    shm = mf.shm.create(0, 2, rank, 2 << 20)                                        # returns when
    both are there

    shm.put_signal(1 - rank, 4096, np.arange(1000.0), 0, 1)                         # the bytes,
    then cell 0 becomes 1 shm.wait_until(0, mf.shm.ShmCmp.EQ, 1, writer=1 - rank)
    print(np.frombuffer(shm.view(rank), np.float64, 1000, 4096).sum())
    shm.barrier()

Functions that return a code return 0 or a negative memfabric_hybrid.ErrorCode and never raise for a
failure at run time; memfabric_hybrid.get_last_err_msg() says what was wrong. create(),
all_gather(), get(), view() and what else gives a value raises RuntimeError. An int that doesn't fit
is INVALID_PARAM; a wrong type is TypeError. Ctrl-C ends any call that waits.
"""

from collections.abc import Sequence
import enum

import memfabric_hybrid._types


class ShareMemory:
    """
    Symmetric memory of several ranks, as this rank holds it; made by
    create().

    Rank r's memory begins at gva + r * symmetric_size, in every process alike; between ranks of one
    host it can be read and written there, or by view(). Offsets count from the begin of a rank's
    memory. Methods may be called from any thread; those that return a code return 0 or a negative
    ErrorCode, and get_last_err_msg() then says why. An object that is no longer referred to is
    destroyed.
    """

    @property
    def local_rank(self) -> int:
        """This process's rank in the object."""

    @property
    def rank_size(self) -> int:
        """How many ranks it has."""

    @property
    def gva(self) -> int:
        """Where rank 0's memory begins."""

    @property
    def symmetric_size(self) -> int:
        """Bytes from one rank's memory to the next one's: the size."""

    def __repr__(self) -> str: ...

    def set_context(self, context: memfabric_hybrid._types.SupportsBuffer) -> int:
        """
        Keeps 1 to 65536 bytes for this process's kernels, which find them by
        smem_shm_get_extra_context_addr(gva).

        Returns 0. INVALID_PARAM (-2000): another length.
        """

    def destroy(self, flags: int = 0) -> int:
        """
        Ends this rank's part; not collective. Calls in other threads end with an error; views
        stay valid.

        flags: reserved. Returns 0. OBJECT_NOT_EXISTS (-2007): destroyed before.
        """

    def query_support_data_operation(self) -> int:
        """Bits of ShmDataOpType: what this machine really has."""

    def topology_can_reach(self, remote_rank: int, reach_info: memfabric_hybrid._types.SupportsBuffer | list[int] | int) -> int:
        """
        By what a rank is reached now, as bits of ShmDataOpType.

        reach_info: gets the bits when it is a writable buffer of 4 bytes (ctypes.c_uint32) or a list (its
            first element); an int is accepted, and then reachable_ops() says them.
        Returns 0. INVALID_PARAM (-2000): a bad rank, or a buffer that is too small.
        """

    def reachable_ops(self, remote_rank: int) -> int:
        """
        The bits of topology_can_reach(); 0 for a rank that has gone. Raises RuntimeError for a bad rank.
        """

    def path(self, rank: int) -> str:
        """
        How puts and gets go to a rank: 'mapped', 'tcp', … Raises RuntimeError.
        """

    def view(self, rank: int) -> memoryview:
        """
        A rank's memory, on the same host, without a copy. It stays valid after the rank's
        death and after destroy().

        Raises RuntimeError: a bad rank, or one on another host.

        >>> np.frombuffer(shm.view(1), np.float32)[:4] = 1.0
        """

    def tensor(self, rank: int, shape: Sequence[int] | int | None = None, dtype: str = 'uint8', offset: int = 0) -> object:
        """
        The same as an array that has __dlpack__: for numpy.from_dlpack, torch.from_dlpack and the
        like, without a copy.

        shape: None: one dimension, up to the end. dtype: 'uint8' to 'int64', 'float16', 'bfloat16',
            'float32', 'float64'.
        offset: bytes from the begin of the rank's memory. Raises RuntimeError.

        >>> weights = np.from_dlpack(shm.tensor(0, (1024, 64), 'float32'))
        """

    def barrier(self, group: tuple[str, int, int] | None = None) -> int:
        """
        Returns when every rank has called it; what a rank wrote before, the others see after.

        group: (key, size, rank): only the `size` ranks that call with the same key (1 to 128 bytes), of
            which this is `rank`. They meet through the store when a key is first used, later in
            microseconds; at most 45 keys an object.
        Returns 0. NOT_CONNECTED (-2014): a rank died or left; get_last_err_msg() names it and who is left.
            TIMEOUT (-2004): names who did not call it within operation_timeout; calling it again goes on
            waiting for the same barrier.
        Threads: any; calls of several threads are taken one after another, each counts as one of this
        rank's.
        """

    def all_gather(self, local_data: memfabric_hybrid._types.SupportsBuffer, group: tuple[str, int, int] | None = None) -> bytes:
        """
        The bytes that every rank gives, in the order of ranks. A barrier, too.

        local_data: bytes, or anything with a buffer: 1 to 65536 bytes, as many on every rank.
        group: as barrier().
        Raises RuntimeError with a message that names the rank that gave another length, died or did not
        come.

        >>> shm.all_gather(b'%04d' % shm.local_rank)
        b'00000001'
        """

    def live_ranks(self) -> list[int]:
        """
        The ranks that are there, this one included: those that have neither died nor left. Raises RuntimeError when destroyed.
        """

    def alloc_value(self, limit: int = 1024) -> int:
        """
        The lowest number below `limit` (1 to 1024) that no rank owns; it is this rank's until
        release_value(), or its end.

        Raises RuntimeError: all are taken, or rank 0, which keeps them, has gone.
        """

    def release_value(self, value: int) -> int:
        """
        Gives a number of alloc_value() back. Returns 0. OBJECT_NOT_EXISTS (-2007): it isn't this rank's.
        """

    def put(self, rank: int, offset: int, data: memfabric_hybrid._types.Address, size: int | None = None, blocking: bool = True) -> int:
        """
        Copies bytes to `offset` of a rank's memory, on this host or another.

        data: anything with a buffer (bytes, numpy array, torch CPU tensor), or an address; then give its
            size.
        blocking: with False it may return before the bytes are in place; quiet() waits for them, and `data`
            must not change until then.
        Returns 0. INVALID_PARAM (-2000): a bad rank, or a range that leaves its memory. NOT_CONNECTED
        (-2014): the rank has gone.
        """

    def get(self, rank: int, offset: int, size: int) -> bytes:
        """
        `size` bytes from `offset` of a rank's memory. Raises RuntimeError; get_into() takes a buffer of yours instead.
        """

    def get_into(self, rank: int, offset: int, out: memfabric_hybrid._types.Address, size: int | None = None, blocking: bool = True) -> int:
        """
        Copies from `offset` of a rank's memory to `out`, a writable buffer or an address. Arguments and codes as put().
        """

    def put_signal(self, rank: int, offset: int, data: memfabric_hybrid._types.Address, signal_offset: int, value: int, op: ShmSignalOp | int = ShmSignalOp.SET, size: int | None = None) -> int:
        """
        Puts, then sets (or adds to) the 8-byte cell at `signal_offset` of the same rank.

        Whoever sees the signal, by wait_until() or an atomic, sees the bytes. Other arguments and codes as
        put().
        """

    def wait_until(self, offset: int, cmp: ShmCmp | int, value: int, writer: int | None = None) -> int:
        """
        Waits until this rank's own 8-byte cell at `offset` compares true with `value`,
        unsigned.

        writer: the rank that is expected to write it: its end ends the wait. None: any rank's death does.
        Returns 0: what was written before the cell is then seen, too. NOT_CONNECTED (-2014): the writer has
        gone. TIMEOUT (-2004): operation_timeout has passed. Signals and atomics are seen at once, puts and
        plain stores within a millisecond.
        """

    def fence(self) -> int:
        """
        This thread's puts before it are seen before those after it, at each rank.
        """

    def quiet(self) -> int:
        """
        Waits until all puts and gets of this thread are in place. Returns 0, or NOT_CONNECTED (-2014).
        """

    def atomic_fetch_add(self, rank: int, offset: int, value: int) -> int:
        """
        Adds to the 8-byte cell at `offset` (a multiple of 8) of a rank's memory; what it held
        before.

        Sequentially consistent, in one order for each cell, whoever does it from wherever; after this
        thread's earlier puts to that rank. value: from -2**63 to 2**64 - 1; sums wrap. Raises
        RuntimeError.
        """

    def atomic_swap(self, rank: int, offset: int, value: int) -> int:
        """Stores `value`; what the cell held before. As atomic_fetch_add()."""

    def atomic_fetch_and(self, rank: int, offset: int, value: int) -> int:
        """Bitwise and; what the cell held before. As atomic_fetch_add()."""

    def atomic_fetch_or(self, rank: int, offset: int, value: int) -> int:
        """Bitwise or; what the cell held before. As atomic_fetch_add()."""

    def atomic_fetch_xor(self, rank: int, offset: int, value: int) -> int:
        """
        Bitwise exclusive or; what the cell held before. As atomic_fetch_add().
        """

    def atomic_fetch(self, rank: int, offset: int) -> int:
        """What the cell holds. As atomic_fetch_add()."""

    def atomic_set(self, rank: int, offset: int, value: int) -> int:
        """Stores `value`, as atomic_swap(); returns a code."""

    def atomic_compare_swap(self, rank: int, offset: int, condition: int, value: int) -> int:
        """
        Stores `value` if the cell holds `condition`; what it held before. As atomic_fetch_add().
        """

class ShmCmp(enum.IntEnum):
    """What wait_until() asks of a cell, unsigned; numbers as OpenSHMEM's."""

    EQ = 0

    NE = 1

    GT = 2

    LE = 3

    LT = 4

    GE = 5

class ShmConfig:
    """
    Settings of initialize(). Attributes take ints and bools; anything
    else raises TypeError.

    A number out of range is reported by initialize(), as INVALID_PARAM.
    """

    def __init__(self) -> None:
        """A config with the values given at each attribute."""

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
        The same for everything else that waits for other ranks, such as barrier(). At first 120.
        """

    @operation_timeout.setter
    def operation_timeout(self, arg: int, /) -> None: ...

    @property
    def start_store(self) -> bool:
        """
        Whether rank 0 serves the store at a tcp:// url, and others of its host may take over. At first True.
        """

    @start_store.setter
    def start_store(self, value: bool | None, /) -> None: ...

    @property
    def flags(self) -> int:
        """Reserved, 0."""

    @flags.setter
    def flags(self, arg: int, /) -> None: ...

    def __repr__(self) -> str: ...

    def __reduce__(self) -> tuple[object, ...]:
        """For copy and pickle."""

class ShmDataOpType(enum.IntFlag):
    """
    How an object shall be used, and the bits of what reaches a
    rank.
    """

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

    ADD = 1

def create(id: int, rank_size: int, rank_id: int, local_mem_size: int, data_op_type: ShmDataOpType | int = ShmDataOpType.MTE, flags: int = 0) -> ShareMemory:
    """
    Creates object `id` together with its other ranks; returns when all have mapped each other.

    id: 0 to 63; a process has each at most once, and may have it again after destroy().
    rank_size: how many ranks it has, 1 to world_size. rank_id: this process's rank in it, which may
        differ from initialize()'s.
    local_mem_size: bytes of each rank, the same on all: a multiple of 2 MiB from 2 MiB to 64 GiB.
    data_op_type: ShmDataOpType; where the machine doesn't have it, the next best is used and a warning
        says so, or create() fails with the environment variable MEMFABRIC_STRICT=1. Several bits: any
        of them will do; unknown ones are ignored.
    flags: hints: bits 0-6 NUMA node (0, 127 and one that isn't there: the kernel's choice), bit 7 back
        the memory at once.
    Raises RuntimeError on every rank, with a message that names those that did not come within
    create_timeout, died, or gave another size or rank_size; nothing is left behind.

    >>> shm = mf.shm.create(0, 2, rank, 2 << 20)
    >>> shm.barrier()
    0
    """

def initialize(store_url: str | bytes, world_size: int, rank_id: int, device_id: int, config: ShmConfig) -> int:
    """
    Joins this process to the ranks at a store; returns once it has its rank.

    store_url: 'tcp://host:port' (served by rank 0, see ShmConfig.start_store) or
        'etcd://h1:p1,h2:p2[/prefix]'.
    world_size: how many ranks there may be, 1 to 1024. rank_id: this process's, below that. Big
        Memory's ranks are others.
    device_id: one that memfabric_hybrid.devices() lists; without devices any of 0 to 65535.
    Returns 0, also when called again with equal arguments (REPEAT_CALL, -2005, with others).
        INVALID_PARAM (-2000): get_last_err_msg() names the argument, its value and the limit.
        DUPLICATED_OBJECT (-2006): a live process holds the rank; the message names it.
        TIMEOUT (-2004), NOT_CONNECTED (-2014): the store didn't answer within init_timeout.

    >>> mf.shm.initialize('tcp://127.0.0.1:8570', 2, 0, 0, mf.shm.ShmConfig())
    0
    """

def uninitialize(flags: int = 0) -> None:
    """
    Destroys this process's objects and gives its rank back. Harmless when not initialized. flags: reserved.
    """

__all__: list = ['ShareMemory', 'ShmCmp', 'ShmConfig', 'ShmDataOpType', 'ShmSignalOp', 'create', 'initialize', 'uninitialize']
