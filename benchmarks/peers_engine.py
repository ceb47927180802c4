"""One end of a transfer engine for peers.py: `peers_engine.py KIND serve|drive ADDRESS STORE`; KIND
is ours, mooncake or nixl.

Both ends register 64 MiB. `serve` prints one line of JSON, what the other end needs to reach it,
and ends with its input. `drive` reads that line, then orders, one a line: {"op": "write"|"read",
"pieces": [[offset here, offset there, bytes], ...], "seconds": s}, and answers each with the
nanoseconds of a transfer that was waited for.
"""

import json
import sys
import time
from collections.abc import Callable

import numpy as np

BYTES = 64 << 20
Piece = tuple[int, int, int]


class Ours:
    def __init__(self, address: str, store: str, serves: bool):
        import memfabric_hybrid as mf

        self.engine, self.memory = mf.TransferEngine(), np.zeros(BYTES, np.uint8)
        if (
            self.engine.initialize(
                store, "server" if serves else "driver", "Decode" if serves else "Prefill", 0
            )
            != 0
            or self.engine.register_memory(self.memory.ctypes.data, BYTES) != 0
        ):
            sys.exit(mf.get_last_err_msg())

    def card(self) -> dict:
        return {"address": self.memory.ctypes.data}

    def transfer(self, card: dict, op: str, pieces: list[Piece]) -> Callable[[], object]:
        here, there, sizes = lists(self.memory, card, pieces)
        if len(pieces) == 1:
            call = (
                self.engine.transfer_sync_write if op == "write" else self.engine.transfer_sync_read
            )
            return lambda: must(call("server", here[0], there[0], sizes[0]) == 0)
        batch = (
            self.engine.batch_transfer_sync_write
            if op == "write"
            else self.engine.batch_transfer_sync_read
        )
        return lambda: must(batch("server", here, there, sizes) == 0)


class Mooncake:
    def __init__(self, address: str, store: str, serves: bool):
        from mooncake.engine import TransferEngine

        self.engine, self.memory, self.address = (
            TransferEngine(),
            np.zeros(BYTES, np.uint8),
            address,
        )
        must(self.engine.initialize(address, "P2PHANDSHAKE", "tcp", "") == 0)
        must(self.engine.register_memory(self.memory.ctypes.data, BYTES) == 0)

    def card(self) -> dict:
        return {
            "address": self.memory.ctypes.data,
            "name": f"{self.address}:{self.engine.get_rpc_port()}",
        }

    def transfer(self, card: dict, op: str, pieces: list[Piece]) -> Callable[[], object]:
        here, there, sizes = lists(self.memory, card, pieces)
        name = card["name"]
        if len(pieces) == 1:
            call = (
                self.engine.transfer_sync_write if op == "write" else self.engine.transfer_sync_read
            )
            return lambda: must(call(name, here[0], there[0], sizes[0]) == 0)
        batch = (
            self.engine.batch_transfer_sync_write
            if op == "write"
            else self.engine.batch_transfer_sync_read
        )
        return lambda: must(batch(name, here, there, sizes) == 0)


class Nixl:
    """A request is made once and posted again and again: the quickest way that it has."""

    def __init__(self, address: str, store: str, serves: bool):
        from nixl_cu12._api import nixl_agent, nixl_agent_config

        self.memory = np.zeros(BYTES, np.uint8)
        self.agent = nixl_agent(
            "server" if serves else "driver", nixl_agent_config(backends=["UCX"])
        )
        self.agent.register_memory([(self.memory.ctypes.data, BYTES, 0, "")], "DRAM")
        self.known = False

    def card(self) -> dict:
        return {
            "address": self.memory.ctypes.data,
            "metadata": self.agent.get_agent_metadata().hex(),
        }

    def transfer(self, card: dict, op: str, pieces: list[Piece]) -> Callable[[], object]:
        if not self.known:
            self.agent.add_remote_agent(bytes.fromhex(card["metadata"]))
            self.known = True
        here, there, sizes = lists(self.memory, card, pieces)
        descriptions = [
            self.agent.get_xfer_descs([(a, n, 0) for a, n in zip(side, sizes)], "DRAM")
            for side in (here, there)
        ]
        request = self.agent.initialize_xfer(op.upper(), *descriptions, "server")

        def post() -> None:
            state = self.agent.transfer(request)
            while state == "PROC":
                state = self.agent.check_xfer_state(request)
            must(state == "DONE")

        return post


def must(condition: bool) -> None:
    if not condition:
        raise RuntimeError("the transfer failed")


def lists(
    memory: np.ndarray, card: dict, pieces: list[Piece]
) -> tuple[list[int], list[int], list[int]]:
    return (
        [memory.ctypes.data + piece[0] for piece in pieces],
        [card["address"] + piece[1] for piece in pieces],
        [piece[2] for piece in pieces],
    )


def check(engine: object, card: dict) -> None:
    """That bytes go there and come back."""
    there_and_back = [(0, 1 << 20, 1 << 20)], [(2 << 20, 1 << 20, 1 << 20)]
    engine.memory[: 1 << 20] = np.random.default_rng(1).integers(0, 256, 1 << 20, np.uint8)
    engine.transfer(card, "write", there_and_back[0])()
    engine.transfer(card, "read", there_and_back[1])()
    must(bool((engine.memory[: 1 << 20] == engine.memory[2 << 20 : 3 << 20]).all()))


def timed(call: Callable[[], object], seconds: float) -> float:
    call()
    calls, passed, begin = 0, 0.0, time.perf_counter()
    while passed < seconds or calls < 3:
        for _ in range(max(1, min(calls, 1000))):
            call()
        calls += max(1, min(calls, 1000))
        passed = time.perf_counter() - begin
    return passed / calls * 1e9


def main() -> None:
    kind, role, address, store = sys.argv[1:]
    engine = {"ours": Ours, "mooncake": Mooncake, "nixl": Nixl}[kind](
        address, store, role == "serve"
    )
    # What the libraries print themselves is not for the other end.
    say = lambda value: print(f"peers: {json.dumps(value)}", flush=True)
    if role == "serve":
        say(engine.card())
        sys.stdin.read()
        return
    card = json.loads(sys.stdin.readline())
    check(engine, card)
    say("ready")
    for line in sys.stdin:
        order = json.loads(line)
        say(timed(engine.transfer(card, order["op"], order["pieces"]), order["seconds"]))


if __name__ == "__main__":
    main()
