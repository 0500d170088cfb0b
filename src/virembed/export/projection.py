"""The first two principal components of standardised vectors, exact, from a streamed covariance."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Float64s = npt.NDArray[np.float64]
NUM_COMPONENTS = 2


@dataclass(frozen=True, slots=True)
class Projection:
    """
    coordinates:    fp64 [rows, 2]
    explained:      share of the variance of each component
    """

    coordinates: Float64s
    explained: tuple[float, ...]


def project(blocks: Callable[[], Iterator[npt.NDArray[Any]]], dim: int) -> Projection:
    """
    Args:
        blocks: all vectors in order, [some, dim] at a time; called four times.
        dim: at least 2; memory is some `dim` x `dim` matrices.
    """
    mean, spread = _moments(blocks, dim)
    covariance = np.zeros((dim, dim))
    for block in blocks():
        z = (block - mean) / spread
        covariance += z.T @ z
    variances, axes = np.linalg.eigh(covariance)
    best = np.argsort(variances)[::-1][:NUM_COMPONENTS]
    axes = axes[:, best]
    # an axis and its opposite are equally right: always the same of the two
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(NUM_COMPONENTS)])
    coordinates = np.concatenate([(block - mean) / spread @ axes for block in blocks()])
    total = max(float(variances.sum()), np.finfo(float).tiny)
    return Projection(coordinates, tuple(float(variances[i]) / total for i in best))


def _moments(
    blocks: Callable[[], Iterator[npt.NDArray[Any]]], dim: int
) -> tuple[Float64s, Float64s]:
    """Mean and standard deviation of each dimension; 1 where all rows are equal."""
    count, total = 0, np.zeros(dim)
    for block in blocks():
        count += len(block)
        total += block.sum(axis=0, dtype=np.float64)
    mean = total / count
    squares = np.zeros(dim)
    for block in blocks():
        squares += np.square(block - mean).sum(axis=0)
    spread = np.sqrt(squares / count)
    return mean, np.where(spread > 0, spread, 1.0)
