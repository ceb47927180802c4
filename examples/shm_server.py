"""A parameter server: rank 0 has the weights, the others send it gradients of their own data.

    python shm_server.py [--workers 3] [--steps 200] [--store tcp://127.0.0.1:8573]

Workers read the weights by get, put their gradient into the place that the server keeps for them,
and signal it. The server waits for all gradients of a step. Then it publishes new weights by
counting up a version, which the workers wait for in their own memory.
"""

import argparse
import multiprocessing
import sys

import numpy as np

import memfabric_hybrid as mf
from memfabric_hybrid import shm

FEATURES = 64
# VERSION is in each worker's memory, the others are in the server's
VERSION, WEIGHTS, GRADIENTS = 0, 4096, 65536
ARRIVED = 8  # how many gradients have come


def train(area: shm.ShareMemory, rank: int, ranks: int, steps: int) -> None:
    truth = np.random.default_rng(0).normal(size=FEATURES)
    if rank == 0:
        view = area.view(0)
        weights = np.frombuffer(view, np.float64, FEATURES, WEIGHTS)
        gradients = np.frombuffer(view, np.float64, FEATURES * (ranks - 1), GRADIENTS).reshape(
            ranks - 1, FEATURES
        )
        for step in range(1, steps + 1):
            check(area.wait_until(ARRIVED, shm.ShmCmp.GE, step * (ranks - 1)))
            weights -= 0.1 * gradients.mean(axis=0)
            for worker in range(1, ranks):
                check(area.atomic_set(worker, VERSION, step))
        error = float(np.abs(weights - truth).max())
        print(f"{ranks - 1} workers, {steps} steps: the largest error of a weight is {error:.2g}")
        if not error < 0.01:
            sys.exit("it has not learned")
        return
    data = np.random.default_rng(rank).normal(size=(256, FEATURES))
    weights = np.empty(FEATURES)
    for step in range(1, steps + 1):
        check(area.get_into(0, WEIGHTS, weights))
        gradient = data.T @ (data @ (weights - truth)) / len(data)
        check(
            area.put_signal(
                0,
                GRADIENTS + (rank - 1) * gradient.nbytes,
                gradient,
                ARRIVED,
                1,
                shm.ShmSignalOp.ADD,
            )
        )
        check(area.wait_until(VERSION, shm.ShmCmp.GE, step, writer=0))


def check(code: int) -> None:
    if code != 0:
        sys.exit(mf.get_last_err_msg())


def run(store: str, ranks: int, rank: int, steps: int) -> None:
    check(shm.initialize(store, ranks, rank, 0, shm.ShmConfig()))
    area = shm.create(0, ranks, rank, 2 << 20)
    train(area, rank, ranks, steps)
    area.barrier()
    shm.uninitialize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--store", default="tcp://127.0.0.1:8573")
    options = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    ranks = options.workers + 1
    processes = [
        spawn.Process(target=run, args=(options.store, ranks, rank, options.steps), daemon=True)
        for rank in range(ranks)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    sys.exit(max(abs(process.exitcode) for process in processes))


if __name__ == "__main__":
    main()
