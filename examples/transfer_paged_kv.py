"""A paged KV cache: 61 layers of pages that lie anywhere, handed over in one batch on a stream.

Every byte is checked.
"""

import multiprocessing

import numpy as np

import memfabric_hybrid as mf

STORE = "tcp://127.0.0.1:8573"
LAYERS, PAGES, PAGE_BYTES = 61, 32, 16 << 10


def check(code: int) -> None:
    if code != 0:
        raise SystemExit(f"{mf.strerror(code)}: {mf.get_last_err_msg()}")


def decode(pipe) -> None:
    engine = mf.TransferEngine()
    check(engine.initialize(STORE, "decode-0", "Decode", 0))
    layers = [mf.empty((PAGES, PAGE_BYTES), np.uint8) for _ in range(LAYERS)]
    check(engine.batch_register_memory(layers, [layer.nbytes for layer in layers]))
    pages = np.random.default_rng(1).permutation(PAGES)[:8]  # those that are free here
    pipe.send(([layer.ctypes.data for layer in layers], pages))
    pipe.recv()
    for number, layer in enumerate(layers):
        for k, page in enumerate(pages):
            assert (layer[page] == (number * 8 + k) % 251).all(), f"layer {number}, page {page}"
    print(f"{LAYERS} layers x {len(pages)} pages, every byte verified")
    engine.destroy()


def prefill(pipe) -> None:
    engine = mf.TransferEngine()
    bases, pages = pipe.recv()
    check(engine.initialize(STORE, "prefill-0", "Prefill", 0))
    cache = np.empty((LAYERS, len(pages), PAGE_BYTES), np.uint8)
    cache[:] = (np.arange(LAYERS * len(pages)) % 251).reshape(LAYERS, len(pages), 1)
    local = cache.ctypes.data + np.arange(LAYERS * len(pages), dtype=np.uint64) * PAGE_BYTES
    remote = (np.array(bases, np.uint64)[:, None] + pages.astype(np.uint64) * PAGE_BYTES).reshape(
        -1
    )
    stream = mf.Stream()
    check(
        engine.batch_transfer_async_write_submit(
            "decode-0", local, remote, np.full(len(local), PAGE_BYTES), stream
        )
    )
    check(stream.synchronize())  # the next block could be computed meanwhile
    pipe.send("done")
    engine.destroy()


if __name__ == "__main__":
    ours, theirs = multiprocessing.Pipe()
    other = multiprocessing.Process(target=decode, args=(theirs,), daemon=True)
    other.start()
    prefill(ours)
    other.join()
    raise SystemExit(other.exitcode)
