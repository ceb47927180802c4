"""The Shared Memory examples as users run them."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest

from rank import free_url

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["shm_halo.py", "--ranks", "3", "--steps", "60"], "every cell is right"),
        (["shm_halo.py", "--ranks", "1", "--steps", "60"], "every cell is right"),
        (["shm_queue.py", "--ranks", "3", "--items", "300"], "each done once"),
        (["shm_server.py", "--workers", "2", "--steps", "100"], "the largest error"),
    ],
)
def test_python(command: list[str], said: str) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / command[0]), *command[1:], "--store", free_url()],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert said in done.stdout


def test_c(build_dir: str) -> None:
    done = subprocess.run(
        [str(pathlib.Path(build_dir) / "examples/shm_kernel"), free_url()],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (
        0,
        "rank 0: hello from rank 1\nrank 1: hello from rank 0\n",
    ), done.stderr
