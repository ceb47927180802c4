"""Big Memory: a pool of host and device memory that up to 1024 ranks contribute and use as one.

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

from ._memfabric.bm import (
    BigMemory,
    BmConfig,
    BmCopyType,
    BmDataOpType,
    BmGroupEvent,
    BmMemType,
    Member,
    bm_rank_id,
    create,
    create2,
    initialize,
    uninitialize,
    update_store_url,
)

__all__ = [
    "BigMemory",
    "BmConfig",
    "BmCopyType",
    "BmDataOpType",
    "BmGroupEvent",
    "BmMemType",
    "Member",
    "bm_rank_id",
    "create",
    "create2",
    "initialize",
    "uninitialize",
    "update_store_url",
]
