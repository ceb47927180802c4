"""Ranks that have a Shared Memory object together; see rank.py.

ranks = pair(start_rank)
assert together(ranks, "shm.barrier()") == [0, 0]
"""

from __future__ import annotations

from typing import Any, Callable, Sequence

from rank import Rank, free_url

SETTINGS = """
from memfabric_hybrid import shm as sm
def init_shm(url, world, rank, **settings):
    config = sm.ShmConfig()
    config.init_timeout = config.create_timeout = config.operation_timeout = 20
    for name, value in settings.items():
        setattr(config, name, value)
    return sm.initialize(url, world, rank, 0, config)
_ = None
"""


def together(ranks: Sequence[Rank], expression: str) -> list[Any]:
    """The expression's value on all of them at once; `rank` in it is the rank's own."""
    for rank in ranks:
        rank.start(f"_ = {expression}")
    return [rank.finish() for rank in ranks]


def initialized(start_rank: Callable[..., Rank], count: int, **settings: Any) -> list[Rank]:
    url = free_url()
    ranks = [start_rank() for _ in range(count)]
    for number, rank in enumerate(ranks):
        rank.run(SETTINGS + f"rank = {number}")
        arguments = "".join(f", {name}={value}" for name, value in settings.items())
        rank.start(f"_ = init_shm({url!r}, {count}, {number}{arguments})")
    assert [rank.finish() for rank in ranks] == [0] * count
    return ranks


def created(start_rank: Callable[..., Rank], count: int, **settings: Any) -> list[Rank]:
    """Each has the object as `shm`."""
    ranks = initialized(start_rank, count, **settings)
    for rank in ranks:
        rank.start(f"shm = sm.create(0, {count}, rank, 2 << 20); _ = None")
    for rank in ranks:
        rank.finish()
    return ranks
