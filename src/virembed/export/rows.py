"""Which rows to export, and their vectors block by block."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from virembed.errors import InputError
from virembed.layout import ModelSlot
from virembed.result import BLOCK_ROWS, MATRIX_ROWS

Int64s = npt.NDArray[np.int64]


def chosen_rows(file: h5py.File, ids: Path | None) -> Int64s:
    """Numbers of the rows listed in a text file, one id a line, in the order of the result.

    Without a list all rows. In memory are the ids of the list and 8 bytes a row.

    Raises:
        InputError: the list cannot be read, is empty, or names what is no row.
    """
    if ids is None:
        return np.arange(len(file["obs/row_id"]))
    wanted = _read_ids(ids)
    found: list[Int64s] = []
    left = dict(wanted)
    for start in range(0, len(file["obs/row_id"]), BLOCK_ROWS):
        names = file["obs/row_id"].asstr()[start : start + BLOCK_ROWS]
        here = [row for row, name in enumerate(names) if left.pop(name, 0)]
        found.append(np.array(here, dtype=np.int64) + start)
    if left:
        name, line = next(iter(left.items()))
        others = f" (and {len(left) - 1} more)" if len(left) > 1 else ""
        raise InputError(
            f"{ids} line {line}: '{name}' is no row of {file.filename}{others}",
            "Take ids from obs/row_id.",
        )
    return np.concatenate(found)


def _read_ids(path: Path) -> dict[str, int]:
    """The ids in a file and the line of each."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: no text", "Give one row id a line.") from None
    wanted = {line.strip(): number for number, line in enumerate(lines, 1) if line.strip()}
    if not wanted:
        raise InputError(f"{path}: no id in it", "Give one row id a line.")
    return wanted


def with_vector(file: h5py.File, model: ModelSlot, rows: Int64s) -> Int64s:
    """Those of the rows that have a vector of a model: they are the first rows of a result."""
    return rows[rows < int(file[f"uns/accounting/{model.name}_ok"][()])]


def vector_blocks(
    file: h5py.File, model: ModelSlot, rows: Int64s
) -> Iterator[tuple[Int64s, npt.NDArray[Any]]]:
    """Rows and their vectors, [at most `MATRIX_ROWS`, D] at a time.

    Args:
        rows: in rising order.
    """
    matrix = file[f"obsm/{model.obsm}"]
    for here in row_blocks(rows):
        first = int(here[0])
        yield here, matrix[first : int(here[-1]) + 1][here - first]


def row_blocks(rows: Int64s) -> Iterator[Int64s]:
    """The rows, those that one read of `MATRIX_ROWS` rows of a matrix gives together."""
    for here in np.split(rows, np.flatnonzero(np.diff(rows // MATRIX_ROWS)) + 1):
        if len(here):
            yield here


def values(column: h5py.Dataset | h5py.Group, rows: Int64s) -> npt.NDArray[Any]:
    """A column of `obs` for neighbouring rows: numbers, or texts as objects."""
    first, part = int(rows[0]), slice(int(rows[0]), int(rows[-1]) + 1)
    found: npt.NDArray[Any]
    if isinstance(column, h5py.Group):
        codes = column["codes"][part][rows - first]
        # the categories around these codes only: there may be as many as records
        low, high = int(codes.min()), int(codes.max())
        found = column["categories"].asstr()[low : high + 1][codes - low]
    elif h5py.check_string_dtype(column.dtype):
        found = column.asstr()[part][rows - first]
    else:
        found = column[part][rows - first]
    return found
