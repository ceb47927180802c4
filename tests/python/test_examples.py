"""The examples as users run them, from outside: their exit status, and what they do when a rank
dies or is interrupted.
"""

from __future__ import annotations

import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).parents[2]
BUILD = pathlib.Path(os.environ.get("MEMFABRIC_BUILD_DIR", ROOT / "build/release"))
KV_POOL = {
    "python": [sys.executable, str(ROOT / "examples/kv_pool.py")],
    "c++": [str(BUILD / "examples/kv_pool")],
}
HELLO = {
    "python": [sys.executable, str(ROOT / "examples/hello.py")],
    "c": [str(BUILD / "examples/hello")],
}
SMALL = ["--block-layers", "4", "--sizes", "8192,1024"]


def start(command: list[str], *options: str) -> subprocess.Popen:
    return subprocess.Popen(
        [*command, *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ranks_of(starter: subprocess.Popen, count: int) -> list[int]:
    """The pids of the ranks it started, once all are there."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        children = (
            pathlib.Path(f"/proc/{starter.pid}/task/{starter.pid}/children").read_text().split()
        )
        if len(children) == count:
            return [int(pid) for pid in children]
        time.sleep(0.02)
    raise AssertionError(f"{count} ranks did not come up")


def left_behind(pids: list[int]) -> list[str]:
    """Those of the processes that still exist, as the kernel calls them."""
    status = [pathlib.Path(f"/proc/{pid}/status") for pid in pids]
    return [" ".join(path.read_text().split()[:9]) for path in status if path.exists()]


@pytest.mark.parametrize("language", KV_POOL)
@pytest.mark.parametrize("pattern", ["ring", "all-to-all", "one-to-all", "random"])
def test_every_byte_is_verified(language: str, pattern: str) -> None:
    process = start(
        KV_POOL[language], "--ranks", "3", "--seconds", "0.5", "--pattern", pattern, *SMALL
    )
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err
    assert "every byte verified" in out and "mapped" in out


@pytest.mark.parametrize("language", KV_POOL)
def test_a_flipped_byte_is_found(language: str) -> None:
    process = start(KV_POOL[language], "--ranks", "2", "--seconds", "0.5", "--flip", *SMALL)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1, out + err
    assert "NOT VERIFIED" in out and "block 2 of rank 0 has 1 wrong words at rank 1" in err


@pytest.mark.parametrize("language", KV_POOL)
def test_a_killed_rank_ends_the_run(language: str) -> None:
    process = start(KV_POOL[language], "--ranks", "3", "--seconds", "60", *SMALL)
    ranks = ranks_of(process, 3)
    os.kill(ranks[1], signal.SIGKILL)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 1, out + err
    assert "rank 1 was ended by" in err
    assert left_behind(ranks) == []


@pytest.mark.parametrize("language", KV_POOL)
def test_ctrl_c_leaves_nothing_behind(language: str) -> None:
    process = start(KV_POOL[language], "--ranks", "3", "--seconds", "60", *SMALL)
    ranks = ranks_of(process, 3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, out + err
    assert left_behind(ranks) == []


HOSTS = str(ROOT / "scripts/hosts")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")


def namespaces() -> list[str]:
    listed = subprocess.run(
        ["ip", "netns", "list"], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    return [line for line in listed.splitlines() if line.startswith("mf-hosts-")]


@needs_root
@pytest.mark.parametrize("language", KV_POOL)
def test_ranks_on_three_hosts(language: str) -> None:
    process = start(
        [HOSTS, "3", *KV_POOL[language]],
        "--hosts",
        "{hosts}",
        "--listen",
        "10.77.0.1",
        "--seconds",
        "0.5",
        *SMALL,
    )
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err
    assert "every byte verified" in out and "mapped" in out and "tcp" in out
    assert not [name for name in namespaces() if name.startswith(f"mf-hosts-{process.pid}-")]


@needs_root
def test_hosts_go_when_interrupted_and_those_of_a_killed_run_with_the_next() -> None:
    sleeper = [
        HOSTS,
        "2",
        sys.executable,
        "-c",
        "import os, time; print(os.getpid(), flush=True); time.sleep(60)",
    ]
    process = start(sleeper)
    orphan = int(process.stdout.readline())
    mine = f"mf-hosts-{process.pid}-"
    assert len([name for name in namespaces() if name.startswith(mine)]) == 3
    process.kill()
    os.kill(orphan, signal.SIGKILL)
    process.communicate()
    assert [name for name in namespaces() if name.startswith(mine)]
    second = start(sleeper)
    assert second.stdout.readline() != ""
    assert not [name for name in namespaces() if name.startswith(mine)]
    second.send_signal(signal.SIGINT)
    second.communicate(timeout=30)
    assert not [name for name in namespaces() if name.startswith(f"mf-hosts-{second.pid}-")]


@needs_root
def test_two_machines() -> None:
    run = f"{sys.executable} {ROOT / 'examples/two_machines.py'} tcp://10.77.0.1:8570"
    both = f"{run} 0 & ip netns exec $(echo {{hosts}} | cut -d, -f2) {run} 1 && wait $!"
    process = start([HOSTS, "2", "sh", "-c", both])
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, out + err
    assert out.count("equal") == 2 and out.count("reached by tcp") == 2


@pytest.mark.parametrize("language", HELLO)
def test_hello(language: str) -> None:
    process = start(HELLO[language])
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "hello, rank 1\n"), err


@pytest.mark.parametrize("name", ["numpy", "paged_kv", "broadcast", "torch"])
def test_transfer(name: str) -> None:
    if name == "torch":
        pytest.importorskip("torch")
    process = start([sys.executable, str(ROOT / f"examples/transfer_{name}.py")])
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err
    assert "62464" in out or "verified" in out


WHOLE_PROGRAMS = [
    block
    for block in re.findall(
        r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE
    )
    if "import memfabric_hybrid" in block
]


def test_the_readme_has_programs() -> None:
    assert len(WHOLE_PROGRAMS) >= 2


@pytest.mark.parametrize(
    "program", WHOLE_PROGRAMS, ids=[str(number) for number in range(len(WHOLE_PROGRAMS))]
)
def test_what_the_readme_shows_runs_as_pasted(program: str) -> None:
    process = start([sys.executable, "-c", program])
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and out.strip(), out + err
