"""Without threads, descriptors or address space: success or an error that names the limit, in time;
never a crash or a hang.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Callable

import pytest

from rank import Rank, free_url

BOUND = 40  # seconds for everything; a call that waits has 5
SLOW = 15  # seconds for one call
FIRST_UID = 65400  # users without another process: RLIMIT_NPROC counts all of a user's


def run(kind: str, value: int, url: str, uid: int) -> list[tuple[str, int, str, float]]:
    done = subprocess.run(
        [
            sys.executable,
            str(pathlib.Path(__file__).with_name("limited.py")),
            kind,
            str(value),
            url,
            free_url(),
            str(uid),
        ],
        capture_output=True,
        text=True,
        timeout=BOUND,
        env={**os.environ, "MEMFABRIC_RAISE_NOFILE": "0"},
    )
    assert done.returncode == 0, (
        f"{kind} {value}: status {done.returncode}\n{done.stdout}{done.stderr}"
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("kind", "values", "limit"),
    [
        ("threads", (1, 3, 6, 9, 12, 14, 17, 21), "RLIMIT_NPROC"),
        ("descriptors", (8, 11, 14, 17, 24, 32), "RLIMIT_NOFILE"),
        ("address-space", (8, 64, 110, 160, 320, 640), "RLIMIT_AS"),
    ],
)
def test_what_is_refused_is_an_error_that_names_the_limit(
    start_rank: Callable[..., Rank], kind: str, values: tuple[int, ...], limit: str
) -> None:
    if kind == "threads" and os.getuid() != 0:
        pytest.skip("only root can become a user without other processes")
    url = free_url()
    store = start_rank(
        MEMFABRIC_ALLOW_UIDS=",".join(str(FIRST_UID + i) for i in range(len(values)))
    )
    assert store(f"mf.create_config_store('{url}')") == 0
    with ThreadPoolExecutor(3) as pool:
        uids = range(FIRST_UID, FIRST_UID + len(values))
        results = list(pool.map(run, [kind] * len(values), values, [url] * len(values), uids))
    named = 0
    for value, steps in zip(values, results):
        for name, code, text, seconds in steps:
            assert seconds < SLOW, (kind, value, name, seconds)
            assert code == 0 or text != "", (kind, value, name)
            named += limit in text
        assert steps[-1][:2] == ["end", 0], (kind, value)
    assert named >= 2, results
    assert results[0][0][1] != 0, "with the least nothing can start"


RAISED = """
import resource, sys
import memfabric_hybrid as mf
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200))
assert mf.create_config_store(sys.argv[1]) == 0, mf.get_last_err_msg()
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(("setting", "soft"), [(None, 200), ("1", 200), ("0", 100)])
def test_the_limit_of_descriptors_is_raised_unless_told_otherwise(
    setting: str | None, soft: int
) -> None:
    environment = {
        name: value for name, value in os.environ.items() if name != "MEMFABRIC_RAISE_NOFILE"
    }
    if setting is not None:
        environment["MEMFABRIC_RAISE_NOFILE"] = setting
    done = subprocess.run(
        [sys.executable, "-c", RAISED, free_url()],
        capture_output=True,
        text=True,
        timeout=BOUND,
        env=environment,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{soft}\n", "")
