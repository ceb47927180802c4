"""As transfer_numpy.py, with torch CPU tensors: they are passed as they are."""

import multiprocessing

import torch

import memfabric_hybrid as mf

STORE = "tcp://127.0.0.1:8574"


def check(code: int) -> None:
    if code != 0:
        raise SystemExit(f"{mf.strerror(code)}: {mf.get_last_err_msg()}")


def decode(pipe) -> None:
    engine = mf.TransferEngine()
    check(engine.initialize(STORE, "decode-0", "Decode", 0))
    layers = [torch.zeros(1024) for _ in range(61)]
    check(engine.batch_register_memory(layers, [layer.nbytes for layer in layers]))
    pipe.send([layer.data_ptr() for layer in layers])
    pipe.recv()
    print("decode has", int(sum(layer.sum() for layer in layers)))
    engine.destroy()


def prefill(pipe) -> None:
    engine = mf.TransferEngine()
    addresses = pipe.recv()
    check(engine.initialize(STORE, "prefill-0", "Prefill", 0))
    layers = [torch.ones(1024) for _ in range(61)]
    check(
        engine.batch_transfer_sync_write(
            "decode-0", layers, addresses, [layer.nbytes for layer in layers]
        )
    )
    pipe.send("done")
    engine.destroy()


if __name__ == "__main__":
    ours, theirs = multiprocessing.Pipe()
    other = multiprocessing.Process(target=decode, args=(theirs,), daemon=True)
    other.start()
    prefill(ours)
    other.join()
    raise SystemExit(other.exitcode)
