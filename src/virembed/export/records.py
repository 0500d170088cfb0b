"""One row per record: the means of its vectors, as an AnnData file of its own.

    obs/                record_id, length, n_windows, and how many vectors each mean is of
    obsm/X_esm2         float32 [records, D], mean over the record's rows with a protein
    obsm/X_dnaberts     float32 [records, D], mean over all of its rows
    uns/accounting, provenance, README

Each row counts once, copies too. Sums are double precision. The rows of a record are neighbours in
both parts of a result, so that one pass does; memory does not grow with the sample.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from virembed import anndata_encoding as ad
from virembed.errors import IncompleteError
from virembed.h5 import STRING, new_file, open_complete, open_sealed
from virembed.layout import DNABERTS, ESM2, MODELS, PROTEIN, ModelSlot
from virembed.result import BLOCK_ROWS, MATRIX_CHUNK_BYTES, MATRIX_ROWS
from virembed.verify import type_of

from .rows import Int64s

FORMAT = "virembed.records/1"
_KIND = "table of records"
_REMEDY = "Export it again."
README = """\
Mean vectors of records, an AnnData file (https://anndata.readthedocs.io). Rows: one per record that
has a row in the result it was made of; uns/accounting says how many have none.
Python   import anndata; a = anndata.read_h5ad("S.records.h5"); a.obs; a.obsm["X_dnaberts"]
X_esm2 is the mean over the rows with a protein (obs n_proteins; NaN where that is 0), X_dnaberts
over all rows (obs n_rows). A row counts once, also where its sequence occurs again. Standardise
before comparing: single dimensions can dominate raw cosines.
"""

# how many vectors of a record are averaged, and of which model
COUNTS: Mapping[str, ModelSlot] = MappingProxyType({"n_proteins": ESM2, "n_rows": DNABERTS})
# of uns/records, kept as they are there; -1 is unknown
_KEPT = {"length": "i8", "n_windows": "i4"}
_RANGES = (("row_start", "row_stop"), ("dna_row_start", "dna_row_stop"))


@dataclass(frozen=True, slots=True)
class _Records:
    """Some neighbouring records that have rows.

    kept:       columns of `_KEPT`
    ranges:     int64 [records] first row and end of those with a protein, then of those without
    has_dna:    rows have DNA, which those of proteins given as such have not
    """

    ids: npt.NDArray[Any]
    kept: dict[str, npt.NDArray[Any]]
    ranges: tuple[tuple[Int64s, Int64s], ...]
    has_dna: bool

    @property
    def counts(self) -> dict[str, Int64s]:
        """int64 [records], by column of `COUNTS`."""
        proteins, windows = (stop - start for start, stop in self.ranges)
        return {"n_proteins": proteins, "n_rows": (proteins + windows) * self.has_dna}

    def ranges_with(self, model: ModelSlot) -> tuple[tuple[Int64s, Int64s], ...]:
        """Where the rows with a vector of a model are."""
        if model is ESM2:
            return self.ranges[:1]
        return self.ranges if self.has_dna else ()


def export_records(file: h5py.File, out: Path) -> tuple[int, int]:
    """Writes the mean vectors of all records that have rows.

    Returns:
        The number of records in it, and of those without a row, which are not.
    """
    num_records = len(file["uns/records/record_id"])
    num_written = sum(
        int(np.count_nonzero(file["uns/records/n_rows"][start : start + BLOCK_ROWS]))
        for start in range(0, num_records, BLOCK_ROWS)
    )
    with new_file(out, check=_verify_written) as target:
        target.attrs["format"] = FORMAT
        for name in ("sample", "created"):
            target.attrs.create(name, file.attrs[name], dtype=STRING)
        columns, matrices = _new_table(file, target, num_written)
        start = 0
        for records in _blocks(file):
            part = slice(start, start + len(records.ids))
            for name, values in _obs(file, records).items():
                columns[name][part] = values
            for column, model in COUNTS.items():
                matrices[model.obsm][part] = _means(
                    file[f"obsm/{model.obsm}"],
                    records.ranges_with(model),
                    records.counts[column],
                )
            start = part.stop
        assert start == num_written
        _write_uns(file, target, num_records, num_written)
    return num_written, num_records - num_written


def verify_records(path: Path) -> int:
    """Number of records of a table of mean vectors that is proven to be whole.

    Raises:
        IncompleteError: missing, altered, or its numbers do not fit together.
    """
    with open_sealed(path, kind=_KIND, remedy=_REMEDY, form=FORMAT) as file:
        _require_sound(path, file)
        return len(file["obs/record_id"])


def _verify_written(path: Path) -> None:
    """Proves a table that has just been written and has no seal yet."""
    with open_complete(path, kind=_KIND, remedy=_REMEDY, form=FORMAT) as file:
        _require_sound(path, file)


def _require_sound(path: Path, file: h5py.File) -> None:
    if problems := list(_problems(file)):
        raise IncompleteError(f"{path}: {'; '.join(problems)}", _REMEDY)


def _problems(file: h5py.File) -> Iterator[str]:
    totals = {name: int(value[()]) for name, value in file["uns/accounting"].items()}
    if len(file["obs/record_id"]) != totals["records_with_rows"]:
        yield f"obs has not {totals['records_with_rows']} records"
    for column, model in COUNTS.items():
        counts = file[f"obs/{column}"][:]
        if counts.sum() != totals[column]:
            yield f"obs/{column} adds up to {counts.sum()}, not {totals[column]}"
        for start in range(0, len(counts), MATRIX_ROWS):
            part = slice(start, start + MATRIX_ROWS)
            finite = np.isfinite(file[f"obsm/{model.obsm}"][part])
            if (finite != (counts[part] > 0)[:, None]).any():
                yield f"obsm/{model.obsm} is not finite from record {start} on"


def _new_table(
    file: h5py.File, target: h5py.File, size: int
) -> tuple[dict[str, h5py.Dataset], dict[str, h5py.Dataset]]:
    """Empty columns of obs (of a categorical its codes), and matrices by name."""
    ad.new_containers(target, size)
    samples = file["obs/sample/categories"].asstr()[:] if "sample" in file["obs"] else []
    types = {**_KEPT, **dict.fromkeys(COUNTS, "i4")}
    names = [*types, *(["sample"] if len(samples) else [])]
    obs = ad.new_dataframe(target, "obs", index="record_id", columns=names)
    columns = {"record_id": ad.new_column(obs, "record_id", size, STRING)}
    columns |= {name: ad.new_column(obs, name, size, dtype) for name, dtype in types.items()}
    if len(samples):
        columns["sample"], categories = ad.new_categorical(
            obs, "sample", size, "i4", num_categories=len(samples)
        )
        categories[:] = samples
    obsm = ad.new_dict(target, "obsm")
    matrices = {}
    for model in MODELS:
        shape = (size, file[f"obsm/{model.obsm}"].shape[1])
        matrices[model.obsm] = ad.new_matrix(
            obsm, model.obsm, shape, chunk_bytes=MATRIX_CHUNK_BYTES, dtype="<f4"
        )
    return columns, matrices


def _blocks(file: h5py.File) -> Iterator[_Records]:
    """All records with rows, at most `MATRIX_ROWS` at a time: so many sums are in memory."""
    table = file["uns/records"]
    has_dna = type_of(file) != PROTEIN
    for start in range(0, len(table["record_id"]), MATRIX_ROWS):
        part = slice(start, start + MATRIX_ROWS)
        some = np.flatnonzero(table["n_rows"][part])
        if len(some):
            yield _Records(
                ids=table["record_id"].asstr()[part][some],
                kept={name: table[name][part][some] for name in _KEPT},
                ranges=tuple(
                    (table[first][part][some], table[stop][part][some]) for first, stop in _RANGES
                ),
                has_dna=has_dna,
            )


def _obs(file: h5py.File, records: _Records) -> dict[str, npt.NDArray[Any]]:
    columns = {"record_id": records.ids, **records.kept, **records.counts}
    if "sample" in file["obs"]:
        # `merge_results` makes ids SAMPLE:ID, and no sample has a colon in its name
        codes = {name: code for code, name in enumerate(file["obs/sample/categories"].asstr()[:])}
        columns["sample"] = np.array([codes[name.partition(":")[0]] for name in records.ids])
    return columns


def _means(
    matrix: h5py.Dataset, ranges: Sequence[tuple[Int64s, Int64s]], counts: Int64s
) -> npt.NDArray[np.float32]:
    """float32 [records, D], NaN where there is nothing to average."""
    sums = np.zeros((len(counts), matrix.shape[1]))
    for starts, stops in ranges:
        _add_rows(sums, matrix, starts, stops)
    means = np.full_like(sums, np.nan)
    np.divide(sums, counts[:, None], out=means, where=(counts > 0)[:, None])
    return means.astype(np.float32)


def _add_rows(
    sums: npt.NDArray[np.float64], matrix: h5py.Dataset, starts: Int64s, stops: Int64s
) -> None:
    """Adds to each sum the rows of its range; ranges follow each other without a gap."""
    filled = np.flatnonzero(stops > starts)
    if not len(filled):
        return
    starts, stops = starts[filled], stops[filled]
    assert (starts[1:] == stops[:-1]).all()
    for first in range(int(starts[0]), int(stops[-1]), MATRIX_ROWS):
        end = min(first + MATRIX_ROWS, int(stops[-1]))
        # those that end behind the first of these rows, and begin before their end
        here = slice(np.searchsorted(stops, first, side="right"), np.searchsorted(starts, end))
        rows = matrix[first:end].astype(np.float64)
        begin = np.maximum(starts[here] - first, 0)
        sums[filled[here]] += np.add.reduceat(rows, begin, axis=0)


def _write_uns(file: h5py.File, target: h5py.File, num_records: int, num_written: int) -> None:
    uns = ad.new_dict(target, "uns")
    file.copy("uns/provenance", uns)
    for model in MODELS:
        made = uns[f"provenance/{model.name}"]
        del made["stored_dtype"]
        ad.write_value(made, "stored_dtype", "float32, means of rows")
    counts = {
        name: int(file[f"uns/accounting/{model.name}_ok"][()]) for name, model in COUNTS.items()
    }
    counts |= {
        "records_in": num_records,
        "records_with_rows": num_written,
        "records_without_rows": num_records - num_written,
    }
    ad.write_value(uns, "accounting", counts)
    ad.write_value(uns, "README", README)
