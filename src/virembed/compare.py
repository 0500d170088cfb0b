"""Two result files row by row: the same rows, the same vectors?

Rows are matched by id, so that order and extra rows do not matter. One file's ids are in memory,
about 150 bytes a row; vectors are read by blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from virembed.errors import IncompleteError
from virembed.h5 import open_complete
from virembed.layout import MODELS, ModelSlot
from virembed.result import MATRIX_ROWS

_REMEDY = "Give two SAMPLE.h5 files of finished runs."

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Difference:
    """The vectors of one model.

    num_rows:       in both files, with a vector in both
    num_one_sided:  in both files, with a vector in one of them only
    num_equal:      equal bit for bit
    min_cosine, mean_cosine: over `num_rows`; NaN if there is none
    worst:          id of the row with the least cosine
    """

    model: str
    num_rows: int
    num_one_sided: int
    num_equal: int
    min_cosine: float
    mean_cosine: float
    worst: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """only_first, only_second: rows that the other file has not."""

    num_common: int
    only_first: int
    only_second: int
    models: list[Difference]

    def agree(self, min_cosine: float) -> bool:
        """Whether all rows are in both, and no vector is further off than this cosine."""
        return not (self.only_first or self.only_second) and all(
            not model.num_one_sided and (not model.num_rows or model.min_cosine >= min_cosine)
            for model in self.models
        )

    @property
    def identical(self) -> bool:
        """Whether all rows are in both, and every vector is the same bit for bit."""
        return not (self.only_first or self.only_second) and all(
            not model.num_one_sided and model.num_equal == model.num_rows for model in self.models
        )


def compare_results(first: Path, second: Path) -> Comparison:
    """
    Raises:
        IncompleteError: a file is missing, damaged, or holds an id twice.
        IncompleteError: vectors of different width cannot be compared.
    """
    with (
        open_complete(first, kind="result file", remedy=_REMEDY) as a,
        open_complete(second, kind="result file", remedy=_REMEDY) as b,
    ):
        row_of = {name: row for row, name in enumerate(b["obs/row_id"].asstr()[:])}
        if len(row_of) != len(b["obs/row_id"]):
            raise IncompleteError(f"{second}: a row id stands twice", _REMEDY)
        names = a["obs/row_id"].asstr()[:]
        found = np.fromiter((row_of.get(name, -1) for name in names), dtype=np.int64)
        rows_a = np.flatnonzero(found >= 0)
        rows_b = found[rows_a]
        return Comparison(
            num_common=len(rows_a),
            only_first=len(names) - len(rows_a),
            only_second=len(row_of) - len(rows_a),
            models=[_difference(model, (a, b), (rows_a, rows_b)) for model in MODELS],
        )


def _difference(
    model: ModelSlot, files: tuple[h5py.File, h5py.File], rows: tuple[Rows, Rows]
) -> Difference:
    widths = [file[f"obsm/{model.obsm}"].shape[1] for file in files]
    if widths[0] != widths[1]:
        raise IncompleteError(
            f"{model.obsm} has {widths[0]} columns in one file and {widths[1]} in the other",
            "Compare results of the same model.",
        )
    has_a, has_b = (
        file[f"obs/has_{model.name}"][:][rows_of] for file, rows_of in zip(files, rows, strict=True)
    )
    both = has_a & has_b
    a, b = rows[0][both], rows[1][both]
    cosine, equal = np.full(len(a), np.nan), np.zeros(len(a), dtype=bool)
    for start in range(0, len(a), MATRIX_ROWS):
        part = slice(start, start + MATRIX_ROWS)
        x = _vectors(files[0], model, a[part])
        y = _vectors(files[1], model, b[part])
        equal[part] = (x == y).all(axis=1)
        cosine[part] = row_cosines(x.astype(np.float64), y.astype(np.float64))
    worst = int(a[np.argmin(cosine)]) if len(a) else -1
    return Difference(
        model=model.name,
        num_rows=len(a),
        num_one_sided=int((has_a != has_b).sum()),
        num_equal=int(equal.sum()),
        min_cosine=float(cosine.min()) if len(a) else np.nan,
        mean_cosine=float(cosine.mean()) if len(a) else np.nan,
        worst=files[0]["obs/row_id"].asstr()[worst] if len(a) else "",
    )


def _vectors(file: h5py.File, model: ModelSlot, rows: Rows) -> npt.NDArray[np.float16]:
    """Rows of a matrix in any order; HDF5 takes a list of rows only in rising order, and slowly."""
    matrix = file[f"obsm/{model.obsm}"]
    if rows[-1] - rows[0] + 1 == len(rows) and (np.diff(rows) == 1).all():
        slab: npt.NDArray[np.float16] = matrix[rows[0] : rows[-1] + 1]
        return slab
    order = np.argsort(rows)
    vectors = np.empty((len(rows), matrix.shape[1]), dtype=np.float16)
    vectors[order] = matrix[rows[order]]
    return vectors


def row_cosines(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Of each row of x with the same row of y; both [rows, D]."""
    norms = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    cosine: npt.NDArray[np.float64] = (x * y).sum(axis=1) / norms
    return cosine


def lines(comparison: Comparison) -> Iterator[str]:
    """The comparison as text, a line a fact."""
    yield (
        f"rows       {comparison.num_common:,} in both, {comparison.only_first:,} only in the "
        f"first, {comparison.only_second:,} only in the second"
    )
    for model in comparison.models:
        if not model.num_rows:
            yield f"{model.model:<10} no vector in both"
            continue
        one_sided = f", {model.num_one_sided:,} in one file only" if model.num_one_sided else ""
        yield (
            f"{model.model:<10} {model.num_rows:,} vectors, {model.num_equal:,} equal bit for bit, "
            f"cosine {model.min_cosine:.7f} at least ({model.worst}), "
            f"{model.mean_cosine:.7f} on average{one_sided}"
        )
