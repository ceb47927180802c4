"""A job whose host is shared: strangers knock at its ports in silence, another user tries to come
in, descriptors are few.

MEMFABRIC_NEIGHBOURS_SECONDS says how long it runs (8).
"""

from __future__ import annotations

import os
import pathlib
import re
import resource
import subprocess
import sys
import time
from typing import Callable

import pytest

import memfabric_hybrid as mf
from conftest import MIB
from rank import Rank, free_url

Start = Callable[..., Rank]

RANKS = 8
DESCRIPTORS = 256
SECONDS = float(os.environ.get("MEMFABRIC_NEIGHBOURS_SECONDS", "8"))
NOBODY = 65534

# Keeps as many silent connections to each of its ports as its own limit lets it, and opens those
# anew that were closed.
FLOOD = """
import socket, sys
ports = [int(port) for port in sys.argv[1:]]
held = []
print("here", flush=True)
while True:
    for port in ports:
        connection = socket.socket()
        connection.setblocking(False)
        connection.connect_ex(("127.0.0.1", port))
        held.append(connection)
    while len(held) > 800:
        held.pop(0).close()
    if len(held) % 97 == 0:
        print("", end="", flush=True)
"""

# Another user, on another host as far as it says, who knows the store's url.
STRANGER = """
import sys
import memfabric_hybrid as mf
config = mf.bm.BmConfig()
config.rank_id, config.init_timeout, config.start_store = 9, 3, False
print("here", flush=True)
while True:
    if mf.bm.initialize(sys.argv[1], 16, 0, config) == 0:
        print("came in", flush=True)
        break
"""

# One turn of a rank: a block of its own to the next rank, read back, compared; every rank has a
# place for each of the others.
TURN = f"""
def turns(count):
    for turn in range(count):
        block = bytes([(rank * 31 + turn) % 251]) * (1 << 16)
        other = (rank + 1 + turn % ({RANKS} - 1)) % {RANKS}
        target = pool.peer_rank_ptr(other, mf.bm.BmMemType.HOST) + (rank << 16)
        back = bytearray(len(block))
        for code in (pool.copy_data(block, target, len(block), mf.bm.BmCopyType.H2GH),
                     pool.copy_data(target, back, len(block), mf.bm.BmCopyType.GH2H)):
            if code:
                return mf.get_last_err_msg()
        if back != block:
            return "wrong bytes"
    return ""
"""

# The same, who asks once.
ASKS_ONCE = """
import sys
import memfabric_hybrid as mf
config = mf.bm.BmConfig()
config.rank_id, config.init_timeout, config.start_store = 3, 20, False
print(int(mf.bm.initialize(sys.argv[1], 4, 0, config)), mf.get_last_err_msg())
"""


def data_ports(pids: list[int]) -> list[int]:
    """TCP ports of loopback that these processes listen on."""
    sockets = set()
    for pid in pids:
        for file in pathlib.Path(f"/proc/{pid}/fd").iterdir():
            try:
                found = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(file))
            except FileNotFoundError:  # closed meanwhile
                continue
            if found:
                sockets.add(found[1])
    ports = []
    for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and fields[9] in sockets:
            ports.append(int(fields[1].split(":")[1], 16))
    return ports


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root, to become another user")
@pytest.mark.timeout(SECONDS + 110)
def test_a_job_feels_nothing_of_its_neighbours(start_rank: Start) -> None:
    url = free_url()
    ranks = []
    for number in range(RANKS):  # two to a host
        ranks.append(start_rank(MEMFABRIC_HOST_ID=f"host-{number // 2}", MEMFABRIC_LOG_LEVEL="3"))
        resource.prlimit(ranks[-1].process.pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    for number, rank in enumerate(ranks):
        assert rank(f"init('{url}', 16, {number})") == 0, rank("mf.get_last_err_msg()")
        rank.run(
            f"rank = {number}\npool = mf.bm.create(0, {2 * MIB})\nassert pool.join() == 0, "
            f"mf.get_last_err_msg()\n{TURN}"
        )

    port = int(url.rsplit(":", 1)[1])
    ports = data_ports([rank.process.pid for rank in ranks])
    assert port in ports and len(ports) >= RANKS
    neighbours = [
        subprocess.Popen(
            [sys.executable, "-c", FLOOD, str(port), *map(str, ports)],
            stdout=subprocess.PIPE,
            text=True,
        ),
        subprocess.Popen(
            [sys.executable, "-c", STRANGER, url],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
            env={**os.environ, "MEMFABRIC_HOST_ID": "elsewhere"},
        ),
    ]
    try:
        for neighbour in neighbours:
            assert neighbour.stdout.readline() == "here\n"
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            for rank in ranks:
                rank.start("_ = turns(20)")
            assert [rank.finish() for rank in ranks] == [""] * RANKS
            # the stranger has not come in
            assert all(neighbour.poll() is None for neighbour in neighbours)

        newcomer = start_rank(MEMFABRIC_HOST_ID="host-new")
        assert newcomer(f"init('{url}', 16, {RANKS})") == 0, newcomer("mf.get_last_err_msg()")
        newcomer.run(
            f"pool = mf.bm.create(0, {2 * MIB})\nassert pool.join() == 0, mf.get_last_err_msg()"
        )
        assert newcomer("len(pool.members())") == RANKS + 1
    finally:
        for neighbour in neighbours:
            neighbour.kill()
            neighbour.wait()
            neighbour.stdout.close()
    for rank in ranks:
        rank.run("pool.destroy()\nmf.uninitialize()")
        assert rank.exit() == (0, "")  # nothing at level error, all the while


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root, to become another user")
def test_another_user_of_the_host_is_told_why_he_can_not_join(job: str) -> None:
    for listed, refused_by in (
        (None, "belongs to user 0"),
        ("0", "belongs to user 0 and this process to user 65534"),
    ):
        environment = {**os.environ, "MEMFABRIC_HOST_ID": "elsewhere"}
        if listed is not None:  # the stranger doesn't mind whose the store is; the store minds
            environment["MEMFABRIC_ALLOW_UIDS"] = listed
        answer = subprocess.run(
            [sys.executable, "-c", ASKS_ONCE, job],
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout
        assert answer.startswith(f"{int(mf.ErrorCode.INVALID_PARAM)} "), answer
        assert refused_by in answer and "MEMFABRIC_ALLOW_UIDS" in answer
