"""Two processes, one pool: rank 0 writes into the memory of rank 1."""

import os
import time

import memfabric_hybrid as mf
from memfabric_hybrid import bm

child = os.fork()  # before initialize; the child is rank 1
config = bm.BmConfig()
config.rank_id = 1 if child == 0 else 0
if bm.initialize("tcp://127.0.0.1:8570", 2, 0, config) != 0:
    raise SystemExit(mf.get_last_err_msg())
pool = bm.create(0, 2 << 20)  # 2 MiB of each rank
pool.join()
if child != 0:
    inbox = pool.peer_rank_ptr(1, bm.BmMemType.HOST)  # the same address in both processes
    hello = b"hello, rank 1"
    while pool.copy_data(hello, inbox, 13, bm.BmCopyType.H2GH) == mf.ErrorCode.NOT_CONNECTED:
        time.sleep(0.01)  # rank 1 has not joined yet
    os.waitpid(child, 0)
else:
    inbox = pool.view(1, bm.BmMemType.HOST)
    while inbox[12] == 0:
        time.sleep(0.01)
    print(bytes(inbox[:13]).decode())
