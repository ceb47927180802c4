"""A memory fabric: processes on one or many hosts contribute memory and use it as one.

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

import atexit as _atexit

from . import _memfabric, bm, shm
from ._library import get_include_path, get_lib_path
from ._memfabric import (
    Device,
    ErrorCode,
    Stream,
    TransDataOpType,
    TransferEngine,
    TransferOpcode,
    __version__,
    alloc,
    create_config_store,
    devices,
    get_and_clear_last_err_msg,
    get_last_err_msg,
    initialize,
    set_conf_store_tls,
    set_conf_store_tls_key,
    set_extern_logger,
    set_log_level,
    strerror,
    uninitialize,
)

from ._memory import empty

_atexit.register(_memfabric._close)

__all__ = [
    "Device",
    "ErrorCode",
    "Stream",
    "TransDataOpType",
    "TransferEngine",
    "TransferOpcode",
    "__version__",
    "alloc",
    "bm",
    "create_config_store",
    "devices",
    "empty",
    "get_and_clear_last_err_msg",
    "get_include_path",
    "get_last_err_msg",
    "get_lib_path",
    "initialize",
    "set_conf_store_tls",
    "set_conf_store_tls_key",
    "set_extern_logger",
    "set_log_level",
    "shm",
    "strerror",
    "uninitialize",
]
