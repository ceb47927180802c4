"""Memory that isn't there is an error of that call, and ends no process: see docs/failure.md."""

from __future__ import annotations

from typing import Callable

import pytest

import memfabric_hybrid as mf
from rank import Rank, free_url

MIB = 1 << 20
INVALID = mf.ErrorCode.INVALID_PARAM

ENGINE = """
import ctypes, mmap
libc = ctypes.CDLL(None, use_errno=True)
def start(url, name):
    global engine, good, doomed, address
    engine = mf.TransferEngine()
    code = engine.initialize(url, name, "Decode", 0)
    good = np.zeros(4 << 20, np.uint8)
    doomed = mmap.mmap(-1, 4 << 20)
    address = ctypes.addressof(ctypes.c_char.from_buffer(doomed))
    again = engine.register_memory(good, good.nbytes)
    return [code, again, engine.register_memory(address, 4 << 20)]
def protect(how):
    return libc.mprotect(ctypes.c_void_p(address), 4 << 20, how)
"""


@pytest.mark.parametrize("path", ["cma", "tcp", "tcp+tls"])
def test_what_an_owner_has_protected_is_its_peers_error(
    start_rank: Callable[..., Rank], path: str
) -> None:
    url = free_url()
    assert mf.create_config_store(url) == 0, mf.get_last_err_msg()
    ranks = []
    for number in range(2):
        host = {} if path == "cma" else {"MEMFABRIC_HOST_ID": f"bad-{number}"}
        ranks.append(
            start_rank(
                MEMFABRIC_LOG_LEVEL="2",
                MEMFABRIC_DATA_TLS="1" if path == "tcp+tls" else "0",
                **host,
            )
        )
        ranks[-1].run(ENGINE)
        assert ranks[-1](f"start({url!r}, 'bad-{path}-{number}')") == [0, 0, 0]
    writer, owner = ranks
    peer = f"bad-{path}-1"
    assert writer(f"engine.path({peer!r})") == path
    good, bad = owner("good.ctypes.data"), owner("address")
    for protection, calls in ((0, ("write", "read")), (1, ("write",))):
        assert owner(f"protect({protection})") == 0
        for call in calls:
            for size in (8, 5000, 4 * MIB):
                assert (
                    writer(f"engine.transfer_sync_{call}({peer!r}, good, {bad}, {size})") == INVALID
                )
                assert str(hex(bad)) in writer("mf.get_last_err_msg()")
                assert writer(f"engine.transfer_sync_{call}({peer!r}, good, {good}, {size})") == 0
    assert owner("protect(3)") == 0
    assert writer(f"engine.transfer_sync_write({peer!r}, good, {bad}, {4 * MIB})") == 0
    # The caller's own.
    for size in (8, 4 * MIB):
        assert writer(f"engine.transfer_sync_write({peer!r}, 4096, {good}, {size})") == INVALID
        assert writer(f"engine.transfer_sync_read({peer!r}, 4096, {good}, {size})") == INVALID
        assert writer(f"engine.transfer_sync_write({peer!r}, good, {good}, {size})") == 0
    warnings = owner.exit()[1].splitlines()
    assert len(warnings) == (0 if path == "cma" else 1), warnings  # once each ten seconds


@pytest.mark.parametrize("across", [False, True])
def test_a_copys_own_side(start_rank: Callable[..., Rank], across: bool) -> None:
    url = free_url()
    ranks = [start_rank(**({"MEMFABRIC_HOST_ID": f"own-{i}"} if across else {})) for i in range(2)]
    for number, rank in enumerate(ranks):
        rank.start(f"_ = init({url!r}, 2, {number})")
    assert [rank.finish() for rank in ranks] == [0, 0]
    for rank in ranks:
        rank.start("pool = mf.bm.create(0, 8 << 20); _ = pool.join()")
    assert [rank.finish() for rank in ranks] == [0, 0]
    rank = ranks[0]
    rank.run(
        "there = pool.peer_rank_ptr(1, mf.bm.BmMemType.HOST); block = np.zeros(4 << 20, "
        "np.uint8); types = mf.bm.BmCopyType"
    )
    for size in (8, 5000, 4 * MIB) if across else (4 * MIB,):
        assert rank(f"pool.copy_data(4096, there, {size}, types.H2G)") == INVALID
        assert "0x1000" in rank("mf.get_last_err_msg()")
        assert rank(f"pool.copy_data(there, 4096, {size}, types.G2H)") == INVALID
        assert (
            rank(
                f"pool.copy_data_batch([block.ctypes.data, 4096], [there] * 2, [{size}] * 2, 2, "
                "types.H2G)"
            )
            == INVALID
        )
        assert rank(f"[pool.copy_data(4096, there, {size}, types.H2G, flags=1), pool.wait()]") in (
            [0, INVALID],
            [INVALID, 0],
        )
        assert rank(f"pool.copy_data(block, there, {size}, types.H2G)") == 0
