"""One process with hardly any threads, descriptors or address space: it makes everything and takes
it down again.

    limited.py threads|descriptors|address-space VALUE URL OTHER_URL UID

Another process serves the store at URL; this one tries to serve one at OTHER_URL as well.

It prints one JSON line: what each call returned, the messages of those that failed, and the seconds
that each took."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from typing import Callable

import memfabric_hybrid as mf
from memfabric_hybrid import bm, shm


def limit(kind: str, value: int, uid: int) -> None:
    if kind == "threads":  # of a user who has no others; root isn't bound
        resource.setrlimit(resource.RLIMIT_NPROC, (value, value))
        os.setresuid(uid, uid, uid)
    elif kind == "descriptors":
        resource.setrlimit(resource.RLIMIT_NOFILE, (value, value))
    else:  # MiB beyond what the interpreter has
        with open("/proc/self/statm") as statm:
            used = int(statm.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (value << 20), used + (value << 20)))


def main() -> None:
    kind, value, url, other_url, uid = (
        sys.argv[1],
        int(sys.argv[2]),
        sys.argv[3],
        sys.argv[4],
        int(sys.argv[5]),
    )
    steps: list[tuple[str, int, str, float]] = []

    def step(name: str, call: Callable[[], int | None]) -> bool:
        begin = time.monotonic()
        try:
            code, text = call() or 0, ""
        except (RuntimeError, MemoryError) as error:
            code, text = -1, str(error)
        text = text or (mf.get_and_clear_last_err_msg() if code != 0 else "")
        steps.append((name, code, text, time.monotonic() - begin))
        return code == 0

    data = bytes(4 << 20)
    limit(kind, value, uid)
    config = bm.BmConfig()
    config.auto_ranking = True  # several of these share the store
    config.init_timeout = config.create_timeout = config.operation_timeout = 5
    pools: list[bm.BigMemory] = []
    if step("initialize", lambda: bm.initialize(url, 64, 0, config)):
        if step("create", lambda: pools.append(bm.create(0, 4 << 20))) and step(
            "join", pools[0].join
        ):
            there = pools[0].peer_rank_ptr(bm.bm_rank_id(), bm.BmMemType.HOST)
            for flags in (0, 1):
                step(
                    "copy",
                    lambda: pools[0].copy_data(data, there, len(data), bm.BmCopyType.H2GH, flags),
                )
            step("wait", pools[0].wait)
    step("serve", lambda: mf.create_config_store(other_url))
    engine = mf.TransferEngine()
    step("engine", lambda: engine.initialize(url, f"one-{kind}-{value}", "Prefill", 0))
    settings = shm.ShmConfig()
    settings.init_timeout = settings.create_timeout = settings.operation_timeout = 5
    objects: list[shm.ShareMemory] = []
    if step("shm", lambda: shm.initialize(url, 1, 0, 0, settings)):
        step("object", lambda: objects.append(shm.create(0, 1, 0, 2 << 20)))
    step("end", lambda: (engine.destroy(), shm.uninitialize(), bm.uninitialize()) and None)
    print(json.dumps(steps), flush=True)


if __name__ == "__main__":
    main()
