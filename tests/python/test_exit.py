"""The interpreter's end in every order: uninitialize, atexit, sys.exit, os._exit, daemon threads,
callbacks and generators in mid-call, garbage collection, forks in threads. Each program runs
several times: what goes wrong here goes wrong sometimes."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from rank import free_url

PREAMBLE = """
import atexit, gc, os, sys, threading, time
import memfabric_hybrid as mf
from memfabric_hybrid import bm

def pool_of(url):
    config = bm.BmConfig()
    config.rank_id = 0
    assert bm.initialize(url, 2, 0, config) == 0, mf.get_last_err_msg()
    pool = bm.create(0, 8 << 20)
    assert pool.join() == 0, mf.get_last_err_msg()
    return pool

def engine():
    made = mf.TransferEngine()
    assert made.initialize('tcp://127.0.0.1', '127.0.0.1', 'Both', 0) == 0, mf.get_last_err_msg()
    return made

def begin(body, count=2):
    begun = threading.Barrier(count + 1)
    def run():
        first = True
        while True:
            body()
            if first:
                begun.wait()
                first = False
    for _ in range(count):
        threading.Thread(target=run, daemon=True).start()
    begun.wait(20)

def transfers():
    global one, memory, source
    one, memory, source = engine(), bytearray(4 << 20), bytearray(4 << 20)
    target = mf.empty(4 << 20, 'uint8')
    memory = target
    assert one.register_memory(memory, 4 << 20) == 0
    address, name = target.ctypes.data, one.name
    begin(lambda: one.transfer_sync_write(name, source, address, 4 << 20))

def copies():
    global pool
    pool = pool_of(url)
    source, target = bytearray(4 << 20), pool.peer_rank_ptr(0, 3)
    begin(lambda: pool.copy_data(source, target, 4 << 20, 3))

def short_copies():
    global pool
    pool = pool_of(url)
    target = pool.peer_rank_ptr(0, 3)
    begin(lambda: pool.copy_data(b'12345678', target, 8, 3))

class Cycle:
    def __init__(self, *held):
        self.held, self.own = held, self
    def __del__(self):
        for one in self.held:
            one.destroy()
"""

PROGRAMS = {
    "uninitialize while daemons transfer": "transfers(); mf.uninitialize()",
    "uninitialize while daemons copy": "copies(); mf.uninitialize()",
    "uninitialize while daemons copy 8 bytes": "short_copies(); mf.uninitialize()",
    "daemons transfer to the end": "transfers()",
    "daemons copy 8 bytes to the end": "short_copies()",
    "sys.exit in mid-transfer": "transfers(); sys.exit(0)",
    "os._exit in mid-transfer": "transfers(); os._exit(0)",
    "atexit before us": "transfers(); atexit.register(mf.uninitialize)",
    "atexit after us": "copies(); atexit.unregister(mf._memfabric._close); "
    "atexit.register(mf._memfabric._close)",
    "destroyed by the garbage collection at the "
    "end": "transfers(); Cycle(one); copies(); Cycle(pool); gc.disable()",
    "a generator that is suspended in a call": """
pool = pool_of(url)
def sizes():
    yield 8
    while True:
        time.sleep(0.0001)
        yield 8
def call():
    started.set()
    pool.copy_data_batch([bytes(8)] * 2, [1, 1], sizes(), 2, 3)
started = threading.Event()
threading.Thread(target=call, daemon=True).start()
started.wait()
""",
    "an argument's __index__ in mid-call": """
pool = pool_of(url)
class Slow:
    def __index__(self):
        started.set()
        while True:
            time.sleep(0.0001)
started = threading.Event()
slow_copy = lambda: pool.copy_data_batch([b'x'], [1], [Slow()], 1, 3)
threading.Thread(target=slow_copy, daemon=True).start()
threading.Thread(target=lambda: pool.copy_data(b'x', 1, Slow(), 3), daemon=True).start()
started.wait()
""",
    "an address's attribute in mid-call": """
pool = pool_of(url)
class Slow:
    def data_ptr(self):
        started.set()
        while True:
            time.sleep(0.0001)
started = threading.Event()
threading.Thread(target=lambda: pool.copy_data(Slow(), 1, 8, 3), daemon=True).start()
started.wait()
""",
    "a logger that is called on and on": """
mf.set_log_level(0)
atexit.register(mf.set_log_level, 4)  # what is logged once the logger is gone
mf.set_extern_logger(lambda level, message: time.sleep(0.0001))
pool = pool_of(url)
def work():
    try:
        other = bm.create(1, 2 << 20)
    except RuntimeError:  # uninitialized
        return
    other.join()
    other.destroy()
begin(work, 1)
mf.uninitialize()
""",
    "a logger that never returns": """
mf.set_log_level(0)
atexit.register(mf.set_log_level, 4)  # what is logged once the logger is gone
entered = threading.Event()
def log(level, message):
    entered.set()
    if threading.current_thread() is not threading.main_thread():
        time.sleep(1000)
mf.set_extern_logger(log)
def wait():
    bm.create(1, 0)
pool = pool_of(url)
threading.Thread(target=wait, daemon=True).start()
entered.wait()
""",
    "an object that is the last to know the thread that ends": """
pool = pool_of(url)
local = threading.local()
def work():
    local.kept = mf.TransferEngine(), mf.Stream()
    time.sleep(1000)
threading.Thread(target=work, daemon=True).start()
""",
    "a fork in a thread": """
pool = pool_of(url)
ends = []
def fork():
    child = os.fork()
    if child == 0:
        assert pool.join() < 0
        mf.uninitialize()
        sys.stdout.flush()
        os._exit(0)
    ends.append(os.waitpid(child, 0)[1])
threads = [threading.Thread(target=fork) for _ in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert ends == [0, 0], ends
""",
    "a forked child that ends as interpreters do": """
copies()
child = os.fork()
if child:
    assert os.waitpid(child, 0)[1] == 0
""",
}
TIMES = 3


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_ends_well(name: str) -> None:
    program = PROGRAMS[name]
    for _ in range(TIMES):
        done = subprocess.run(
            [sys.executable, "-c", f"{PREAMBLE}\nurl = '{free_url()}'\n{program}"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stderr


STALLED_HANDLER = """
pool = pool_of(url)
entered = threading.Event()
def handler(rank, event):
    entered.set()
    threading.Event().wait()
pool.set_group_event_handler(handler)
child = os.posix_spawn(sys.executable, [sys.executable, '-c', f'''
import memfabric_hybrid as mf
config = mf.bm.BmConfig()
config.rank_id = 1
assert mf.bm.initialize("{url}", 2, 0, config) == 0
assert mf.bm.create(0, 2 << 20).join() == 0
'''], os.environ)
assert entered.wait(30)
os.waitpid(child, 0)
mf.uninitialize()
"""


def test_a_handler_that_never_returns_does_not_keep_uninitialize() -> None:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", f"{PREAMBLE}\nurl = '{free_url()}'\n{STALLED_HANDLER}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert time.monotonic() - began < 25
