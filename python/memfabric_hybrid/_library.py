"""Where the package's headers and library are."""

from __future__ import annotations

import os

_PACKAGE = os.path.dirname(os.path.abspath(__file__))


def get_include_path() -> str:
    """The directory to give a C or C++ compiler with -I; the headers are <memfabric/smem.h> and
    <memfabric/smem_bm.h>.
    """
    return os.path.join(_PACKAGE, "include")


def get_lib_path() -> str:
    """The directory to give a linker with -L (and -Wl,-rpath): it holds libmf_smem.so, for
    -lmf_smem.

    cmake/memfabric there is a CMake package (`find_package(memfabric)`, target
    `memfabric::mf_smem`), and pkgconfig the directory for PKG_CONFIG_PATH (`memfabric`).
    """
    return os.path.join(_PACKAGE, "lib")
