"""Proof that a result file is complete and as it was written: structure, identities, checksums.

The seal over all bytes tells whether anything was altered, the checksums of columns and matrices
where.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import h5py
import numpy as np

from virembed.accounting import check_identities
from virembed.errors import IncompleteError
from virembed.float16 import all_finite
from virembed.h5 import open_complete
from virembed.layout import IMPORTED, MODELS, SCHEMA_VERSION
from virembed.result import (
    BLOCK_ROWS,
    MATRIX_ROWS,
    OBS_COLUMNS,
    RECORD_TABLE,
    Checksums,
    stored_bytes,
)
from virembed.seal import seal_problem

_REMEDY = "Copy the file again, or run COLLECT again with -resume."


def verify_result(path: Path) -> int:
    """Number of rows of a file that is proven to be whole.

    Raises:
        IncompleteError: names what is missing or altered, and in which rows.
    """
    with open_complete(path, kind="result file", remedy=_REMEDY) as file:
        altered = seal_problem(path)
        problems = _located(file) if altered else list(_problems(file))
        if altered and not problems:
            problems = [altered]
        if problems:
            raise IncompleteError(f"{path}: {'; '.join(problems)}", _REMEDY)
        return len(file["obs/row_id"])


def verify_written(path: Path) -> None:
    """Proves the contents of a file that has just been written. Its seal, made of what was to be
    written, would prove nothing more.

    Raises:
        IncompleteError: what is on disk is not what was to be written.
    """
    with open_complete(path, kind="result file", remedy=_REMEDY) as file:
        problems = list(_problems(file))
        if problems:
            raise IncompleteError(f"{path}: {'; '.join(problems)}", _REMEDY)


def _located(file: h5py.File) -> list[str]:
    """Where an altered file was altered, as far as it can still be read."""
    try:
        return list(_problems(file))
    except Exception as error:  # noqa: BLE001 - damage may come up as any error of h5py
        return [f"damaged: {' '.join(str(error).split())}"]


def _problems(file: h5py.File) -> Iterator[str]:
    version = file.attrs.get("schema_version")
    if version != SCHEMA_VERSION:
        yield f"schema version {version}, not {SCHEMA_VERSION}"
        return
    counts = {name: int(value[()]) for name, value in file["uns/accounting"].items()}
    try:
        check_identities(counts, imported=is_imported(file))
    except IncompleteError as error:
        yield error.problem
        return
    yield from _shape_problems(file, counts)
    yield from _checksum_problems(file, counts)


def is_imported(file: h5py.File) -> bool:
    """Whether a result was made of files of other software, so that much of it is unknown."""
    made = file["uns/provenance"]
    return "origin" in made and made["origin"].asstr()[()] == IMPORTED


def type_of(file: h5py.File) -> str:
    """The type of the sample, one of `layout.TYPES`."""
    return str(file["uns/provenance/type"].asstr()[()])


def _shape_problems(file: h5py.File, counts: dict[str, int]) -> Iterator[str]:
    for name in ("row_id", *OBS_COLUMNS, *_columns(file["obs"])):
        if len(_values(file[f"obs/{name}"])) != counts["rows"]:
            yield f"obs/{name} has not {counts['rows']} rows"
    for model in MODELS:
        if len(file[f"obsm/{model.obsm}"]) != counts["rows"]:
            yield f"obsm/{model.obsm} has not {counts['rows']} rows"
    if len(file["uns/records/record_id"]) != counts["records_in"]:
        yield f"uns/records has not {counts['records_in']} rows"


def _checksum_problems(file: h5py.File, counts: dict[str, int]) -> Iterator[str]:
    checksums = Checksums()
    # the columns there are: some are added later, by `virembed classify` or `merge`
    for name in ("row_id", *_columns(file["obs"])):
        _add_column(checksums, f"obs_{name}", _values(file[f"obs/{name}"]))
    records = file["uns/records"]
    for name in ("record_id", *_columns(records)):
        if name not in (*RECORD_TABLE, "status"):
            _add_column(checksums, f"records_{name}", records[name])
    yield from _vector_problems(file, counts, checksums)
    stored = {
        name: list(values.asstr()[:])
        for name, values in file["uns/integrity"].items()
        if name != "block_rows"
    }
    computed = checksums.hex()
    for name in sorted(stored.keys() | computed.keys()):
        blocks = zip_longest(stored.get(name, []), computed.get(name, []))
        for number, (before, now) in enumerate(blocks):
            if before != now:
                first = number * BLOCK_ROWS
                yield f"{name} was altered in rows {first} to {first + BLOCK_ROWS - 1}"


def _vector_problems(
    file: h5py.File, counts: dict[str, int], checksums: Checksums
) -> Iterator[str]:
    """Block by block from the last one on: of a file that was just written and is larger than the
    memory, the system has the end, and would lose it for the beginning."""
    rows = {model.obsm: counts[f"{model.name}_ok"] for model in MODELS}
    matrices = {name: file[f"obsm/{name}"] for name in rows}
    # memory for one piece: the system clears what it gives, at the speed at which it reads a file
    rooms = {name: np.empty((MATRIX_ROWS, matrices[name].shape[1]), "<f2") for name in rows}
    for block in reversed(range(0, max(rows.values()), BLOCK_ROWS)):
        for name, num_rows in rows.items():
            for start in range(block, min(block + BLOCK_ROWS, num_rows), MATRIX_ROWS):
                stop = min(start + MATRIX_ROWS, num_rows)
                vectors = rooms[name][: stop - start]
                matrices[name].read_direct(vectors, np.s_[start:stop])
                if not all_finite(vectors):
                    yield f"obsm/{name} is not finite in rows {start} to {stop - 1}"
                checksums.add(name, start, vectors.data)


def _columns(frame: h5py.Group) -> list[str]:
    return [str(name) for name in frame.attrs["column-order"]]


def _values(column: h5py.Dataset | h5py.Group) -> h5py.Dataset:
    """The numbers or texts of a column; the codes of a categorical."""
    return column["codes"] if isinstance(column, h5py.Group) else column


def _add_column(checksums: Checksums, name: str, dataset: h5py.Dataset) -> None:
    is_text = h5py.check_string_dtype(dataset.dtype) is not None
    for start in range(0, len(dataset), BLOCK_ROWS):
        values = dataset[start : start + BLOCK_ROWS]
        # texts as they lie in the file: as `stored_bytes` has them, but not decoded and encoded
        as_written = b"\n".join([*values, b""]) if is_text else stored_bytes(values, dataset.dtype)
        checksums.add(name, start, as_written)
