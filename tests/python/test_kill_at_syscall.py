"""A rank that is killed just before a system call of its, in each call of the API: the others feel
nothing but its death.

MEMFABRIC_KILLS says how many system calls of each step are tried (2); "all" tries every one.
"""

from __future__ import annotations

import os
import pathlib
from typing import Callable, Iterator

import pytest

import memfabric_hybrid as mf
from conftest import MIB
from rank import Rank, free_url
from shm_rank import SETTINGS

Start = Callable[..., Rank]

KILLS = os.environ.get("MEMFABRIC_KILLS", "2")

MARK = """
import ctypes
prctl = ctypes.CDLL(None).prctl
def marked(step):  # what happens in it counts for kill_at_syscall
    prctl(0x4d464b30)
    value = step()
    prctl(0x4d464b31)
    return value
"""

POOL_STEPS = {
    "initialize": "init(url, 4, 1)",
    "create": "globals().update(pool=mf.bm.create2(0, 2 << 20, 4 << 20)) or 0",
    "join": "pool.join()",
    "copy": "max(pool.copy_data(bytes(300_000), pool.peer_rank_ptr(peer, mf.bm.BmMemType.HOST) + "
    "(1 << 20), 300_000, 3)"
    " for peer in (0, 2))",
    "extend": "pool.extend_local_mem(size=2 << 20)",
    "leave": "pool.leave()",
    "destroy": "pool.destroy() or 0",
    "uninitialize": "mf.uninitialize() or 0",
}
OBJECT_STEPS = {
    "initialize": "init_shm(url, 3, 1, create_timeout=5)",
    "create": "globals().update(shm=sm.create(0, 3, 1, 2 << 20)) or 0",
    "destroy": "shm.destroy()",
}


class Victim:
    """Rank 1, up to and with `step` of `steps`; killed before the system call `call` of that step,
    0: not at all.
    """

    def __init__(
        self,
        start_rank: Start,
        tool: str,
        prelude: str,
        steps: dict[str, str],
        step: str,
        call: int,
    ) -> None:
        self.rank = start_rank(under=[tool, str(call)])
        self.rank.run(MARK + prelude)
        for name, statement in steps.items():
            if name == step:
                self.rank.start(f"_ = marked(lambda: {statement})")
                return
            assert self.rank(statement) == 0, self.rank("mf.get_last_err_msg()")

    def calls(self) -> int:
        """How many system calls the step made. REQUIRES: it isn't killed."""
        assert self.rank.finish() == 0, self.rank("mf.get_last_err_msg()")
        status, errors = self.rank.exit()
        assert status == 0
        return int(errors.rsplit("calls: ", 1)[1])

    def killed(self) -> bool:
        """Whether it ended so. It isn't when the step made fewer calls this time."""
        try:
            self.rank.finish()
        except EOFError:
            return True
        self.rank.kill()
        return False


def chosen(calls: int) -> Iterator[int]:
    if KILLS == "all":
        yield from range(1, calls + 1)
        return
    count = min(int(KILLS), calls)
    for i in range(count):  # in the middle of as many equal parts
        yield 1 + (2 * i + 1) * calls // (2 * count)


@pytest.fixture
def tool(build_dir: str) -> str:
    path = pathlib.Path(build_dir, "tests/support/kill_at_syscall")
    assert path.exists(), "build the target kill_at_syscall"
    return str(path)


@pytest.mark.timeout(3600 if KILLS == "all" else 120)
@pytest.mark.parametrize("step", POOL_STEPS)
def test_a_rank_of_a_pool(start_rank: Start, tool: str, step: str) -> None:
    url = free_url()
    # Rank 0 serves the store and is the victim's neighbour, rank 2 is on another host.
    others = {0: start_rank(), 2: start_rank(MEMFABRIC_HOST_ID="another")}
    for number, rank in others.items():
        assert rank(f"init({url!r}, 4, {number})") == 0, rank("mf.get_last_err_msg()")
        rank.run(f"""
pool = mf.bm.create2(0, {2 * MIB}, {4 * MIB})
assert pool.join() == 0, mf.get_last_err_msg()
def exchange(peer, byte):
    there, back = pool.peer_rank_ptr(peer, mf.bm.BmMemType.HOST), bytearray(100_000)
    sent = bytes([byte]) * len(back)
    codes = [pool.copy_data(sent, there, len(back), 3), pool.copy_data(there, back, len(back), 2)]
    return mf.get_last_err_msg() if any(codes) else "" if back == sent else "wrong bytes"
""")

    def victim(call: int) -> Victim:
        return Victim(start_rank, tool, f"url = {url!r}", POOL_STEPS, step, call)

    calls = victim(0).calls()
    assert calls > 0
    hits = 0
    for call in chosen(calls):
        hits += victim(call).killed()
        for number, rank in others.items():  # the next victim shows that the place is free at once
            assert rank(f"exchange({2 - number}, {call % 256})") == "", (
                f"{step}, call {call} of {calls}"
            )
    assert hits > 0
    assert victim(0).calls() > 0
    for rank in others.values():
        rank.run("pool.destroy()\nmf.uninitialize()")
        assert rank.exit()[0] == 0


@pytest.mark.timeout(3600 if KILLS == "all" else 120)
@pytest.mark.parametrize("step", OBJECT_STEPS)
def test_a_rank_of_an_object(start_rank: Start, tool: str, step: str) -> None:
    url = free_url()
    others = [start_rank(), start_rank()]
    for number, rank in zip((0, 2), others):
        rank.run(
            SETTINGS
            + f"""
def create():
    global shm
    try:
        shm = sm.create(0, 3, {number}, 2 << 20)
    except RuntimeError:
        shm = None
    return shm is not None
def destroy():
    return shm is None or shm.destroy() == 0
"""
        )
        assert rank(f"init_shm({url!r}, 3, {number}, create_timeout=5)") == 0

    def turn(call: int) -> Victim:
        """The others create with it and destroy what came of that."""
        if step != "initialize":
            for rank in others:
                rank.start("_ = create()")
        found = Victim(start_rank, tool, SETTINGS + f"url = {url!r}", OBJECT_STEPS, step, call)
        if step != "initialize":
            created = [rank.finish() for rank in others]
            if call == 0:
                assert created == [True, True]
            assert [rank("destroy()") for rank in others] == [True, True], f"{step}, call {call}"
        return found

    calls = turn(0).calls()
    hits = 0
    for call in chosen(calls):
        hits += turn(call).killed()
    assert hits > 0
    assert turn(0).calls() > 0
    for rank in others:
        rank.run("mf.uninitialize()")
        assert rank.exit()[0] == 0
