"""Half precision at the speed of integers: numpy converts float16 one number at a time.

Four to twenty times as fast as `astype` and `isfinite`, for which COLLECT would spend most of its
time.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_INFINITY = 0x7C00  # bits; what lies above it is no number
_SIGN = 0x8000
_SIGN_AND_NUMBER = np.uint32(0x8FFFE000).view(np.int32)  # of a float32 with the exponent of a half
_REBIAS = np.float32(2.0**112)  # between the exponents of the two types


def all_finite(values: npt.NDArray[np.float16]) -> bool:
    """Whether no value is infinite or NaN; values are contiguous."""
    if not values.size:
        return True
    # of the positive ones the largest as a signed number, of the negative ones as an unsigned one
    largest, lowest = int(values.view(np.int16).max()), int(values.view(np.uint16).max())
    return largest < _INFINITY and lowest < _INFINITY | _SIGN


def as_float32(values: npt.NDArray[np.float16]) -> npt.NDArray[np.float32]:
    """The same numbers, exactly; values are contiguous and finite."""
    bits = values.view(np.int16).astype(np.int32)  # the sign in all upper bits
    bits <<= 13
    bits &= _SIGN_AND_NUMBER
    numbers = bits.view(np.float32)
    numbers *= _REBIAS
    return numbers
