"""The life of a process: fork, spawn, Ctrl-C, and the interpreter's end with everything open."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from typing import Callable

import pytest

import memfabric_hybrid as mf
from rank import Rank, free_url

Start = Callable[..., Rank]


def run(program: str) -> str:
    """Runs it in an interpreter of its own, which must end well and quietly; what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


PREAMBLE = """
import os, sys, threading
import memfabric_hybrid as mf
from memfabric_hybrid import bm
def start(url):
    config = bm.BmConfig()
    config.rank_id = 0
    assert bm.initialize(url, 2, 0, config) == 0, mf.get_last_err_msg()
    pool = bm.create(0, 4 << 20)
    assert pool.join() == 0, mf.get_last_err_msg()
    return pool
"""


def test_import_is_quiet_and_starts_no_thread() -> None:
    run(PREAMBLE + "assert len(os.listdir('/proc/self/task')) == 1")


def test_exit_with_everything_open() -> None:
    run(
        PREAMBLE
        + f"""
pool = start('{free_url()}')
view = pool.view(0)
config = bm.BmConfig()
member = pool.members()[0]
pool.set_group_event_handler(lambda rank, event, pool=pool: None)
mf.set_extern_logger(lambda level, message: None)
keep = [pool, view, pool.copy_data, mf.ErrorCode.OK]
keep.append(keep)
assert pool.copy_data(bytes(1 << 20), pool.peer_rank_ptr(0, 3), 1 << 20, 3, 1) == 0
"""
    )


def test_exit_while_a_daemon_thread_copies() -> None:
    run(
        PREAMBLE
        + f"""
pool = start('{free_url()}')
begun = threading.Event()
def copy():
    source, target = bytearray(4 << 20), pool.peer_rank_ptr(0, 3)
    while True:
        pool.copy_data(source, target, 4 << 20, 3)
        begun.set()
for _ in range(2):
    threading.Thread(target=copy, daemon=True).start()
begun.wait()
"""
    )


def test_exit_while_a_daemon_thread_waits() -> None:
    run(
        PREAMBLE
        + f"""
pool = start('{free_url()}')
def wait():
    begun.set()
    bm.create(1, 0)  # for the first that contributes: nobody does
begun = threading.Event()
threading.Thread(target=wait, daemon=True).start()
begun.wait()
"""
    )


def test_exit_without_initialize_and_twice_closed() -> None:
    run(PREAMBLE + "mf.uninitialize(); mf.uninitialize(); bm.uninitialize(); bm.uninitialize(3)")


def test_uninitialize_with_live_objects() -> None:
    run(
        PREAMBLE
        + f"""
pool = start('{free_url()}')
view = pool.view(0)
view[:4] = b'live'
mf.uninitialize()
assert bytes(view[:4]) == b'live'
assert pool.join() < 0 and pool.copy_data(b'x', pool.peer_rank_ptr(0, 3) or 1, 1, 3) < 0
assert bm.bm_rank_id() == 2**32 - 1
pool.destroy()
other = start('{free_url()}')
assert pool.join() < 0 and other.join() == 0
"""
    )


def test_before_initialize() -> None:
    run(
        PREAMBLE
        + """
assert bm.bm_rank_id() == 2**32 - 1
assert bm.update_store_url('tcp://127.0.0.1:1') == mf.ErrorCode.NOT_INITIALIZED
try:
    bm.create(0, 2 << 20)
except RuntimeError as error:
    assert 'initialize' in str(error)
else:
    raise AssertionError('created without initialize')
"""
    )


def test_fork_before_initialize() -> None:
    run(
        PREAMBLE
        + f"""
mf.set_log_level(3)
child = os.fork()
if child == 0:
    start('{free_url()}')
    sys.exit(0)
start('{free_url()}')
assert os.waitpid(child, 0)[1] == 0
"""
    )


def test_fork_after_initialize() -> None:
    run(
        PREAMBLE
        + f"""
pool = start('{free_url()}')
view = pool.view(0)
view[:4] = b'live'
child = os.fork()
if child == 0:
    assert bm.bm_rank_id() == 2**32 - 1
    assert pool.join() < 0 and mf.get_last_err_msg()
    assert pool.copy_data(b'x', bytearray(1), 1, 9) < 0
    assert pool.peer_rank_ptr(0, 3) == 0
    pool.destroy()
    del pool, view
    mf.uninitialize()
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
assert bytes(view[:4]) == b'live'
assert pool.copy_data(b'x', pool.peer_rank_ptr(0, 3), 1, 3) == 0
assert len(pool.members()) == 1
"""
    )


def spawned(
    url: str, rank: int, joined: multiprocessing.Barrier, results: multiprocessing.Queue
) -> None:
    config = mf.bm.BmConfig()
    config.rank_id = rank
    codes = [mf.bm.initialize(url, 2, 0, config)]
    pool = mf.bm.create(0, 2 << 20)
    codes.append(pool.join())
    joined.wait(30)
    results.put((codes, [member.rank for member in pool.members()]))
    joined.wait(30)


def test_multiprocessing_spawn() -> None:
    context = multiprocessing.get_context("spawn")
    url, joined, results = free_url(), context.Barrier(2), context.Queue()
    processes = [
        context.Process(target=spawned, args=(url, rank, joined, results)) for rank in range(2)
    ]
    for process in processes:
        process.start()
    assert [results.get(timeout=60) for _ in processes] == [([0, 0], [0, 1])] * 2
    for process in processes:
        process.join(30)
        assert process.exitcode == 0


# Statements that block until Ctrl-C; all of them after `url` was set, those after the first with a
# pool.
BLOCKING = {
    "initialize": "init(url, 2, 1, start_store=False, init_timeout=100)",
    "initialize as a later rank": "init(url, 2, 1, init_timeout=100)",
    "create": "begin(), mf.bm.create(1, 0)",
    "update_store_url": "begin(), mf.bm.update_store_url(url)",
}


@pytest.mark.parametrize("call", sorted(BLOCKING))
def test_ctrl_c_ends(call: str, start_rank: Start) -> None:
    rank = start_rank()
    rank.run(f"""
import os, signal, threading, time
url = '{free_url()}'
def begin():
    assert init('{free_url()}', 2, 0, create_timeout=100, operation_timeout=100) == 0
def interrupt():
    global sent
    sent = time.monotonic()
    os.kill(os.getpid(), signal.SIGINT)
""")
    rank.run(f"""
threading.Timer(1.0, interrupt).start()
try:
    {BLOCKING[call]}
except KeyboardInterrupt:
    took = time.monotonic() - sent
else:
    raise AssertionError('it returned: ' + mf.get_last_err_msg())
""")
    assert rank("took") < 0.5
    assert rank.exit() == (0, "")


def test_another_signals_handler_runs_while_a_call_waits(start_rank: Start) -> None:
    rank = start_rank()
    rank.run(f"""
import os, signal, threading
seen = []
signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(number))
threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGUSR1)).start()
code = init('{free_url()}', 2, 1, start_store=False, init_timeout=2)
""")
    assert rank("code") in (mf.ErrorCode.TIMEOUT, mf.ErrorCode.NOT_CONNECTED)
    assert rank("seen") == [signal.SIGUSR1]


def test_other_threads_run_while_a_call_waits(start_rank: Start) -> None:
    rank = start_rank()
    rank.run(f"""
import threading
ended = []
start = lambda: init('{free_url()}', 2, 1, start_store=False, init_timeout=2)
thread = threading.Thread(target=lambda: ended.append(start()))
thread.start()
turns = 0
while not ended:
    turns += 1
thread.join()
""")
    assert rank("turns") > 1000


def test_the_launcher_serves_until_a_signal() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        url = free_url()
        launcher = subprocess.Popen(
            [sys.executable, "-m", "memfabric_hybrid.launch_ascend_mf_store"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "ASCEND_MF_STORE_URL": url},
        )
        try:
            assert url in launcher.stdout.readline()
            program = (
                "config = bm.BmConfig(); config.start_store = False; assert "
                f"bm.initialize('{url}', 2, 0, config) == 0"
            )
            run(PREAMBLE + program)
            launcher.send_signal(number)
            started = time.monotonic()
            assert launcher.wait(30) == 0
            assert time.monotonic() - started < 10
            assert launcher.stderr.read() == ""
        finally:
            launcher.kill()
            launcher.communicate()


def test_the_launcher_says_what_is_wrong() -> None:
    command = [sys.executable, "-m", "memfabric_hybrid.launch_ascend_mf_store"]
    environment = {
        name: value for name, value in os.environ.items() if not name.endswith("STORE_URL")
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and "ASCEND_MF_STORE_URL" in done.stderr
    done = subprocess.run(
        command,
        env={**environment, "MF_CONFIG_STORE_URL": "nonsense"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and "nonsense" in done.stderr
