"""Weights from one process to many, without a shared store.

Each engine is found at its own address.
"""

import multiprocessing

import numpy as np

import memfabric_hybrid as mf

WORKERS, BYTES = 3, 16 << 20


def check(code: int) -> None:
    if code != 0:
        raise SystemExit(f"{mf.strerror(code)}: {mf.get_last_err_msg()}")


def worker(pipe) -> None:
    engine = mf.TransferEngine()
    check(engine.initialize("", "127.0.0.1", "Decode", 0))  # takes a port
    weights = mf.empty(BYTES, np.uint8)
    check(engine.register_memory(weights, BYTES))
    pipe.send((engine.name, weights.ctypes.data))
    pipe.recv()
    assert (weights == 42).all()
    engine.destroy()


def main() -> None:
    pipes, processes = [], []
    for _ in range(WORKERS):
        ours, theirs = multiprocessing.Pipe()
        processes.append(multiprocessing.Process(target=worker, args=(theirs,), daemon=True))
        processes[-1].start()
        pipes.append(ours)
    engine = mf.TransferEngine()
    targets = [pipe.recv() for pipe in pipes]
    check(engine.initialize("", "127.0.0.1", "Prefill", 0))
    weights = np.full(BYTES, 42, np.uint8)
    streams = [mf.Stream() for _ in targets]  # all at once
    for (name, address), stream in zip(targets, streams):
        check(engine.transfer_async_write_submit(name, weights, address, BYTES, stream))
    for stream in streams:
        check(stream.synchronize())
    for pipe in pipes:
        pipe.send("done")
    for process in processes:
        process.join()
    engine.destroy()
    print(
        f"{BYTES >> 20} MiB to {WORKERS} workers, "
        f"{'verified' if not any(p.exitcode for p in processes) else 'FAILED'}"
    )
    raise SystemExit(max(process.exitcode for process in processes))


if __name__ == "__main__":
    main()
