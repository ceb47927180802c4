"""What surrounds a process: a network without its loopback, clocks that jump. Calls end in time,
and the rest goes on.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

from rank import free_url

FAKETIME = next(pathlib.Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
BOUND = 40

WITHOUT_LOOPBACK = """
import time
import memfabric_hybrid as mf
config = mf.bm.BmConfig()
config.rank_id = 0
config.init_timeout = 2
begin = time.monotonic()
code = mf.bm.initialize("tcp://127.0.0.1:8570", 1, 0, config)
assert code == mf.ErrorCode.TIMEOUT, mf.get_last_err_msg()
assert time.monotonic() - begin < 5
assert "Network is unreachable" in mf.get_last_err_msg()
mf.bm.uninitialize()
"""

# What goes on while the clocks jump: a pool with its copies and its lease, then an engine that
# starts and everything's end.
WITH_JUMPS = """
import sys
import memfabric_hybrid as mf
url, file, *jumps = sys.argv[1:]
config = mf.bm.BmConfig()
config.rank_id = 0
config.init_timeout = config.create_timeout = config.operation_timeout = 10
assert mf.bm.initialize(url, 1, 0, config) == 0, mf.get_last_err_msg()
pool = mf.bm.create(0, 4 << 20)
data = bytes(1 << 20)
for jump in jumps:
    with open(file, "w") as clock:
        clock.write(jump)
    assert pool.join() == 0, mf.get_last_err_msg()
    for flags in (0, 1):
        code = pool.copy_data(data, pool.peer_rank_ptr(0, 3), len(data), 3, flags)
        assert code == 0, mf.get_last_err_msg()
    assert pool.wait() == 0, mf.get_last_err_msg()
    engine = mf.TransferEngine()
    assert engine.initialize(url, "one", "Prefill", 0) == 0, mf.get_last_err_msg()
    engine.destroy()
    assert pool.leave() == 0, mf.get_last_err_msg()
mf.bm.uninitialize()
"""


def run(*command: str, **environment: str) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=BOUND, env={**os.environ, **environment}
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(os.getuid() != 0, reason="only root makes a network namespace")
def test_without_a_loopback_a_start_ends_in_time() -> None:
    run("unshare", "-n", sys.executable, "-c", WITHOUT_LOOPBACK)


@pytest.mark.skipif(FAKETIME is None, reason="libfaketime is not installed")
def test_clocks_that_jump_by_an_hour_or_ten_years_hold_up_nothing(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "clock"
    file.write_text("+0")
    run(
        sys.executable,
        "-c",
        WITH_JUMPS,
        free_url(),
        str(file),
        "+1h",
        "+10y",
        "-1h",
        "-10y",
        LD_PRELOAD=str(FAKETIME),
        FAKETIME_TIMESTAMP_FILE=str(file),
        FAKETIME_NO_CACHE="1",
        DONT_FAKE_MONOTONIC="1",
    )
