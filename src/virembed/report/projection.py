"""Vectors onto a plane: standardised over the run, principal components, t-SNE of those.

Deterministic: fixed seeds, one thread. Knows nothing of files or pictures.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from virembed.moments import Moments

SEED = 0
NUM_COMPONENTS = 50  # kept for t-SNE
PERPLEXITY = 30.0
FIT_ROWS = 3_000
# Half of openTSNE's iterations, of coarser forces: the same neighbours in half of the time.
EXAGGERATED_ITERATIONS, ITERATIONS = 125, 375
ANGLE = 0.8
NEIGHBOURS = 10
MIN_ROWS_TSNE = 50  # fewer rows have too few neighbours for a second layout to say anything

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Projection:
    """A plane fitted to some rows.

    axes:     fp32 [2, D], the first two principal components of standardised vectors
    center:   fp32 [D], mean of the standardised rows it was fitted to
    explained: share of the variance on each axis
    layouts:  coordinates fp32 [rows, 2] by name: "pca", and "tsne" where there are enough rows
    """

    moments: Moments
    axes: Floats
    center: Floats
    explained: list[float]
    layouts: dict[str, Floats]

    def first_component(self, vectors: npt.NDArray[np.float16]) -> Floats:
        """Position of other rows on the first axis, fp32 [rows]."""
        component: Floats = (standardised(vectors, self.moments) - self.center) @ self.axes[0]
        return component


def standardised(vectors: npt.NDArray[np.float16], moments: Moments) -> Floats:
    """(x - mean) / standard deviation per dimension, fp32 [rows, D]."""
    shifted: Floats = vectors.astype(np.float32)
    shifted -= moments.mean.astype(np.float32)
    shifted /= moments.spread.astype(np.float32)
    return shifted


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums of several threads come out otherwise on a machine with other cores, and threads for all
    cores of a node only wait for each other here.

    Whoever starts threads enters it, for linear algebra (OpenBLAS), and each of the threads, for
    OpenMP, which counts for each by itself.
    """
    # only what is loaded can be limited
    import openTSNE  # noqa: F401, PLC0415 -- seconds to import
    import sklearn.neighbors  # noqa: F401, PLC0415
    from threadpoolctl import threadpool_limits  # noqa: PLC0415

    with threadpool_limits(1):
        yield


def project(vectors: npt.NDArray[np.float16], moments: Moments) -> Projection | None:
    """
    Args:
        vectors: float16 [rows, D], all finite.
        moments: of all rows of the run, not only of these.

    Returns:
        None for fewer than three rows, which every plane fits.
    """
    if len(vectors) < 3:
        return None
    from sklearn.decomposition import PCA  # noqa: PLC0415 -- a second to import

    z = standardised(vectors, moments)
    number = min(NUM_COMPONENTS, *z.shape)
    pca: Any = PCA(number, random_state=SEED)
    reduced = pca.fit_transform(z)
    layouts = {"pca": np.ascontiguousarray(reduced[:, :2], dtype=np.float32)}
    if len(vectors) >= MIN_ROWS_TSNE:
        layouts["tsne"] = _tsne(reduced)
    return Projection(
        moments,
        axes=pca.components_[:2].astype(np.float32),
        center=pca.mean_.astype(np.float32),
        explained=[float(share) for share in np.nan_to_num(pca.explained_variance_ratio_[:2])],
        layouts=layouts,
    )


def _tsne(reduced: Floats) -> Floats:
    """t-SNE of the components, fp32 [rows, 2].

    Of at most `FIT_ROWS` rows, evenly spaced; the others are put where their nearest neighbours
    among them are (median). A fit of 20,000 rows would take minutes.
    """
    import openTSNE  # noqa: PLC0415
    from sklearn.neighbors import NearestNeighbors  # noqa: PLC0415

    components = np.ascontiguousarray(reduced, dtype=np.float64)
    step = -(-len(components) // FIT_ROWS)
    model = openTSNE.TSNE(
        perplexity=min(PERPLEXITY, (len(components[::step]) - 1) / 3),
        initialization="pca",
        early_exaggeration_iter=EXAGGERATED_ITERATIONS,
        n_iter=ITERATIONS,
        theta=ANGLE,
        n_jobs=1,  # sums over threads come out in any order
        random_state=SEED,
    )
    fitted = np.asarray(model.fit(components[::step]))
    layout = np.empty((len(components), 2), dtype=np.float32)
    if step > 1:
        # all distances: sooner than an index of so few points, and exact
        search = NearestNeighbors(n_neighbors=NEIGHBOURS, algorithm="brute")
        near = search.fit(components[::step]).kneighbors(components, return_distance=False)
        layout[:] = np.median(fitted[near], axis=1)
    layout[::step] = fitted
    return layout
