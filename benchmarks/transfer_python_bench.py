"""What transfers cost from Python. Prints JSON: {bar: {"ours": [ns, ...], "reference": [ns, ...]}},
measured in turns.

The reference of cma is the bare system call by ctypes, less what ctypes takes for a function of as
many arguments that does nothing in the kernel; that of mapped and of a submit is the cheapest call
that a nanobind module can answer.
"""

import ctypes
import json
import os
import signal
import sys
import time
import timeit

import numpy as np

import memfabric_hybrid as mf

ROUNDS, CALLS = 15, 5000


def engine_at(store: str, name: str, role: str) -> mf.TransferEngine:
    engine = mf.TransferEngine()
    if engine.initialize(store, name, role, 0) != 0:
        sys.exit(f"transfer_python_bench: {mf.get_last_err_msg()}")
    return engine


def nanoseconds(statement: str, names: dict, calls: int = CALLS) -> float:
    return timeit.timeit(statement, number=calls, globals=names) / calls * 1e9


def first_transfer(store: str, name: str, target: int) -> float:
    """Milliseconds from initialize to the end of the first write, in a process that had no engine
    before.
    """
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        source = np.ones(8, np.uint8)
        begin = time.perf_counter()
        engine = engine_at(store, name, "Prefill")
        if engine.transfer_sync_write("peer", source.ctypes.data, target, 8) != 0:
            os._exit(1)
        os.write(told, json.dumps((time.perf_counter() - begin) * 1e3).encode())
        engine.destroy()
        os._exit(0)
    os.close(told)
    with os.fdopen(ready) as answer:
        text = answer.read()
    if os.waitpid(child, 0)[1] != 0:
        sys.exit("transfer_python_bench: the first transfer failed")
    return json.loads(text)


def main() -> None:
    store = sys.argv[1]
    ready, told = os.pipe()
    peer = os.fork()  # before the library is initialized
    if peer == 0:
        engine = engine_at(store, "peer", "Decode")
        plain, mapped = np.ones(64 << 20, np.uint8), mf.empty(4096, np.uint8)
        if engine.register_memory(plain, plain.nbytes) or engine.register_memory(
            mapped, mapped.nbytes
        ):
            sys.exit(mf.get_last_err_msg())
        os.write(told, json.dumps([plain.ctypes.data, mapped.ctypes.data]).encode())
        signal.pause()
    os.close(told)
    plain, mapped = json.loads(os.read(ready, 1000))
    # forks: before the library is initialized here
    first = [first_transfer(store, f"first{i}", plain) for i in range(5)]
    engine = engine_at(store, "bench", "Prefill")
    try:
        libc = ctypes.CDLL(None)
        local = np.ones(64 << 20, np.uint8)
        iovec = ctypes.c_uint64 * 2
        here, there = iovec(local.ctypes.data, 8), iovec(plain, 8)
        pieces = np.arange(10_000, dtype=np.uint64) * 4096
        scattered = pieces * 7919 % np.uint64(40_960_000)
        iovecs = [np.empty((10_000, 2), np.uint64) for _ in range(2)]
        for list_, base, offsets in (
            (iovecs[0], local.ctypes.data, pieces),
            (iovecs[1], plain, scattered),
        ):
            list_[:, 0], list_[:, 1] = base + offsets, 4096

        def bare_batch() -> None:
            for first in range(0, 10_000, 1024):
                count = min(1024, 10_000 - first)
                libc.process_vm_writev(
                    peer,
                    ctypes.c_void_p(iovecs[0][first:].ctypes.data),
                    count,
                    ctypes.c_void_p(iovecs[1][first:].ctypes.data),
                    count,
                    0,
                )

        stream = mf.Stream()
        names = {
            "write": engine.transfer_sync_write,
            "submit": engine.transfer_async_write_submit,
            "source": local.ctypes.data,
            "plain": plain,
            "mapped": mapped,
            "stream": stream,
            "bare": libc.process_vm_writev,
            "nothing": libc.abs,
            "pid": peer,
            "here": here,
            "there": there,
            "cheapest": mf.bm.bm_rank_id,
            "batch": engine.batch_transfer_sync_write,
            "bare_batch": bare_batch,
            "lists": (
                local.ctypes.data + pieces,
                plain + scattered,
                np.full(10_000, 4096, np.uint64),
            ),
        }
        for target in ("plain", "mapped"):
            if eval(f"write('peer', source, {target}, 8)", names) != 0:
                sys.exit(mf.get_last_err_msg())
        bars = ("python_cma_8B", "python_mapped_8B", "python_submit", "python_batch_10000x4KiB")
        results = {name: {"ours": [], "reference": []} for name in bars}

        def note(name: str, ours: float, reference: float) -> None:
            results[name]["ours"].append(ours)
            results[name]["reference"].append(reference)

        for _ in range(ROUNDS):
            ours = nanoseconds("write('peer', source, plain, 8)", names)
            called = nanoseconds("bare(pid, here, 1, there, 1, 0)", names)
            note(
                "python_cma_8B",
                ours,
                called - nanoseconds("nothing(pid, here, 1, there, 1, 0)", names),
            )
            note(
                "python_mapped_8B",
                nanoseconds("write('peer', source, mapped, 8)", names),
                nanoseconds("cheapest()", names),
            )
            note(
                "python_submit",
                nanoseconds("submit('peer', source, mapped, 8, stream)", names),
                nanoseconds("cheapest()", names),
            )
            if stream.synchronize() != 0:
                sys.exit(mf.get_last_err_msg())
            note(
                "python_batch_10000x4KiB",
                nanoseconds("batch('peer', *lists)", names, 2),
                nanoseconds("bare_batch()", names, 2),
            )
        results["first_transfer_ms"] = {"ours": first}
        print(json.dumps(results))
    finally:
        engine.destroy()
        os.kill(peer, signal.SIGKILL)
        os.waitpid(peer, 0)


if __name__ == "__main__":
    main()
