"""Shared Memory: every rank contributes the same size and sees all of it at gva + rank * size.

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

from ._memfabric.shm import (
    ShareMemory,
    ShmCmp,
    ShmConfig,
    ShmDataOpType,
    ShmSignalOp,
    create,
    initialize,
    uninitialize,
)

__all__ = [
    "ShareMemory",
    "ShmCmp",
    "ShmConfig",
    "ShmDataOpType",
    "ShmSignalOp",
    "create",
    "initialize",
    "uninitialize",
]
