"""The TCP transport between two network namespaces joined by veth, and over loopback, against
iperf3, UCX and bare sockets.

Prints JSON: per place ("veth", "loopback") what tcp_bench measured, and with it the streams of
iperf3 and ucx_perftest, in turns with it. Makes and removes its namespaces; needs root for them.
UCX comes from PyPI's libucx-cu12 into build/bench-venv, which this makes; where that can't be had
its figures are missing.
"""

import argparse
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).resolve().parent.parent
VENV = ROOT / "build/bench-venv"
UCX = "libucx-cu12==1.22.0"
SIZES = {"1MiB": 1 << 20, "16MiB": 16 << 20, "64MiB": 64 << 20}
Namespaces = tuple[str, str]  # the server's, the client's; "" for none


def run(*command: object, **keywords: object) -> str:
    return subprocess.run(
        [str(c) for c in command],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        stdin=subprocess.DEVNULL,
        **keywords,
    ).stdout


def within(namespace: str, *command: object) -> list[str]:
    return [*(["ip", "netns", "exec", namespace] if namespace else []), *(str(c) for c in command)]


@contextlib.contextmanager
def two_hosts() -> Iterator[Namespaces]:
    names = [f"mfbench{os.getpid()}{side}" for side in "sc"]
    made = []
    try:
        for name in names:
            run("ip", "netns", "add", name)
            made.append(name)
        run(
            "ip",
            "link",
            "add",
            "data0",
            "netns",
            names[0],
            "type",
            "veth",
            "peer",
            "name",
            "data0",
            "netns",
            names[1],
        )
        for number, name in enumerate(names, 1):
            run("ip", "-n", name, "addr", "add", f"10.77.0.{number}/24", "dev", "data0")
            run("ip", "-n", name, "link", "set", "data0", "up")
            run("ip", "-n", name, "link", "set", "lo", "up")
            # The machine's own may be BBR, which paces by what it has measured of a network: on one
            # that is made of memory copies that is far below what they can do, and wanders.
            # Loopback is measured with whatever the machine has.
            run(
                "ip",
                "-n",
                name,
                "route",
                "replace",
                "10.77.0.0/24",
                "dev",
                "data0",
                "src",
                f"10.77.0.{number}",
                "congctl",
                "cubic",
            )
        yield names[0], names[1]
    finally:
        for name in made:
            subprocess.run(["ip", "netns", "delete", name], check=False)


@contextlib.contextmanager
def server(namespace: str, port: int, *command: object, **keywords: object) -> Iterator[None]:
    process = subprocess.Popen(
        within(namespace, *command),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        **keywords,
    )
    try:
        wait_until_it_listens(namespace, port)
        yield
    finally:
        process.kill()
        process.wait()


def wait_until_it_listens(namespace: str, port: int) -> None:
    # Without connecting: these servers take the first connection for their client.
    for _ in range(500):
        if f":{port} " in run(*within(namespace, "ss", "-Hltn")):
            return
        time.sleep(0.02)
    raise RuntimeError(f"nothing listens at port {port}")


def iperf(places: Namespaces, address: str, port: int, seconds: float) -> float:
    """GB/s of one stream in 1 MiB writes."""
    with server(places[0], port, "iperf3", "-s", "-1", "-p", port):
        answer = json.loads(
            run(
                *within(
                    places[1], "iperf3", "-c", address, "-p", port, "-l", "1M", "-t", seconds, "-J"
                )
            )
        )
    return answer["end"]["sum_received"]["bits_per_second"] / 8e9


def ucx_program() -> pathlib.Path | None:
    def found() -> pathlib.Path | None:
        return next(VENV.glob("lib/python*/site-packages/libucx/bin/ucx_perftest"), None)

    if found() is None:
        try:
            run(sys.executable, "-m", "venv", VENV)
            run(VENV / "bin/pip", "install", "-q", UCX)
        except subprocess.CalledProcessError:
            return None
    return found()


def ucx(
    program: pathlib.Path,
    places: Namespaces,
    address: str,
    port: int,
    put: bool,
    size: int,
    count: int,
    segment: str | None,
) -> tuple[float, float]:
    """GB/s, and the CPU seconds of both ends, start included."""
    environment = os.environ | {
        "LD_LIBRARY_PATH": str(program.parent.parent / "lib"),
        "UCX_TLS": "tcp,self",
        "UCX_LOG_LEVEL": "error",
    }
    if segment:
        environment["UCX_TCP_TX_SEG_SIZE"] = segment
    before = os.times()
    with server(places[0], port, program, "-p", port, env=environment):
        text = run(
            *within(
                places[1],
                program,
                address,
                "-p",
                port,
                "-t",
                "ucp_put_bw" if put else "ucp_get",
                "-s",
                size,
                "-n",
                count,
                "-w",
                1,
                "-f",
            ),
            env=environment,
            stderr=subprocess.DEVNULL,
        )
    after = os.times()
    rate = float(text.splitlines()[-1].split()[5]) * (1 << 20) / 1e9  # "overall", in MiB/s
    cpu = (after.children_user - before.children_user) + (
        after.children_system - before.children_system
    )
    return rate, cpu


def measure(
    build: pathlib.Path, places: Namespaces, addresses: tuple[str, str], quick: bool
) -> dict[str, dict[str, list[float]]]:
    results: dict[str, dict[str, list[float]]] = {}

    def note(rows: dict[str, dict[str, list[float]]]) -> None:
        for row, sides in rows.items():
            for side, values in sides.items():
                results.setdefault(row, {}).setdefault(side, []).extend(values)

    def ours(part: str, **environment: str) -> dict[str, dict[str, list[float]]]:
        return json.loads(
            run(
                build / "benchmarks/tcp_bench",
                *places,
                *addresses,
                f"--only={part}",
                "--quick",
                env=os.environ | environment,
            )
        )

    program = ucx_program()
    port = 15300
    start_cpu = ucx(program, places, addresses[0], port, True, 8, 1, None)[1] if program else 0
    for _ in range(1 if quick else 3):
        note(ours("copies"))
        port += 1
        stream = iperf(places, addresses[0], port, 1 if quick else 2)
        for name, size in SIZES.items():
            for put in (True, False):
                row = f"{'put' if put else 'get'}_{name}"
                note({row: {"reference_iperf3": [stream]}})
                for segment in (None, "64k") if program else ():
                    port += 1
                    count = (128 << 20) // size
                    rate, cpu = ucx(program, places, addresses[0], port, put, size, count, segment)
                    label = "reference_ucx" + (f"_{segment}" if segment else "")
                    note(
                        {
                            row: {
                                label: [rate],
                                label + "_cpu": [(cpu - start_cpu) / (size * (count + 1) / 1e9)],
                            }
                        }
                    )
        for part in ("batch", "latency", "tls", "fan"):
            note(ours(part))
        blocking = ours("latency", MEMFABRIC_SPIN_US="0")
        note({f"{row}_no_spin": sides for row, sides in blocking.items()})
    return results


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("build", type=pathlib.Path, nargs="?", default=ROOT / "build/release")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    results = {}
    if os.geteuid() == 0:
        with two_hosts() as places:
            results["veth"] = measure(
                options.build, places, ("10.77.0.1", "10.77.0.2"), options.quick
            )
    results["loopback"] = measure(
        options.build, ("", ""), ("127.0.0.1", "127.0.0.1"), options.quick
    )
    json.dump(results, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
