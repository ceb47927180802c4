"""What contributed memory costs whom: core dumps of it, the memory of ranks that are gone, and who
is charged for it.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import resource
import signal
import time
from typing import Callable, Iterator

import pytest

import memfabric_hybrid as mf
from conftest import MIB
from rank import Rank, free_url

Start = Callable[..., Rank]


def mappings(pid: int) -> Iterator[tuple[str, int, int, dict[str, str]]]:
    """Of the library's memory in a process: name, begin, size, and what smaps says of it."""
    fields: dict[str, str] = {}
    head = None
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines() + ["0-0 end"]:
        first = line.split(maxsplit=1)[0]
        if not first.endswith(":"):
            if head is not None and any(
                mark in head[2] for mark in ("memfd:memfabric", "anon:memfabric")
            ):
                yield head[2], head[0], head[1] - head[0], fields
            begin, end = (int(number, 16) for number in first.split("-"))
            head, fields = (begin, end, line.split(maxsplit=5)[-1]), {}
        else:
            fields[first[:-1]] = line.split(":", 1)[1].strip()


def in_files(rank: Rank) -> int:
    """Bytes that the memory files hold which this rank has made."""
    total = 0
    for entry in pathlib.Path(f"/proc/{rank.process.pid}/fd").iterdir():
        try:
            if "memfd:memfabric" in os.readlink(entry):
                total += entry.stat().st_blocks * 512
        except FileNotFoundError:  # closed meanwhile
            pass
    return total


def joined(start_rank: Start, count: int, mib: int, **environment: str) -> list[Rank]:
    """Ranks 0 to count - 1, joined to pool 0 with as much host memory each; a fourth may come."""
    url = free_url()
    ranks = [start_rank(**environment) for _ in range(count)]
    for number, rank in enumerate(ranks):
        rank.run(f"""
import ctypes, os, signal
bm, url = mf.bm, '{url}'
H = bm.BmMemType.HOST
assert init(url, 4, {number}) == 0, mf.get_last_err_msg()
pool = bm.create(0, {mib * MIB})
assert pool.join() == 0, mf.get_last_err_msg()
""")
    return ranks


def use_everything(ranks: list[Rank]) -> None:
    """Beside the pool: a Shared Memory object of both ranks, memory of alloc(), and an engine each
    that writes to the other.
    """
    for rank in ranks:
        rank.run("""
config = mf.shm.ShmConfig()
config.init_timeout = config.create_timeout = config.operation_timeout = 20
assert mf.shm.initialize(url, 2, bm.bm_rank_id(), 0, config) == 0, mf.get_last_err_msg()
engine = mf.TransferEngine()
assert engine.initialize(url, f'engine-{bm.bm_rank_id()}', 'Prefill', 0) == 0, mf.get_last_err_msg()
block = mf.alloc(2 << 20)
array = np.frombuffer(block, np.uint8)
assert engine.register_memory(array, array.nbytes) == 0
""")
    for rank in ranks:
        rank.start("""
obj = mf.shm.create(0, 2, bm.bm_rank_id(), 4 << 20)
_ = None
""")
    for rank in ranks:
        rank.finish()
    places = [rank("array.ctypes.data") for rank in ranks]
    for number, rank in enumerate(ranks):
        rank.run(f"""
assert obj.put({1 - number}, 0, array, 64) == 0
theirs = {places[1 - number]}
assert engine.transfer_sync_write('engine-{1 - number}', array.ctypes.data, theirs, 64) == 0
assert pool.copy_data(b'12345678', pool.peer_rank_ptr({1 - number}, H), 8, 3) == 0
""")


def test_core_dumps_leave_out_all_of_our_memory(start_rank: Start) -> None:
    ranks = joined(start_rank, 2, 8)
    use_everything(ranks)
    for rank in ranks:
        found = list(mappings(rank.process.pid))
        assert len({name for name, *_ in found}) >= 3, found  # segments, tables, counts
        assert (
            sum(size for name, _, size, _ in found if "memfd:memfabric " in name + " ") > 30 * MIB
        )
        dumped = [
            (name, hex(begin), size)
            for name, begin, size, fields in found
            if "dd" not in fields["VmFlags"].split()
        ]
        assert dumped == []


def test_core_dumps_may_be_asked_for(start_rank: Start) -> None:
    (rank,) = joined(start_rank, 1, 2, MEMFABRIC_DUMP_MEMORY="1")
    flags = [
        fields["VmFlags"].split()
        for name, _, _, fields in mappings(rank.process.pid)
        if "memfd" in name
    ]
    assert flags and not any("dd" in one for one in flags)


def test_a_core_dump_allocates_nothing(start_rank: Start, tmp_path: pathlib.Path) -> None:
    pattern = pathlib.Path("/proc/sys/kernel/core_pattern").read_text().strip()
    if (
        pattern[:1] in ("|", "/")
        or resource.getrlimit(resource.RLIMIT_CORE)[1] != resource.RLIM_INFINITY
    ):
        pytest.skip(f"core dumps don't come here: {pattern}")
    owner, crashing = joined(start_rank, 2, 256)
    before = in_files(owner)
    crashing.run(f"""
import resource
resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2)
os.chdir({str(tmp_path)!r})
""")
    crashing.start("os.abort()")
    assert crashing.process.wait() == -signal.SIGABRT
    cores = list(tmp_path.iterdir())
    assert len(cores) == 1
    assert cores[0].stat().st_blocks * 512 < 200 * MIB
    assert in_files(owner) == before


def foreign(rank: Rank) -> int:
    """Bytes of pool 0's window in which this process maps memory files of other ranks."""
    own = rank("pool.peer_rank_ptr(bm.bm_rank_id(), H)")
    first = rank("pool.peer_rank_ptr(0, H)")
    end = first + 4 * rank("pool.peer_rank_ptr(1, H) - pool.peer_rank_ptr(0, H)")
    return sum(
        size
        for name, begin, size, _ in mappings(rank.process.pid)
        if "memfd" in name and first <= begin < end and begin != own
    )


def becomes(wanted: int, value: Callable[[], int], seconds: float = 10) -> None:
    """Waits until value() is `wanted`."""
    deadline = time.monotonic() + seconds
    while (found := value()) != wanted:
        assert time.monotonic() < deadline, f"{found}, not {wanted}"
        time.sleep(0.01)


LOAD = "(ctypes.c_uint8 * 1).from_address(pool.peer_rank_ptr({rank}, H) + {offset})[0]"


def test_a_leavers_memory_is_given_back_at_once(start_rank: Start) -> None:
    ranks = joined(start_rank, 3, 64)
    ranks[2].run("pool.view(2)[:] = bytes([7]) * (64 << 20)")
    for rank in ranks[:2]:
        assert rank(LOAD.format(rank=2, offset=4096)) == 7
    for _ in range(3):
        assert ranks[2]("pool.leave()") == 0
        for rank in ranks[:2]:
            becomes(64 * MIB, lambda: foreign(rank))  # only the other one's
            assert rank(LOAD.format(rank=2, offset=4096)) == 0  # reads as zeros, and doesn't crash
            rank.run(f"ctypes.memset(pool.peer_rank_ptr(2, H), 1, {MIB})")  # nor does a store
            assert (
                rank("pool.copy_data(b'12345678', pool.peer_rank_ptr(2, H), 8, 3)")
                == mf.ErrorCode.NOT_CONNECTED
            )
        becomes(0, lambda: foreign(ranks[2]))  # who has left maps nobody's
        assert ranks[2]("pool.join()") == 0
        for rank in ranks[:2]:
            assert rank(LOAD.format(rank=2, offset=4096)) == 7
            assert foreign(rank) == 128 * MIB


def test_a_view_keeps_a_leavers_memory(start_rank: Start) -> None:
    ranks = joined(start_rank, 2, 8)
    ranks[1].run("pool.view(1)[:] = bytes([7]) * (8 << 20)")
    ranks[0].run("array = np.frombuffer(pool.view(1), np.uint8)")
    assert ranks[1]("pool.leave()") == 0
    ranks[1].kill()
    code = "pool.copy_data(b'12345678', pool.peer_rank_ptr(1, H), 8, 3)"
    becomes(mf.ErrorCode.NOT_CONNECTED, lambda: ranks[0](code))
    assert ranks[0]("int(array.sum())") == 7 * 8 * MIB
    assert foreign(ranks[0]) == 8 * MIB
    ranks[0].run("del array")
    becomes(0, lambda: foreign(ranks[0]))
    ranks[0].run("array = np.zeros(1, np.uint8)")
    assert ranks[0](LOAD.format(rank=1, offset=4096)) == 0


def test_a_view_outlives_the_pool_and_keeps_its_own_slot_only(start_rank: Start) -> None:
    ranks = joined(start_rank, 2, 8)
    ranks[1].run("pool.view(1)[:] = bytes([7]) * (8 << 20)")
    ranks[0].run(
        "array = np.frombuffer(pool.view(0), np.uint8); array[:] = 5; first = "
        "pool.peer_rank_ptr(0, H)"
    )
    ranks[0].run("pool.destroy()")
    assert ranks[0]("int(array.sum())") == 5 * 8 * MIB
    first = ranks[0]("first")
    left = [
        begin
        for name, begin, _, _ in mappings(ranks[0].process.pid)
        if "memfd" in name and first <= begin < first + 32 * MIB
    ]
    assert left == [first]


@pytest.mark.parametrize("period", [0, 1])
def test_the_memory_of_the_dead_is_kept_for_so_long(start_rank: Start, period: int) -> None:
    ranks = joined(start_rank, 3, 64, MEMFABRIC_ORPHAN_SECONDS=str(period))
    ranks[2].run("pool.view(2)[:] = bytes([7]) * (64 << 20)")
    killed = time.monotonic()
    ranks[2].kill()
    for rank in ranks[:2]:
        becomes(
            mf.ErrorCode.NOT_CONNECTED,
            lambda: rank("pool.copy_data(b'12345678', pool.peer_rank_ptr(2, H), 8, 3)"),
        )
        kept = rank(LOAD.format(rank=2, offset=4096))
        assert kept == 7 or time.monotonic() > killed + period
    for rank in ranks[:2]:
        becomes(64 * MIB, lambda: foreign(rank))
        assert time.monotonic() > killed + period
        assert rank(LOAD.format(rank=2, offset=4096)) == 0


def test_who_comes_back_smaller_finds_nothing_of_its_former_life(start_rank: Start) -> None:
    ranks = joined(start_rank, 2, 8)
    url = ranks[0]("url")
    ranks[1].run("pool.view(1)[:] = bytes([7]) * (8 << 20)")
    ranks[1].kill()
    again = start_rank()
    again.run(f"""
bm = mf.bm
H = bm.BmMemType.HOST
assert init('{url}', 4, 1) == 0, mf.get_last_err_msg()
pool = bm.create2(0, {2 * MIB}, {8 * MIB})
assert pool.join() == 0, mf.get_last_err_msg()
pool.view(1)[:] = bytes([9]) * {2 * MIB}
""")
    assert ranks[0](LOAD.format(rank=1, offset=0)) == 9
    assert ranks[0](LOAD.format(rank=1, offset=4 * MIB)) == 0
    assert foreign(ranks[0]) == 2 * MIB


def test_a_dead_engines_memory_is_given_back(start_rank: Start) -> None:
    ranks = joined(start_rank, 2, 2)
    use_everything(ranks)

    def of_engines() -> int:
        own = set()
        for fd in os.scandir(f"/proc/{ranks[0].process.pid}/fd"):
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                if "memfd" in os.readlink(fd.path):
                    own.add(os.stat(fd.path).st_ino)
        window = ranks[0]("(pool.peer_rank_ptr(0, H), obj.gva)")
        found = 0
        for line in pathlib.Path(f"/proc/{ranks[0].process.pid}/maps").read_text().splitlines():
            fields = line.split()
            begin = int(fields[0].split("-")[0], 16)
            if (
                "memfd:memfabric" in line
                and int(fields[4]) not in own
                and not any(0 <= begin - at + 32 * MIB < 128 * MIB for at in window)
            ):
                found += 1
        return found

    assert of_engines() > 0
    ranks[1].kill()
    becomes(0, of_engines)


@contextlib.contextmanager
def cgroup(rank: Rank, mib: int) -> Iterator[pathlib.Path]:
    """A cgroup of the rank alone that grants it `mib` MiB more than it has; skips where there can't
    be one.
    """
    lines = [
        line.split(":", 2) for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines()
    ]
    group = next((path for _, names, path in lines if "memory" in names.split(",")), None)
    limit = "memory.limit_in_bytes"
    root = pathlib.Path("/sys/fs/cgroup/memory")
    if group is None:
        group, root, limit = lines[-1][2], pathlib.Path("/sys/fs/cgroup"), "memory.max"
    place = root / group.lstrip("/") / f"memfabric-test-{rank.process.pid}"
    try:
        place.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made: {error}")
    try:
        try:
            (place / limit).write_text(str(mib * MIB))
            (place / "cgroup.procs").write_text(str(rank.process.pid))
        except OSError as error:
            pytest.skip(f"memory can't be limited: {error}")
        yield place
    finally:
        rank.kill()
        deadline = time.monotonic() + 5
        # until the kernel has taken the process out
        while place.exists() and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                place.rmdir()


WRITE = (
    "[pool.copy_data(block, pool.peer_rank_ptr({to}, H) + at, 8 << 20, 3) for at in range(0, "
    "{mib} << 20, 8 << 20)]"
)


def test_contributed_memory_is_charged_to_its_contributor(start_rank: Start) -> None:
    ranks = joined(start_rank, 2, 128)
    ranks[1].run("block = np.ones(8 << 20, np.uint8)")
    with cgroup(ranks[1], 48):
        # more than it may have: it would be killed
        assert set(ranks[1](WRITE.format(to=0, mib=128))) == {0}
        assert ranks[0]("int(pool.view(0)[::4096][:].tobytes().count(1))") == 128 * MIB // 4096


def test_a_contributor_without_memory_is_an_error_and_kills_nobody(start_rank: Start) -> None:
    ranks = joined(start_rank, 2, 128)
    ranks[1].run("block = np.ones(8 << 20, np.uint8)")
    with cgroup(ranks[0], 64):
        codes = ranks[1](WRITE.format(to=0, mib=128))
        assert codes[0] == 0 and codes[-1] == mf.ErrorCode.MALLOC_FAILED
        assert "rank 0 has no memory for it" in ranks[1]("mf.get_last_err_msg()")
        assert ranks[0]("pool.view(0)[0]") == 1
        assert ranks[1](WRITE.format(to=0, mib=8)) == [0]  # what is there already
        assert ranks[1]("pool.copy_data(block, pool.peer_rank_ptr(1, H), 8 << 20, 3)") == 0


def test_the_owner_takes_the_memory_that_a_peer_touches(start_rank: Start) -> None:
    ranks = joined(start_rank, 2, 64)
    host = "pool.peer_rank_ptr(0, H)"
    ranks[1].run("keep = np.zeros(64, np.uint8)")
    before = in_files(ranks[0])
    assert ranks[1](f"pool.copy_data(b'12345678', {host} + {MIB}, 8, 3)") == 0
    assert in_files(ranks[0]) == before + 2 * MIB  # a peer's own touch is 4 KiB
    assert ranks[1](f"pool.copy_data(b'12345678', {host} + {2 * MIB - 8}, 8, 3)") == 0
    assert in_files(ranks[0]) == before + 2 * MIB
    assert ranks[1](f"pool.copy_data({host} + {5 * MIB}, keep, 8, 2)") == 0  # reads too
    assert in_files(ranks[0]) == before + 4 * MIB
    # across two chunks
    assert ranks[1](f"pool.copy_data(b'12345678', {host} + {8 * MIB - 4}, 8, 3)") == 0
    assert in_files(ranks[0]) == before + 8 * MIB
    ranks[1].run(f"""
sources = np.arange(4, dtype=np.uint64) * 8 + keep.ctypes.data
destinations = {host} + np.arange(8, 16, 2, dtype=np.uint64) * {2 * MIB}
code = pool.copy_data_batch(sources, destinations, np.full(4, 8, np.uint64), 4, 3)
assert code == 0, mf.get_last_err_msg()
""")
    assert in_files(ranks[0]) == before + 16 * MIB
    # by several threads
    assert (
        ranks[1](f"pool.copy_data(np.ones({8 * MIB}, np.uint8), {host} + {40 * MIB}, {8 * MIB}, 3)")
        == 0
    )
    assert in_files(ranks[0]) == before + 24 * MIB
    assert ranks[0]("bytes(pool.view(0)[40 << 20:][:8 << 20]).count(1)") == 8 * MIB


def test_an_owner_that_is_stopped_keeps_nobody(start_rank: Start) -> None:
    ranks = joined(start_rank, 2, 64)
    before = in_files(ranks[0])
    ranks[0].stop()
    try:
        begin = time.monotonic()
        assert ranks[1]("pool.copy_data(b'12345678', pool.peer_rank_ptr(0, H), 8, 3)") == 0
        first = time.monotonic()
        codes = ranks[1](
            f"[pool.copy_data(b'12345678', pool.peer_rank_ptr(0, H) + at * {2 * MIB}, 8, 3) for "
            "at in range(1, 20)]"
        )
        assert codes == [0] * 19
        assert first - begin >= 0.2 and time.monotonic() - first < 1  # one wait, not twenty
        assert in_files(ranks[0]) == before + 20 * 4096  # by the peer
    finally:
        ranks[0].send(signal.SIGCONT)
    # it takes what it was asked for
    becomes(before + 2 * MIB + 19 * 4096, lambda: in_files(ranks[0]))
    becomes(
        0,
        lambda: ranks[1](
            f"pool.copy_data(b'12345678', pool.peer_rank_ptr(0, H) + {60 * MIB}, 8, 3)"
        ),
    )
    assert in_files(ranks[0]) == before + 4 * MIB + 19 * 4096  # and is asked again


def test_objects_and_registered_blocks_are_paid_for_by_their_ranks(start_rank: Start) -> None:
    ranks = joined(start_rank, 2, 2)
    use_everything(ranks)
    before = in_files(ranks[0])
    assert ranks[1]("obj.put(0, 2 << 20, array, 8)") == 0
    assert in_files(ranks[0]) == before + 2 * MIB
    ranks[0].run("more = mf.alloc(16 << 20)")
    assert in_files(ranks[0]) == before + 2 * MIB
    ranks[0].run(
        "more = np.frombuffer(more, np.uint8); assert engine.register_memory(more, more.nbytes) "
        "== 0"
    )
    assert in_files(ranks[0]) == before + 18 * MIB


def test_memory_can_be_taken_at_create(start_rank: Start) -> None:
    (rank,) = joined(start_rank, 1, 32, MEMFABRIC_POPULATE="1")
    assert in_files(rank) >= 32 * MIB
