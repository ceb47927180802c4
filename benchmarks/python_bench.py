"""What calls from Python cost. Prints JSON: {bar: {"ours": [ns, ...], "reference": [ns, ...]}},
measured in turns.

The reference is the cheapest call that a nanobind module can answer: bm_rank_id(), no arguments, an
int back."""

import json
import os
import signal
import sys
import timeit

import numpy as np

import memfabric_hybrid as mf
from memfabric_hybrid import bm

ROUNDS = 15
CALLS = 20_000
HOST = bm.BmMemType.HOST


def join(store: str, rank: int) -> bm.BigMemory:
    config = bm.BmConfig()
    config.rank_id = rank
    config.init_timeout = config.create_timeout = config.operation_timeout = 30
    if bm.initialize(store, 2, 0, config) != 0:
        sys.exit(f"python_bench: {mf.get_last_err_msg()}")
    pool = bm.create(0, 64 << 20)
    if pool.join() != 0:
        sys.exit(f"python_bench: {mf.get_last_err_msg()}")
    return pool


def nanoseconds(statement: str, names: dict) -> float:
    return timeit.timeit(statement, number=CALLS, globals=names) / CALLS * 1e9


def main() -> None:
    store = sys.argv[1]
    ready, told = os.pipe()
    peer = os.fork()  # before the library is initialized
    if peer == 0:
        pool = join(store, 1)
        os.write(told, b"r")
        signal.pause()
    pool = join(store, 0)
    os.close(told)
    if os.read(ready, 1) != b"r":
        sys.exit("python_bench: rank 1 did not come up")
    try:
        local = np.ones(8, dtype=np.uint8)
        names = {
            "copy": pool.copy_data,
            "pointer": pool.peer_rank_ptr,
            "plain": bm.bm_rank_id,
            "HOST": HOST,
            "type": bm.BmCopyType.H2GH,
            "source": local.ctypes.data,
            "target": pool.peer_rank_ptr(1, HOST),
        }
        if eval("copy(source, target, 8, type)", names) != 0:
            sys.exit(f"python_bench: {mf.get_last_err_msg()}")
        statements = {
            "python_copy_8B": "copy(source, target, 8, type)",
            "python_peer_rank_ptr": "pointer(1, HOST)",
        }
        results = {name: {"ours": [], "reference": []} for name in statements}
        for _ in range(ROUNDS):
            for name, statement in statements.items():
                results[name]["ours"].append(nanoseconds(statement, names))
                results[name]["reference"].append(nanoseconds("plain()", names))
        print(json.dumps(results))
    finally:
        os.kill(peer, signal.SIGKILL)
        os.waitpid(peer, 0)


if __name__ == "__main__":
    main()
