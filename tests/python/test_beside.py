"""The package beside others that bring libraries of the same names: imported in either order, then
really used, in one process.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "scripts"))
import others as others_packages  # noqa: E402

OTHERS = ["nixl", "grpc", "protobuf", "torch", "pyarrow", "mooncake"]
TOGETHER = (
    {f"{other} and ours": [other, "ours"] for other in OTHERS if other != "torch"}
    | {f"ours and {other}": ["ours", other] for other in OTHERS if other != "torch"}
    | {"ours and all": ["ours", *OTHERS], "all and ours": [*reversed(OTHERS), "ours"]}
)


@pytest.fixture(scope="module")
def others() -> tuple[Path, dict[str, str]]:
    try:
        return others_packages.make()
    except others_packages.Unavailable as why:
        pytest.skip(f"the other packages can't be had here: {why}")


@pytest.mark.timeout(900)  # the first of them fetches the packages
@pytest.mark.parametrize("names", TOGETHER.values(), ids=TOGETHER.keys())
def test_each_works(names: list[str], others: tuple[Path, dict[str, str]], build_dir: str) -> None:
    python, environment = others
    done = subprocess.run(
        [str(python), str(ROOT / "tests/python/beside.py"), *names],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        env={
            **os.environ,
            **environment,
            "PYTHONPATH": f"{build_dir}/python",
            "UCX_TLS": "sm,tcp,self",
            "UCX_LOG_LEVEL": "error",
        },
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert [line for line in done.stdout.splitlines() if line.endswith(" works")] == [
        f"{name} works" for name in names
    ]
