"""The rows of the map: which are taken, their vectors and what is told of them.

From every sample as many as from the others, where it has so many; within a sample one from each
of equally long stretches of rows, so that every record and both blocks have their share. With a
fixed seed: the same files give the same rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from virembed.layout import MODELS

SEED = 0
READ_ROWS = 512  # HDF5 slows down when asked for many single rows at once
SCORE_PREFIX = "p_virus_"

Numbers = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class ChosenRows:
    """Rows of one sample.

    row:     int64 [n], ascending
    vectors: by model float16 [n, D], NaN in rows without
    columns: window, frame (code), protein_len, dna_bp, scores, each [n]
    records: id of the record of each row
    """

    sample: int
    row: Numbers
    vectors: dict[str, Numbers]
    columns: dict[str, Numbers]
    records: list[str]


def quotas(num_rows: Sequence[int], total: int) -> list[int]:
    """How many rows to take of each sample: equal numbers, what small ones lack goes to the rest.

    The sum is at most `total`, and exactly that where there are enough rows.
    """
    taken = [0] * len(num_rows)
    left = total
    # from the smallest on, each gets an equal part of what is left
    for place, sample in enumerate(sorted(range(len(num_rows)), key=lambda i: (num_rows[i], i))):
        taken[sample] = min(num_rows[sample], left // (len(num_rows) - place))
        left -= taken[sample]
    return taken


def stratified(num_rows: int, number: int) -> Numbers:
    """`number` of `num_rows` rows, one from each of equally long stretches, int64, ascending."""
    if number >= num_rows:
        return np.arange(num_rows)
    borders = np.linspace(0, num_rows, number + 1)
    low, high = np.ceil(borders[:-1]), np.ceil(borders[1:])
    place = np.random.default_rng(SEED).random(number)
    rows: Numbers = (low + np.floor(place * (high - low))).astype(np.int64)
    return rows


def choose_rows(file: h5py.File, *, sample: int, number: int) -> ChosenRows:
    """Rows of one sample with their vectors."""
    obs = file["obs"]
    row = stratified(len(obs["row_id"]), number)
    scores = sorted(name for name in obs if name.startswith(SCORE_PREFIX))
    columns = {name: take(obs[name], row) for name in ("window", "protein_len", *scores)}
    columns["frame"] = take(obs["frame/codes"], row)
    columns["dna_bp"] = take(obs["dna_end"], row) - take(obs["dna_start"], row)
    return ChosenRows(
        sample,
        row,
        vectors={model.name: take_rows(file[f"obsm/{model.obsm}"], row) for model in MODELS},
        columns=columns,
        records=_texts(obs["record_id/categories"], take(obs["record_id/codes"], row)),
    )


def take(dataset: h5py.Dataset, rows: Numbers) -> Numbers:
    """Some rows of a dataset, given ascending and without repetition."""
    found = np.empty((len(rows), *dataset.shape[1:]), dataset.dtype)
    for start in range(0, len(rows), READ_ROWS):
        part = rows[start : start + READ_ROWS]
        found[start : start + READ_ROWS] = dataset[part]
    return found


def take_rows(matrix: h5py.Dataset, rows: Numbers) -> Numbers:
    """The same of a matrix, row by row: as selections of hundreds of scattered rows it takes HDF5
    two to seven times as long."""
    found = np.empty((len(rows), matrix.shape[1]), matrix.dtype)
    source, one_row = matrix.id.get_space(), (1, matrix.shape[1])
    target = h5py.h5s.create_simple(one_row)
    for place, row in enumerate(rows.tolist()):
        source.select_hyperslab((row, 0), one_row)
        matrix.id.read(target, source, found[place : place + 1])
    return found


def _texts(dataset: h5py.Dataset, numbers: Numbers) -> list[str]:
    """The text of each number, in that order."""
    distinct, place = np.unique(numbers, return_inverse=True)
    texts: list[str] = []
    for start in range(0, len(distinct), READ_ROWS):
        texts += dataset.asstr()[distinct[start : start + READ_ROWS]].tolist()
    return [texts[at] for at in place.tolist()]
