"""Half precision by integers gives what numpy gives, for every number there is."""

from __future__ import annotations

import numpy as np
import pytest

from virembed.float16 import all_finite, as_float32

EVERY = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
FINITE = np.ascontiguousarray(EVERY[np.isfinite(EVERY)])


def test_every_finite_number_is_converted_exactly():
    ours, theirs = as_float32(FINITE), FINITE.astype(np.float32)
    assert np.array_equal(ours.view(np.uint32), theirs.view(np.uint32))  # and -0 stays -0


def test_every_finite_number_is_finite():
    assert all_finite(FINITE)
    assert all_finite(FINITE[:0])


@pytest.mark.parametrize("odd", EVERY[~np.isfinite(EVERY)][::97])
def test_one_infinite_or_no_number_among_others_is_found(odd: np.float16):
    values = np.ones((3, 5), dtype=np.float16)
    values[1, 2] = odd
    assert not all_finite(values)
