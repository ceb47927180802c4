"""Other people's packages that the fabric is held against (`make bench-peers`) or shares a process
with (tests/python/test_beside.py).

They live in build/others, made when missing: a venv with what comes from PyPI (700 MB), and
Debian's torch, unpacked there (500 MB), because PyPI's for x86-64 needs gigabytes of CUDA. Nothing
of it is used elsewhere.
"""

import fcntl
import os
import pathlib
import shutil
import subprocess
import sysconfig

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build/others"
VENV = FOLDER / "venv"
DEBIAN = FOLDER / "debian"
# Without their dependencies: what those are for (CUDA) is not here. The lines below are what is
# imported.
PACKAGES = ("mooncake-transfer-engine-non-cuda==0.3.13.post1", "nixl-cu12==1.5.1")
NEEDED = (
    "aiohttp",
    "requests",
    "nvidia-cuda-runtime-cu12",
    "grpcio==1.85.3",
    "protobuf==7.36.2",
    "numpy==1.26.4",
    "pyarrow==21.0.0",
)  # Debian's torch is of the time before numpy 2
DEBIAN_PACKAGE = "python3-torch"


class Unavailable(Exception):
    """Why they can't be had here."""


def _run(*command: object, **options: object) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        **options,
    )
    if done.returncode != 0:
        raise Unavailable(
            f"{' '.join(str(word) for word in command[:4])} …: "
            f"{(done.stderr or done.stdout).strip()[-300:]}"
        )
    return done.stdout


def _make_venv() -> None:
    _run("/usr/bin/python3", "-m", "venv", "--clear", VENV)
    _run(VENV / "bin/pip", "install", "-q", *NEEDED)
    _run(VENV / "bin/pip", "install", "-q", "--no-deps", *PACKAGES)
    # After the venv's own packages, so that those come first.
    (
        pathlib.Path(
            _run(
                VENV / "bin/python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"
            ).strip()
        )
        / "debian.pth"
    ).write_text(f"{DEBIAN}/usr/lib/python3/dist-packages\n/usr/lib/python3/dist-packages\n")


def _unpack_debian() -> None:
    """What installing the package would add to this machine, without installing it."""
    simulate = ("apt-get", "install", "-s", "--no-install-recommends", DEBIAN_PACKAGE)
    try:
        listed = _run(*simulate)
    except Unavailable:
        _run("apt-get", "update", "-q")  # this machine has no list yet
        listed = _run(*simulate)
    archives = FOLDER / "archives"
    shutil.rmtree(archives, ignore_errors=True)
    archives.mkdir()
    names = [line.split()[1] for line in listed.splitlines() if line.startswith("Inst ")]
    if names:
        _run("apt-get", "download", "-q", *names, cwd=archives)
    for archive in archives.iterdir():
        _run("dpkg", "-x", archive, DEBIAN)
    shutil.rmtree(archives)


def _complete(part: pathlib.Path, make: object) -> None:
    mark = FOLDER / f"{part.name}-complete"
    made_from = repr((str(ROOT), PACKAGES, NEEDED, DEBIAN_PACKAGE))
    if mark.exists() and mark.read_text() == made_from:
        return
    print(f"making {part.relative_to(ROOT)}", flush=True)
    mark.unlink(missing_ok=True)
    shutil.rmtree(part, ignore_errors=True)
    make()
    mark.write_text(made_from)


def make() -> tuple[pathlib.Path, dict[str, str]]:
    """Their interpreter, and the environment that it needs. Raises Unavailable."""
    try:
        FOLDER.mkdir(parents=True, exist_ok=True)
        with open(FOLDER / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            _complete(VENV, _make_venv)
            _complete(DEBIAN, _unpack_debian)
    except OSError as error:  # no apt-get here, a folder that isn't ours, a full disk
        raise Unavailable(str(error)) from error
    architecture = sysconfig.get_config_var("MULTIARCH") or "x86_64-linux-gnu"
    folders = [
        f"{DEBIAN}/{folder}"
        for folder in (f"usr/lib/{architecture}", f"lib/{architecture}", "usr/lib")
    ]
    blas = [
        str(path)
        for path in DEBIAN.glob(f"usr/lib/{architecture}/*")
        if path.name in ("blas", "lapack")
    ]
    return VENV / "bin/python", {
        "LD_LIBRARY_PATH": ":".join(
            [*folders, *blas, os.environ.get("LD_LIBRARY_PATH", "")]
        ).rstrip(":")
    }
