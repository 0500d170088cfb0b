"""Norms of vectors, and the mean and spread of each of their dimensions.

Counted piece by piece, by threads, and added up in the order of the pieces: the same rows give the
same numbers, to the bit, whoever counted first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from virembed.float16 import all_finite, as_float32

Doubles = npt.NDArray[np.float64]
Norms = npt.NDArray[np.float32]

_CACHED_ROWS = 1 << 6  # so many as double stay in the cache of a core


@dataclass(frozen=True, slots=True)
class Counted:
    """
    norms:   fp32 [rows], NaN where a vector is not finite, which no file may have
    sums:    float64 [D], of the numbers in each dimension
    squares: float64 [D], of their squares
    """

    norms: Norms
    sums: Doubles
    squares: Doubles


def counted(vectors: npt.NDArray[np.float16]) -> Counted:
    """
    Args:
        vectors: float16 [rows, D], contiguous.
    """
    num_rows, dim = vectors.shape
    norms = np.empty(num_rows, dtype=np.float32)
    sums, squares = np.zeros(dim), np.zeros(dim)
    for first in range(0, num_rows, _CACHED_ROWS):
        rows = slice(first, first + _CACHED_ROWS)
        halves = vectors[rows]
        if not all_finite(halves):
            norms[rows] = np.where(np.isfinite(halves).all(axis=1), 0, np.nan)
            continue
        values = as_float32(halves).astype(np.float64)
        sums += values.sum(axis=0)
        squares += np.einsum("ij,ij->j", values, values)
        norms[rows] = np.sqrt(np.einsum("ij,ij->i", values, values))
    return Counted(norms, sums, squares)


class MomentSums:
    """What leads to the moments of all vectors.

    Plain sums do: the square of a half has 22 bits, so that a double takes billions of them of one
    magnitude without rounding.
    """

    def __init__(self, dim: int) -> None:
        self._n = 0
        self._sums = np.zeros(dim)
        self._squares = np.zeros(dim)

    def include(self, piece: Counted) -> None:
        self._n += len(piece.norms)
        self._sums += piece.sums
        self._squares += piece.squares

    def moments(self) -> Moments:
        mean = self._sums / max(self._n, 1)
        m2 = np.maximum(self._squares - self._sums * mean, 0.0)
        return Moments(self._n, mean, m2)


@dataclass(frozen=True, slots=True)
class Moments:
    """Number, mean and sum of squared deviations per dimension, as in `uns/stats`.

    mean, m2: float64 [D]
    """

    n: int
    mean: Doubles
    m2: Doubles

    @property
    def spread(self) -> Doubles:
        """Standard deviation per dimension, 1 where nothing varies [D]."""
        spread = np.sqrt(self.m2 / max(self.n - 1, 1))
        return np.where(spread > 0, spread, 1.0)


def merged(parts: Sequence[Moments]) -> Moments:
    """Moments of all rows of several samples together (Chan et al. 1983)."""
    n = sum(part.n for part in parts)
    dim = len(parts[0].mean)
    if n == 0:
        return Moments(0, np.zeros(dim), np.zeros(dim))
    mean = sum((part.n * part.mean for part in parts), np.zeros(dim)) / n
    m2 = sum((part.m2 + part.n * np.square(part.mean - mean) for part in parts), np.zeros(dim))
    return Moments(n, mean, m2)
