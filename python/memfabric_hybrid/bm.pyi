"""
Big Memory: a pool of host and device memory that up to 1024 ranks contribute and use as one.

Every process sees the pool at the same 64-bit global addresses, which are linear in rank:
pool.peer_rank_ptr(r) is where rank r's part begins. A process takes a rank once (initialize), opens
a pool (create) and joins it. From then on it copies to and from any rank by address.

    import memfabric_hybrid as mf
    import numpy as np

    config = mf.bm.BmConfig()
    config.rank_id = 0  # each process its own; or config.auto_ranking = True
    if mf.bm.initialize("tcp://127.0.0.1:8570", 2, 0, config):  # rank 0 serves the store there
        raise RuntimeError(mf.get_last_err_msg())
    pool = mf.bm.create(0, 1 << 30)  # 1 GiB of host memory
    pool.join()

    block = np.arange(1 << 20, dtype=np.uint8)
    peer = pool.peer_rank_ptr(1, mf.bm.BmMemType.HOST)
    pool.copy_data(block, peer, block.nbytes, mf.bm.BmCopyType.H2G)

Functions that return a code return 0 or a negative memfabric_hybrid.ErrorCode, and never raise for
a failure at run time; memfabric_hybrid.get_last_err_msg() says what was wrong. create(), create2(),
view(), path(), members() and stats() raise RuntimeError. An int that doesn't fit is INVALID_PARAM;
a wrong type raises TypeError. Ctrl-C ends any call that waits.
"""

from collections.abc import Callable
import enum

import memfabric_hybrid._types


class BigMemory:
    """
    A pool of memory, as this rank holds it.

    create() and create2() make it. Global addresses are ints, the same in every process:
    peer_rank_ptr(rank) is where a rank's part begins. Any thread may call any method. Methods that
    return a code return 0 or a negative ErrorCode, and get_last_err_msg() then says why. A pool that is
    no longer referred to is destroyed.
    """

    def join(self, flags: int = 0) -> int:
        """
        Makes this rank's memory part of the pool. Not collective.

        When it has returned 0, this rank reaches every rank that had joined before, and every one of them
        reaches it.

        flags: reserved.
        Returns 0, also when joined already. TIMEOUT (-2004): a rank didn't answer within
            operation_timeout.
        """

    def leave(self, flags: int = 0) -> int:
        """
        Takes this rank's memory out of the pool.

        Later copies of others to this rank fail with NOT_CONNECTED. It may join again.

        flags: reserved.
        Returns 0. NOT_STARTED (-2003): not joined.
        """

    def local_mem_size(self, mem_type: BmMemType | int = BmMemType.DEVICE) -> int:
        """The bytes of such memory that this rank contributes."""

    def peer_rank_ptr(self, peer_rank: int, mem_type: BmMemType | int = BmMemType.DEVICE) -> int:
        """
        The global address at which a rank's part begins.

        peer_rank: any rank below the world size, joined or not.
        mem_type: HOST or DEVICE.
        Returns 0 for any other rank, and for memory that the pool has none of. On the same host the memory
            can be read and written directly once the rank has joined; view() is the safe way.
        """

    def get_rank_id_by_gva(self, gva: memfabric_hybrid._types.Address) -> int:
        """
        The rank whose part holds the global address `gva`; 4294967295 for none.
        """

    def gva_to_va(self, gva: memfabric_hybrid._types.Address, mem_type: BmMemType | int = BmMemType.LOCAL_HOST) -> int:
        """
        The address at which this process can load and store what is at the global address `gva`.

        Returns 0 when there is none: the rank is on another host, hasn't joined, or contributes no memory
            there.
        """

    def register(self, addr: memfabric_hybrid._types.Address, size: int) -> int:
        """
        Announces memory of this process that is often a copy's local side. Never required.

        addr: the first byte, or the object that has the memory; keep that alive until unregister().
        size: bytes, 1 and up.
        Returns 0, also for the same range again. INVALID_PARAM (-2000): null or size 0. DUPLICATED_OBJECT
            (-2006): the range overlaps another registration.
        """

    def unregister(self, addr: memfabric_hybrid._types.Address) -> int:
        """
        Takes back the registration that begins at `addr`.

        Returns 0. OBJECT_NOT_EXISTS (-2007): no such registration.
        """

    def copy_data(self, src_ptr: memfabric_hybrid._types.Address, dst_ptr: memfabric_hybrid._types.Address, size: int, type: BmCopyType | int, flags: int = 0, stream: int = 0, timeout: float | None = None) -> int:
        """
        Copies `size` bytes between this process and the pool, or within the pool.

        src_ptr, dst_ptr: an address (an int, or what a ctypes pointer such as c_void_p holds), or an object
            with contiguous memory: buffer protocol (numpy array, bytearray, memoryview),
            __array_interface__, data_ptr() (torch CPU tensor) or __dlpack__. A destination that can't be
            written to is a TypeError. The pool's side is a global address: peer_rank_ptr(rank) + offset.
        size: bytes, 1 to 2**63 - 1. The global side lies in what its ranks contribute; an object holds at
            least as much.
        type: BmCopyType; AUTO decides by the addresses.
        flags: 0, or a sum of 1: return at once, and keep objects alive until wait(); 2: accepted, without
            effect; 4: `stream` is given. Other bits are ignored.
        stream: has no effect, because pools have no device streams.
        timeout: seconds for the call as a whole. None: the copy goes on as long as bytes move, and ends
            when none have moved for operation_timeout. It doesn't bound what flag 1 leaves to other
            threads.
        Returns 0 once the bytes are in place at the destination and visible to its owner, after this
            thread's earlier copies. INVALID_PARAM (-2000): nothing was copied; get_last_err_msg() names the
            argument, its value and the limit. An int below 0 or above 2**64 - 1 is one case of it.
            NOT_CONNECTED (-2014): the peer hasn't joined, has left or died; the destination may hold a part
            of the bytes.
        Threads: any. The GIL is released for more than 64 KiB and for every wait.

        >>> there = pool.peer_rank_ptr(1, mf.bm.BmMemType.HOST)
        >>> pool.copy_data(block, there, block.nbytes, mf.bm.BmCopyType.H2G)
        0
        """

    def copy_data_batch(self, src_addrs: memfabric_hybrid._types.AddressList, dst_addrs: memfabric_hybrid._types.AddressList, sizes: memfabric_hybrid._types.IntList, count: int, type: BmCopyType | int, flags: int = 0, stream: int = 0, timeout: float | None = None) -> int:
        """
        Makes `count` copies; all are checked before the first byte moves.

        They take effect in the order of the lists: copies that share memory which one of them writes move
        one after the other. Other copies move in any order, several at once.

        src_addrs, dst_addrs: `count` addresses, in a list or tuple (whose elements may be whatever
            copy_data() takes), or a one-dimensional contiguous array of uint64 or int64, which is read
            without a copy. Other arrays of ints, and anything else that iterates, are slower.
        sizes: `count` sizes in bytes, in the same forms; ints only.
        count: 1 to 4294967295, the length of each of the three.
        type: as copy_data(); AUTO is judged for each copy.
        flags, stream, timeout: as copy_data().
        Returns 0 once all bytes are in place. INVALID_PARAM (-2000): lengths that differ, count 0, a
            negative number, or any copy that copy_data() would refuse; nothing was copied. NOT_CONNECTED
            (-2014): as copy_data(); other copies of the batch may have been made.
        Raises TypeError when an element is no address or int, and names it; also for arrays of other types
            or shapes.

        >>> blocks = np.arange(4, dtype=np.uint64) * 4096
        >>> sizes = np.full(4, 4096, np.uint64)
        >>> pool.copy_data_batch(local + blocks, remote + blocks, sizes, 4, mf.bm.BmCopyType.H2G)
        0
        """

    def extend_local_mem(self, mem_type: BmMemType | int = BmMemType.HOST, size: int = ...) -> int:
        """
        Adds memory to what this rank contributes, in place.

        Peers reach the new part when it returns.

        mem_type: HOST or DEVICE.
        size: bytes to add, a multiple of 2 MiB. The sum is at most the pool's maximum. Required.
        Returns 0.
        """

    def set_group_event_handler(self, fn: Callable[[int, BmGroupEvent], object] | None) -> int:
        """
        Sets the function that hears of other ranks' coming and going.

        fn: called as fn(rank_id, BmGroupEvent) when another rank joins, leaves or dies; in order, on a
            thread of the library's, with the GIL. What it raises goes to sys.unraisablehook. At most 4096
            events wait; further ones are dropped with a warning. None removes the function.
        Returns 0. This call, destroy() and uninitialize() wait until the former function isn't running,
            unless it makes the call itself. After 5 s a warning says so, and it is left to itself.
        """

    def wait(self) -> int:
        """
        Waits for all asynchronous copies (flags=1) that any thread issued on this object.

        Asynchronous copies keep the order of their issue where they concern the same rank, and where one
        writes what another reads or writes. The others run side by side, so that a slow rank delays no
        copies to other ranks.

        Returns 0, or the first error among those that ended since the last wait(). TIMEOUT (-2004):
            operation_timeout has passed, and copies are still under way.
        """

    def destroy(self) -> None:
        """
        Leaves the pool and gives this rank's memory back; a second call does nothing.

        Other methods then fail with OBJECT_NOT_EXISTS. Views stay valid.
        """

    def path(self, peer_rank: int) -> str:
        """
        The path that copies between this rank and another take.

        Returns 'mapped' (the same host: loads and stores), 'tcp' or 'tcp+tls'.
        Raises RuntimeError when the rank isn't there.
        """

    def view(self, rank: int, mem_type: BmMemType | int = BmMemType.HOST) -> memoryview:
        """
        What a rank of the same host contributes, as writable memory, without a copy.

        The memory stays mapped as long as the view (or what was made of it, such as a numpy array) exists,
        also after the rank has died and the pool has been destroyed.
        Raises RuntimeError: the rank hasn't joined, is on another host, or contributes no such memory.

        >>> np.frombuffer(pool.view(1), np.uint8)[:4]
        array([0, 0, 0, 0], dtype=uint8)
        """

    def members(self) -> list[Member]:
        """
        The ranks that have joined, this one included, by rank.

        Raises RuntimeError when the pool is destroyed.
        """

    def stats(self) -> dict[int, dict[str, dict[str, int]]]:
        """
        What has gone to and from each rank since the pool was created.

        Returns rank -> path -> counts, without those that are all 0. The paths are those of path(), and
            'none' where there was no path. bytes: copied; a copy counts at each rank whose memory it read
            or wrote. operations: copies, elements of batches, and pieces of large ones. errors: tries that
            failed because the rank could not be reached. retries: tries to reach it again.
        Raises RuntimeError when the pool is destroyed.

        >>> pool.stats()
        {1: {'mapped': {'bytes': 4096, 'operations': 1, 'errors': 0, 'retries': 0}}}
        """

    def __repr__(self) -> str: ...

class BmConfig:
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
        Whether rank 0 serves the store. At first True.

        Where ranks are assigned it is the first process on the store's host that binds the port.
        """

    @start_store.setter
    def start_store(self, value: bool | None, /) -> None: ...

    @property
    def start_store_only(self) -> bool:
        """
        True: initialize() starts the store and returns, and create() fails. At first False.
        """

    @start_store_only.setter
    def start_store_only(self, value: bool | None, /) -> None: ...

    @property
    def dynamic_world_size(self) -> bool:
        """
        True: world_size may differ between ranks. At first False.

        The pool's is then the first creator's. Either way world_size is a capacity: ranks come and go in
        any order, and nothing waits for all of them.
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
        This process's rank, below world_size. At first 65535: a rank is assigned.
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
        True: what goes between hosts is encrypted, by TLS 1.3. At first False.

        The keys come from the store. All ranks of a pool must say the same. The store must use TLS
            (set_conf_store_tls), or initialize()
        fails: whoever can read the store's traffic can read the keys. The environment variable
        MEMFABRIC_DATA_TLS=1 encrypts with any store.
        """

    @data_tls.setter
    def data_tls(self, value: bool | None, /) -> None: ...

    @property
    def nic(self) -> str:
        """
        What set_nic() was given; '' at first. Setting it does what set_nic() does.
        """

    @nic.setter
    def nic(self, nic: str | bytes | None, /) -> None: ...

    def set_nic(self, nic: str | bytes | None) -> None:
        """
        Chooses the network interface that the data plane listens at.

        nic: 'tcp://ip:port', 'tcp://ip/maskbits:port' (the interface in that network) or an interface's
            name, in at most 63 bytes; or several of them with commas between, of which the first that
            exists is used. The addresses 0.0.0.0 and [::], with any mask, the empty string and None leave
            the choice to the library.
        A port is the first of a range, so that all ranks of a host may be given the same: rank r listens at
        port + r. If that is taken, it listens at the next free port from port + world_size on. Port 0, or
        none: the kernel's choice.
        Raises ValueError when `nic` is longer or malformed.
        """

    def __repr__(self) -> str: ...

    def __reduce__(self) -> tuple[object, ...]:
        """For copy and pickle."""

class BmCopyType(enum.IntEnum):
    """
    Source and destination of a copy.

    L: device memory of this process. H: host memory of this process. G: the pool, whose address says
    which memory. GH: the pool's host memory.
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
    """The best path of this machine."""

    HOST_RDMA = 2
    """RDMA from host memory."""

    HOST_TCP = 4
    """TCP."""

    DEVICE_RDMA = 8
    """RDMA where the host has it; ROCE is another name of it."""

    HOST_URMA = 16
    """URMA from host memory."""

    HOST_SHM = 32
    """Shared memory of one host."""

    DEVICE_URMA = 64
    """URMA from device memory."""

    DEVICE_UBOE = 128
    """UBOE from device memory."""

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
    Which memory. In a pool LOCAL_DEVICE and LOCAL_HOST mean the same as DEVICE and HOST.
    """

    LOCAL_DEVICE = 0
    """Device memory of this rank."""

    LOCAL_HOST = 1
    """Host memory of this rank."""

    DEVICE = 2
    """Device memory."""

    HOST = 3
    """Host memory."""

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
    Opens pool `id` with memory of this rank, which BigMemory.join() makes part of it.

    id: 0 to 63; a process opens each at most once.
    local_dram_size, local_hbm_size: bytes of host and device memory that this rank contributes,
        multiples of 2 MiB, up to 2 TiB and 64 GiB. The pool's maximum a rank is what the first
        contributing rank gives. Less is fine, more is an error; create2() sets the maximum. A rank that
        contributes nothing waits up to create_timeout for the first that does.
    data_op_type: BmDataOpType.
    flags: bits 0-6: NUMA node, 127 for automatic; a node that doesn't exist is a warning, with
        MEMFABRIC_STRICT=1 an error. Bit 7: fault the memory in at once. Bit 8: see create2(). Bits 9
        and 10: hints.
    Raises RuntimeError with a message that names the argument, its value and the limit. Nothing is left
        behind.

    >>> pool = mf.bm.create(0, 1 << 30)
    >>> pool.join()
    0
    """

def create2(id: int, local_dram_size: int, max_dram_size: int, local_hbm_size: int = 0, max_hbm_size: int = 0, data_op_type: BmDataOpType | int = BmDataOpType.SDMA, enable_56bits_gva: bool = False, flags: int = 0, shm_fd: int = -1, tag: str = '', tag_op_info: str = '') -> BigMemory:
    """
    Opens a pool as create() does, with a given maximum a rank.

    max_dram_size, max_hbm_size: bytes, multiples of 2 MiB, not both 0, the same on all ranks. A
        mismatch is an error that names the rank and both values. BigMemory.extend_local_mem() grows up
        to them.
    enable_56bits_gva: addresses are numbers above 2**48; BigMemory.gva_to_va() gives usable ones.
    flags: as create(). Bit 8: host memory is that of the file `shm_fd`.
    shm_fd: ignored without bit 8.
    tag, tag_op_info: the user's own, at most 31 and 255 bytes.
    Raises RuntimeError.
    """

def initialize(store_url: str | bytes, world_size: int, device_id: int, config: BmConfig) -> int:
    """
    Takes a rank of the job at a store; returns once this process has it.

    store_url: 'tcp://host:port' (served by one of the ranks, see BmConfig.start_store) or
        'etcd://h1:p1,h2:p2[/prefix]'.
    world_size: how many ranks there may be, 1 to 1024; far fewer may ever come.
    device_id: one that memfabric_hybrid.devices() lists; without devices any of 0 to 65535.
    config: BmConfig.
    Returns 0, also when called again with equal arguments; with others REPEAT_CALL (-2005).
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
    Destroys this process's pools and gives its rank back. Harmless when not initialized.

    flags: reserved.
    """

def update_store_url(store_url: str | bytes) -> int:
    """
    Goes to the store's new place: connects there and publishes this rank again.

    Data paths go on meanwhile.

    store_url: as initialize().
    Returns 0. NOT_INITIALIZED (-2008): before initialize().
    """

__all__: list = ['BigMemory', 'BmConfig', 'BmCopyType', 'BmDataOpType', 'BmGroupEvent', 'BmMemType', 'Member', 'bm_rank_id', 'create', 'create2', 'initialize', 'uninitialize', 'update_store_url']
