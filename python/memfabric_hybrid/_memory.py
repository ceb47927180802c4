"""Memory that engines of the same host map, as numpy arrays."""

from __future__ import annotations

import math

from ._memfabric import alloc

TYPE_CHECKING = False  # typing's, without importing it
if TYPE_CHECKING:
    from typing import Any, Sequence

    import numpy as np


def empty(shape: int | Sequence[int], dtype: Any = "float64") -> np.ndarray:
    """A numpy array of zeros in memory of alloc(): transfers to it run at the speed of memory.

    shape: an int or a tuple of ints.
    dtype: what numpy takes.
    Raises RuntimeError when there is no memory, ImportError without numpy.
    """
    import numpy as np

    extents = (shape,) if isinstance(shape, int) else tuple(shape)
    kind = np.dtype(dtype)
    size = math.prod(extents) * kind.itemsize
    if size <= 0:
        return np.empty(extents, kind)
    return np.frombuffer(alloc(size), kind).reshape(extents)
