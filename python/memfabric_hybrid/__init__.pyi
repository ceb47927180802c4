"""
A memory fabric: processes on one or many hosts contribute memory and use it as one.

    bm      Big Memory: a pool that all ranks reach by global address. See help(memfabric_hybrid.bm).

Here is what all of it shares: start and end, the log, the last error, the store, devices, and the paths that C programs are
built with. The package is a wrapper of the C interface (memfabric/smem.h) with the same functions; it holds the GIL only while
a Python object is touched or a copy is short, and Ctrl-C ends any call that waits.

Functions that return a code return 0 or a negative ErrorCode; get_last_err_msg() then says, for the calling thread, what was
wrong, with the value, the limit and what to do.

    import memfabric_hybrid as mf

    code = mf.bm.initialize("tcp://127.0.0.1:8570", 2, 0, mf.bm.BmConfig())
    if code:
        print(mf.strerror(code), mf.get_last_err_msg())
"""

from collections.abc import Callable
import enum

from memfabric_hybrid import bm as bm
from memfabric_hybrid._library import (
    get_include_path as get_include_path,
    get_lib_path as get_lib_path
)


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

def create_config_store(store_url: str) -> int:
    """
    Serves a store from this process, and returns once it answers.

    store_url: 'tcp://host:port', port 1 to 65535.
    Returns 0, also for the same url again. RESOURCE_IN_USE (-2009): something else has the port. INVALID_PARAM (-2000): no such
    url.
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
    Turns TLS on or off for the store connections that are opened from now on.

    tls_info: pairs 'key: value;' with the keys tlsCaPath, tlsCaFile, tlsCert, tlsCrlPath, tlsCrlFile, packagePath; 10 KiB at most.
    Returns 0. NOT_SUPPORTED (-2015): enabling it, which this version can't.
    """

def set_conf_store_tls_key(tls_pk: str, tls_pk_pw: str, py_decrypt_func: Callable[[str], str] | None) -> int:
    """
    Gives the private key for the store's TLS.

    tls_pk: the key as PEM text.
    tls_pk_pw: its password, as py_decrypt_func takes it; plain when that is None.
    py_decrypt_func: called at once, gives the plain password.
    Returns 0. INVALID_PARAM (-2000): py_decrypt_func raised or returned no str. NOT_SUPPORTED (-2015): this version has no TLS;
    nothing is kept.
    """

def set_extern_logger(log_fn: Callable[[int, str], object] | None) -> int:
    """
    Sends the log to a function instead of stderr.

    log_fn: called as log_fn(level, message) on the thread that logs, with the GIL. The first exception that it raises goes to
        sys.unraisablehook, the others are dropped; lines that it causes itself are dropped too. None restores stderr.
    Returns 0.
    """

def set_log_level(level: int) -> int:
    """
    Logs what is at least as grave as `level`: 0 debug, 1 info, 2 warn, 3 error, 4 off.

    At first 3, or the environment variable MEMFABRIC_LOG_LEVEL (then ASCEND_MF_LOG_LEVEL, MF_LOG_LEVEL).
    Returns 0. INVALID_PARAM (-2000): another number.
    """

def strerror(code: int) -> str:
    """A code in words."""

def uninitialize() -> None:
    """
    Closes everything that is still open, in the right order. Also done when the interpreter exits.
    """

__all__: list = ['Device', 'ErrorCode', '__version__', 'bm', 'create_config_store', 'devices', 'get_and_clear_last_err_msg', 'get_include_path', 'get_last_err_msg', 'get_lib_path', 'initialize', 'set_conf_store_tls', 'set_conf_store_tls_key', 'set_extern_logger', 'set_log_level', 'strerror', 'uninitialize']

__version__: str
