"""A work queue without a server: ranks take the next item by a fetch-add on a cell of rank 0.

    python shm_queue.py [--ranks 4] [--items 2000] [--store tcp://127.0.0.1:8572]

Each item is taken once, by a rank that is free. A slow rank takes fewer items. A rank that dies
keeps the item that it had, and the others go on.
"""

import argparse
import multiprocessing
import sys

import numpy as np

import memfabric_hybrid as mf
from memfabric_hybrid import shm

# in rank 0's memory: the next item, how many are done, what came out
NEXT, DONE, RESULTS = 0, 64, 4096


def collatz(number: int) -> int:
    """How many steps it takes to get to 1: work of an uneven size."""
    steps = 0
    while number != 1:
        number = number // 2 if number % 2 == 0 else 3 * number + 1
        steps += 1
    return steps


def run(store: str, ranks: int, rank: int, items: int) -> None:
    if shm.initialize(store, ranks, rank, 0, shm.ShmConfig()) != 0:
        sys.exit(mf.get_last_err_msg())
    area = shm.create(0, ranks, rank, 2 << 20)
    taken = 0
    while (item := area.atomic_fetch_add(0, NEXT, 1)) < items:
        result = np.array([collatz(item + 1)], np.uint64)
        # The result is there before it is counted.
        if area.put_signal(0, RESULTS + 8 * item, result, DONE, 1, shm.ShmSignalOp.ADD) != 0:
            sys.exit(mf.get_last_err_msg())
        taken += 1
    shares = np.frombuffer(area.all_gather(np.array([taken], np.uint64)), np.uint64)
    if rank == 0:
        area.wait_until(DONE, shm.ShmCmp.EQ, items)
        results = np.frombuffer(area.view(0), np.uint64, items, RESULTS)
        if shares.sum() != items or any(results[i] != collatz(i + 1) for i in range(items)):
            sys.exit("an item was lost, or done twice")
        print(f"{items} items, each done once; by rank: {', '.join(map(str, shares))}")
    area.barrier()
    shm.uninitialize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ranks", type=int, default=4)
    parser.add_argument("--items", type=int, default=2000)
    parser.add_argument("--store", default="tcp://127.0.0.1:8572")
    options = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    processes = [
        spawn.Process(
            target=run, args=(options.store, options.ranks, rank, options.items), daemon=True
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
