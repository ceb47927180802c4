"""Loads libmf_smem.so before the extension, for all of the process: C clients that ask for it by name get this one."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_PACKAGE = Path(__file__).parent.absolute()

LIBRARY = _PACKAGE / "lib" / "libmf_smem.so"


def load() -> ctypes.CDLL:
    """The library, loaded with RTLD_GLOBAL."""
    return ctypes.CDLL(str(LIBRARY), mode=os.RTLD_NOW | ctypes.RTLD_GLOBAL)


def get_include_path() -> str:
    """The directory to give a C or C++ compiler with -I; the headers are <memfabric/smem.h> and <memfabric/smem_bm.h>."""
    return str(_PACKAGE / "include")


def get_lib_path() -> str:
    """The directory to give a linker with -L (and -Wl,-rpath): it holds libmf_smem.so, for -lmf_smem.

    cmake/memfabric there is a CMake package (`find_package(memfabric)`, target `memfabric::mf_smem`), and pkgconfig the
    directory for PKG_CONFIG_PATH (`memfabric`).
    """
    return str(_PACKAGE / "lib")
