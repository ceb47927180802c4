"""TransferEngine between processes: deaths, restarts, stops, kernels that forbid, and nothing
written after unregister.
"""

from __future__ import annotations

import os
import signal
import time
from typing import Any, Callable, Iterator

import numpy as np
import pytest

import memfabric_hybrid as mf
from rank import Rank, free_url

MIB = 1 << 20
NOT_CONNECTED = mf.ErrorCode.NOT_CONNECTED
INVALID_PARAM = mf.ErrorCode.INVALID_PARAM

# In each process: an engine, memory of both kinds filled with its seed.
SETUP = """
def start(url, name, seed=0, size=1 << 20, role="Decode"):
    global engine, plain, mapped
    engine = mf.TransferEngine()
    code = engine.initialize(url, name, role, 0)
    if code: raise RuntimeError(mf.get_last_err_msg())
    plain, mapped = np.full(size, seed, np.uint8), mf.empty(size, np.uint8)
    mapped[:] = seed
    for memory in (plain, mapped):
        if engine.register_memory(memory, memory.nbytes): raise RuntimeError(mf.get_last_err_msg())
    return plain.ctypes.data, mapped.ctypes.data
"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    url = free_url()
    assert mf.create_config_store(url) == 0, mf.get_last_err_msg()
    yield url


@pytest.fixture
def engine(url: str) -> Iterator[mf.TransferEngine]:
    engine = mf.TransferEngine()
    assert engine.initialize(url, "tester", "Prefill", 0) == 0, mf.get_last_err_msg()
    yield engine
    engine.destroy()


@pytest.fixture
def start_peer(url: str) -> Iterator[Callable[..., tuple[Rank, list[int]]]]:
    peers: list[Rank] = []

    def start(
        name: str, seed: int = 0, size: int = MIB, environment: dict[str, str] | None = None
    ) -> tuple[Rank, list[int]]:
        peer = Rank(environment)
        peers.append(peer)
        peer.run(SETUP)
        return peer, peer(f"start({url!r}, {name!r}, {seed}, {size})")

    yield start
    for peer in peers:
        peer.kill()


def until(condition: Callable[[], Any], within: float = 30) -> Any:
    """Asks again and again: for what other processes do."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        if value := condition():
            return value
        os.sched_yield()
    raise TimeoutError


def test_transfers_between_processes(engine, start_peer) -> None:
    peer, addresses = start_peer("peer")
    mine = np.random.default_rng(5).integers(0, 255, MIB, np.uint8)
    for name, address in zip(("plain", "mapped"), addresses):
        assert engine.transfer_sync_write("peer", mine, address, MIB) == 0, mf.get_last_err_msg()
        assert peer(f"int({name}.astype(np.uint64).sum())") == int(mine.astype(np.uint64).sum())
        back = np.zeros_like(mine)
        assert engine.transfer_sync_read("peer", back, address, MIB) == 0
        assert (back == mine).all()


def test_a_killed_peer_is_an_error_at_once_and_its_successor_is_found(engine, start_peer) -> None:
    down: list[str] = []
    assert engine.set_peer_down_callback(down.append) == 0
    mine = np.full(MIB, 7, np.uint8)
    former: list[int] = []
    for life in range(3):
        peer, addresses = start_peer("phoenix", seed=life, size=MIB + 4096 * life)
        assert engine.transfer_sync_write("phoenix", mine, addresses[0], MIB) == 0, (
            mf.get_last_err_msg()
        )
        assert peer("int(plain[:1 << 20].sum())") == 7 * MIB
        if former and former[0] not in range(addresses[0], addresses[0] + MIB):
            assert engine.transfer_sync_write("phoenix", mine, former[0], 1) == INVALID_PARAM
        former = addresses
        peer.kill()
        began = time.monotonic()
        assert engine.transfer_sync_write("phoenix", mine, addresses[0], MIB) == NOT_CONNECTED
        assert "phoenix" in mf.get_last_err_msg()
        assert time.monotonic() - began < 2
        until(lambda: len(down) == life + 1)
    assert down == ["phoenix"] * 3
    engine.set_peer_down_callback(None)


def test_a_peer_that_only_wrote_to_us_is_told_of_too(engine, start_peer) -> None:
    down: list[str] = []
    assert engine.set_peer_down_callback(down.append) == 0
    memory = np.zeros(8, np.uint8)
    assert engine.register_memory(memory, 8) == 0
    peer, _ = start_peer("caller")
    assert peer(f"engine.transfer_sync_write('tester', b'8 bytes!', {memory.ctypes.data}, 8)") == 0
    assert memory.tobytes() == b"8 bytes!"
    peer.kill()
    until(lambda: down)
    assert down == ["caller"]
    quiet, _ = start_peer("polite")
    assert quiet(f"engine.transfer_sync_write('tester', b'8 bytes!', {memory.ctypes.data}, 8)") == 0
    quiet.run("engine.destroy()")
    assert quiet("1") == 1
    assert engine.unregister_memory(memory) == 0
    assert down == ["caller"], "one that is destroyed did not die"


def test_peers_killed_in_mid_transfer_hinder_nobody(engine, start_peer) -> None:
    """Writers that are killed in the middle of a write must not hold up unregister, nor write
    afterwards.
    """
    size = 32 * MIB
    page = np.zeros(size, np.uint8)
    for life in range(4):
        assert engine.register_memory(page, size) == 0
        page[:] = 0
        peer, _ = start_peer("writer")
        peer.run(f"big = np.full({size}, {life + 1}, np.uint8)")
        peer.start(
            f"\nwhile engine.transfer_sync_write('tester', big, {page.ctypes.data}, {size}) == 0: "
            "pass"
        )
        until(lambda: page[size // 2] == life + 1)
        peer.kill()
        began = time.monotonic()
        assert engine.unregister_memory(page) == 0, mf.get_last_err_msg()
        assert time.monotonic() - began < 5
        page[:] = 0xCA
        assert (page == 0xCA).all()


def test_a_stopped_peer_is_given_up_and_comes_back(engine, start_peer) -> None:
    """A peer that is stopped is unlinked when its lease ends; its memory is reached again when it
    has come back.
    """
    peer, addresses = start_peer("sleeper")
    mine = np.ones(8, np.uint8)
    assert engine.transfer_sync_write("sleeper", mine, addresses[0], 8) == 0
    peer.stop()
    began = time.monotonic()
    until(lambda: engine.transfer_sync_write("sleeper", mine, addresses[0], 8) == NOT_CONNECTED, 20)
    assert time.monotonic() - began < 15
    peer.send(signal.SIGCONT)
    until(lambda: engine.transfer_sync_write("sleeper", mine, addresses[0], 8) == 0, 30)
    assert peer("int(plain[:8].sum())") == 8


def test_where_the_kernel_forbids_it_mapped_memory_is_reached_and_the_setting_is_named(
    engine, start_peer
) -> None:
    """process_vm_readv and writev are refused by a seccomp filter, as in many containers."""
    memory, mapped = np.zeros(8, np.uint8), mf.empty(8, np.uint8)
    assert engine.register_memory(memory, 8) == 0 and engine.register_memory(mapped, 8) == 0
    peer = Rank()
    try:
        peer.run(FORBID)
        peer.run(SETUP)
        _, theirs = peer(f"start({os.environ['TRANSFER_URL']!r}, 'forbidden')")
        peer("forbid()")
        code = peer(f"engine.transfer_sync_write('tester', b'mapped!!', {mapped.ctypes.data}, 8)")
        assert code == 0, peer("mf.get_last_err_msg()")
        assert mapped.tobytes() == b"mapped!!"
        path = peer("engine.path('tester')")
        code = peer(f"engine.transfer_sync_write('tester', b'a string', {memory.ctypes.data}, 8)")
        if path.startswith("tcp"):
            assert code == 0 and memory.tobytes() == b"a string"
        else:
            assert path == "mapped" and code == mf.ErrorCode.NOT_SUPPORTED
            assert "seccomp" in peer("mf.get_last_err_msg()")
    finally:
        peer.kill()
    assert engine.unregister_memory(memory) == 0 and engine.unregister_memory(mapped) == 0


# A filter that makes process_vm_readv (310) and process_vm_writev (311) fail with EPERM; x86-64.
FORBID = """
def forbid():
    import ctypes, struct
    libc = ctypes.CDLL(None, use_errno=True)
    program = b"".join(struct.pack("HBBI", *line) for line in (
        (0x20, 0, 0, 0), (0x15, 1, 0, 310), (0x15, 0, 1, 311),
        (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7fff0000)))
    code = ctypes.create_string_buffer(program)
    head = struct.pack("HxxxxxxQ", 5, ctypes.addressof(code))
    if libc.prctl(38, 1, 0, 0, 0): return ctypes.get_errno()
    # For all threads: SECCOMP_SET_MODE_FILTER with SECCOMP_FILTER_FLAG_TSYNC.
    return libc.syscall(317, 1, 1, ctypes.create_string_buffer(head))
"""


@pytest.fixture(autouse=True)
def _url_for_peers(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFER_URL", url)


def test_eight_engines_write_to_each_other_at_once(url: str) -> None:
    """All links are made at the same moment, from both ends; half of the engines are on another
    host.
    """
    count, size = 8, 64 << 10
    peers = [Rank({"MEMFABRIC_HOST_ID": "elsewhere"} if k % 2 else None) for k in range(count)]
    try:
        for k, peer in enumerate(peers):
            peer.start(f"{SETUP}\n_ = start({url!r}, 'member-{k}', 0, {count * size})")
        addresses = [peer.finish() for peer in peers]
        for k, peer in enumerate(peers):
            peer.start(f"""
_ = []
mine = np.full({size}, {k} + 1, np.uint8)
for other, memories in enumerate({addresses}):
    for at in memories:
        if engine.transfer_sync_write(f"member-{{other}}", mine, at + {k * size}, {size}):
            _.append(mf.get_last_err_msg())
""")
        assert [peer.finish() for peer in peers] == [[]] * count
        for peer in peers:
            for memory in ("plain", "mapped"):
                expected = f"np.repeat(np.arange(1, {count} + 1, dtype=np.uint8), {size})"
                assert peer(f"bool(({memory} == {expected}).all())")
    finally:
        for peer in peers:
            peer.kill()


def test_another_host_is_reached_by_tcp(engine, start_peer) -> None:
    """Another host identity is all that makes a host another: the bytes go over a socket."""
    elsewhere = {"MEMFABRIC_HOST_ID": "elsewhere"}
    mine = np.random.default_rng(6).integers(0, 255, 5 * MIB, np.uint8)
    for life in range(2):
        peer, addresses = start_peer("remote", seed=life, size=5 * MIB, environment=elsewhere)
        assert engine.path("remote") == "tcp"
        for name, address in zip(("plain", "mapped"), addresses):
            assert engine.transfer_sync_write("remote", mine, address, mine.nbytes) == 0, (
                mf.get_last_err_msg()
            )
            assert peer(f"int({name}.astype(np.uint64).sum())") == int(mine.astype(np.uint64).sum())
            pieces = np.arange(1250, dtype=np.uint64) * 4096
            back = np.zeros_like(mine)
            assert (
                engine.batch_transfer_sync_read(
                    "remote", back.ctypes.data + pieces, address + pieces, np.full(1250, 4096)
                )
                == 0
            )
            assert (back[: 1250 * 4096] == mine[: 1250 * 4096]).all()
        assert engine.transfer_sync_write("remote", mine, addresses[0] - 1, 2) == INVALID_PARAM
        assert peer("engine.unregister_memory(plain)") == 0
        assert engine.transfer_sync_write("remote", mine, addresses[0], 1) == INVALID_PARAM
        assert engine.transfer_sync_write("remote", mine, addresses[1], 1) == 0, (
            "the connection outlives a refusal"
        )
        peer.kill()
        began = time.monotonic()
        until(lambda: engine.transfer_sync_write("remote", mine, addresses[1], 1) == NOT_CONNECTED)
        assert time.monotonic() - began < 10


def test_stress(engine, start_peer, url: str, tmp_path) -> None:
    """Register, transfer, unregister, restart: every byte is checked, and a canary shows that
    nothing is written afterwards.

    MEMFABRIC_STRESS_SECONDS makes it longer.
    """
    seconds = float(os.environ.get("MEMFABRIC_STRESS_SECONDS", "8"))
    size = 128 << 10
    plain, mapped = np.zeros(size, np.uint8), mf.empty(size, np.uint8)
    counters = str(tmp_path / "counters")
    # by writer: transfers that were made, transfers that were refused
    count = np.memmap(counters, np.uint64, "w+", shape=4)
    writer_code = f"""
count = np.memmap({counters!r}, np.uint64, "r+", shape=4)
def write(slot, value, pages):
    mine = [np.full({size}, value, np.uint8), np.zeros({size}, np.uint8)]
    pieces = np.arange(0, {size}, 4096, dtype=np.uint64)
    k = 0
    while True:
        page, k = pages[k % 2], k + 1
        if k % 3 == 0:
            sizes = np.full(len(pieces), 4096, np.uint64)
            code = engine.batch_transfer_sync_write(
                "tester", mine[0].ctypes.data + pieces, page + pieces, sizes)
        else:
            code = engine.transfer_sync_write("tester", mine[0], page, {size})
        if code not in (0, {int(INVALID_PARAM)}): raise RuntimeError(mf.get_last_err_msg())
        count[slot if code == 0 else slot + 1] += 1
"""
    pages = [plain.ctypes.data, mapped.ctypes.data]
    value = {0: 1, 1: 2}
    writers: dict[int, Rank] = {}

    def launch(k: int) -> None:
        # The second one by tcp.
        writers[k], _ = start_peer(
            f"writer-{k}", environment={"MEMFABRIC_HOST_ID": "elsewhere"} if k == 1 else None
        )
        writers[k].run(writer_code)
        writers[k].start(f"write({2 * k}, {value[k]}, {pages})")

    for k in value:
        launch(k)
    end = time.monotonic() + seconds
    rounds = 0
    while time.monotonic() < end:
        for page in (plain, mapped):
            assert engine.register_memory(page, size) == 0, mf.get_last_err_msg()
        before = count.copy()
        until(lambda: count[0] > before[0] + 2 and count[2] > before[2] + 2)
        if rounds % 25 == 24:  # in mid-transfer
            writers[rounds // 25 % 2].kill()
        for page in (plain, mapped):
            assert engine.unregister_memory(page) == 0, mf.get_last_err_msg()
            # What was written came from writers, whole bytes of theirs and nothing else.
            assert set(np.unique(page)) <= {0, 0xCA, *value.values()}
            page[:] = 0xCA
        if rounds % 25 == 24:
            k = rounds // 25 % 2
            launch(k)
        before = count.copy()
        until(lambda: count[1] > before[1] + 2 and count[3] > before[3] + 2)
        for page in (plain, mapped):
            assert (page == 0xCA).all(), f"written after unregister, round {rounds}"
        rounds += 1
    assert rounds > 0
