"""What is shipped: help, stubs, headers, the library, and the files by which C programs are built
against it.
"""

from __future__ import annotations

import ast
import ctypes
import inspect
import os
import pydoc
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import memfabric_hybrid as mf
import mf_adapter
from memfabric_hybrid import bm
from memfabric_hybrid.cli import environment
from rank import free_url

ROOT = Path(__file__).parents[2]
PUBLIC = [(mf, name) for name in mf.__all__ if name not in ("__version__", "bm")] + [
    (bm, name) for name in bm.__all__
]


def test_version() -> None:
    declared = re.search(
        r"project\(memfabric VERSION ([0-9.]+)", (ROOT / "CMakeLists.txt").read_text()
    )
    assert mf.__version__ == declared[1]


@pytest.mark.parametrize(
    ("module", "name"), PUBLIC, ids=lambda part: getattr(part, "__name__", part)
)
def test_everything_public_is_documented(module: object, name: str) -> None:
    thing = getattr(module, name)
    assert inspect.getdoc(thing), name
    if inspect.isclass(thing) and not issubclass(thing, int):
        for member, value in vars(thing).items():
            assert member.startswith("_") or inspect.getdoc(value), f"{name}.{member}"


@pytest.mark.parametrize("module", [mf, bm])
def test_help_shows_everything(module: object) -> None:
    text = pydoc.render_doc(module, renderer=pydoc.plaintext)
    for name in module.__all__:
        assert name in text or name == "__version__", name  # pydoc shows that one as VERSION
    assert "get_last_err_msg" in text


def test_the_names_of_the_contract() -> None:
    methods = {
        "join",
        "leave",
        "local_mem_size",
        "peer_rank_ptr",
        "get_rank_id_by_gva",
        "gva_to_va",
        "register",
        "unregister",
        "copy_data",
        "copy_data_batch",
        "extend_local_mem",
        "set_group_event_handler",
        "wait",
        "destroy",
        "path",
        "view",
        "members",
        "stats",
    }
    assert methods <= set(dir(bm.BigMemory))
    assert {
        "initialize",
        "uninitialize",
        "set_log_level",
        "set_extern_logger",
        "set_conf_store_tls",
        "set_conf_store_tls_key",
        "get_last_err_msg",
        "get_and_clear_last_err_msg",
        "create_config_store",
        "strerror",
        "ErrorCode",
        "devices",
    } <= set(dir(mf))
    assert mf_adapter.create_config_store is mf.create_config_store
    assert mf_adapter.set_log_level is mf.set_log_level
    assert mf_adapter.set_conf_store_tls is mf.set_conf_store_tls


def test_only_factories_make_pools() -> None:
    for kind in (bm.BigMemory, bm.Member, mf.Device):
        with pytest.raises(TypeError):
            kind()


def test_stubs_name_what_there_is() -> None:
    for module, name in ((mf, "__init__.pyi"), (bm, "bm.pyi")):
        tree = ast.parse((ROOT / "python/memfabric_hybrid" / name).read_text())
        classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
        defined = set(classes) | {
            node.name for node in tree.body if isinstance(node, ast.FunctionDef)
        }
        imported = {
            alias.asname or alias.name
            for node in tree.body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        assert set(module.__all__) - {"__version__"} <= defined | imported
        for class_name, node in classes.items():
            members = {part.name for part in node.body if isinstance(part, ast.FunctionDef)}
            assert {part for part in members if not part.startswith("_")} <= set(
                dir(getattr(module, class_name))
            )


def test_stubs_are_what_the_module_gives() -> None:
    build = Path(mf.__file__).absolute().parents[2]
    check = [sys.executable, str(ROOT / "python/check_stubs.py")]
    done = subprocess.run(
        check, env={**os.environ, "MEMFABRIC_BUILD_DIR": str(build)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_package_is_typed() -> None:
    assert (Path(mf.__file__).parent / "py.typed").exists()


def test_the_library_is_there_for_those_who_ask_and_for_nobody_else() -> None:
    by_name = ctypes.CDLL("libmf_smem.so")
    assert by_name.smem_get_abi_version() == 0x10003
    with pytest.raises(AttributeError):
        ctypes.CDLL(None).smem_get_abi_version
    second_name = ctypes.CDLL(f"{mf.get_lib_path()}/libmemfabric.so")
    assert (
        ctypes.cast(second_name.smem_init, ctypes.c_void_p).value
        == ctypes.cast(by_name.smem_init, ctypes.c_void_p).value
    )
    by_path = ctypes.CDLL(
        f"{mf.get_lib_path()}/libmf_smem.so", mode=os.RTLD_LOCAL | os.RTLD_DEEPBIND
    )
    assert (
        ctypes.cast(by_path.smem_init, ctypes.c_void_p).value
        == ctypes.cast(by_name.smem_init, ctypes.c_void_p).value
    )


PROGRAM = r"""
#include <memfabric/smem_bm.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv) {
  smem_bm_config_t config;
  char text[8] = "written";
  char back[8] = "";
  smem_bm_t pool;
  smem_copy_params put, get;
  (void)argc;
  smem_bm_config_init(&config);
  config.rankId = 0;
  if (smem_bm_init(argv[1], 1, 0, &config) != SMEM_OK) return puts(smem_get_last_err_msg()), 1;
  pool = smem_bm_create(0, 1, SMEMB_DATA_OP_SDMA, 2 << 20, 0, 0);
  if (pool == NULL || smem_bm_join(pool, 0) != SMEM_OK) return puts(smem_get_last_err_msg()), 1;
  put.src = text, put.dest = smem_bm_ptr_by_mem_type(pool, SMEM_MEM_TYPE_HOST, 0);
  put.dataSize = 8, put.stream = NULL;
  get.src = put.dest, get.dest = back, get.dataSize = 8, get.stream = NULL;
  if (smem_bm_copy(pool, &put, SMEMB_COPY_H2GH, 0) != SMEM_OK ||
      smem_bm_copy(pool, &get, SMEMB_COPY_GH2H, 0) != SMEM_OK)
    return puts(smem_get_last_err_msg()), 1;
  smem_bm_destroy(pool);
  smem_uninit();
  return puts(back), 0;
}
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program.c"
    path.write_text(PROGRAM)
    return path


def run(*command: str, **options: object) -> str:
    done = subprocess.run(command, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(("compiler", "standard"), [("cc", "c99"), ("c++", "c++17")])
def test_a_program_is_built_against_the_package(
    compiler: str, standard: str, program: Path, tmp_path: Path
) -> None:
    binary = str(tmp_path / "program")
    language = "c" if compiler == "cc" else "c++"
    run(
        compiler,
        f"-std={standard}",
        "-pedantic",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-x",
        language,
        str(program),
        "-o",
        binary,
        f"-I{mf.get_include_path()}",
        f"-L{mf.get_lib_path()}",
        "-lmf_smem",
        f"-Wl,-rpath,{mf.get_lib_path()}",
    )
    assert run(binary, free_url()) == "written\n"


@pytest.fixture(scope="session")
def installed(build_dir: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation of the C interface, moved after it was made."""
    made, moved = tmp_path_factory.mktemp("made"), tmp_path_factory.mktemp("moved") / "prefix"
    run("cmake", "--install", build_dir, "--prefix", str(made), "--component", "memfabric")
    shutil.move(made, moved)
    return moved


def test_pkg_config(installed: Path, program: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PKG_CONFIG_PATH": str(installed / "lib/pkgconfig")}
    assert run("pkg-config", "--modversion", "memfabric", env=environment).strip() == mf.__version__
    flags = run("pkg-config", "--cflags", "--libs", "memfabric", env=environment).split()
    binary = str(tmp_path / "program")
    run("cc", str(program), "-o", binary, *flags, f"-Wl,-rpath,{installed}/lib")
    assert run(binary, free_url()) == "written\n"


def test_cmake_package(installed: Path, program: Path, tmp_path: Path) -> None:
    (tmp_path / "CMakeLists.txt").write_text("""
cmake_minimum_required(VERSION 3.25)
project(user LANGUAGES C)
find_package(memfabric 1 REQUIRED)
add_executable(user program.c)
target_link_libraries(user PRIVATE memfabric::mf_smem)
""")
    run(
        "cmake",
        "-S",
        str(tmp_path),
        "-B",
        str(tmp_path / "build"),
        f"-DCMAKE_PREFIX_PATH={installed}",
    )
    run("cmake", "--build", str(tmp_path / "build"))
    assert run(str(tmp_path / "build/user"), free_url()) == "written\n"


def test_doctor() -> None:
    command = [sys.executable, "-m", "memfabric_hybrid.cli", "doctor"]
    variables = {**os.environ, "COLUMNS": "200", "MEMFABRIC_STRICT": "1", "MEMFABRIC_STRIKT": "1"}
    text = run(*command, env=variables)
    for variable in environment.VARIABLES:
        assert variable.name in text
    assert "MEMFABRIC_STRIKT is set, but means nothing" in text
    assert "huge pages" in text and mf.devices()[0].name in text


def test_doctor_knows_every_variable() -> None:
    read = set()
    for path in (ROOT / "src").rglob("*.cc"):
        read |= set(re.findall(r'"((?:MEMFABRIC|ASCEND_MF|MF|ACCLINK)_[A-Z_]+)"', path.read_text()))
    assert read and read <= {variable.name for variable in environment.VARIABLES}


def test_devices() -> None:
    devices = mf.devices()
    assert devices and all(
        device.backend and device.name and device.bytes > 0 for device in devices
    )
    assert repr(devices[0]).startswith(f"Device(id={devices[0].id}, backend='{devices[0].backend}'")
