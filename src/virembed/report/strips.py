"""The longest records, window by window: how many frames are open, and what its DNA is like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from virembed.layout import DNABERTS, FRAME_NAMES, NO_FRAME
from virembed.report.projection import Projection
from virembed.report.rows import SCORE_PREFIX, take
from virembed.result import BLOCK_ROWS

NUM_RECORDS = 30
NUM_CELLS = 150  # a longer record has several windows to a cell
MIN_WINDOWS = 3

Numbers = npt.NDArray[Any]


def longest_records(file: h5py.File, sample: int) -> list[dict[str, Any]]:
    """The longest records of a sample that have enough windows to be drawn, longest first."""
    table = file["uns/records"]
    found: list[tuple[int, int]] = []  # minus the length, number of the record
    for start in range(0, len(table["record_id"]), BLOCK_ROWS):
        part = slice(start, start + BLOCK_ROWS)
        enough = (table["n_windows"][part] >= MIN_WINDOWS) & (table["n_rows"][part] > 0)
        lengths = table["length"][part]
        found += [(-int(lengths[i]), start + i) for i in np.flatnonzero(enough).tolist()]
        found = sorted(found)[:NUM_RECORDS]
    return [
        {
            "sample": sample,
            "record": str(table["record_id"].asstr()[number]),
            "number": number,
            "length_bp": -length,
            "num_windows": int(table["n_windows"][number]),
        }
        for length, number in found
    ]


def read_strips(
    file: h5py.File, records: Sequence[dict[str, Any]], plane: Projection | None
) -> list[dict[str, Any]]:
    """Cells along each record of a sample.

    frames:    mean number of open frames per window in each cell, 0 to 6
    component: first principal component of the DNA vector of one row in each cell, None where the
               cell has no row
    score:     mean of the first score there is, None where the cell has none
    """
    return [{**record, **_strip(file, record, plane)} for record in records]


def _strip(file: h5py.File, record: dict[str, Any], plane: Projection | None) -> dict[str, Any]:
    num_windows = record["num_windows"]
    num_cells = min(num_windows, NUM_CELLS)
    rows = _rows_of(file, record["number"])
    cell = take(file["obs/window"], rows).astype(np.int64) * num_cells // num_windows
    is_open = take(file["obs/frame/codes"], rows) != FRAME_NAMES.index(NO_FRAME)
    windows = np.bincount(np.arange(num_windows) * num_cells // num_windows, minlength=num_cells)
    frames = np.bincount(cell[is_open], minlength=num_cells) / windows
    strip: dict[str, Any] = {"frames": [round(float(value), 2) for value in frames]}
    if plane is not None:
        _, first = np.unique(cell, return_index=True)
        vectors = take(file[f"obsm/{DNABERTS.obsm}"], np.sort(rows[first]))
        at = cell[np.sort(first)]
        strip["component"] = _in_cells(at, plane.first_component(vectors), num_cells)
    scores = sorted(name for name in file["obs"] if name.startswith(SCORE_PREFIX))
    if scores:
        values = take(file["obs"][scores[0]], rows)
        known = np.isfinite(values)
        number = np.bincount(cell[known], minlength=num_cells)
        total = np.bincount(cell[known], values[known], minlength=num_cells)
        filled = np.flatnonzero(number)
        strip["score"] = _in_cells(filled, total[filled] / number[filled], num_cells)
    return strip


def _rows_of(file: h5py.File, number: int) -> Numbers:
    """Rows of a record, ascending: its open frames, then its windows without one."""
    table = file["uns/records"]
    begin, end, dna_begin, dna_end = (
        int(table[name][number])
        for name in ("row_start", "row_stop", "dna_row_start", "dna_row_stop")
    )
    return np.concatenate([np.arange(begin, end), np.arange(dna_begin, dna_end)])


def _in_cells(cells: Numbers, values: Numbers, num_cells: int) -> list[float | None]:
    filled: list[float | None] = [None] * num_cells
    for cell, value in zip(cells.tolist(), values.tolist(), strict=True):
        filled[cell] = round(value, 3)
    return filled
