"""
A memory fabric: processes on one or many hosts contribute memory and use it as one.

    bm              Big Memory: a pool that all ranks reach by global address. See
                    help(memfabric_hybrid.bm).
    shm             Shared Memory: symmetric memory with barriers, signals and atomics. See
                    help(memfabric_hybrid.shm).
    TransferEngine  Transfers between memory that two processes own already, by a peer's name and
                    address.

Here is what all of it shares: start and end, the log, the last error, the store, devices, and the
paths that C programs are built with. The package is a wrapper of the C interface (memfabric/smem.h)
with the same functions; it holds the GIL only while a Python object is touched or a copy is short,
and Ctrl-C ends any call that waits.

Functions that return a code return 0 or a negative ErrorCode; get_last_err_msg() then says, for the
calling thread, what was wrong, with the value, the limit and what to do.

    import memfabric_hybrid as mf

    code = mf.bm.initialize("tcp://127.0.0.1:8570", 2, 0, mf.bm.BmConfig())
    if code:
        print(mf.strerror(code), mf.get_last_err_msg())
"""

from collections.abc import Callable
import enum
from typing import overload

from memfabric_hybrid import bm as bm, shm as shm
from memfabric_hybrid._library import (
    get_include_path as get_include_path,
    get_lib_path as get_lib_path
)
from memfabric_hybrid._memory import empty as empty
import memfabric_hybrid._types


class Device:
    """A device whose memory pools can hold."""

    @property
    def id(self) -> int:
        """What initialize() takes as device_id."""

    @property
    def numa_node(self) -> int:
        """The NUMA node it is closest to, -1 for none."""

    @property
    def bytes(self) -> int:
        """Memory that it has in all."""

    @property
    def backend(self) -> str:
        """'host': ordinary memory of a NUMA node stands in for a device's."""

    @property
    def name(self) -> str:
        """For people."""

    def __repr__(self) -> str: ...

class ErrorCode(enum.IntEnum):
    """What functions that return a code return; 0 is success."""

    OK = 0

    ERROR = -1

    INVALID_PARAM = -2000

    MALLOC_FAILED = -2001

    NEW_OBJECT_FAILED = -2002

    NOT_STARTED = -2003

    TIMEOUT = -2004

    REPEAT_CALL = -2005

    DUPLICATED_OBJECT = -2006

    OBJECT_NOT_EXISTS = -2007

    NOT_INITIALIZED = -2008

    RESOURCE_IN_USE = -2009

    RECONNECT = -2010

    GET_OBJECT = -2011

    PARTIAL_FAILED = -2012

    NOT_CONNECTED = -2014

    NOT_SUPPORTED = -2015

    IO_ERROR = -2016

class Stream:
    """
    Transfers that are submitted: they run one after the other, beside the
    caller.

    Any number of streams may be used at once, each by any engine and any thread. What a transfer in
    flight reads and writes is kept alive until synchronize() or a query() that gives True, if it was
    passed as an object.
    """

    def __init__(self) -> None: ...

    @property
    def handle(self) -> int:
        """What the submit functions take instead of the object."""

    def synchronize(self) -> int:
        """
        Waits for all that was submitted before.

        Returns 0, or the first error since the last synchronize(), once. A transfer of which nothing moves
            for 120 s ends with TIMEOUT
        (-2004).
        """

    def query(self) -> bool:
        """
        Whether all that was submitted has ended. Errors stay for synchronize(). Raises RuntimeError once destroyed.
        """

    def destroy(self) -> None:
        """
        Waits for what was submitted and ends the stream; also done when it is no longer referred to.
        """

class TransDataOpType(enum.IntEnum):
    """
    The path that an engine's transfers should take.

    Where the machine doesn't have it, the best there is is taken and a warning says so;
    TransferEngine.path() tells which. With the environment variable MEMFABRIC_STRICT=1 initialize()
    fails instead.
    """

    SDMA = 1
    """The best there is."""

    HOST_RDMA = 2

    DEVICE_RDMA = 8

    DEVICE_URMA = 64

    DEVICE_UBOE = 128

class TransferEngine:
    """
    Reads and writes between memory that two processes own already.

    An engine has a name and registers memory; peers read and write that by its own addresses. An engine
    that is no longer referred to is destroyed. Several in one process are fine.

        engine = mf.TransferEngine()
        engine.initialize('tcp://127.0.0.1:8570', 'prefill-0', 'Prefill', 0)
        engine.register_memory(cache, cache.nbytes)  # peers may reach it from now on
        # an address that decode-0 has registered
        engine.transfer_sync_write('decode-0', block, address, block.nbytes)

    Functions that return a code return 0 or a negative ErrorCode; get_last_err_msg() says why.
    """

    def __init__(self) -> None: ...

    @overload
    def initialize(self, store_url: str | bytes, unique_id: str | bytes, role: str | bytes, device_id: int, data_op_type: TransDataOpType | int = TransDataOpType.SDMA, store_server_role: str | bytes | None = 'Decode', nic: str | bytes | None = '') -> int:
        """
        Makes the engine ready for transfers, and returns when it is.

        store_url: 'tcp://host:port' or 'etcd://h1:p1,h2:p2[/prefix]': a store where all engines find each
            other by name. '', 'tcp://host' or the engine's own unique_id: no shared store; each engine
            serves its record at its own address, unique_id is 'ip:port', and peers call it that. A bare ip
            or host name gets the port of get_rpc_port(); `name` is then what peers call it.
        unique_id: the engine's name: 1 to 255 printable characters without '/'. (session_id is another name
            of this argument.)
        role: 'Prefill', 'Decode' or 'Both'; any two may transfer, either way.
        device_id: one that memfabric_hybrid.devices() lists; without devices any of 0 to 65535.
        data_op_type: TransDataOpType.
        store_server_role: an engine of this role starts the store at store_url, if that is its own host and
            none answers; '' or None: 'Decode'.
        nic: as BmConfig.set_nic takes it; '' or None: chosen. The engine listens at the first free port
            from the given one on (1,024 are tried). Port 0, or none: the kernel's choice.
        Returns 0, also when called again with equal arguments (REPEAT_CALL, -2005, with others).
            DUPLICATED_OBJECT (-2006): a live engine has the name; the message names its process.
            TIMEOUT (-2004), NOT_CONNECTED (-2014): the store didn't answer within 120 s.

        >>> engine = mf.TransferEngine()
        >>> engine.initialize('tcp://127.0.0.1:8570', 'decode-0', 'Decode', 0)
        0
        """

    @overload
    def initialize(self, store_url: str | bytes, session_id: str | bytes, role: str | bytes, device_id: int, data_op_type: TransDataOpType | int = TransDataOpType.SDMA, store_server_role: str | bytes | None = 'Decode', nic: str | bytes | None = '') -> int:
        """The same, by the names of later releases."""

    def get_rpc_port(self) -> int:
        """
        A free port, 15000 to 25000, that no other engine of this host gets until this one is
        destroyed.

        The same each time; also before initialize(). A server of the caller's may listen there. A negative
        ErrorCode: none is free.
        """

    def register_memory(self, buffer_addr: memfabric_hybrid._types.Address, capacity: int) -> int:
        """
        Lets peers read and write memory, the moment this returns.

        buffer_addr: an address (int) or an object with memory. capacity: bytes, 1 and up. No alignment is
            asked.
        Returns 0, also for the same again. INVALID_PARAM (-2000): null or 0. DUPLICATED_OBJECT (-2006): it
        overlaps another registration (touching ones are fine). The object is not kept alive: unregister it
        before it goes.
        """

    def unregister_memory(self, buffer_addr: memfabric_hybrid._types.Address) -> int:
        """
        Ends the registration that begins there: waits for transfers in flight; none touches
        the memory afterwards.

        Returns 0. OBJECT_NOT_EXISTS (-2007): no such registration. TIMEOUT (-2004): a peer's transfer
        doesn't end (the peer is stopped): don't reuse the memory, call again.
        """

    def batch_register_memory(self, buffer_addrs: memfabric_hybrid._types.AddressList, capacities: memfabric_hybrid._types.IntList) -> int:
        """
        Registers up to 1,048,576 ranges, all or none. Lists as batch_transfer_sync_write() takes them.
        """

    @overload
    def transfer_sync_write(self, destflag: str | bytes, buffer: memfabric_hybrid._types.Address, peer_buffer_address: memfabric_hybrid._types.Address, length: int, flags: int = 0, timeout: float | None = None) -> int:
        """
        Writes to a peer's memory, once: returns when the bytes are in place.

        destflag: the peer's unique_id. (dest_session is another name of it, peer_buffer of
            peer_buffer_address.)
        buffer: an address (int, ctypes.c_void_p) or an object with memory (numpy array, torch CPU tensor,
            bytearray); it need not be registered.
        peer_buffer_address: an address of the peer's, in memory that it has registered (in one range or in
            touching ones).
        length: bytes, 1 to 2**63 - 1.
        flags: reserved.
        timeout: seconds for the call as a whole; then TIMEOUT (-2004). None: it goes on as long as bytes
            move, and ends when none have for 120 s.
        Returns 0 once the bytes are in place and visible to the peer, after this thread's earlier
            transfers. INVALID_PARAM (-2000): null, length 0, not registered there, or memory that isn't
            mapped; the message names the address. NOT_CONNECTED (-2014): the peer didn't appear within 5 s
            (MEMFABRIC_PEER_TIMEOUT), left or died; a part may have arrived.
        Threads: any; the GIL is released above 64 KiB and for every wait.
        """

    @overload
    def transfer_sync_write(self, dest_session: str | bytes, buffer: memfabric_hybrid._types.Address, peer_buffer: memfabric_hybrid._types.Address, length: int, flags: int = 0, timeout: float | None = None) -> int:
        """The same, by other names of its arguments."""

    @overload
    def transfer_sync_read(self, destflag: str | bytes, buffer: memfabric_hybrid._types.Address, peer_buffer_address: memfabric_hybrid._types.Address, length: int, flags: int = 0, timeout: float | None = None) -> int:
        """
        Reads a peer's memory, once: returns when the bytes are in place.

        destflag: the peer's unique_id. (dest_session is another name of it, peer_buffer of
            peer_buffer_address.)
        buffer: an address (int, ctypes.c_void_p) or an object with memory (numpy array, torch CPU tensor,
            bytearray); it need not be registered.
        peer_buffer_address: an address of the peer's, in memory that it has registered (in one range or in
            touching ones).
        length: bytes, 1 to 2**63 - 1.
        flags: reserved.
        timeout: seconds for the call as a whole; then TIMEOUT (-2004). None: it goes on as long as bytes
            move, and ends when none have for 120 s.
        Returns 0 once the bytes are in place and visible to the peer, after this thread's earlier
            transfers. INVALID_PARAM (-2000): null, length 0, not registered there, or memory that isn't
            mapped; the message names the address. NOT_CONNECTED (-2014): the peer didn't appear within 5 s
            (MEMFABRIC_PEER_TIMEOUT), left or died; a part may have arrived.
        Threads: any; the GIL is released above 64 KiB and for every wait.
        """

    @overload
    def transfer_sync_read(self, dest_session: str | bytes, buffer: memfabric_hybrid._types.Address, peer_buffer: memfabric_hybrid._types.Address, length: int, flags: int = 0, timeout: float | None = None) -> int:
        """The same, by other names of its arguments."""

    @overload
    def batch_transfer_sync_write(self, destflag: str | bytes, buffers: memfabric_hybrid._types.AddressList, peer_buffer_addresses: memfabric_hybrid._types.AddressList, lengths: memfabric_hybrid._types.IntList, flags: int = 0, timeout: float | None = None) -> int:
        """
        Writes to a peer's memory, a list of pieces at once, in as few system calls as can be.

        buffers, peer_buffer_addresses: as many addresses, in a list or tuple, or a one-dimensional
            contiguous array of uint64 or int64, which is taken without a copy, or whatever else iterates
            over them. lengths: as many ints, in the same forms.
        Returns 0 once all bytes are in place; errors as for one. After an error some pieces may have
            arrived. INVALID_PARAM as well: lists of different lengths, or empty; then nothing was moved.
            TypeError: an element is no address or int; the message names it.
        """

    @overload
    def batch_transfer_sync_write(self, destflag: str | bytes, buffer: memfabric_hybrid._types.AddressList, peer_buffer_address: memfabric_hybrid._types.AddressList, length: memfabric_hybrid._types.IntList, flags: int = 0, timeout: float | None = None) -> int: ...

    @overload
    def batch_transfer_sync_write(self, dest_session: str | bytes, buffers: memfabric_hybrid._types.AddressList, peer_buffers: memfabric_hybrid._types.AddressList, lengths: memfabric_hybrid._types.IntList, flags: int = 0, timeout: float | None = None) -> int:
        """The same, by other names of its arguments."""

    @overload
    def batch_transfer_sync_read(self, destflag: str | bytes, buffers: memfabric_hybrid._types.AddressList, peer_buffer_addresses: memfabric_hybrid._types.AddressList, lengths: memfabric_hybrid._types.IntList, flags: int = 0, timeout: float | None = None) -> int:
        """
        Reads a peer's memory, a list of pieces at once, in as few system calls as can be.

        buffers, peer_buffer_addresses: as many addresses, in a list or tuple, or a one-dimensional
            contiguous array of uint64 or int64, which is taken without a copy, or whatever else iterates
            over them. lengths: as many ints, in the same forms.
        Returns 0 once all bytes are in place; errors as for one. After an error some pieces may have
            arrived. INVALID_PARAM as well: lists of different lengths, or empty; then nothing was moved.
            TypeError: an element is no address or int; the message names it.
        """

    @overload
    def batch_transfer_sync_read(self, destflag: str | bytes, buffer: memfabric_hybrid._types.AddressList, peer_buffer_address: memfabric_hybrid._types.AddressList, length: memfabric_hybrid._types.IntList, flags: int = 0, timeout: float | None = None) -> int: ...

    @overload
    def batch_transfer_sync_read(self, dest_session: str | bytes, buffers: memfabric_hybrid._types.AddressList, peer_buffers: memfabric_hybrid._types.AddressList, lengths: memfabric_hybrid._types.IntList, flags: int = 0, timeout: float | None = None) -> int:
        """The same, by other names of its arguments."""

    @overload
    def transfer_async_write_submit(self, destflag: str | bytes, buffer: memfabric_hybrid._types.Address, peer_buffer_address: memfabric_hybrid._types.Address, length: int, stream: Stream | int, flags: int = 0) -> int:
        """
        Writes to a peer's memoryon a stream: returns at once.

        stream: a Stream or its handle; where there is a device, also the handle of a device's stream.
        Arguments are checked now, and lists copied; the memory must stay until the stream is synchronized.
        What goes wrong later is what Stream.synchronize() returns.
        Returns 0. INVALID_PARAM (-2000): as the synchronous function, or a stream that is none (any
        more).
        """

    @overload
    def transfer_async_write_submit(self, dest_session: str | bytes, buffer: memfabric_hybrid._types.Address, peer_buffer: memfabric_hybrid._types.Address, length: int, stream: Stream | int, flags: int = 0) -> int:
        """The same, by other names of its arguments."""

    @overload
    def transfer_async_read_submit(self, destflag: str | bytes, buffer: memfabric_hybrid._types.Address, peer_buffer_address: memfabric_hybrid._types.Address, length: int, stream: Stream | int, flags: int = 0) -> int:
        """
        Reads a peer's memoryon a stream: returns at once.

        stream: a Stream or its handle; where there is a device, also the handle of a device's stream.
        Arguments are checked now, and lists copied; the memory must stay until the stream is synchronized.
        What goes wrong later is what Stream.synchronize() returns.
        Returns 0. INVALID_PARAM (-2000): as the synchronous function, or a stream that is none (any
        more).
        """

    @overload
    def transfer_async_read_submit(self, dest_session: str | bytes, buffer: memfabric_hybrid._types.Address, peer_buffer: memfabric_hybrid._types.Address, length: int, stream: Stream | int, flags: int = 0) -> int:
        """The same, by other names of its arguments."""

    @overload
    def batch_transfer_async_write_submit(self, destflag: str | bytes, buffers: memfabric_hybrid._types.AddressList, peer_buffer_addresses: memfabric_hybrid._types.AddressList, lengths: memfabric_hybrid._types.IntList, stream: Stream | int, flags: int = 0) -> int:
        """
        Writes to a peer's memoryon a stream: returns at once.

        stream: a Stream or its handle; where there is a device, also the handle of a device's stream.
        Arguments are checked now, and lists copied; the memory must stay until the stream is synchronized.
        What goes wrong later is what Stream.synchronize() returns.
        Returns 0. INVALID_PARAM (-2000): as the synchronous function, or a stream that is none (any
        more).
        """

    @overload
    def batch_transfer_async_write_submit(self, destflag: str | bytes, buffer: memfabric_hybrid._types.AddressList, peer_buffer_address: memfabric_hybrid._types.AddressList, length: memfabric_hybrid._types.IntList, stream: Stream | int, flags: int = 0) -> int: ...

    @overload
    def batch_transfer_async_write_submit(self, dest_session: str | bytes, buffers: memfabric_hybrid._types.AddressList, peer_buffers: memfabric_hybrid._types.AddressList, lengths: memfabric_hybrid._types.IntList, stream: Stream | int, flags: int = 0) -> int:
        """The same, by other names of its arguments."""

    @overload
    def batch_transfer_async_read_submit(self, destflag: str | bytes, buffers: memfabric_hybrid._types.AddressList, peer_buffer_addresses: memfabric_hybrid._types.AddressList, lengths: memfabric_hybrid._types.IntList, stream: Stream | int, flags: int = 0) -> int:
        """
        Reads a peer's memoryon a stream: returns at once.

        stream: a Stream or its handle; where there is a device, also the handle of a device's stream.
        Arguments are checked now, and lists copied; the memory must stay until the stream is synchronized.
        What goes wrong later is what Stream.synchronize() returns.
        Returns 0. INVALID_PARAM (-2000): as the synchronous function, or a stream that is none (any
        more).
        """

    @overload
    def batch_transfer_async_read_submit(self, destflag: str | bytes, buffer: memfabric_hybrid._types.AddressList, peer_buffer_address: memfabric_hybrid._types.AddressList, length: memfabric_hybrid._types.IntList, stream: Stream | int, flags: int = 0) -> int: ...

    @overload
    def batch_transfer_async_read_submit(self, dest_session: str | bytes, buffers: memfabric_hybrid._types.AddressList, peer_buffers: memfabric_hybrid._types.AddressList, lengths: memfabric_hybrid._types.IntList, stream: Stream | int, flags: int = 0) -> int:
        """The same, by other names of its arguments."""

    def set_peer_down_callback(self, fn: Callable[[str], object] | None) -> int:
        """
        Sets who is told of peers that die.

        fn: called as fn(unique_id), once for each linked peer that dies (not for one that is destroyed in
            order), on a thread of the library's, with the GIL. What it raises goes to sys.unraisablehook.
            None removes it. Nothing waits for it, as for BigMemory.set_group_event_handler(). Without a
            shared store, peers that this engine has never named are not told of.
        Returns 0.
        """

    def path(self, destflag: str | bytes) -> str:
        """
        How transfers with a peer go: 'cma' (the same host; memory of alloc() and empty() is mapped
        instead), 'mapped' (only that can be reached), 'tcp', 'tcp+tls'.

        Raises RuntimeError when the peer can't be reached.
        """

    @property
    def name(self) -> str:
        """
        What peers call the engine: unique_id, with the port that was taken, if one was.
        """

    def destroy(self) -> None:
        """
        Ends the engine: waits for transfers in flight; then none touches this process's memory any more. Again: nothing.
        """

    def unInitialize(self) -> None:
        """The same as destroy()."""

    def __repr__(self) -> str: ...

    class TransferOpcode(enum.IntEnum):
        """The direction of a transfer."""

        READ = 0
        """From the peer; Read is another name of it."""

        WRITE = 1
        """To the peer; Write is another name of it."""

        Read = 0
        """From the peer; Read is another name of it."""

        Write = 1
        """To the peer; Write is another name of it."""

    class TransDataOpType(enum.IntEnum):
        """
        The path that an engine's transfers should take.

        Where the machine doesn't have it, the best there is is taken and a warning says so;
        TransferEngine.path() tells which. With the environment variable MEMFABRIC_STRICT=1 initialize()
        fails instead.
        """

        SDMA = 1
        """The best there is."""

        HOST_RDMA = 2

        DEVICE_RDMA = 8

        DEVICE_URMA = 64

        DEVICE_UBOE = 128

class TransferOpcode(enum.IntEnum):
    """The direction of a transfer."""

    READ = 0
    """From the peer; Read is another name of it."""

    WRITE = 1
    """To the peer; Write is another name of it."""

    Read = 0
    """From the peer; Read is another name of it."""

    Write = 1
    """To the peer; Write is another name of it."""

def alloc(size: int) -> memoryview:
    """
    Memory that engines of the same host map, so that transfers to it run at the speed
    of memory.

    size: bytes, 1 and up. Zeros, backed by pages of 2 MiB when first touched. Register it like other
        memory; it stays as long as
    it, or what was made of it, exists, or a registration lies in it. A forked child shares it.
    Raises RuntimeError when there is none.
    """

def create_config_store(store_url: str | bytes) -> int:
    """
    Serves a store from this process, and returns once it answers.

    store_url: 'tcp://host:port', port 1 to 65535.
    Returns 0, also for the same url again. RESOURCE_IN_USE (-2009): something else has the port.
    INVALID_PARAM (-2000): no such url.
    """

def devices() -> list[Device]:
    """
    The devices whose memory pools can hold. On a machine without any, its NUMA nodes stand in for them (backend 'host').
    """

def get_and_clear_last_err_msg() -> str:
    """The same, and there is none from then on."""

def get_last_err_msg() -> str:
    """
    What the calling thread's last failure was about, '' for none. Success doesn't reset it.
    """

def initialize(flags: int = 0) -> int:
    """
    Starts what the process needs once. Not required: bm.initialize() does it. flags: any, reserved. Returns 0, also again.
    """

def set_conf_store_tls(enable: bool, tls_info: str) -> int:
    """
    Turns TLS on or off for the stores and store connections that are opened from now on.

    enable: False forgets everything that was given, the key as well; tls_info isn't looked at then.
    tls_info: pairs 'key: value;', 10 KiB at most. tlsCaPath, tlsCaFile: the trusted certificates
        (files, split by commas); tlsCert: this process's. If wanted: tlsCrlPath, tlsCrlFile: lists of
        revoked ones; packagePath: not used. Files are PEM; relative names are under the path that
        belongs to them.
    Returns 0. INVALID_PARAM (-2000): the text, a file or the certificate can't be used (expired, not
    yet valid, revoked, signed by none of the trusted, not the key's); get_last_err_msg() says which,
    and nothing changes.

    >>> mf.set_conf_store_tls(True, "tlsCaPath: /etc/mf; tlsCaFile: ca.pem; tlsCert: /etc/mf/rank.pem;")
    0
    """

def set_conf_store_tls_key(tls_pk: str, tls_pk_pw: str, py_decrypt_func: Callable[[str], str] | None) -> int:
    """
    Gives the private key for the store's TLS.

    tls_pk: the key as PEM text, 64 KiB at most.
    tls_pk_pw: its password, as py_decrypt_func takes it; plain when that is None. Looked at when the
        key is encrypted.
    py_decrypt_func: called at once, gives the plain password.
    Returns 0. INVALID_PARAM (-2000): no key, the wrong password, a key that isn't the certificate's, or
    py_decrypt_func raised or returned no str; get_last_err_msg() says which, and shows nothing of key
    and password.
    """

def set_extern_logger(log_fn: Callable[[int, str], object] | None) -> int:
    """
    Sends the log to a function instead of stderr.

    log_fn: called as log_fn(level, message), with the GIL, for one line at a time and in order, by a
        thread of its own or by a call of this package that is about to return. Nothing of the library
        waits for it: a call's lines have reached it when the call returns, unless it takes longer than
        100 ms for one; at most 4096 lines wait, and a line says how many more were dropped. The first
        exception that it raises goes to sys.unraisablehook, the others are dropped; lines that it
        causes itself are dropped too. None restores stderr; what waits reaches the former function
        first.
    Returns 0.
    """

def set_log_level(level: int) -> int:
    """
    Logs what is at least as grave as `level`: 0 debug, 1 info, 2 warn, 3 error, 4 off.

    At first 3, or the environment variable MEMFABRIC_LOG_LEVEL (then ASCEND_MF_LOG_LEVEL,
    MF_LOG_LEVEL).
    Returns 0. INVALID_PARAM (-2000): another number.
    """

def strerror(code: int) -> str:
    """A code in words."""

def uninitialize() -> None:
    """
    Closes everything that is still open, in the right order. Also done when the interpreter exits.
    """

__all__: list = ['Device', 'ErrorCode', 'Stream', 'TransDataOpType', 'TransferEngine', 'TransferOpcode', '__version__', 'alloc', 'bm', 'create_config_store', 'devices', 'empty', 'get_and_clear_last_err_msg', 'get_include_path', 'get_last_err_msg', 'get_lib_path', 'initialize', 'set_conf_store_tls', 'set_conf_store_tls_key', 'set_extern_logger', 'set_log_level', 'shm', 'strerror', 'uninitialize']

__version__: str
