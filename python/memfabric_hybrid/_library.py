"""Where the package's headers and library are."""

from __future__ import annotations

import os

_PACKAGE = os.path.dirname(os.path.abspath(__file__))


def get_include_path() -> str:
    """The directory to give a C or C++ compiler with -I.

    The headers are <memfabric/smem.h>, <memfabric/smem_bm.h>, <memfabric/smem_shm.h>,
    <memfabric/smem_shm_device.h> and <memfabric/smem_trans.h>.
    """
    return os.path.join(_PACKAGE, "include")


def get_lib_path() -> str:
    """The directory to give a linker with -L and -Wl,-rpath; it holds libmf_smem.so, for -lmf_smem.

    cmake/memfabric in it is a CMake package: `find_package(memfabric)` has the target
    `memfabric::mf_smem`. pkgconfig in it is for PKG_CONFIG_PATH; the package is `memfabric`.
    """
    return os.path.join(_PACKAGE, "lib")
