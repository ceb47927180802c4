"""A halo exchange: heat spreads along a rod whose parts lie at several ranks.

Each rank has the ends of its neighbours' parts beside its own.

    python shm_halo.py [--ranks 4] [--cells 1000] [--steps 500] [--store tcp://127.0.0.1:8571]

Every rank puts its two outermost cells into its neighbours' halos, with a signal. It waits for its
neighbours only. At the end the parts are compared with the same rod, computed in one piece.
"""

import argparse
import multiprocessing
import sys

import numpy as np

import memfabric_hybrid as mf
from memfabric_hybrid import shm

MIB = 1 << 20
FROM_LEFT, FROM_RIGHT = 0, 8  # signals: how many steps of that neighbour have come
# two of each, by parity of the step: the next one may come before the last was read
HALO_LEFT, HALO_RIGHT = 64, 128


def begin(cells: int) -> np.ndarray:
    rod = np.zeros(cells)
    rod[cells // 3] = 1000.0
    return rod


def step(padded: np.ndarray) -> np.ndarray:
    return padded[1:-1] + 0.25 * (padded[:-2] - 2 * padded[1:-1] + padded[2:])


def run(store: str, ranks: int, rank: int, cells: int, steps: int) -> None:
    if shm.initialize(store, ranks, rank, 0, shm.ShmConfig()) != 0:
        sys.exit(mf.get_last_err_msg())
    area = shm.create(0, ranks, rank, 2 * MIB)
    own = np.array_split(begin(cells), ranks)[rank].copy()
    halos = np.frombuffer(area.view(rank), np.float64)
    for turn in range(1, steps + 1):
        place = 8 * (turn % 2)
        left, right = rank - 1, rank + 1
        codes = []
        if left >= 0:
            codes.append(area.put_signal(left, HALO_RIGHT + place, own[:1], FROM_RIGHT, turn))
        if right < ranks:
            codes.append(area.put_signal(right, HALO_LEFT + place, own[-1:], FROM_LEFT, turn))
        padded = np.concatenate([own[:1], own, own[-1:]])  # insulated at the rod's ends
        if left >= 0:
            codes.append(area.wait_until(FROM_LEFT, shm.ShmCmp.GE, turn, left))
            padded[0] = halos[(HALO_LEFT + place) // 8]
        if right < ranks:
            codes.append(area.wait_until(FROM_RIGHT, shm.ShmCmp.GE, turn, right))
            padded[-1] = halos[(HALO_RIGHT + place) // 8]
        if any(codes):
            sys.exit(f"rank {rank}, step {turn}: {mf.get_last_err_msg()}")
        own = step(padded)
    area.put(
        0, MIB + 8 * sum(len(part) for part in np.array_split(np.empty(cells), ranks)[:rank]), own
    )
    area.barrier()
    if rank == 0:
        whole = begin(cells)
        for _ in range(steps):
            whole = step(np.concatenate([whole[:1], whole, whole[-1:]]))
        parts = np.frombuffer(area.view(0), np.float64, cells, MIB)
        if not np.array_equal(parts, whole):
            sys.exit("the parts differ from the whole")
        print(f"{ranks} ranks, {cells} cells, {steps} steps: every cell is right")
    area.barrier()
    shm.uninitialize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ranks", type=int, default=4)
    parser.add_argument("--cells", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--store", default="tcp://127.0.0.1:8571")
    options = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    processes = [
        spawn.Process(
            target=run,
            args=(options.store, options.ranks, rank, options.cells, options.steps),
            daemon=True,
        )
        for rank in range(options.ranks)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    sys.exit(max(abs(process.exitcode) for process in processes))


if __name__ == "__main__":
    main()
