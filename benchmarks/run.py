#!/usr/bin/env python3
"""make bench: runs the benchmarks and holds each against its bar: `name, ours, reference, ratio,
bar, pass|FAIL`.

The reference of a line ran in the same process and moment, in turns with ours; figures are medians.
Only the ratios mean something on another machine. Everything measured goes to bench-results.json.
This file is long because every bar and how it is measured stand side by side.
Exit status 0: every bar passed. 1: one FAILed. 2: a benchmark itself broke; the others ran all the
same.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

import tcp_bench

ROOT = pathlib.Path(__file__).resolve().parent.parent
BENCHMARKS = ROOT / "benchmarks"


@dataclasses.dataclass
class Bar:
    name: str
    ours: float
    reference: float | None
    unit: str
    ratio: float | None  # of speeds: above 1, ours is quicker
    bar: str
    passed: bool | None  # None: shown, but nothing is asked of it

    def row(self) -> str:
        number = lambda value: "-" if value is None else f"{value:.4g} {self.unit}"
        ratio = "-" if self.ratio is None else f"{self.ratio:.3f}"
        verdict = {True: "pass", False: "FAIL", None: "-"}[self.passed]
        return (
            f"{self.name + ',':<26} {number(self.ours) + ',':<14} "
            f"{number(self.reference) + ',':<14} {ratio + ',':<8} "
            f"{self.bar + ',':<28} {verdict}"
        )


def at_least(name: str, ours: float, references: dict[str, float], unit: str, share: float) -> Bar:
    """Times: ours may take 1/share of what the quickest reference takes."""
    best = min(references, key=references.get)
    ratio = references[best] / ours
    return Bar(
        name,
        ours,
        references[best],
        unit,
        ratio,
        f">= {share} x {best.removeprefix('reference_')}",
        ratio >= share,
    )


def at_most(name: str, ours: float, limit: float, unit: str, reference: float | None = None) -> Bar:
    return Bar(
        name,
        ours,
        reference,
        unit,
        None if reference is None else reference / ours,
        f"<= {limit:g} {unit}",
        ours <= limit,
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def free_store_url() -> str:
    return f"tcp://127.0.0.1:{free_port()}"


class Suite:
    def __init__(self, build: pathlib.Path, quick: bool):
        self.build = build
        self.quick = quick
        self.raw: dict[str, object] = {}

    def output(self, *command: object) -> str:
        environment = os.environ | {
            "PYTHONPATH": f"{self.build / 'python'}{os.pathsep}{BENCHMARKS}"
        }
        return subprocess.run(
            [str(c) for c in command],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            stdin=subprocess.DEVNULL,
        ).stdout

    def capi(self) -> Iterator[Bar]:
        repetitions, seconds = (5, 0.02) if self.quick else (21, 0.05)
        with tempfile.NamedTemporaryFile(suffix=".json") as out:
            self.output(
                self.build / "benchmarks/capi_bench",
                "--benchmark_enable_random_interleaving=true",
                f"--benchmark_repetitions={repetitions}",
                f"--benchmark_min_time={seconds}",
                f"--benchmark_out={out.name}",
                "--benchmark_out_format=json",
                free_store_url(),
            )
            runs = json.load(out)["benchmarks"]
        times: dict[str, dict[str, list[float]]] = {}
        for run in runs:
            if run.get("error_occurred"):
                raise RuntimeError(f"{run['name']}: {run['error_message']}")
            if run["run_type"] == "iteration":
                bar, case = run["run_name"].split("/")[:2]
                times.setdefault(bar, {}).setdefault(case, []).append(run["real_time"])
        self.raw["capi_ns"] = times

        def parts(bar: str, scale: float) -> tuple[float, dict[str, float]]:
            medians = {case: statistics.median(t) / scale for case, t in times[bar].items()}
            return medians["ours"], {
                case: t for case, t in medians.items() if case.startswith("reference")
            }

        yield at_least("copy_64MiB", *parts("copy_64MiB", 1e6), "ms", 0.95)
        ours, references = parts("copy_8B", 1)
        yield at_most("copy_8B", ours, 60, "ns", min(references.values()))
        yield at_least("kv_batch", *parts("kv_batch", 1e3), "us", 0.9)
        yield at_least("batch_10000x4KiB", *parts("batch_10000x4KiB", 1e6), "ms", 0.8)
        yield at_most("create_1GiB", parts("create_1GiB", 1e6)[0], 10, "ms")
        yield at_least("create_1GiB_faulted", *parts("create_1GiB_faulted", 1e6), "ms", 0.9)

    def python(self) -> Iterator[Bar]:
        self.raw["python_ns"] = results = json.loads(
            self.output(sys.executable, BENCHMARKS / "python_bench.py", free_store_url())
        )
        for name, limit in (("python_copy_8B", 400), ("python_peer_rank_ptr", 250)):
            yield at_most(
                name,
                statistics.median(results[name]["ours"]),
                limit,
                "ns",
                statistics.median(results[name]["reference"]),
            )

    def cluster(self) -> Iterator[Bar]:
        results = json.loads(
            self.output(
                sys.executable,
                BENCHMARKS / "cluster_bench.py",
                *(["--quick"] if self.quick else []),
            )
        )
        self.raw["cluster"] = results
        yield at_most("startup_2_ranks", statistics.median(results["startup_2_s"]), 0.3, "s")
        if results["startup_64_on_8_hosts_s"]:
            yield at_most(
                "startup_64_ranks_on_8_hosts",
                statistics.median(results["startup_64_on_8_hosts_s"]),
                10,
                "s",
            )
        yield at_most("startup_64_ranks", statistics.median(results["startup_64_s"]), 3, "s")
        # 0 % as `top` rounds it, of the busiest of the ranks; the lease's keep-alive is all that an
        # idle rank does.
        yield at_most("idle_cpu", max(results["idle_percent"]), 0.5, "%")
        before, after = results["cycles"]["before"], results["cycles"]["after"]
        # RSS wanders by the allocator's arenas; 200 cycles that each lost a page would be 800 KiB.
        for what, room, unit in (
            ("fds", 0, ""),
            ("threads", 0, ""),
            ("mappings", 0, ""),
            ("rss_kib", 512, "KiB"),
        ):
            yield at_most(f"200_cycles_{what}", after[what] - before[what], room, unit)

    def transfer(self) -> Iterator[Bar]:
        self.raw["transfer_ns"] = results = json.loads(
            self.output(
                self.build / "benchmarks/transfer_bench", free_store_url(), 5 if self.quick else 21
            )
        )
        median = {
            name: {side: statistics.median(times) for side, times in sides.items()}
            for name, sides in results.items()
        }
        for name, scale, unit, share in (
            ("cma_write_64MiB", 1e6, "ms", 0.95),
            ("cma_read_64MiB", 1e6, "ms", 0.95),
            ("cma_write_1MiB", 1e3, "us", 0.95),
            ("cma_read_1MiB", 1e3, "us", 0.95),
            ("cma_kv_batch", 1e3, "us", 0.9),
            ("cma_batch_10000x4KiB", 1e6, "ms", 0.9),
            ("mapped_write_64MiB", 1e6, "ms", 0.95),
        ):
            yield at_least(
                name,
                median[name]["ours"] / scale,
                {"reference": median[name]["reference"] / scale},
                unit,
                share,
            )
        if (os.cpu_count() or 1) >= 2:  # both directions move what is large by several threads
            for name in ("cma_write_64MiB", "cma_read_64MiB"):
                yield at_least(
                    f"{name}_two_threads",
                    median[name]["ours"] / 1e6,
                    {"reference": median[name]["reference"] / 1e6},
                    "ms",
                    1.3,
                )
        for name in ("cma_write_8B", "mapped_write_8B"):
            yield Bar(
                name, median[name]["ours"], median[name]["reference"], "ns", None, "none", None
            )
        self.raw["transfer_python_ns"] = python = json.loads(
            self.output(sys.executable, BENCHMARKS / "transfer_python_bench.py", free_store_url())
        )
        ours, reference = (
            statistics.median(python["python_cma_8B"][side]) for side in ("ours", "reference")
        )
        yield Bar(
            "python_cma_8B",
            ours,
            reference,
            "ns",
            None,
            "<= 1500 ns over the call",
            ours <= reference + 1500,
        )
        yield at_most(
            "python_mapped_8B", statistics.median(python["python_mapped_8B"]["ours"]), 600, "ns"
        )
        yield at_most(
            "python_submit", statistics.median(python["python_submit"]["ours"]), 2000, "ns"
        )
        over = (
            statistics.median(a - b for a, b in zip(*python["python_batch_10000x4KiB"].values()))
            / 10_000
        )
        yield at_most("python_batch_entry_over", over, 100, "ns")
        yield at_most("python_first_transfer", max(python["first_transfer_ms"]["ours"]), 50, "ms")

    def store(self) -> Iterator[Bar]:
        rounds = 300 if self.quick else 2000
        with real_etcd() as port:
            results = json.loads(
                self.output(self.build / "benchmarks/store_bench", free_port(), port, rounds)
            )
        self.raw["store_us"] = results
        for name in ("store_put", "store_watch"):
            ours, reference = (
                statistics.median(results[name][side]) for side in ("ours", "reference")
            )
            asked = name == "store_put"
            yield Bar(
                name,
                ours,
                reference,
                "us",
                reference / ours,
                "<= 1.2 x etcd's time" if asked else "none",
                ours <= 1.2 * reference if asked else None,
            )

    def tcp(self) -> Iterator[Bar]:
        places = json.loads(
            self.output(
                sys.executable,
                BENCHMARKS / "tcp_bench.py",
                self.build,
                *(["--quick"] if self.quick else []),
            )
        )
        self.raw["tcp"] = places
        for place, rows in places.items():
            medians = {
                row: {side: statistics.median(values) for side, values in sides.items()}
                for row, sides in rows.items()
            }
            yield from tcp_bars(place, medians)

    def shm(self) -> Iterator[Bar]:
        seconds, rounds = (0.01, 1) if self.quick else (0.05, 3)
        self.raw["shm_ns"] = raw = {}
        with tempfile.TemporaryDirectory(prefix="shm-") as directory:
            reference = mpi_reference(pathlib.Path(directory))
            oshmem = oshmem_reference(pathlib.Path(directory))
            for ranks in (2, 4, 8):
                raw[ranks] = times = {}
                for _ in range(rounds):  # in turns with the reference
                    ours = json.loads(
                        self.output(
                            self.build / "benchmarks/shm_bench", free_store_url(), ranks, seconds
                        )
                    )
                    mpi = (
                        json.loads(
                            self.output(
                                *reference,
                                *mpi_options(ranks),
                                pathlib.Path(directory) / "reference",
                                seconds,
                            )
                        )
                        if reference
                        else {}
                    )
                    osh = json.loads(self.output(*oshmem, seconds)) if oshmem and ranks == 2 else {}
                    for name, sides in ours.items():
                        others = {"reference_mpi": mpi.get(name), "reference_oshmem": osh.get(name)}
                        for side, values in (
                            sides | {side: values for side, values in others.items() if values}
                        ).items():
                            times.setdefault(name, {}).setdefault(side, []).extend(values)
                yield from self.shm_bars(
                    ranks,
                    {
                        name: {side: statistics.median(values) for side, values in sides.items()}
                        for name, sides in times.items()
                    },
                )
        if os.geteuid() == 0:
            with tcp_bench.two_hosts() as places:
                for ranks in (2, 4):
                    apart = json.loads(
                        self.output(
                            self.build / "benchmarks/shm_bench",
                            "tcp://10.77.0.1:8570",
                            ranks,
                            seconds,
                            *places,
                        )
                    )
                    ours, trip = (
                        statistics.median(apart["shm_barrier"][side]) / 1e3
                        for side in ("ours", "reference_tcp")
                    )
                    rounds_needed = (ranks - 1).bit_length()
                    yield at_least(
                        f"shm_barrier_{ranks}_two_hosts",
                        ours,
                        {"reference_tcp_round_trips": trip * rounds_needed},
                        "us",
                        1 / 1.3,
                    )
        for ranks, limit in ((64, 3), (256, 15)):
            try:
                times = json.loads(
                    self.output(self.build / "benchmarks/shm_bench", free_store_url(), ranks, 0)
                )
                yield at_most(
                    f"shm_create_{ranks}", times["shm_create"]["ours"][0] / 1e9, limit, "s"
                )
            except subprocess.CalledProcessError:  # its ranks have said why
                yield at_most(f"shm_create_{ranks}", float("inf"), limit, "s")
        if reference:
            return
        print(
            "shm: OpenMPI (openmpi-bin, libopenmpi-dev) is not installed: its bars are left out",
            flush=True,
        )

    def shm_bars(self, ranks: int, medians: dict[str, dict[str, float]]) -> Iterator[Bar]:
        for name in ("shm_barrier", "shm_all_gather_8B", "shm_all_gather_64KiB"):
            if "reference_mpi" in medians[name]:
                yield at_least(
                    f"{name}_{ranks}",
                    medians[name]["ours"] / 1e3,
                    {"reference_mpi": medians[name]["reference_mpi"] / 1e3},
                    "us",
                    1.0,
                )
        if ranks != 2:
            return
        yield at_most("shm_barrier_2", medians["shm_barrier"]["ours"] / 1e3, 2, "us")
        yield at_most("shm_create_2", medians["shm_create"]["ours"] / 1e9, 0.3, "s")
        ours, bare = medians["shm_signal"]["ours"], medians["shm_signal"]["reference"]
        yield at_least("shm_signal_2", ours, {"reference_ping_pong": bare}, "ns", 1 / 1.5)
        for name in ("put", "get"):
            for size in ("8B", "64KiB", "64MiB"):
                times = medians[f"shm_{name}_{size}"]
                if "reference_oshmem" in times:
                    yield at_least(
                        f"shm_{name}_{size}",
                        times["ours"] / 1e3,
                        {"reference_oshmem": times["reference_oshmem"] / 1e3},
                        "us",
                        1.0,
                    )
            for size in ("64KiB", "64MiB"):  # asked where OpenSHMEM isn't there to compare with
                times = medians[f"shm_{name}_{size}"]
                ours, bare = times["ours"] / 1e3, times["reference"] / 1e3
                yield (
                    Bar(f"shm_{name}_{size}", ours, bare, "us", bare / ours, "none", None)
                    if "reference_oshmem" in times
                    else at_least(f"shm_{name}_{size}", ours, {"reference_bare": bare}, "us", 0.95)
                )
            # a call and its checks against one store: shown, as copy_8B has the bar
            times = medians[f"shm_{name}_8B"]
            yield Bar(
                f"shm_{name}_8B",
                times["ours"],
                times["reference"],
                "ns",
                times["reference"] / times["ours"],
                "none",
                None,
            )


def mpi_reference(directory: pathlib.Path) -> list[str]:
    """Compiles the MPI program there; the command that starts it, [] where there is no OpenMPI."""
    if shutil.which("mpicc") is None or shutil.which("mpirun") is None:
        return []
    subprocess.run(
        ["mpicc", "-O2", str(BENCHMARKS / "shm_reference.c"), "-o", str(directory / "reference")],
        check=True,
    )
    return ["mpirun", "--allow-run-as-root", "--oversubscribe"]


def oshmem_reference(directory: pathlib.Path) -> list[str]:
    """Compiles the OpenSHMEM program there; the command that runs it, [] where OpenMPI has none or
    it doesn't run.
    """
    if shutil.which("oshcc") is None or shutil.which("oshrun") is None:
        return []
    subprocess.run(
        ["oshcc", "-O2", str(BENCHMARKS / "shm_oshmem.c"), "-o", str(directory / "oshmem")],
        check=True,
    )
    command = [
        "oshrun",
        "--allow-run-as-root",
        "--oversubscribe",
        "-n",
        "2",
        "-x",
        "SHMEM_SYMMETRIC_SIZE=256M",
        str(directory / "oshmem"),
    ]
    trial = subprocess.run(
        [*command, "0.0001"], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    return command if trial.returncode == 0 else []


def mpi_options(ranks: int) -> list[str]:
    crowded = ranks > (os.cpu_count() or 1)
    return ["-n", str(ranks), *(["--mca", "mpi_yield_when_idle", "1"] if crowded else [])]


def tcp_bars(place: str, rows: dict[str, dict[str, float]]) -> Iterator[Bar]:
    def faster(
        name: str, ours: float, references: dict[str, float], unit: str, share: float
    ) -> Bar:
        best = max(references, key=references.get)
        ratio = ours / references[best]
        return Bar(
            f"tcp_{place}_{name}",
            ours,
            references[best],
            unit,
            ratio,
            f">= {share} x {best.removeprefix('reference_')}",
            ratio >= share,
        )

    def quicker(name: str, ours: float, reference: float, what: str, limit: float) -> Bar:
        return Bar(
            f"tcp_{place}_{name}",
            ours,
            reference,
            "us",
            reference / ours,
            f"<= {limit} x {what}",
            ours <= limit * reference,
        )

    for size in ("1MiB", "16MiB", "64MiB"):
        for way in ("put", "get"):
            row = rows[f"{way}_{size}"]
            asked = {
                side: value
                for side, value in row.items()
                if side.startswith(("reference_iperf3", "reference_ucx"))
                and not side.endswith("_cpu")
            }
            yield faster(f"{way}_{size}", row["ours"], asked, "GB/s", 1.0)
            cpu = min(
                (
                    value
                    for side, value in row.items()
                    if side.startswith("reference_ucx") and side.endswith("_cpu")
                ),
                default=None,
            )
            yield Bar(
                f"tcp_{place}_{way}_{size}_cpu",
                row["ours_cpu"],
                cpu,
                "s/GB",
                None if cpu is None else cpu / row["ours_cpu"],
                "none" if cpu is None else "<= 1 x ucx",
                None if cpu is None else row["ours_cpu"] <= cpu,
            )
    for way in ("put", "get"):
        kv = rows[f"kv_{way}"]
        yield quicker(
            f"kv_{way}", kv["ours"], kv["reference_contiguous"], "contiguous", round(1 / 0.9, 3)
        )
        word = rows[f"{way}_8B"]
        yield quicker(f"{way}_8B", word["ours"], word["reference_busy"], "busy ping-pong", 1.3)
        word = rows[f"{way}_8B_no_spin"]
        yield quicker(
            f"{way}_8B_no_spin", word["ours"], word["reference_blocking"], "blocking ping-pong", 1.1
        )
        tls = rows[f"tls_{way}_64MiB"]
        yield faster(
            f"tls_{way}_64MiB", tls["ours"], {"openssl": tls["reference_openssl"]}, "GB/s", 0.9
        )
    fan = rows["fan_in"]
    yield faster("64_peers", fan["all_mib_s"], {"one peer": fan["one_mib_s"]}, "MiB/s", 0.8)
    share = fan["slowest_share"]
    yield Bar(
        f"tcp_{place}_slowest_of_64",
        share,
        1.0,
        "share",
        share,
        ">= 0.5 of the fair share",
        share >= 0.5,
    )
    yield at_most(f"tcp_{place}_idle_cpu", rows["idle"]["cpu_percent"], 0.5, "%")


@contextlib.contextmanager
def real_etcd() -> Iterator[int]:
    """A real etcd whose data are in memory: no disk to wait for, as quick as it gets."""
    client, peer = free_port(), free_port()
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with (
        tempfile.TemporaryDirectory(prefix="etcd-", dir=memory) as data,
        open(os.devnull, "w") as null,
    ):
        urls = {"client": f"http://127.0.0.1:{client}", "peer": f"http://127.0.0.1:{peer}"}
        command = [
            "etcd",
            "--unsafe-no-fsync",
            "--data-dir",
            data,
            "--initial-cluster",
            f"default={urls['peer']}",
            "--listen-client-urls",
            urls["client"],
            "--advertise-client-urls",
            urls["client"],
            "--listen-peer-urls",
            urls["peer"],
            "--initial-advertise-peer-urls",
            urls["peer"],
        ]
        process = subprocess.Popen(command, stdout=null, stderr=null)
        try:
            wait_for_port(client, process)
            yield client
        finally:
            process.kill()
            process.wait()


def wait_for_port(port: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError("etcd does not come up")


def machine() -> dict[str, object]:
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "processor": model,
        "processors": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="fewer repetitions: a look, not a measurement"
    )
    parser.add_argument(
        "--only",
        choices=("capi", "python", "transfer", "cluster", "store", "tcp", "shm"),
        action="append",
        help="one part; repeatable",
    )
    parser.add_argument(
        "--build",
        type=pathlib.Path,
        default=ROOT / "build/release",
        help="build tree (build/release)",
    )
    parser.add_argument("--output", type=pathlib.Path, default=ROOT / "bench-results.json")
    options = parser.parse_args()
    suite = Suite(options.build.resolve(), options.quick)
    parts: dict[str, Callable[[], Iterator[Bar]]] = {
        "capi": suite.capi,
        "python": suite.python,
        "transfer": suite.transfer,
        "cluster": suite.cluster,
        "store": suite.store,
        "tcp": suite.tcp,
        "shm": suite.shm,
    }

    bars, broken = [], []
    print("name, ours, reference, ratio, bar, pass|FAIL", flush=True)
    for name, part in parts.items():
        if options.only and name not in options.only:
            continue
        try:
            for bar in part():
                bars.append(bar)
                print(bar.row(), flush=True)
        except (
            subprocess.CalledProcessError,
            OSError,
            RuntimeError,
            ValueError,
            KeyError,
        ) as error:
            broken.append(name)
            print(f"{name}: the benchmark broke: {error}", flush=True)
    failed = [bar.name for bar in bars if bar.passed is False]
    options.output.write_text(
        json.dumps(
            {
                "machine": machine(),
                "quick": options.quick,
                "broken": broken,
                "bars": [dataclasses.asdict(bar) for bar in bars],
                "measured": suite.raw,
            },
            indent=1,
        )
        + "\n"
    )
    print(
        f"{sum(bar.passed is True for bar in bars)} passed, {len(failed)} "
        f"FAILed{': ' + ', '.join(failed) if failed else ''}; "
        f"details in {options.output}"
    )
    return 2 if broken else 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
