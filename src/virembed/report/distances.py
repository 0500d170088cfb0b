"""How far samples lie apart, by the mean vectors that every result file carries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from virembed.moments import Moments, merged

MAX_SAMPLES = 60  # of a heat map that can still be read


def sample_distances(moments: Mapping[int, Moments]) -> dict[str, Any] | None:
    """Distances between the mean vectors of samples, and an order that puts like beside like.

    The distance is the root mean square over dimensions of the difference of two means, in
    standard deviations of all rows of the run: 0 for equal means, 1 for means that lie one
    standard deviation apart in every dimension.

    Args:
        moments: by number of the sample.

    Returns:
        samples (numbers, in that order) and the matrix; how many samples are left out because there
        are too many, and how many are without a vector. None for fewer than two samples with one.
    """
    filled = {sample: part for sample, part in moments.items() if part.n}
    most = sorted(filled, key=lambda sample: (-filled[sample].n, sample))[:MAX_SAMPLES]
    chosen = sorted(most)
    if len(chosen) < 2:
        return None
    spread = merged(list(filled.values())).spread
    means = np.stack([filled[sample].mean / spread for sample in chosen])
    squared = np.square(means).sum(axis=1)
    # |a - b|² without a third dimension; rounding must not make it negative
    gaps = squared[:, None] + squared[None, :] - 2 * means @ means.T
    matrix = np.sqrt(np.maximum(gaps, 0) / means.shape[1])
    np.fill_diagonal(matrix, 0)
    order = _order(matrix)
    return {
        "samples": [chosen[place] for place in order],
        "matrix": [[round(float(matrix[i, j]), 4) for j in order] for i in order],
        "left_out": len(filled) - len(chosen),
        "without": len(moments) - len(filled),
    }


def _order(matrix: Any) -> list[int]:
    """Leaves of the tree of average linkage, neighbours alike."""
    from scipy.cluster.hierarchy import leaves_list, linkage  # noqa: PLC0415
    from scipy.spatial.distance import squareform  # noqa: PLC0415

    tree = linkage(squareform(matrix, checks=False), "average", optimal_ordering=True)
    return [int(leaf) for leaf in leaves_list(tree)]
