"""A process that runs what the test tells it, for tests of several ranks.

    rank = Rank()
    rank.run("pool = mf.bm.create(0, 2 << 20)")
    assert rank("pool.join()") == 0

The process is this file, run as a program: it reads one JSON line an order and answers with one.
"""

from __future__ import annotations

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import traceback
from typing import Any, Sequence


def free_url() -> str:
    """A url whose port nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


class Rank:
    """The test's end. Knows `mf`, `np` and `init(url, world_size, rank=None, **config)`, which
    returns a code.
    """

    def __init__(
        self, environment: dict[str, str] | None = None, under: Sequence[str] = ()
    ) -> None:
        """`under`: a command that runs it."""
        self.process = subprocess.Popen(
            [*under, sys.executable, "-u", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )

    def __call__(self, expression: str) -> Any:
        """The expression's value, if JSON can hold it."""
        self.start(f"_ = {expression}")
        return self.finish()

    def run(self, statements: str) -> None:
        self.start(statements + "\n_ = None")
        self.finish()

    def start(self, statements: str) -> None:
        """Without waiting for the end: see finish()."""
        self.process.stdin.write(json.dumps(statements) + "\n")
        self.process.stdin.flush()

    def finish(self) -> Any:
        """What the statements left in `_`. Raises what they raised, as text."""
        line = self.process.stdout.readline()
        if not line:
            raise EOFError(
                f"the rank ended with {self.process.wait()}: {self.process.stderr.read()}"
            )
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["value"]

    def exit(self) -> tuple[int, str]:
        """Lets the interpreter end as it does at a program's end; its status and what it wrote to
        stderr.
        """
        self.process.stdin.close()
        errors = self.process.stderr.read()
        status = self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()
        return status, errors

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self) -> None:
        """By SIGSTOP; returns when every thread stands still. send(SIGCONT) ends it."""
        self.send(signal.SIGSTOP)
        tasks = pathlib.Path(f"/proc/{self.process.pid}/task")
        while any(
            (task / "stat").read_text().rpartition(")")[2].split()[0] != "T"
            for task in tasks.iterdir()
        ):
            time.sleep(0.001)

    def kill(self) -> None:
        """At once, as kill -9 does; nothing when it has ended."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            stream.close()


def _serve() -> None:
    import numpy as np

    import memfabric_hybrid as mf

    def init(url: str, world_size: int, rank: int | None = None, **settings: Any) -> int:
        config = mf.bm.BmConfig()
        config.init_timeout = config.create_timeout = config.operation_timeout = 20
        if rank is None:
            config.auto_ranking = True
        else:
            config.rank_id = rank
        for name, value in settings.items():
            setattr(config, name, value)
        return mf.bm.initialize(url, world_size, 0, config)

    names = globals()
    names.update(mf=mf, np=np, init=init)
    for line in sys.stdin:
        try:
            exec(json.loads(line), names)  # noqa: S102
            answer = {"value": names["_"]}
        except BaseException:  # KeyboardInterrupt is among what is tested
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _serve()
