"""What `pip install .` gives a user on a fresh machine: a source archive is built, from that a
wheel in a clean venv, and the wheel is installed in another by an ordinary user, whose programs run
with nothing of this tree.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

import pytest

from rank import free_url
from test_examples import WHOLE_PROGRAMS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
NOBODY = 65534
SMALL = ["--ranks", "3", "--seconds", "0.5", "--block-layers", "4", "--sizes", "8192,1024"]

pytestmark = pytest.mark.timeout(900)  # the first test builds


def environment(**more: str) -> dict[str, str]:
    """This one's without what points into this tree."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "MEMFABRIC", "VIRTUAL_ENV"))
    } | more


def run(*command: object, **options: object) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **{"env": environment(), **options},
    )
    if done.returncode != 0 and re.search(
        "NewConnectionError|NameResolutionError|ConnectTimeoutError", done.stdout
    ):
        pytest.skip("the package index can't be reached")
    assert done.returncode == 0, done.stdout[-5000:]
    return done.stdout


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    backend = (
        "import sys; from scikit_build_core.build import build_sdist; build_sdist(sys.argv[1])"
    )
    run(sys.executable, "-c", backend, folder, cwd=ROOT)
    run(sys.executable, "-m", "venv", folder / "builder")
    # The compiler under the name that the release preset has for it: by that ccache finds what was
    # compiled already.
    run(
        folder / "builder/bin/pip",
        "wheel",
        "--no-deps",
        "-w",
        folder,
        *folder.glob("*.tar.gz"),
        cwd=folder,
        env=environment(CC="gcc", CXX="g++", CMAKE_BUILD_PARALLEL_LEVEL=str(os.cpu_count())),
    )
    [wheel] = folder.glob("*.whl")
    return wheel


@dataclass(frozen=True)
class User:
    """A user who has installed the wheel and nothing else of ours: nobody, where that may be."""

    home: Path

    @property
    def python(self) -> Path:
        return self.home / "venv/bin/python"

    def run(self, *command: object) -> str:
        become = (
            ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
            if os.geteuid() == 0
            else ()
        )
        return run(
            *become, *command, cwd=self.home, env=environment(HOME=str(self.home)), timeout=300
        )

    def takes(self, file: Path) -> Path:
        copy = Path(shutil.copy(file, self.home))
        copy.chmod(0o644)
        return copy


@pytest.fixture(scope="session")
def user(wheel: Path) -> Iterator[User]:
    with tempfile.TemporaryDirectory(prefix="mf-user-") as folder:
        os.chmod(folder, 0o755)
        if os.geteuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
        user = User(Path(folder))
        user.run(sys.executable, "-m", "venv", user.home / "venv")
        user.run(user.home / "venv/bin/pip", "install", "-q", user.takes(wheel), "numpy")
        yield user


def test_it_holds_one_library(wheel: Path) -> None:
    libraries = {
        file.filename: file.file_size
        for file in zipfile.ZipFile(wheel).infolist()
        if ".so" in file.filename
    }
    extension = [
        name for name in libraries if re.fullmatch(r"memfabric_hybrid/_memfabric\.[^/]*\.so", name)
    ]
    assert set(libraries) == {
        *extension,
        "memfabric_hybrid/lib/libmf_smem.so",
        "memfabric_hybrid/lib/libmemfabric.so",
    }
    assert len(extension) == 1
    assert libraries["memfabric_hybrid/lib/libmf_smem.so"] < 20 << 20  # stripped
    assert libraries["memfabric_hybrid/lib/libmemfabric.so"] < 64 << 10  # a name, not a copy


def test_it_needs_what_every_machine_has(user: User) -> None:
    library = (
        user.run(
            user.python, "-c", "import memfabric_hybrid as mf; print(mf.get_lib_path())"
        ).strip()
        + "/libmf_smem.so"
    )
    loaded = set(re.findall(r"^\s*(?:\S*/)?([^\s/]+)", user.run("ldd", library), re.MULTILINE))
    assert {re.sub(r"\.so.*", "", name) for name in loaded} <= {
        "linux-vdso",
        "ld-linux-x86-64",
        "ld-linux-aarch64",
        "libc",
        "libm",
        "libstdc++",
        "libgcc_s",
    }
    exported = {
        line.split()[-1] for line in user.run("nm", "-D", "--defined-only", library).splitlines()
    }
    assert "smem_init" in exported and not [
        name for name in exported if not name.startswith("smem_")
    ]


IMPORT = """
import os, sys, time
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGESIZE")
before, begin = resident(), time.process_time()
import memfabric_hybrid
spent, grown = (time.process_time() - begin) * 1e3, (resident() - before) / 2**20
print(spent, grown, "typer" in sys.modules or "rich" in sys.modules)
"""


def test_another_library_of_that_name_is_not_taken(user: User) -> None:
    """As in an environment that sets LD_LIBRARY_PATH for another package with a libmf_smem.so."""
    other = user.home / "other"
    user.run(
        "sh",
        "-ec",
        f"mkdir -p {other}; echo 'int other;' | cc -shared -x c - -o {other}/libmf_smem.so "
        "-Wl,-soname,libmf_smem.so",
    )
    assert user.run(
        "env",
        f"LD_LIBRARY_PATH={other}",
        user.python,
        "-c",
        "import memfabric_hybrid as mf; print(mf.__version__)",
    ).strip()


def test_to_import_it_costs_little(user: User) -> None:
    """Processor time, which a busy machine stretches too: the best of some."""
    costs = [user.run(user.python, "-c", IMPORT).split() for _ in range(10)]
    milliseconds, mebibytes = (
        min(float(cost[0]) for cost in costs),
        max(float(cost[1]) for cost in costs),
    )
    assert milliseconds <= 30 and mebibytes <= 16, f"{milliseconds:.1f} ms, {mebibytes:.1f} MiB"
    assert costs[0][2] == "False"


@pytest.mark.parametrize(
    "program", WHOLE_PROGRAMS, ids=[str(number) for number in range(len(WHOLE_PROGRAMS))]
)
def test_the_readmes_python_runs(program: str, user: User) -> None:
    assert user.run(user.python, "-c", program).strip()


def test_the_readmes_c_is_built_as_it_says_and_runs(user: User) -> None:
    (user.home / "hello.c").write_text(
        re.search(r"^```c\n(.*?)^```", README, re.DOTALL | re.MULTILINE)[1]
    )
    command, variable = (
        re.search(r"^cc .*$", README, re.MULTILINE)[0],
        re.search(r'P="import memfabric_hybrid.*?"', README)[0],
    )
    library = "LIB=$(python -c 'import memfabric_hybrid as mf; print(mf.get_lib_path())')"
    user.run(
        "sh", "-ec", f"export PATH={user.home}/venv/bin:$PATH; {variable}; {library}; {command}"
    )
    assert user.run(user.home / "hello") == "hello, rank 1\n"


@pytest.mark.parametrize(
    ("example", "said"),
    [
        (["hello.py"], "hello, rank 1"),
        (["kv_pool.py", *SMALL], "every byte verified"),
        (["transfer_numpy.py"], "verified|62464"),
        (["transfer_paged_kv.py"], "verified|62464"),
        (["transfer_broadcast.py"], "verified|62464"),
        (["shm_queue.py", "--ranks", "3", "--items", "300", "--store"], "each done once"),
        (["shm_halo.py", "--ranks", "3", "--steps", "60", "--store"], "every cell is right"),
        (["shm_server.py", "--workers", "2", "--steps", "100", "--store"], "the largest error"),
    ],
    ids=lambda value: str(value[0]),
)
def test_the_examples_run(example: list[str], said: str, user: User) -> None:
    url = [free_url()] if example[-1] == "--store" else []
    assert re.search(
        said, user.run(user.python, user.takes(ROOT / "examples" / example[0]), *example[1:], *url)
    )


def test_the_programs_run(user: User) -> None:
    assert "memfabric" in user.run(user.home / "venv/bin/memfabric", "doctor")
