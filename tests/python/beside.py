"""`beside.py NAME…`: imports packages in this order and then really uses each, in this one process.
`ours` is one of them.

Run by test_beside.py with the interpreter and the environment of scripts/others.py. Prints `NAME
works` for each."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2] / "benchmarks"), str(Path(__file__).parent)]
HERE = "127.0.0.1"


def ours() -> None:
    import memfabric_hybrid as mf
    from peers_engine import Ours, check
    from rank import free_url

    mf.set_log_level(0)
    config = mf.bm.BmConfig()
    config.rank_id = 0
    assert mf.bm.initialize(free_url(), 1, 0, config) == 0, mf.get_last_err_msg()
    pool = mf.bm.create(0, 2 << 20)
    assert pool.join() == 0, mf.get_last_err_msg()
    there = pool.peer_rank_ptr(0, mf.bm.BmMemType.HOST)
    assert pool.copy_data(b"written", there, 7, mf.bm.BmCopyType.H2GH) == 0, mf.get_last_err_msg()
    assert bytes(pool.view(0)[:7]) == b"written"
    mf.bm.uninitialize()
    ours_with_tls(mf, config, free_url())
    store = free_url()
    server, driver = Ours(HERE, store, True), Ours(HERE, store, False)
    check(driver, server.card())


def ours_with_tls(mf: object, config: object, url: str) -> None:
    """OpenSSL at work: a handshake of this process with itself, by a certificate that is its own
    authority.
    """
    import subprocess
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-subj",
                "/CN=job",
                "-keyout",
                f"{folder}/key.pem",
                "-out",
                f"{folder}/cert.pem",
            ],
            check=True,
            capture_output=True,
        )
        key = (Path(folder) / "key.pem").read_text()
        info = f"tlsCaPath: {folder}; tlsCaFile: cert.pem; tlsCert: {folder}/cert.pem;"
        assert mf.set_conf_store_tls(True, info) == 0, mf.get_last_err_msg()
        assert mf.set_conf_store_tls_key(key, "", None) == 0, mf.get_last_err_msg()
    assert mf.bm.initialize(url, 1, 0, config) == 0, mf.get_last_err_msg()
    mf.bm.uninitialize()
    assert mf.set_conf_store_tls(False, "") == 0


def mooncake() -> None:
    from peers_engine import Mooncake, check

    server, driver = Mooncake(HERE, "", True), Mooncake(HERE, "", False)
    check(driver, server.card())


def nixl() -> None:
    from peers_engine import Nixl, check

    server, driver = Nixl(HERE, "", True), Nixl(HERE, "", False)
    check(driver, server.card())


def grpc() -> None:
    from concurrent import futures

    import grpc

    class Echo(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
            return grpc.unary_unary_rpc_method_handler(lambda request, context: request[::-1])

    server = grpc.server(futures.ThreadPoolExecutor(1), handlers=[Echo()])
    port = server.add_insecure_port(f"{HERE}:0")
    server.start()
    with grpc.insecure_channel(f"{HERE}:{port}") as channel:
        assert channel.unary_unary("/its/own")(b"abc", timeout=20) == b"cba"
    server.stop(None).wait()


def protobuf() -> None:
    from google.protobuf import duration_pb2

    assert (
        duration_pb2.Duration.FromString(
            duration_pb2.Duration(seconds=3).SerializeToString()
        ).seconds
        == 3
    )


def pyarrow() -> None:
    import pyarrow
    import pyarrow.flight
    from pyarrow import parquet

    table, file = (
        pyarrow.table({"number": list(range(1000)), "text": ["x"] * 1000}),
        pyarrow.BufferOutputStream(),
    )
    parquet.write_table(table, file, compression="zstd")
    assert parquet.read_table(file.getvalue()).equals(table)


def torch() -> None:
    import torch

    assert torch.equal(torch.ones(64, 64) @ torch.ones(64, 64), torch.full((64, 64), 64.0))


MODULES = {
    "ours": "memfabric_hybrid",
    "mooncake": "mooncake.engine",
    "nixl": "nixl_cu12._api",
    "grpc": "grpc",
    "protobuf": "google.protobuf.duration_pb2",
    "pyarrow": "pyarrow",
    "torch": "torch",
}


def main() -> None:
    names = sys.argv[1:]
    for name in names:
        __import__(MODULES[name])
    for name in names:
        globals()[name]()
        print(f"{name} works", flush=True)


if __name__ == "__main__":
    main()
