"""Prefill and decode: one process writes a KV cache into another's memory, by name and address."""

import multiprocessing

import numpy as np

import memfabric_hybrid as mf

STORE = "tcp://127.0.0.1:8572"


def check(code: int) -> None:
    if code != 0:
        raise SystemExit(f"{mf.strerror(code)}: {mf.get_last_err_msg()}")


def decode(pipe) -> None:
    engine = mf.TransferEngine()
    check(engine.initialize(STORE, "decode-0", "Decode", 0))  # serves the store
    # or any array: this one moves at memory speed on one host
    cache = mf.empty((61, 1024), np.float32)
    check(engine.register_memory(cache, cache.nbytes))
    pipe.send(cache.ctypes.data)
    pipe.recv()  # it is there
    print("decode has", cache.sum())
    check(engine.unregister_memory(cache))
    engine.destroy()


def prefill(pipe) -> None:
    engine = mf.TransferEngine()
    address = pipe.recv()
    check(engine.initialize(STORE, "prefill-0", "Prefill", 0))
    cache = np.ones((61, 1024), np.float32)
    check(engine.transfer_sync_write("decode-0", cache, address, cache.nbytes))
    pipe.send("done")
    engine.destroy()


if __name__ == "__main__":
    ours, theirs = multiprocessing.Pipe()
    # forked before anything is initialized
    other = multiprocessing.Process(target=decode, args=(theirs,), daemon=True)
    other.start()
    prefill(ours)
    other.join()
    raise SystemExit(other.exitcode)
