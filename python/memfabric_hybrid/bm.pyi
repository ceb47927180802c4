"""
Big Memory: a pool of host and device memory that up to 1024 ranks (processes) contribute and use
as one.

Every process sees the pool at the same 64-bit global addresses, linear in rank:
pool.peer_rank_ptr(r) is where rank r's part begins. A process joins the ranks once (initialize),
opens a pool (create) and joins it; from then on it copies to and from any rank by address.

    import memfabric_hybrid as mf
    import numpy as np

    config = mf.bm.BmConfig()
    config.rank_id = 0                                           # each process its own; or
    config.auto_ranking = True if mf.bm.initialize("tcp://127.0.0.1:8570", 2, 0, config):   # rank 0
    serves the store there
        raise RuntimeError(mf.get_last_err_msg())
    pool = mf.bm.create(0, 1 << 30)                              # 1 GiB of host memory
    pool.join()

    block = np.arange(1 << 20, dtype=np.uint8)
    peer = pool.peer_rank_ptr(1, mf.bm.BmMemType.HOST)
    pool.copy_data(block, peer, block.nbytes, mf.bm.BmCopyType.H2G)

Functions that return a code return 0 or a negative memfabric_hybrid.ErrorCode and never raise for a
failure at run time; memfabric_hybrid.get_last_err_msg() says what was wrong. create(), create2(),
view(), path() and members() raise RuntimeError. An int that doesn't fit is INVALID_PARAM; a wrong
type is TypeError. Ctrl-C ends any call that waits.
"""

from collections.abc import Callable
import enum

import memfabric_hybrid._types


class BigMemory:
    """
    A pool of memory, as this rank holds it; made by create() or
    create2().

    Global addresses are ints, the same in every process: peer_rank_ptr(rank) is where a rank's part
    begins. Methods may be called from any thread; those that return a code return 0 or a negative
    ErrorCode, and get_last_err_msg() then says why. A pool that is no longer referred to is
    destroyed.
    """

    def join(self, flags: int = 0) -> int:
        """
        Makes this rank's memory part of the pool. Not collective.

        When it has returned 0, this rank reaches every rank that had joined before, and every one of them
        reaches it. flags: reserved.
        Returns 0, also when joined already. TIMEOUT (-2004): a rank didn't answer within
        operation_timeout.
        """

    def leave(self, flags: int = 0) -> int:
        """
        Takes this rank's memory out of the pool; others' later copies to it fail with
        NOT_CONNECTED. It may join again.

        flags: reserved.
        Returns 0. NOT_STARTED (-2003): not joined.
        """

    def local_mem_size(self, mem_type: BmMemType | int = BmMemType.DEVICE) -> int:
        """
        Bytes that this rank contributes: HOST or LOCAL_HOST for host memory, DEVICE or LOCAL_DEVICE for device memory.
        """

    def peer_rank_ptr(self, peer_rank: int, mem_type: BmMemType | int = BmMemType.DEVICE) -> int:
        """
        The global address at which a rank's part begins.

        peer_rank: any rank below the world size, joined or not.
        mem_type: HOST or DEVICE.
        Returns 0 for another rank, and for memory that the pool has none of. On the same host the memory
        there can be read and written directly once the rank has joined; view() is the safe way.
        """

    def get_rank_id_by_gva(self, gva: memfabric_hybrid._types.Address) -> int:
        """
        The rank whose part holds the global address `gva`; 4294967295 for none.
        """

    def gva_to_va(self, gva: memfabric_hybrid._types.Address, mem_type: BmMemType | int = BmMemType.LOCAL_HOST) -> int:
        """
        The address at which this process can load and store what is at the global address `gva`.

        Returns 0 when there is none: the rank is on another host, hasn't joined, or contributes nothing
        there.
        """

    def register(self, addr: memfabric_hybrid._types.Address, size: int) -> int:
        """
        Announces memory of this process that is often a copy's local side. Never required.

        addr: its first byte, or the object that has it; keep that alive until unregister().
        size: bytes, 1 and up.
        Returns 0, also for the same range again. INVALID_PARAM (-2000): null or size 0. DUPLICATED_OBJECT
            (-2006): it overlaps another registration.
        """

    def unregister(self, addr: memfabric_hybrid._types.Address) -> int:
        """
        Takes the registration that begins at `addr` back.

        Returns 0. OBJECT_NOT_EXISTS (-2007): there is none.
        """

    def copy_data(self, src_ptr: memfabric_hybrid._types.Address, dst_ptr: memfabric_hybrid._types.Address, size: int, type: BmCopyType | int, flags: int = 0, stream: int = 0, timeout: float | None = None) -> int:
        """
        Copies `size` bytes between this process and the pool, or within the pool.

        src_ptr, dst_ptr: an address (int, or the one that a ctypes pointer such as c_void_p holds) or an
            object with contiguous memory: buffer protocol (numpy array, bytearray, memoryview),
            __array_interface__, data_ptr() (torch CPU tensor) or __dlpack__. The destination must be
            writable (TypeError). The pool's side is a global address: peer_rank_ptr(rank) + offset.
        size: bytes, 1 to 2**63 - 1. The global side must lie in what its ranks contribute, an object must
            hold as much.
        type: BmCopyType; AUTO decides by the addresses.
        flags: 0, or the sum of: 1 to return at once (then wait(); an object is kept alive until then), 2
            accepted without effect, 4 to use `stream`. Other bits are ignored.
        stream: with flag 4.
        timeout: seconds for the call as a whole, None for no such bound; not for what flag 1 leaves to
            later. Without it a copy goes on as long as bytes move, and ends when none have for
            operation_timeout.
        Returns 0 once the bytes are in place at the destination and visible to its owner, after this
            thread's earlier copies. INVALID_PARAM (-2000): nothing was copied; get_last_err_msg() names the
            argument, its value and the limit. An int below 0 or above 2**64 - 1 is that too. NOT_CONNECTED
            (-2014): the peer hasn't joined, left or died; the destination range may hold part of the bytes.
        Threads: any. The GIL is released for more than 64 KiB, and for every wait.

        >>> there = pool.peer_rank_ptr(1, mf.bm.BmMemType.HOST)
        >>> pool.copy_data(block, there, block.nbytes, mf.bm.BmCopyType.H2G)
        0
        """

    def copy_data_batch(self, src_addrs: memfabric_hybrid._types.AddressList, dst_addrs: memfabric_hybrid._types.AddressList, sizes: memfabric_hybrid._types.IntList, count: int, type: BmCopyType | int, flags: int = 0, stream: int = 0, timeout: float | None = None) -> int:
        """
        Makes `count` copies; all are checked before the first byte moves.

        They take effect in the order of the lists: copies that share memory which one of them writes move
        one after the other, all others in any order, several at once.

        src_addrs, dst_addrs: as many addresses, in a list or tuple (whose elements may be whatever
            copy_data() takes) or a one-dimensional contiguous array of uint64 or int64, which is taken
            without a copy; slower: other arrays of ints, and whatever else iterates.
        sizes: as many sizes in bytes, in the same forms (ints only).
        count: 1 to 4294967295, the length of each of the three.
        type: as copy_data(); it is judged for each copy.
        flags, stream, timeout: as copy_data().
        Returns 0 once all bytes are in place. INVALID_PARAM (-2000): lengths that differ, count 0, a
            negative number, or any copy that copy_data() would refuse; nothing was copied. NOT_CONNECTED
            (-2014): as copy_data(); earlier copies may have been made.
        Raises TypeError when an element is no address or int, and names it; for arrays of other types or
        shapes, too.

        >>> blocks = np.arange(4, dtype=np.uint64) * 4096
        >>> sizes = np.full(4, 4096, np.uint64)
        >>> pool.copy_data_batch(local + blocks, remote + blocks, sizes, 4, mf.bm.BmCopyType.H2G)
        0
        """

    def extend_local_mem(self, mem_type: BmMemType | int = BmMemType.HOST, size: int = ...) -> int:
        """
        Adds memory to what this rank contributes, in place; peers reach the new part when it
        returns.

        mem_type: HOST or DEVICE.
        size: bytes to add, a multiple of 2 MiB; the sum is limited by the pool's maximum. Required.
        Returns 0.
        """

    def set_group_event_handler(self, fn: Callable[[int, BmGroupEvent], object] | None) -> int:
        """
        Sets who is told of other ranks' coming and going.

        fn: called as fn(rank_id, BmGroupEvent) when another rank joins, leaves or dies; in order, on a
            thread of the library's, with the GIL. What it raises goes to sys.unraisablehook. None removes
            it. Nothing waits for it but what follows; at most 4096 events wait, more are dropped with a
            warning.
        Returns 0. When it has returned (to any other thread than the handler's), the former function is not
        running any more, unless it has not returned for 5 s: a warning says so, and it is left to itself.
        So do destroy() and uninitialize().
        """

    def wait(self) -> int:
        """
        Waits for all asynchronous copies (flags=1) that any thread issued on this object
        before.

        They are carried out in the order of their issue as far as they concern the same rank, or one writes
        what another reads or writes; others side by side, so that a slow rank delays no copies to the rest.

        Returns 0, or the first error among those that ended since the last wait(). TIMEOUT (-2004):
            operation_timeout has passed, and
        they are still under way.
        """

    def destroy(self) -> None:
        """
        Leaves the pool and gives up this rank's memory; again does nothing.

        Other methods then fail with OBJECT_NOT_EXISTS. Views stay valid.
        """

    def path(self, peer_rank: int) -> str:
        """
        The path that copies between this rank and another take: 'mapped' (the same host: loads and
        stores).

        Raises RuntimeError when the rank isn't there.
        """

    def view(self, rank: int, mem_type: BmMemType | int = BmMemType.HOST) -> memoryview:
        """
        What a rank of the same host contributes, as writable memory, without a copy.

        The memory stays mapped as long as the view (or what was made of it, such as a numpy array) exists,
        also after the rank has died and the pool has been destroyed.
        Raises RuntimeError: the rank hasn't joined, is on another host, or contributes nothing of that
        kind.

        >>> np.frombuffer(pool.view(1), np.uint8)[:4]
        array([0, 0, 0, 0], dtype=uint8)
        """

    def members(self) -> list[Member]:
        """
        The ranks that are joined, this one included, by rank. Raises RuntimeError when the pool is destroyed.
        """

    def stats(self) -> dict[int, dict[str, dict[str, int]]]:
        """
        What has gone to and from each rank since the pool was created: rank -> path ->
        counts; only what isn't 0.

        The paths are those of path(), and 'none' for tries when there was no path. Of each: bytes: copied,
            counted at each rank whose memory a copy read or wrote. operations: the copies and elements of
            batches that those were, by rank; large ones count in several pieces. errors: tries that ended
            because the rank could not be reached. retries: tries to reach it again.
        Raises RuntimeError when the pool is destroyed.

        >>> pool.stats()
        {1: {'mapped': {'bytes': 4096, 'operations': 1, 'errors': 0, 'retries': 0}}}
        """

    def __repr__(self) -> str: ...

class BmConfig:
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
        """Seconds that create() may take, 1 to 4294967295. At first 120."""

    @create_timeout.setter
    def create_timeout(self, arg: int, /) -> None: ...

    @property
    def operation_timeout(self) -> int:
        """
        Seconds that join(), leave(), wait() and the like may take, 1 to 4294967295. At first 120.
        """

    @operation_timeout.setter
    def operation_timeout(self, arg: int, /) -> None: ...

    @property
    def start_store(self) -> bool:
        """
        Whether rank 0 serves the store (with auto-ranking: the first process on the store's host that binds the port). At first True.
        """

    @start_store.setter
    def start_store(self, value: bool | None, /) -> None: ...

    @property
    def start_store_only(self) -> bool:
        """
        True: initialize() starts the store and returns; create() then fails. At first False.
        """

    @start_store_only.setter
    def start_store_only(self, value: bool | None, /) -> None: ...

    @property
    def dynamic_world_size(self) -> bool:
        """
        True: world_size may differ between ranks, a pool's being its first creator's. Either way it is a capacity: ranks come and go in any order, and nothing waits for all of them. At first False.
        """

    @dynamic_world_size.setter
    def dynamic_world_size(self, value: bool | None, /) -> None: ...

    @property
    def unified_address_space(self) -> bool:
        """
        Must be True: every process sees a pool at the same addresses. At first True.
        """

    @unified_address_space.setter
    def unified_address_space(self, value: bool | None, /) -> None: ...

    @property
    def auto_ranking(self) -> bool:
        """
        True: a rank is assigned, the lowest free one; rank_id is ignored. At first False.
        """

    @auto_ranking.setter
    def auto_ranking(self, value: bool | None, /) -> None: ...

    @property
    def rank_id(self) -> int:
        """
        This process's rank, below world_size. At first 65535, which stands for none: one is assigned.
        """

    @rank_id.setter
    def rank_id(self, arg: int, /) -> None: ...

    @property
    def flags(self) -> int:
        """Reserved. At first 0."""

    @flags.setter
    def flags(self, arg: int, /) -> None: ...

    @property
    def data_tls(self) -> bool:
        """
        True: what goes between hosts is encrypted (TLS 1.3, with keys from the store). All ranks of a pool must say the same, and the store must use TLS (set_conf_store_tls): initialize() fails otherwise, for who can read the store's traffic can read the keys. The environment variable MEMFABRIC_DATA_TLS=1 does it with any store. At first False.
        """

    @data_tls.setter
    def data_tls(self, value: bool | None, /) -> None: ...

    @property
    def nic(self) -> str:
        """What set_nic() was given, '' at first; setting it does the same."""

    @nic.setter
    def nic(self, nic: str | bytes | None, /) -> None: ...

    def set_nic(self, nic: str | bytes | None) -> None:
        """
        Picks the network interface that the data plane binds to.

        nic: 'tcp://ip:port', 'tcp://ip/maskbits:port' (the interface in that network) or an interface's
            name, or several of them with commas between, of which the first that there is is used; 63 bytes
            at most. The addresses 0.0.0.0 and [::], with any mask, the empty string and None leave the
            choice to the library.
        A port is the first of a range, so that all ranks of a host may give the same: rank r listens at
        port + r, or if that is taken at the next free one from port + world_size on. Port 0, or none: the
        kernel's choice.
        Raises ValueError when it is longer or malformed.
        """

    def __repr__(self) -> str: ...

    def __reduce__(self) -> tuple[object, ...]:
        """For copy and pickle."""

class BmCopyType(enum.IntEnum):
    """
    Source and destination of a copy.

    G is the pool (host or device memory, by the address), GH its host memory; L this process's device
    memory, H its host memory.
    """

    L2G = 0
    """Local device memory to the pool."""

    G2L = 1
    """The pool to local device memory."""

    G2H = 2
    """The pool to host memory."""

    H2G = 3
    """Host memory to the pool."""

    L2GH = 4
    """Local device memory to the pool's host memory."""

    GH2L = 5
    """The pool's host memory to local device memory."""

    GH2H = 6
    """The pool's host memory to host memory."""

    H2GH = 7
    """Host memory to the pool's host memory."""

    G2G = 8
    """The pool to the pool, any two ranks."""

    AUTO = 9
    """The addresses decide."""

class BmDataOpType(enum.IntEnum):
    """
    The path that a pool's copies should take.

    Where the machine doesn't have it, the next best is taken and a warning says so once;
    BigMemory.path() tells which. With the environment variable MEMFABRIC_STRICT=1 create() fails
    instead.
    """

    SDMA = 1
    """The best there is."""

    HOST_RDMA = 2

    HOST_TCP = 4

    DEVICE_RDMA = 8
    """RDMA where the host has it; ROCE is another name of it."""

    HOST_URMA = 16

    HOST_SHM = 32

    DEVICE_URMA = 64

    DEVICE_UBOE = 128

    ROCE = 8
    """RDMA where the host has it; ROCE is another name of it."""

class BmGroupEvent(enum.IntEnum):
    """What a group event handler is told."""

    JOIN_EVENT = 0
    """Another rank joined the pool."""

    LEAVE_EVENT = 1
    """Another rank left it, or died."""

class BmMemType(enum.IntEnum):
    """
    Which memory. Of a pool, the LOCAL_ ones stand for this rank's own part.
    """

    LOCAL_DEVICE = 0

    LOCAL_HOST = 1

    DEVICE = 2

    HOST = 3

class Member:
    """A live rank of a pool, as members() lists it."""

    @property
    def rank(self) -> int:
        """Its rank."""

    @property
    def host(self) -> str:
        """Name of its host."""

    @property
    def pid(self) -> int:
        """Its process, on that host."""

    @property
    def epoch(self) -> int:
        """Grows with each process that takes the rank."""

    @property
    def host_bytes(self) -> int:
        """Host memory that it contributes, in bytes."""

    @property
    def device_bytes(self) -> int:
        """Device memory that it contributes, in bytes."""

    def __repr__(self) -> str: ...

def bm_rank_id() -> int:
    """This process's rank; 4294967295 before initialize()."""

def create(id: int, local_dram_size: int, local_hbm_size: int = 0, data_op_type: BmDataOpType | int = BmDataOpType.SDMA, flags: int = 0) -> BigMemory:
    """
    Opens pool `id` and contributes memory to it; BigMemory.join() then makes it part of
    the pool.

    id: 0 to 63; a process opens each at most once.
    local_dram_size, local_hbm_size: bytes of host and device memory that this rank contributes,
        multiples of 2 MiB up to 2 TiB and 64 GiB. The pool's maximum a rank is what the first
        contributing rank gives: less is fine, more is an error (create2() sets the maximum). A rank
        that contributes nothing waits up to create_timeout for the first that does.
    data_op_type: BmDataOpType.
    flags: bits 0-6 NUMA node (127: automatic; one that isn't there is a warning, an error with
        MEMFABRIC_STRICT=1), bit 7 fault the memory in at once; bit 8 see create2(); bits 9 and 10
        hints.
    Raises RuntimeError with a message that names the argument, its value and the limit; nothing is left
    behind.

    >>> pool = mf.bm.create(0, 1 << 30)
    >>> pool.join()
    0
    """

def create2(id: int, local_dram_size: int, max_dram_size: int, local_hbm_size: int = 0, max_hbm_size: int = 0, data_op_type: BmDataOpType | int = BmDataOpType.SDMA, enable_56bits_gva: bool = False, flags: int = 0, shm_fd: int = -1, tag: str = '', tag_op_info: str = '') -> BigMemory:
    """
    As create(), with the pool's maximum a rank given; BigMemory.extend_local_mem() may
    grow up to it.

    max_dram_size, max_hbm_size: bytes, multiples of 2 MiB, not both 0; the same on all ranks, else an
        error that names the rank and both values.
    enable_56bits_gva: addresses above 2**48, which are numbers only; BigMemory.gva_to_va() gives the
    usable ones. flags: as create(); bit 8: host memory is that of the file `shm_fd`, which is ignored
    otherwise.
    tag, tag_op_info: the user's own, at most 31 and 255 bytes.
    Raises RuntimeError.
    """

def initialize(store_url: str | bytes, world_size: int, device_id: int, config: BmConfig) -> int:
    """
    Joins this process to the ranks at a store; returns once it has its rank.

    store_url: 'tcp://host:port' (served by one of the ranks, see BmConfig.start_store) or
        'etcd://h1:p1,h2:p2[/prefix]'.
    world_size: how many ranks there may be, 1 to 1024; far fewer may ever come.
    device_id: one that memfabric_hybrid.devices() lists; without devices any of 0 to 65535.
    config: BmConfig.
    Returns 0, also when called again with equal arguments (REPEAT_CALL, -2005, with others).
        INVALID_PARAM (-2000): get_last_err_msg() names the argument, its value and the limit.
        DUPLICATED_OBJECT (-2006): a live process holds the rank; the message names it.
        RESOURCE_IN_USE (-2009): all ranks are taken, or something else has the store's port.
        TIMEOUT (-2004), NOT_CONNECTED (-2014): the store didn't answer within init_timeout.

    >>> config = mf.bm.BmConfig()
    >>> config.rank_id = 0
    >>> mf.bm.initialize('tcp://127.0.0.1:8570', 2, 0, config)
    0
    """

def uninitialize(flags: int = 0) -> None:
    """
    Destroys this process's pools and gives its rank back. Harmless when not initialized. flags: reserved.
    """

def update_store_url(store_url: str | bytes) -> int:
    """
    The store moved: connects there and publishes this rank again. Data paths go on meanwhile.

    store_url: as initialize().
    Returns 0. NOT_INITIALIZED (-2008): before initialize().
    """

__all__: list = ['BigMemory', 'BmConfig', 'BmCopyType', 'BmDataOpType', 'BmGroupEvent', 'BmMemType', 'Member', 'bm_rank_id', 'create', 'create2', 'initialize', 'uninitialize', 'update_store_url']
