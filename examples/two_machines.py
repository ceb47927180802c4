"""Two machines, one pool: each writes 256 MiB into the other's memory and reads it back.

It prints how fast that was. On machine A, which is 10.0.0.1 here (B must reach its port 8570 and
the ports that the kernel gives):

    python two_machines.py tcp://10.0.0.1:8570 0

On machine B, before or after:

    python two_machines.py tcp://10.0.0.1:8570 1

A serves the store at that address. Each machine listens for data at the source address of its route
to A. A third argument chooses another address: an interface's name, 'tcp://ip:port' or
'tcp://ip/maskbits:port'. With an etcd cluster (etcd://host:2379) neither machine serves a store,
and either may go. MEMFABRIC_DATA_TLS=1 on both encrypts what goes between them. docs/security.md
says what else to do.
"""

import sys
import threading
import time

import numpy as np

import memfabric_hybrid as mf
from memfabric_hybrid import bm

SIZE = 256 << 20
HOST = bm.BmMemType.HOST


def check(code: int, what: str) -> None:
    if code != 0:
        raise SystemExit(f"{what}: {mf.get_last_err_msg()}")


def main(store: str, rank: int, nic: str = "") -> None:
    config = bm.BmConfig()
    config.rank_id = rank
    config.set_nic(nic)
    check(bm.initialize(store, 2, 0, config), "initialize")
    # Behind the data, a word that says that the other is done. Bit 7: the memory is there when
    # create returns; else the first put would mostly wait for the other's page faults.
    pool = bm.create(0, SIZE + (2 << 20), flags=1 << 7)
    peer = 1 - rank
    here = threading.Event()
    pool.set_group_event_handler(
        lambda who, event: here.set() if event == bm.BmGroupEvent.JOIN_EVENT else None
    )
    check(pool.join(), "join")
    print(f"rank {rank} waits for rank {peer}", flush=True)
    if not here.wait(300):
        raise SystemExit(f"rank {peer} did not come within five minutes")
    print(
        f"rank {peer} is on {pool.members()[peer].host}, reached by {pool.path(peer)}", flush=True
    )

    theirs = pool.peer_rank_ptr(peer, HOST)
    data = np.random.default_rng(rank).integers(0, 256, SIZE, dtype=np.uint8)
    back = np.empty_like(data)
    for name, source, destination, kind in (
        ("put", data, theirs, bm.BmCopyType.H2GH),
        ("get", theirs, back, bm.BmCopyType.GH2H),
    ):
        begin = time.monotonic()
        check(pool.copy_data(source, destination, SIZE, kind), name)
        print(
            f"{name} of {SIZE >> 20} MiB: {SIZE / (time.monotonic() - begin) / 1e9:.2f} GB/s",
            flush=True,
        )
    if not np.array_equal(data, back):
        raise SystemExit("what came back differs")

    check(pool.copy_data(b"done", theirs + SIZE, 4, bm.BmCopyType.H2GH), "the word at the end")
    mine = pool.view(rank, HOST)
    # it still reads our memory
    while bytes(mine[SIZE : SIZE + 4]) != b"done" and len(pool.members()) == 2:
        time.sleep(0.01)
    print("equal; what went to and fro:", pool.stats()[peer])
    bm.uninitialize()


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
