"""What the Python tests share: this process's own pool, and ranks in processes of their own."""

from __future__ import annotations

import os
import signal
from typing import Callable, Iterator, Sequence

import pytest

import memfabric_hybrid as mf
from rank import Rank, free_url

MIB = 1 << 20

# Also where whoever started the tests had it ignored, as shells do in the background: the processes
# of the tests inherit it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def job() -> Iterator[str]:
    """This process as rank 0 of 4; the store's url."""
    url = free_url()
    config = mf.bm.BmConfig()
    config.rank_id = 0
    config.init_timeout = config.create_timeout = config.operation_timeout = 20
    assert mf.bm.initialize(url, 4, 0, config) == 0, mf.get_last_err_msg()
    yield url
    mf.bm.uninitialize()


@pytest.fixture(scope="session")
def pool(job: str) -> Iterator[mf.bm.BigMemory]:
    """Pool 0, joined: 4 of at most 8 MiB of host memory and 2 MiB of device memory."""
    pool = mf.bm.create2(0, 4 * MIB, 8 * MIB, 2 * MIB, 2 * MIB)
    assert pool.join() == 0, mf.get_last_err_msg()
    yield pool
    pool.destroy()


@pytest.fixture
def host(pool: mf.bm.BigMemory) -> int:
    """The global address of this rank's host memory."""
    return pool.peer_rank_ptr(0, mf.bm.BmMemType.HOST)


@pytest.fixture
def slot(pool: mf.bm.BigMemory) -> memoryview:
    """The same as memory."""
    return pool.view(0)


@pytest.fixture
def start_rank() -> Iterator[Callable[..., Rank]]:
    """Starts processes that take orders (see Rank); all are ended with the test."""
    ranks: list[Rank] = []

    def start(under: Sequence[str] = (), **environment: str) -> Rank:
        ranks.append(Rank(environment, under))
        return ranks[-1]

    yield start
    for rank in ranks:
        rank.kill()


@pytest.fixture(scope="session")
def fresh() -> Iterator[Rank]:
    """A process that is not initialized: for initialize() calls that fail."""
    rank = Rank()
    yield rank
    rank.kill()


@pytest.fixture(autouse=True)
def no_error_left() -> None:
    mf.get_and_clear_last_err_msg()


@pytest.fixture(scope="session")
def build_dir() -> str:
    """The build tree that the package under test is of."""
    package = os.path.dirname(mf.__file__)
    return os.environ.get("MEMFABRIC_BUILD_DIR", os.path.dirname(os.path.dirname(package)))
