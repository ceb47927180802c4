"""
A memory fabric: processes on one or many hosts contribute memory and use it as one.

    bm              Big Memory: a pool that all ranks reach by global address. See
                    help(memfabric_hybrid.bm).
    shm             Shared Memory: symmetric memory with barriers, signals and atomics. See
                    help(memfabric_hybrid.shm).
    TransferEngine  Transfers between memory that two processes own already, by a peer's name and
                    address.

This module has what all of them share: start and end, the log, the last error, the store, devices,
and the paths that C programs are built with. The package wraps the C interface (memfabric/smem.h)
and has the same functions. It holds the GIL only while it touches a Python object or a copy is
short. Ctrl-C ends any call that waits.

Functions that return a code return 0 or a negative ErrorCode. get_last_err_msg() then says, for the
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
        """The NUMA node that it is closest to; -1 for none."""

    @property
    def bytes(self) -> int:
        """All of its memory."""

    @property
    def backend(self) -> str:
        """'host': memory of a NUMA node stands in for a device's."""

    @property
    def name(self) -> str:
        """A name for people."""

    def __repr__(self) -> str: ...

class ErrorCode(enum.IntEnum):
    """What functions that return a code return; 0 is success."""

    OK = 0
    """Success."""

    ERROR = -1
    """None of those below; the message says what."""

    INVALID_PARAM = -2000
    """An argument that can never work. Nothing was done."""

    MALLOC_FAILED = -2001
    """The machine or a limit of the process refused memory."""

    NEW_OBJECT_FAILED = -2002
    """An object could not be made."""

    NOT_STARTED = -2003
    """Another call has to come first, such as a join before a copy."""

    TIMEOUT = -2004
    """The configured bound has passed."""

    REPEAT_CALL = -2005
    """Called before, with other arguments."""

    DUPLICATED_OBJECT = -2006
    """The name, rank or range is taken by another."""

    OBJECT_NOT_EXISTS = -2007
    """The object or range doesn't exist, or not any more."""

    NOT_INITIALIZED = -2008
    """The service was not initialized, or has been uninitialized."""

    RESOURCE_IN_USE = -2009
    """Full, or a port taken by something else. Retry later or elsewhere."""

    RECONNECT = -2010
    """
    The others gave this process up, and it is coming back by itself. Retry.
    """

    GET_OBJECT = -2011
    """An object that must be there could not be read."""

    PARTIAL_FAILED = -2012
    """Some of several operations failed."""

    NOT_CONNECTED = -2014
    """
    The peer has not joined, or the peer or the store has gone or can't be reached.
    """

    NOT_SUPPORTED = -2015
    """Not on this machine, or not in this version."""

    IO_ERROR = -2016
    """The operating system failed in a way that the caller can't mend."""

class Stream:
    """
    Transfers that run one after the other, beside the caller.

    Any number of streams may be used at once, each by any engine and any thread. Objects that a
    transfer reads or writes are kept alive until synchronize(), or until query() returns True.
    """

    def __init__(self) -> None: ...

    @property
    def handle(self) -> int:
        """What the submit functions take instead of the object."""

    def synchronize(self) -> int:
        """
        Waits for all that was submitted before.

        Returns 0, or the first error since the last synchronize(), once. A transfer of which nothing moves
        for 120 s ends with TIMEOUT (-2004).
        """

    def query(self) -> bool:
        """
        Whether all that was submitted has ended.

        Errors stay for synchronize(). Raises RuntimeError once the stream is destroyed.
        """

    def destroy(self) -> None:
        """
        Waits for what was submitted and ends the stream.

        A stream that is no longer referred to is destroyed, too.
        """

class TransDataOpType(enum.IntEnum):
    """
    The path that an engine's transfers should take.

    Where the machine doesn't have it, the best of its paths is taken and a warning says so;
    TransferEngine.path() tells which. With the environment variable MEMFABRIC_STRICT=1 initialize()
    fails instead.
    """

    SDMA = 1
    """The best path of this machine."""

    HOST_RDMA = 2
    """RDMA from host memory."""

    DEVICE_RDMA = 8
    """RDMA from device memory."""

    DEVICE_URMA = 64
    """URMA from device memory."""

    DEVICE_UBOE = 128
    """UBOE from device memory."""

class TransferEngine:
    """
    Reads and writes between memory that two processes own already.

    An engine has a name and registers memory. Peers read and write that memory by the engine's own
    addresses. A process may have several engines. An engine that is no longer referred to is destroyed.

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
            other by name. '', 'tcp://host' or the engine's own unique_id: no shared store. Then each engine
            serves its record at its own address, unique_id is 'ip:port', and peers call the engine that. A
            bare ip or host name gets the port of get_rpc_port(), and peers call the engine what `name`
            says.
        unique_id: the engine's name, 1 to 255 printable characters without '/'. (session_id is another name
            of this argument.)
        role: 'Prefill', 'Decode' or 'Both'. Any two engines may transfer, either way.
        device_id: one that memfabric_hybrid.devices() lists; without devices any of 0 to 65535.
        data_op_type: TransDataOpType.
        store_server_role: an engine of this role starts the store, if store_url is on its own host and no
            store answers there. '' or None: 'Decode'.
        nic: as BmConfig.set_nic takes it; '' or None: the library chooses. The engine listens at the first
            free port of the given one and the 1,024 behind it. Port 0, or none: the kernel's choice.
        Returns 0, also when called again with equal arguments; with others REPEAT_CALL (-2005).
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
        A port of 15000 to 25000 that no other engine of this host gets.

        The engine holds it until it is destroyed, and gives the same each time, also before initialize(). A
        server of the caller's may listen there.
        Returns a negative ErrorCode when no port is free.
        """

    def register_memory(self, buffer_addr: memfabric_hybrid._types.Address, capacity: int) -> int:
        """
        Lets peers read and write memory, from the moment that this returns.

        buffer_addr: an address (int) or an object with memory. The object is not kept alive: unregister it
            before it goes.
        capacity: bytes, 1 and up. No alignment is asked.
        Returns 0, also for the same range again. INVALID_PARAM (-2000): null or 0. DUPLICATED_OBJECT
            (-2006): the range overlaps another registration; ranges that touch are fine.
        """

    def unregister_memory(self, buffer_addr: memfabric_hybrid._types.Address) -> int:
        """
        Ends the registration that begins at `buffer_addr`.

        Waits for transfers in flight. Afterwards no transfer touches the memory.
        Returns 0. OBJECT_NOT_EXISTS (-2007): no such registration. TIMEOUT (-2004): a peer's transfer has
            not ended within 10 s, because the peer is stopped; don't reuse the memory, call again.
        """

    def batch_register_memory(self, buffer_addrs: memfabric_hybrid._types.AddressList, capacities: memfabric_hybrid._types.IntList) -> int:
        """
        Registers up to 1,048,576 ranges, all or none.

        buffer_addrs, capacities: lists as batch_transfer_sync_write() takes them.
        Returns 0. Errors as register_memory().
        """

    @overload
    def transfer_sync_write(self, destflag: str | bytes, buffer: memfabric_hybrid._types.Address, peer_buffer_address: memfabric_hybrid._types.Address, length: int, flags: int = 0, timeout: float | None = None) -> int:
        """
        Writes to a peer's memory; returns when the bytes are in place.

        destflag: the peer's unique_id. (dest_session is another name of it, peer_buffer of
            peer_buffer_address.)
        buffer: an address (int, ctypes.c_void_p) or an object with memory (numpy array, torch CPU tensor,
            bytearray). It need not be registered.
        peer_buffer_address: an address of the peer's, in memory that the peer has registered: in one range,
            or in ranges that touch.
        length: bytes, 1 to 2**63 - 1.
        flags: reserved.
        timeout: seconds for the call as a whole; then TIMEOUT (-2004). None: the call goes on as long as
            bytes move, and ends when none have moved for 120 s.
        Returns 0 once the bytes are in place and visible to the peer, after this thread's earlier
            transfers. INVALID_PARAM (-2000): null, length 0, memory that isn't registered there, or memory
            that isn't mapped; the message names the address. NOT_CONNECTED (-2014): the peer didn't appear
            within 5 s (MEMFABRIC_PEER_TIMEOUT), has left or died; a part of the bytes may have arrived.
        Threads: any. The GIL is released for more than 64 KiB and for every wait.
        """

    @overload
    def transfer_sync_write(self, dest_session: str | bytes, buffer: memfabric_hybrid._types.Address, peer_buffer: memfabric_hybrid._types.Address, length: int, flags: int = 0, timeout: float | None = None) -> int:
        """The same, by other names of its arguments."""

    @overload
    def transfer_sync_read(self, destflag: str | bytes, buffer: memfabric_hybrid._types.Address, peer_buffer_address: memfabric_hybrid._types.Address, length: int, flags: int = 0, timeout: float | None = None) -> int:
        """
        Reads a peer's memory; returns when the bytes are in place.

        destflag: the peer's unique_id. (dest_session is another name of it, peer_buffer of
            peer_buffer_address.)
        buffer: an address (int, ctypes.c_void_p) or an object with memory (numpy array, torch CPU tensor,
            bytearray). It need not be registered.
        peer_buffer_address: an address of the peer's, in memory that the peer has registered: in one range,
            or in ranges that touch.
        length: bytes, 1 to 2**63 - 1.
        flags: reserved.
        timeout: seconds for the call as a whole; then TIMEOUT (-2004). None: the call goes on as long as
            bytes move, and ends when none have moved for 120 s.
        Returns 0 once the bytes are in place and visible to the peer, after this thread's earlier
            transfers. INVALID_PARAM (-2000): null, length 0, memory that isn't registered there, or memory
            that isn't mapped; the message names the address. NOT_CONNECTED (-2014): the peer didn't appear
            within 5 s (MEMFABRIC_PEER_TIMEOUT), has left or died; a part of the bytes may have arrived.
        Threads: any. The GIL is released for more than 64 KiB and for every wait.
        """

    @overload
    def transfer_sync_read(self, dest_session: str | bytes, buffer: memfabric_hybrid._types.Address, peer_buffer: memfabric_hybrid._types.Address, length: int, flags: int = 0, timeout: float | None = None) -> int:
        """The same, by other names of its arguments."""

    @overload
    def batch_transfer_sync_write(self, destflag: str | bytes, buffers: memfabric_hybrid._types.AddressList, peer_buffer_addresses: memfabric_hybrid._types.AddressList, lengths: memfabric_hybrid._types.IntList, flags: int = 0, timeout: float | None = None) -> int:
        """
        Writes to a peer's memory in pieces; returns when all are in place.

        The pieces go in as few system calls as possible.

        buffers, peer_buffer_addresses: addresses, in a list, a tuple, or anything else that iterates over
            them. A one-dimensional contiguous array of uint64 or int64 is read without a copy.
        lengths: as many ints, in the same forms.
        destflag, flags, timeout, and what is returned: as for one piece. After an error some pieces may
            have arrived. INVALID_PARAM (-2000) also for lists that are empty or of different lengths;
            nothing was moved then.
        Raises TypeError when an element is no address or int, and names it.
        """

    @overload
    def batch_transfer_sync_write(self, destflag: str | bytes, buffer: memfabric_hybrid._types.AddressList, peer_buffer_address: memfabric_hybrid._types.AddressList, length: memfabric_hybrid._types.IntList, flags: int = 0, timeout: float | None = None) -> int: ...

    @overload
    def batch_transfer_sync_write(self, dest_session: str | bytes, buffers: memfabric_hybrid._types.AddressList, peer_buffers: memfabric_hybrid._types.AddressList, lengths: memfabric_hybrid._types.IntList, flags: int = 0, timeout: float | None = None) -> int:
        """The same, by other names of its arguments."""

    @overload
    def batch_transfer_sync_read(self, destflag: str | bytes, buffers: memfabric_hybrid._types.AddressList, peer_buffer_addresses: memfabric_hybrid._types.AddressList, lengths: memfabric_hybrid._types.IntList, flags: int = 0, timeout: float | None = None) -> int:
        """
        Reads a peer's memory in pieces; returns when all are in place.

        The pieces go in as few system calls as possible.

        buffers, peer_buffer_addresses: addresses, in a list, a tuple, or anything else that iterates over
            them. A one-dimensional contiguous array of uint64 or int64 is read without a copy.
        lengths: as many ints, in the same forms.
        destflag, flags, timeout, and what is returned: as for one piece. After an error some pieces may
            have arrived. INVALID_PARAM (-2000) also for lists that are empty or of different lengths;
            nothing was moved then.
        Raises TypeError when an element is no address or int, and names it.
        """

    @overload
    def batch_transfer_sync_read(self, destflag: str | bytes, buffer: memfabric_hybrid._types.AddressList, peer_buffer_address: memfabric_hybrid._types.AddressList, length: memfabric_hybrid._types.IntList, flags: int = 0, timeout: float | None = None) -> int: ...

    @overload
    def batch_transfer_sync_read(self, dest_session: str | bytes, buffers: memfabric_hybrid._types.AddressList, peer_buffers: memfabric_hybrid._types.AddressList, lengths: memfabric_hybrid._types.IntList, flags: int = 0, timeout: float | None = None) -> int:
        """The same, by other names of its arguments."""

    @overload
    def transfer_async_write_submit(self, destflag: str | bytes, buffer: memfabric_hybrid._types.Address, peer_buffer_address: memfabric_hybrid._types.Address, length: int, stream: Stream | int, flags: int = 0) -> int:
        """
        Writes to a peer's memory on a stream; returns at once.

        stream: a Stream or its handle; where there is a device, also the handle of a device's stream.
        The call checks the arguments and copies lists. The memory must stay until the stream is
        synchronized; Stream.synchronize() returns what goes wrong later.
        Returns 0. INVALID_PARAM (-2000): as the synchronous function, or a stream that doesn't exist.
        """

    @overload
    def transfer_async_write_submit(self, dest_session: str | bytes, buffer: memfabric_hybrid._types.Address, peer_buffer: memfabric_hybrid._types.Address, length: int, stream: Stream | int, flags: int = 0) -> int:
        """The same, by other names of its arguments."""

    @overload
    def transfer_async_read_submit(self, destflag: str | bytes, buffer: memfabric_hybrid._types.Address, peer_buffer_address: memfabric_hybrid._types.Address, length: int, stream: Stream | int, flags: int = 0) -> int:
        """
        Reads a peer's memory on a stream; returns at once.

        stream: a Stream or its handle; where there is a device, also the handle of a device's stream.
        The call checks the arguments and copies lists. The memory must stay until the stream is
        synchronized; Stream.synchronize() returns what goes wrong later.
        Returns 0. INVALID_PARAM (-2000): as the synchronous function, or a stream that doesn't exist.
        """

    @overload
    def transfer_async_read_submit(self, dest_session: str | bytes, buffer: memfabric_hybrid._types.Address, peer_buffer: memfabric_hybrid._types.Address, length: int, stream: Stream | int, flags: int = 0) -> int:
        """The same, by other names of its arguments."""

    @overload
    def batch_transfer_async_write_submit(self, destflag: str | bytes, buffers: memfabric_hybrid._types.AddressList, peer_buffer_addresses: memfabric_hybrid._types.AddressList, lengths: memfabric_hybrid._types.IntList, stream: Stream | int, flags: int = 0) -> int:
        """
        Writes to a peer's memory on a stream; returns at once.

        stream: a Stream or its handle; where there is a device, also the handle of a device's stream.
        The call checks the arguments and copies lists. The memory must stay until the stream is
        synchronized; Stream.synchronize() returns what goes wrong later.
        Returns 0. INVALID_PARAM (-2000): as the synchronous function, or a stream that doesn't exist.
        """

    @overload
    def batch_transfer_async_write_submit(self, destflag: str | bytes, buffer: memfabric_hybrid._types.AddressList, peer_buffer_address: memfabric_hybrid._types.AddressList, length: memfabric_hybrid._types.IntList, stream: Stream | int, flags: int = 0) -> int: ...

    @overload
    def batch_transfer_async_write_submit(self, dest_session: str | bytes, buffers: memfabric_hybrid._types.AddressList, peer_buffers: memfabric_hybrid._types.AddressList, lengths: memfabric_hybrid._types.IntList, stream: Stream | int, flags: int = 0) -> int:
        """The same, by other names of its arguments."""

    @overload
    def batch_transfer_async_read_submit(self, destflag: str | bytes, buffers: memfabric_hybrid._types.AddressList, peer_buffer_addresses: memfabric_hybrid._types.AddressList, lengths: memfabric_hybrid._types.IntList, stream: Stream | int, flags: int = 0) -> int:
        """
        Reads a peer's memory on a stream; returns at once.

        stream: a Stream or its handle; where there is a device, also the handle of a device's stream.
        The call checks the arguments and copies lists. The memory must stay until the stream is
        synchronized; Stream.synchronize() returns what goes wrong later.
        Returns 0. INVALID_PARAM (-2000): as the synchronous function, or a stream that doesn't exist.
        """

    @overload
    def batch_transfer_async_read_submit(self, destflag: str | bytes, buffer: memfabric_hybrid._types.AddressList, peer_buffer_address: memfabric_hybrid._types.AddressList, length: memfabric_hybrid._types.IntList, stream: Stream | int, flags: int = 0) -> int: ...

    @overload
    def batch_transfer_async_read_submit(self, dest_session: str | bytes, buffers: memfabric_hybrid._types.AddressList, peer_buffers: memfabric_hybrid._types.AddressList, lengths: memfabric_hybrid._types.IntList, stream: Stream | int, flags: int = 0) -> int:
        """The same, by other names of its arguments."""

    def set_peer_down_callback(self, fn: Callable[[str], object] | None) -> int:
        """
        Sets the function that hears of peers that die.

        fn: called as fn(unique_id), once for each linked peer that dies, on a thread of the library's, with
            the GIL; not for a peer that is destroyed in order. What it raises goes to sys.unraisablehook.
            Nothing waits for it, as for BigMemory.set_group_event_handler(). Without a shared store it
            hears only of peers that this engine has named. None removes it.
        Returns 0.
        """

    def path(self, destflag: str | bytes) -> str:
        """
        The path that transfers with a peer take.

        Returns 'cma' (the same host; memory of alloc() and empty() goes by 'mapped'), 'mapped' (the same
            host; only memory of alloc() and empty() can be reached), 'tcp' or 'tcp+tls'.
        Raises RuntimeError when the peer can't be reached.
        """

    @property
    def name(self) -> str:
        """What peers call the engine: unique_id, with the port if one was taken."""

    def destroy(self) -> None:
        """
        Ends the engine; a second call does nothing.

        Waits for transfers in flight. Afterwards no transfer touches this process's memory.
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

        Where the machine doesn't have it, the best of its paths is taken and a warning says so;
        TransferEngine.path() tells which. With the environment variable MEMFABRIC_STRICT=1 initialize()
        fails instead.
        """

        SDMA = 1
        """The best path of this machine."""

        HOST_RDMA = 2
        """RDMA from host memory."""

        DEVICE_RDMA = 8
        """RDMA from device memory."""

        DEVICE_URMA = 64
        """URMA from device memory."""

        DEVICE_UBOE = 128
        """UBOE from device memory."""

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
    Memory that engines of the same host map: transfers to it run at the speed of memory.

    size: bytes, 1 and up.
    Returns zeros, backed by pages of 2 MiB when they are first touched or registered. Register them
        like other memory. The memory stays as long as the memoryview, what was made of it, or a
        registration in it exists. A forked child shares it.
    Raises RuntimeError when there is no memory.
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
    The devices whose memory pools can hold. Without devices, NUMA nodes stand in for them (backend
    'host').
    """

def get_and_clear_last_err_msg() -> str:
    """The message of the calling thread's last failure, and clears it."""

def get_last_err_msg() -> str:
    """
    The message of the calling thread's last failure; '' for none. Success doesn't reset it.
    """

def initialize(flags: int = 0) -> int:
    """
    Starts what the process needs once. Nobody has to call it: the services do.

    flags: reserved.
    Returns 0, also for a second call.
    """

def set_conf_store_tls(enable: bool, tls_info: str) -> int:
    """
    Turns TLS on or off for the stores and store connections that are opened from now on.

    enable: False forgets everything that was given, the key included, and doesn't look at tls_info.
    tls_info: pairs 'key: value;', 10 KiB at most. Required: tlsCaPath and tlsCaFile (certificates of
        the trusted authorities, with commas between files), tlsCert (this process's certificate).
        Optional: tlsCrlPath and tlsCrlFile (lists of revoked certificates), packagePath (not used).
        Files are PEM. A relative name is below the path of its key.
    Returns 0. INVALID_PARAM (-2000): get_last_err_msg() says what is wrong with the text, a file or the
        certificate (expired, not valid yet, revoked, of an authority that isn't trusted, not the
        key's). Nothing changes.

    >>> mf.set_conf_store_tls(True, "tlsCaPath: /etc/mf; tlsCaFile: ca.pem; tlsCert: /etc/mf/rank.pem;")
    0
    """

def set_conf_store_tls_key(tls_pk: str, tls_pk_pw: str, py_decrypt_func: Callable[[str], str] | None) -> int:
    """
    Gives the private key for the store's TLS.

    tls_pk: the key as PEM text, 64 KiB at most.
    tls_pk_pw: its password, which is looked at when the key is encrypted.
    py_decrypt_func: called at once with tls_pk_pw, returns the plain password. None: tls_pk_pw is
        plain.
    Returns 0. INVALID_PARAM (-2000): no key, the wrong password, a key that isn't the certificate's, or
        py_decrypt_func raised or returned no str. get_last_err_msg() says which, and shows nothing of
        the key or the password.
    """

def set_extern_logger(log_fn: Callable[[int, str], object] | None) -> int:
    """
    Sends the log to a function instead of stderr.

    log_fn: called as log_fn(level, message), with the GIL, for one line at a time and in order. It runs
        on a thread of its own, or in a call of this package that is about to return. A call's lines
        have reached it when the call returns, unless it spends more than 100 ms on one. Nothing in the
        library waits for it longer. At most 4096 lines wait; further ones are dropped, and a line says
        how many. The first exception that it raises goes to sys.unraisablehook, further ones are
        dropped. Lines that it causes itself are dropped. None restores stderr; the former function
        still gets the lines that wait.
    Returns 0.
    """

def set_log_level(level: int) -> int:
    """
    Logs messages of `level` and graver ones: 0 debug, 1 info, 2 warn, 3 error, 4 off.

    At first 3, or what the environment variable MEMFABRIC_LOG_LEVEL says, else ASCEND_MF_LOG_LEVEL,
    else MF_LOG_LEVEL.
    Returns 0. INVALID_PARAM (-2000): another number.
    """

def strerror(code: int) -> str:
    """A code in words: 'INVALID_PARAM: an argument that can never work'."""

def uninitialize() -> None:
    """
    Closes everything that is open, in the right order. The interpreter's exit does the same.
    """

__all__: list = ['Device', 'ErrorCode', 'Stream', 'TransDataOpType', 'TransferEngine', 'TransferOpcode', '__version__', 'alloc', 'bm', 'create_config_store', 'devices', 'empty', 'get_and_clear_last_err_msg', 'get_include_path', 'get_last_err_msg', 'get_lib_path', 'initialize', 'set_conf_store_tls', 'set_conf_store_tls_key', 'set_extern_logger', 'set_log_level', 'shm', 'strerror', 'uninitialize']

__version__: str
