#!/usr/bin/env python3
"""make bench-peers: our TransferEngine against Mooncake's (TCP) and NIXL (UCX), in turns, on one
host and between two.

On one host, NIXL runs twice: with UCX's shared-memory transports (its best there) and over TCP.
Between two network namespaces (root) everything goes over TCP. The others are in build/others
(scripts/others.py). Each row is one transfer that was waited for, of one piece or of the KV batch,
from Python; memory is numpy's, as users have it. While one moves bytes the others' processes are
stopped, because their threads poll also when nothing is asked of them; ours are not: they sleep.
Prints
`name, ours, reference, ratio, bar, pass|FAIL`; exit status as benchmarks/run.py.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterator

import run
import tcp_bench

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "scripts"))
import others  # noqa: E402

SIZES = {
    "8B": 8,
    "64B": 64,
    "512B": 512,
    "4KiB": 4 << 10,
    "32KiB": 32 << 10,
    "256KiB": 256 << 10,
    "1MiB": 1 << 20,
    "4MiB": 4 << 20,
    "16MiB": 16 << 20,
    "64MiB": 64 << 20,
}


@dataclasses.dataclass(frozen=True)
class Contender:
    name: str
    kind: str
    environment: dict[str, str] = dataclasses.field(default_factory=dict)


OURS = Contender("ours", "ours")
MOONCAKE = Contender("mooncake_tcp", "mooncake", {"MC_LOG_LEVEL": "ERROR"})
# Without tcp its agents can't meet; bytes go by shared memory and CMA all the same.
NIXL_SHM = Contender(
    "nixl_shm",
    "nixl",
    {"UCX_TLS": "sm,tcp,self", "NIXL_LOG_LEVEL": "ERROR", "UCX_LOG_LEVEL": "error"},
)
NIXL_TCP = Contender(
    "nixl_tcp", "nixl", {"UCX_TLS": "tcp,self", "NIXL_LOG_LEVEL": "ERROR", "UCX_LOG_LEVEL": "error"}
)


def kv_pieces() -> list[tuple[int, int, int]]:
    """docs/design.md's block: 61 layers of 128 and 16 KiB, apart at both ends."""
    pieces, here, there = [], 0, 0
    for _ in range(61):
        for size in (128 << 10, 16 << 10):
            pieces.append((here, there, size))
            here += size + (64 << 10)
            there += size + (96 << 10)
    return pieces


class End:
    """A process of one contender in one namespace."""

    def __init__(
        self,
        contender: Contender,
        role: str,
        namespace: str,
        address: str,
        store: str,
        build: pathlib.Path,
    ):
        ours = contender.kind == "ours"
        python, libraries = (
            (sys.executable, {"PYTHONPATH": str(build / "python")}) if ours else others.make()
        )
        self.name = contender.name
        self.process = subprocess.Popen(
            tcp_bench.within(
                namespace,
                python,
                ROOT / "benchmarks/peers_engine.py",
                contender.kind,
                role,
                address,
                store,
            ),
            env=os.environ | contender.environment | libraries,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def tell(self, value: object) -> None:
        self.process.stdin.write(json.dumps(value) + "\n")
        self.process.stdin.flush()

    def hear(self) -> object:
        for line in self.process.stdout:
            if line.startswith("peers: "):
                return json.loads(line.removeprefix("peers: "))
        raise RuntimeError(f"{self.name} ended with status {self.process.wait()}")

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def drivers(
    contenders: list[Contender],
    places: tcp_bench.Namespaces,
    addresses: tuple[str, str],
    build: pathlib.Path,
) -> Iterator[dict[str, tuple[End, End]]]:
    store = f"tcp://{addresses[0]}:{run.free_port()}"
    ends: list[End] = []
    found: dict[str, tuple[End, End]] = {}
    try:
        for contender in contenders:
            ends.append(server := End(contender, "serve", places[0], addresses[0], store, build))
            try:
                card = server.hear()
                ends.append(
                    driver := End(contender, "drive", places[1], addresses[1], store, build)
                )
                driver.tell(card)
                driver.hear()
            except RuntimeError as error:
                if contender is OURS:
                    raise
                print(f"{contender.name} doesn't run here and is left out: {error}", flush=True)
                continue
            found[contender.name] = server, driver
            pause(contender.name, found[contender.name])
        yield found
    finally:
        for end in ends:
            end.end()


def pause(name: str, ends: tuple[End, End], stop: bool = True) -> None:
    if name == OURS.name:
        return
    for end in ends:
        end.send(signal.SIGSTOP if stop else signal.SIGCONT)


def measure(place: str, ends: dict[str, tuple[End, End]], quick: bool) -> Iterator[run.Bar]:
    rows = {name: [(0, 0, size)] for name, size in SIZES.items()} | {"kv_batch": kv_pieces()}
    rounds, seconds = (3, 0.02) if quick else (7, 0.05)
    for name, pieces in rows.items():
        for op in ("write", "read"):
            times: dict[str, list[float]] = {}
            for _ in range(rounds):
                for contender, (server, driver) in ends.items():
                    pause(contender, (server, driver), stop=False)
                    driver.tell({"op": op, "pieces": pieces, "seconds": seconds})
                    times.setdefault(contender, []).append(driver.hear())
                    pause(contender, (server, driver))
            medians = {
                contender: statistics.median(values) / 1e3 for contender, values in times.items()
            }
            ours = medians.pop("ours")
            yield run.at_least(f"{place}_{op}_{name}", ours, medians, "us", 1.0)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="fewer repetitions: a look, not a measurement"
    )
    parser.add_argument(
        "--build",
        type=pathlib.Path,
        default=ROOT / "build/release",
        help="build tree (build/release)",
    )
    options = parser.parse_args()
    others.make()
    build = options.build.resolve()
    bars: list[run.Bar] = []

    def hold(
        place: str,
        contenders: list[Contender],
        places: tcp_bench.Namespaces,
        addresses: tuple[str, str],
    ) -> None:
        with drivers(contenders, places, addresses, build) as ends:
            if len(ends) == 1:
                raise RuntimeError("there is nobody to be held against")
            for bar in measure(place, ends, options.quick):
                bars.append(bar)
                print(bar.row(), flush=True)

    print("name, ours, reference, ratio, bar, pass|FAIL", flush=True)
    hold("same_host", [OURS, MOONCAKE, NIXL_SHM, NIXL_TCP], ("", ""), ("127.0.0.1", "127.0.0.1"))
    if os.geteuid() == 0:
        with tcp_bench.two_hosts() as places:
            hold("two_hosts", [OURS, MOONCAKE, NIXL_TCP], places, ("10.77.0.1", "10.77.0.2"))
    else:
        print("two_hosts: left out, network namespaces need root", flush=True)
    failed = [bar.name for bar in bars if bar.passed is False]
    print(
        f"{len(bars) - len(failed)} passed, {len(failed)} "
        f"FAILed{': ' + ', '.join(failed) if failed else ''}"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
