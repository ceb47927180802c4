"""What a job costs: start-up of 2 and 64 ranks, of 64 on 8 hosts (namespaces; as root), idle CPU,
and what 200 create/destroy cycles leave behind. Prints JSON.

Start-up counts from the first rank's initialize to the last rank's join, on several hosts to
everybody's first copies to both neighbours; the processes are up and wait at a gate before.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

IDLE_RANKS = 8
CYCLES = 200
POOL_BYTES = 64 << 20


# --------------------------------------------------------------------------------
# in the rank's own process


def rank_main(store: str, ranks: int, rank: int, copies: bool) -> None:
    import memfabric_hybrid as mf
    from memfabric_hybrid import bm

    print("ready", flush=True)
    sys.stdin.readline()  # the gate
    begin = time.monotonic()
    config = bm.BmConfig()
    config.rank_id = rank
    config.init_timeout = config.create_timeout = config.operation_timeout = 60
    if bm.initialize(store, ranks, 0, config) != 0:
        sys.exit(f"rank {rank}: {mf.get_last_err_msg()}")
    pool = bm.create(0, POOL_BYTES)
    if pool.join() != 0:
        sys.exit(f"rank {rank}: {mf.get_last_err_msg()}")
    for neighbour in ((rank + 1) % ranks, (rank - 1) % ranks) if copies else ():
        where = pool.peer_rank_ptr(neighbour, bm.BmMemType.HOST)
        while (code := pool.copy_data(bytes(4096), where, 4096, bm.BmCopyType.H2GH)) in (
            mf.ErrorCode.NOT_CONNECTED,
            mf.ErrorCode.RECONNECT,
        ):
            time.sleep(0.001)  # it hasn't joined yet
        if code != 0:
            sys.exit(f"rank {rank}: {mf.get_last_err_msg()}")
    print(json.dumps([begin, time.monotonic()]), flush=True)
    sys.stdin.readline()
    bm.uninitialize()


def footprint() -> dict[str, int]:
    status = dict(
        line.split(":", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines()
    )
    return {
        "fds": len(os.listdir("/proc/self/fd")),
        "threads": len(os.listdir("/proc/self/task")),
        "mappings": len(pathlib.Path("/proc/self/maps").read_text().splitlines()),
        "rss_kib": int(status["VmRSS"].split()[0]),
    }


def cycles_main(store: str) -> None:
    import memfabric_hybrid as mf
    from memfabric_hybrid import bm

    config = bm.BmConfig()
    config.rank_id = 0
    # its history of changes, which is bounded, is not what is looked for here
    config.start_store = False
    if bm.initialize(store, 2, 0, config) != 0:
        sys.exit(mf.get_last_err_msg())

    def cycle() -> None:
        pool = bm.create(0, POOL_BYTES)
        if pool.join() != 0:
            sys.exit(mf.get_last_err_msg())
        pool.destroy()

    for _ in range(100):  # what is made once and kept
        cycle()
    before = footprint()
    for _ in range(CYCLES):
        cycle()
    after = footprint()
    print(json.dumps({"before": before, "after": after}))


# --------------------------------------------------------------------------------
# the one that starts


class Job:
    """Rank processes that wait at the gate, dealt to `hosts` (namespaces) in turn."""

    def __init__(self, store: str, ranks: int, hosts: Sequence[str] = ()):
        def command(rank: int) -> list[str]:
            enter = ["ip", "netns", "exec", hosts[rank % len(hosts)]] if hosts else []
            return [
                *enter,
                sys.executable,
                __file__,
                "rank",
                store,
                str(ranks),
                str(rank),
                "copy" if hosts else "",
            ]

        self.processes = [
            subprocess.Popen(
                command(rank), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for rank in range(ranks)
        ]
        for process in self.processes:
            if process.stdout.readline() != "ready\n":
                self.kill()
                sys.exit("cluster_bench: a rank did not come up")

    def start(self) -> float:
        """Opens the gate; gives the seconds from the first initialize to the last join."""
        self._tell()
        times = []
        for process in self.processes:
            line = process.stdout.readline()
            if not line:
                self.kill()
                sys.exit("cluster_bench: a rank failed to join")
            times.append(json.loads(line))
        return max(end for _, end in times) - min(begin for begin, _ in times)

    def cpu_seconds(self) -> list[float]:
        """CPU time of each rank so far, all of its threads."""
        return [
            sum(
                int(task.joinpath("schedstat").read_text().split()[0])
                for task in pathlib.Path(f"/proc/{p.pid}/task").iterdir()
            )
            / 1e9
            for p in self.processes
        ]

    def end(self) -> None:
        self._tell()
        for process in self.processes:
            process.wait(timeout=60)
            process.stdin.close()
            process.stdout.close()

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()

    def _tell(self) -> None:
        for process in self.processes:
            process.stdin.write("\n")
            process.stdin.flush()


def startup(stores: list[str], ranks: int) -> list[float]:
    seconds = []
    for store in stores:
        job = Job(store, ranks)
        seconds.append(job.start())
        job.end()
    return seconds


def startup_on_hosts() -> list[float]:
    """As startup(), on 8 hosts; nothing without root."""
    if os.geteuid() != 0:
        return []
    hosts = pathlib.Path(__file__).parent.parent / "scripts/hosts"
    done = subprocess.run(
        [hosts, "8", sys.executable, __file__, "hosts", "{hosts}"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def idle_percent(store: str) -> list[float]:
    """CPU of each of the joined, idle ranks, in percent of one processor, over 10 s."""
    job = Job(store, IDLE_RANKS)
    job.start()
    time.sleep(2)  # what joining left to do
    begin, before = time.monotonic(), job.cpu_seconds()
    time.sleep(10)
    seconds, after = time.monotonic() - begin, job.cpu_seconds()
    job.end()
    return [100 * (b - a) / seconds for a, b in zip(before, after)]


def cycles(store: str) -> dict:
    import memfabric_hybrid as mf

    if mf.create_config_store(store) != 0:
        sys.exit(f"cluster_bench: {mf.get_last_err_msg()}")
    # One malloc arena: how many glibc makes, each a mapping, depends on which threads happen to
    # allocate at one time.
    done = subprocess.run(
        [sys.executable, __file__, "cycles", store],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=os.environ | {"MALLOC_ARENA_MAX": "1"},
    )
    mf.uninitialize()
    return json.loads(done.stdout)


def main() -> None:
    from run import free_store_url

    quick = "--quick" in sys.argv
    results = {
        "startup_2_s": startup([free_store_url() for _ in range(3 if quick else 7)], 2),
        "startup_64_s": startup([free_store_url() for _ in range(1 if quick else 3)], 64),
        "startup_64_on_8_hosts_s": startup_on_hosts(),
        "idle_percent": idle_percent(free_store_url()),
        "cycles": cycles(free_store_url()),
    }
    print(json.dumps(results))
    print(f"2 ranks {statistics.median(results['startup_2_s']):.3f} s", file=sys.stderr)


if __name__ == "__main__":
    if sys.argv[1:2] == ["rank"]:
        rank_main(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), copies=sys.argv[5] == "copy")
    elif sys.argv[1:2] == ["hosts"]:  # on the first of them
        job = Job("tcp://10.77.0.1:8570", 64, sys.argv[2].split(","))
        seconds = job.start()
        print(
            f"64 ranks on {len(sys.argv[2].split(','))} hosts: {seconds:.2f} s, "
            f"{sum(job.cpu_seconds()):.1f} s of CPU since "
            "they were started",
            file=sys.stderr,
        )
        print(json.dumps([seconds]))
        job.end()
    elif sys.argv[1:2] == ["cycles"]:
        cycles_main(sys.argv[2])
    else:
        main()
