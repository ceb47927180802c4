"""Several ranks on one host: who reaches whom, who is told of what, and what the death of one does
to the others.
"""

from __future__ import annotations

import signal
import time
from typing import Callable

import pytest

import memfabric_hybrid as mf
from conftest import MIB
from rank import Rank, free_url

Start = Callable[..., Rank]
Code = mf.ErrorCode


def started(start_rank: Start, count: int, world_size: int = 4) -> list[Rank]:
    """Ranks 0 to count - 1, joined to pool 0 with 4 MiB of host and 2 MiB of device memory each."""
    url = free_url()
    ranks = [start_rank() for _ in range(count)]
    for number, rank in enumerate(ranks):
        assert rank(f"init('{url}', {world_size}, {number})") == 0, rank("mf.get_last_err_msg()")
    for rank in ranks:
        rank.run(f"""
bm, url = mf.bm, '{url}'
H, D = bm.BmMemType.HOST, bm.BmMemType.DEVICE
pool = bm.create(0, {4 * MIB}, {2 * MIB})
assert pool.join() == 0, mf.get_last_err_msg()
""")
    return ranks


def test_addresses_agree_and_everybody_reaches_everybody(start_rank: Start) -> None:
    ranks = started(start_rank, 3)
    addresses = [
        rank("[pool.peer_rank_ptr(r, kind) for r in range(4) for kind in (H, D)]") for rank in ranks
    ]
    assert addresses[0] == addresses[1] == addresses[2] and all(addresses[0])
    assert [rank("bm.bm_rank_id()") for rank in ranks] == [0, 1, 2]
    assert [rank("[m.rank for m in pool.members()]") for rank in ranks] == [[0, 1, 2]] * 3
    assert [rank("[pool.path(r) for r in range(3)]") for rank in ranks] == [["mapped"] * 3] * 3
    assert ranks[0]("[m.pid for m in pool.members()]") == [rank.process.pid for rank in ranks]

    for source, rank in enumerate(ranks):
        for target in range(3):
            text = f"{source}->{target}"
            assert (
                rank(
                    f"pool.copy_data(b'{text}', pool.peer_rank_ptr({target}, H) + {64 * source}, "
                    f"{len(text)}, 3)"
                )
                == 0
            )
    for target, rank in enumerate(ranks):
        for source in range(3):
            assert (
                rank(f"bytes(pool.view({target})[{64 * source}:{64 * source} + 4]).decode()")
                == f"{source}->{target}"
            )
            assert (
                rank(
                    f"bytes(pool.view({(target + 1) % 3})[{64 * source}:{64 * source} + "
                    "4]).decode()"
                )
                == f"{source}->{(target + 1) % 3}"
            )


def test_between_two_others_and_their_kinds_of_memory(start_rank: Start) -> None:
    ranks = started(start_rank, 3)
    ranks[1].run("pool.view(1)[:4] = b'from'")
    ranks[0].run(f"""
a, b = pool.peer_rank_ptr(1, H), pool.peer_rank_ptr(2, D) + 100
assert pool.copy_data(a, b, 4, bm.BmCopyType.G2G) == 0
there = pool.peer_rank_ptr(2, H) + {MIB}
assert pool.copy_data_batch([a, b], [b, there], [4, 4], 2, bm.BmCopyType.AUTO) == 0
""")
    assert ranks[2]("bytes(pool.view(2, D)[100:104]).decode()") == "from"
    assert ranks[2](f"bytes(pool.view(2)[{MIB}:{MIB} + 4]).decode()") == "from"


def test_a_range_over_two_full_slots(start_rank: Start) -> None:
    ranks = started(start_rank, 2)
    ranks[0].run(f"""
text = b'x' * 4096
start = pool.peer_rank_ptr(1, H) - 2048
assert pool.copy_data(text, start, 4096, bm.BmCopyType.H2G) == 0, mf.get_last_err_msg()
back = bytearray(4096)
assert pool.copy_data(start, back, 4096, bm.BmCopyType.G2H) == 0
assert back == text
""")
    assert ranks[1]("bytes(pool.view(0)[-2048:]) + bytes(pool.view(1)[:2048]) == b'x' * 4096")


def test_views_outlive_the_rank_and_the_pool(start_rank: Start) -> None:
    first, second = started(start_rank, 2)
    first.run("array = np.frombuffer(pool.view(1), np.uint8)")
    second.run("pool.view(1)[:4] = b'mine'")
    second.kill()
    assert first("array[:4].tobytes().decode()") == "mine"
    first.run("pool.destroy(); bm.uninitialize(); mf.uninitialize()")
    assert first("array[:4].tobytes().decode()") == "mine"
    assert first.exit() == (0, "")


def test_events_come_in_order_and_stop(start_rank: Start) -> None:
    first, second = started(start_rank, 2)
    first.run("""
import queue
events = queue.Queue()
def hear(rank, event):
    events.put((rank, event.name, isinstance(event, bm.BmGroupEvent)))

assert pool.set_group_event_handler(hear) == 0
""")
    second.run("assert pool.leave() == 0")
    assert first("events.get(timeout=10)") == [1, "LEAVE_EVENT", True]
    second.run("assert pool.join() == 0")
    assert first("events.get(timeout=10)") == [1, "JOIN_EVENT", True]
    second.kill()
    assert first("events.get(timeout=10)") == [1, "LEAVE_EVENT", True]
    assert first("pool.set_group_event_handler(None)") == 0
    third = start_rank()
    assert third(f"init('{first('url')}', 4, 2)") == 0
    third.run(f"pool = mf.bm.create(0, {4 * MIB}, {2 * MIB}); assert pool.join() == 0")
    assert first("[m.rank for m in pool.members()]") == [0, 2]
    assert first("events.empty()")
    assert first.exit()[0] == 0


def test_a_handler_may_use_its_pool_and_what_it_raises_is_reported(start_rank: Start) -> None:
    first, second = started(start_rank, 2)
    first.run("""
import queue, sys
seen, raised = queue.Queue(), queue.Queue()
sys.unraisablehook = lambda report: raised.put(report.exc_type.__name__)
def handler(rank, event):
    code = pool.copy_data(b'x', pool.peer_rank_ptr(0, H), 1, 3)
    seen.put((code, [m.rank for m in pool.members()]))
    pool.set_group_event_handler(None)
    raise LookupError
assert pool.set_group_event_handler(handler) == 0
""")
    second.run("assert pool.leave() == 0")
    assert first("seen.get(timeout=10)") == [0, [0]]
    assert first("raised.get(timeout=10)") == "LookupError"
    second.run("assert pool.join() == 0")
    assert first("pool.members()[-1].rank") == 1
    assert first("seen.empty()")


@pytest.mark.parametrize("end", ["kill", "leave", "exit"])
def test_a_copy_to_a_rank_that_is_gone(end: str, start_rank: Start) -> None:
    first, second = started(start_rank, 2)
    first.run("""
def copy():
    return pool.copy_data(b'12345678', pool.peer_rank_ptr(1, H), 8, 3)
assert copy() == 0
""")
    if end == "leave":
        second.run("assert pool.leave() == 0")
    elif end == "exit":
        assert second.exit()[0] == 0
    else:
        second.kill()
    first.run("""
import time
limit = time.monotonic() + 2
while (code := copy()) == 0 and time.monotonic() < limit:
    pass
""")
    assert first("code") == Code.NOT_CONNECTED
    assert "1" in first("mf.get_last_err_msg()")
    assert first("pool.peer_rank_ptr(1, H)") != 0


def test_a_killed_rank_can_start_again_at_once(start_rank: Start) -> None:
    first, second = started(start_rank, 2)
    epoch = first("pool.members()[1].epoch")
    second.kill()
    again = start_rank()
    assert again(f"init('{first('url')}', 4, 1)") == 0, again("mf.get_last_err_msg()")
    again.run(f"pool = mf.bm.create(0, {4 * MIB}, {2 * MIB}); assert pool.join() == 0")
    assert first("pool.copy_data(b'again', pool.peer_rank_ptr(1, H), 5, 3)") == 0, first(
        "mf.get_last_err_msg()"
    )
    assert again("bytes(pool.view(1)[:5]).decode()") == "again"
    assert first("pool.members()[1].epoch") > epoch


def test_a_rank_is_held_by_one_process(start_rank: Start) -> None:
    first, second = started(start_rank, 2)
    other = start_rank()
    code = other(f"init('{first('url')}', 4, 1)")
    assert code == Code.DUPLICATED_OBJECT
    assert str(second.process.pid) in other("mf.get_last_err_msg()")


def test_auto_ranking_until_full(start_rank: Start) -> None:
    url = free_url()
    ranks = [start_rank() for _ in range(3)]
    assert [rank(f"init('{url}', 3)") for rank in ranks] == [0, 0, 0]
    assert [rank("mf.bm.bm_rank_id()") for rank in ranks] == [0, 1, 2]
    late = start_rank()
    assert late(f"init('{url}', 3, init_timeout=5)") == Code.RESOURCE_IN_USE
    assert "3" in late("mf.get_last_err_msg()")
    ranks[1].kill()
    assert late(f"init('{url}', 3)") == 0, late("mf.get_last_err_msg()")
    assert late("mf.bm.bm_rank_id()") == 1


def test_a_rank_may_give_less_but_not_more(start_rank: Start) -> None:
    url = free_url()
    ranks = [start_rank() for _ in range(3)]
    for number, rank in enumerate(ranks):
        assert rank(f"init('{url}', 3, {number})") == 0
    ranks[0].run("pool = mf.bm.create(0, 4 << 20)")
    ranks[1].run("pool = mf.bm.create(0, 0)")
    assert ranks[1]("pool.local_mem_size(3)") == 0
    with pytest.raises(RuntimeError, match="create2"):
        ranks[2].run("mf.bm.create(0, 6 << 20)")
    message = ranks[2]("mf.get_last_err_msg()")
    assert "4 MiB" in message and "6 MiB" in message
    ranks[2].run("pool = mf.bm.create(0, 2 << 20)")
    for rank in ranks:
        assert rank("pool.join()") == 0
    assert ranks[1]("pool.copy_data(b'x', pool.peer_rank_ptr(2, 3) + (2 << 20) - 1, 1, 3)") == 0
    assert (
        ranks[1]("pool.copy_data(b'x', pool.peer_rank_ptr(2, 3) + (2 << 20), 1, 3)")
        == Code.INVALID_PARAM
    )
    assert ranks[1]("[m.host_bytes for m in pool.members()]") == [4 << 20, 0, 2 << 20]


def test_the_first_contributor_is_waited_for(start_rank: Start) -> None:
    url = free_url()
    ranks = [start_rank() for _ in range(2)]
    for number, rank in enumerate(ranks):
        assert rank(f"init('{url}', 2, {number})") == 0
    ranks[1].start("pool = mf.bm.create(0, 0)\n_ = 0")
    ranks[0].run("pool = mf.bm.create(0, 4 << 20)")
    assert ranks[1].finish() == 0
    ranks[0].run("pool.join()")
    ranks[1].run("assert pool.join() == 0")
    assert ranks[1]("pool.copy_data(b'x', pool.peer_rank_ptr(0, 3), 1, 3)") == 0


def test_nobody_who_contributes(start_rank: Start) -> None:
    rank = start_rank()
    assert rank(f"init('{free_url()}', 2, 0, create_timeout=1)") == 0
    with pytest.raises(RuntimeError):
        rank.run("mf.bm.create(0, 0)")
    assert rank("mf.get_last_err_msg()") != ""
    rank.run("assert mf.bm.create(0, 2 << 20).join() == 0")


def test_maxima_have_to_agree(start_rank: Start) -> None:
    url = free_url()
    ranks = [start_rank() for _ in range(2)]
    for number, rank in enumerate(ranks):
        assert rank(f"init('{url}', 2, {number})") == 0
    ranks[0].run("pool = mf.bm.create2(0, 2 << 20, 4 << 20)")
    with pytest.raises(RuntimeError):
        ranks[1].run("mf.bm.create2(0, 2 << 20, 6 << 20)")
    message = ranks[1]("mf.get_last_err_msg()")
    assert "rank 0" in message and str(4 << 20) in message and str(6 << 20) in message


def test_world_sizes_have_to_agree(start_rank: Start) -> None:
    url = free_url()
    first, second = start_rank(), start_rank()
    assert first(f"init('{url}', 2, 0)") == 0
    assert second(f"init('{url}', 3, 1)") == 0
    first.run("pool = mf.bm.create(0, 2 << 20)")
    with pytest.raises(RuntimeError, match="world"):
        second.run("mf.bm.create(0, 2 << 20)")


def test_what_grew_is_reached(start_rank: Start) -> None:
    url = free_url()
    first, second = start_rank(), start_rank()
    for number, rank in enumerate((first, second)):
        assert rank(f"init('{url}', 2, {number})") == 0
        rank.run("pool = mf.bm.create2(0, 2 << 20, 4 << 20); assert pool.join() == 0")
    assert (
        first("pool.copy_data(b'x', pool.peer_rank_ptr(1, 3) + (2 << 20), 1, 3)")
        == Code.INVALID_PARAM
    )
    assert second("pool.extend_local_mem(3, 2 << 20)") == 0
    assert first("pool.copy_data(b'x', pool.peer_rank_ptr(1, 3) + (4 << 20) - 1, 1, 3)") == 0, (
        first("mf.get_last_err_msg()")
    )
    assert second("pool.view(1)[-1]") == ord("x")


def test_a_stopped_rank_holds_nobody_up(start_rank: Start) -> None:
    first, second = started(start_rank, 2)
    second.stop()
    begun = time.monotonic()
    third = start_rank()
    code = third(f"init('{first('url')}', 4, 2)")
    if code == 0:
        third.run(f"pool = mf.bm.create(0, {4 * MIB}, {2 * MIB})")
        code = third("pool.join()")
    assert code == 0, third("mf.get_last_err_msg()")
    assert time.monotonic() - begun < 20
    assert first("pool.copy_data(b'x', pool.peer_rank_ptr(2, H), 1, 3)") == 0
    second.send(signal.SIGCONT)


def test_the_store_alone(start_rank: Start) -> None:
    url = free_url()
    store, rank = start_rank(), start_rank()
    assert store(f"init('{url}', 2, 0, start_store_only=True)") == 0
    with pytest.raises(RuntimeError):
        store.run("mf.bm.create(0, 2 << 20)")
    assert rank(f"init('{url}', 2, 0, start_store=False)") == 0, rank("mf.get_last_err_msg()")
