"""Norms, means and spreads of vectors that are counted piece by piece."""

from __future__ import annotations

import numpy as np
import pytest

from virembed.moments import Moments, MomentSums, counted, merged

VECTORS = np.random.default_rng(0).normal(0.3, 2, (500, 24)).astype(np.float16)
EXACT = VECTORS.astype(np.float64)


def moments_of(*pieces) -> Moments:
    sums = MomentSums(VECTORS.shape[1])
    for piece in pieces:
        sums.include(counted(piece))
    return sums.moments()


def assert_moments(found: Moments, exact) -> None:
    assert found.n == len(exact)
    assert np.allclose(found.mean, exact.mean(axis=0), rtol=1e-12)
    assert np.allclose(found.m2, np.square(exact - exact.mean(axis=0)).sum(axis=0), rtol=1e-12)


@pytest.mark.parametrize("size", [1, 63, 64, 65, 500])
def test_pieces_of_any_size_are_those_of_numpy(size):
    pieces = [VECTORS[first : first + size] for first in range(0, len(VECTORS), size)]
    assert_moments(moments_of(*pieces), EXACT)
    norms = np.concatenate([counted(piece).norms for piece in pieces])
    assert norms.dtype == np.float32
    assert np.array_equal(norms, np.sqrt(np.square(EXACT).sum(axis=1)).astype(np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_only_the_vector_that_is_not_finite_has_no_norm(value):
    altered = VECTORS.copy()
    altered[77, 5] = value
    assert np.flatnonzero(np.isnan(counted(altered).norms)).tolist() == [77]


def test_moments_of_samples_merge_to_those_of_all_their_rows():
    parts = [moments_of(VECTORS[a:b]) for a, b in ((0, 1), (1, 300), (300, 300), (300, 500))]
    assert_moments(merged(parts), EXACT)


def test_without_a_row_nothing_varies():
    none = merged([moments_of(), moments_of(VECTORS[:0])])
    assert none.n == 0
    assert none.spread.tolist() == [1.0] * VECTORS.shape[1]
