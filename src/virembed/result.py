"""The result file `SAMPLE.h5`: its tables, columns and matrices, and how they are filled.

An AnnData file (see `anndata_encoding`) that h5py alone reads as well. Rows: first every open
frame (block A), then every window without one (block B), each in input order. Written as a stream:
memory does not grow with the sample. Every column and matrix has a checksum per block of rows.

    obs/                the rows: ids, coordinates, flags
    obsm/X_esm2         float16 [rows, D], NaN (and no space on disk) in block B
    obsm/X_dnaberts     float16 [rows, D]
    uns/records, lost   what became of every input record; the exceptions
    uns/accounting, stats, provenance, integrity, flags, params_json, README

A new column of the rows is one line in `OBS_COLUMNS` and its values in `collect.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import xxhash

from virembed import anndata_encoding as ad
from virembed.ahead import ahead
from virembed.h5 import STRING
from virembed.layout import FRAME_NAMES, MODELS, SCHEMA_VERSION
from virembed.manifest import STATUSES
from virembed.moments import Counted, Moments, MomentSums, Norms, counted

BLOCK_ROWS = 1 << 16  # rows per checksum
MATRIX_ROWS = 1 << 11  # rows of vectors in memory at a time
READERS = 4  # threads that read vectors and count
PIECES_AHEAD = 4  # of vectors read while one is written
MATRIX_CHUNK_BYTES = 10 << 20  # beyond the chunk cache: HDF5 then reads just the rows asked for
# What a file takes beside its vectors, with ids of usual length.
TABLES_BYTES = 96_000
ROW_BYTES = 60
RECORD_BYTES = 105

OBS_COLUMNS = MappingProxyType(
    {
        "window": "i4",
        "start": "i4",
        "end": "i4",
        "strand": "i1",
        "dna_start": "i4",
        "dna_end": "i4",
        "protein_len": "i4",
        "n_ambiguous": "i4",
        **{f"has_{model.name}": "?" for model in MODELS},
        "flags": "u2",
        **{f"{model.name}_source_row": "i4" for model in MODELS},
        **{f"{model.name}_norm": "f4" for model in MODELS},
    }
)
RECORD_TABLE = MappingProxyType(
    {
        "length": "i8",
        "n_windows": "i4",
        "n_windows_no_open_frame": "i4",
        "n_rows": "i4",
        "row_start": "i8",
        "row_stop": "i8",
        "dna_row_start": "i8",
        "dna_row_stop": "i8",
    }
)

Columns = Mapping[str, Any]
Int64s = npt.NDArray[np.int64]
Halves = npt.NDArray[np.float16]
ReadVectors = Callable[[Int64s], Halves]


class ResultWriter:
    """Fills a result file block by block, in row order.

    Args:
        samples: of a file that is merged of several; `obs` then has a column `sample`.
    """

    def __init__(
        self,
        file: h5py.File,
        *,
        num_rows: int,
        num_records: int,
        dims: Mapping[str, int],
        samples: Sequence[str] = (),
    ) -> None:
        self._file = file
        ad.new_containers(file, num_rows)
        columns = ["record_id", "frame", *OBS_COLUMNS, *(["sample"] if samples else [])]
        obs = ad.new_dataframe(file, "obs", index="row_id", columns=columns)
        self._obs = {"row_id": ad.new_column(obs, "row_id", num_rows, STRING)}
        self._obs["record_id"], self._categories = ad.new_categorical(
            obs, "record_id", num_rows, "i4", num_categories=num_records
        )
        self._obs["frame"], frames = ad.new_categorical(
            obs, "frame", num_rows, "i1", num_categories=len(FRAME_NAMES)
        )
        frames[:] = FRAME_NAMES
        for name, dtype in OBS_COLUMNS.items():
            self._obs[name] = ad.new_column(obs, name, num_rows, dtype)
        if samples:
            self._obs["sample"], names = ad.new_categorical(
                obs, "sample", num_rows, "i4", num_categories=len(samples)
            )
            names[:] = samples
        obsm = ad.new_dict(file, "obsm")
        self._matrices = {
            model.obsm: ad.new_matrix(
                obsm, model.obsm, (num_rows, dims[model.name]), chunk_bytes=MATRIX_CHUNK_BYTES
            )
            for model in MODELS
        }
        self._uns = ad.new_dict(file, "uns")
        self._records = self._new_records(num_records)
        self.checksums = Checksums()

    def write_obs(self, start: int, columns: Columns) -> None:
        """Rows of `obs` from `start` on, whole blocks of `BLOCK_ROWS` but the last.

        Args:
            columns: row_id (strings), record_id, frame and sample (codes), and `OBS_COLUMNS`.
        """
        for name, dataset in self._obs.items():
            values = columns[name]
            dataset[start : start + len(values)] = values
            self.checksums.add(f"obs_{name}", start, stored_bytes(values, dataset.dtype))

    def piece_rows(self, obsm: str) -> int:
        """Rows that are best written at once: a chunk that is written in parts is filled first."""
        chunks = self._matrices[obsm].chunks
        return min(chunks[0], BLOCK_ROWS) if chunks else BLOCK_ROWS

    def write_vectors(self, obsm: str, start: int, vectors: Halves) -> None:
        """Rows of a matrix, all of one block, in order and contiguous."""
        self.checksums.add(obsm, start, vectors.data)
        self._matrices[obsm][start : start + len(vectors)] = vectors

    def write_counted(
        self, obsm: str, start: int, numbers: Int64s, read: ReadVectors, sums: MomentSums
    ) -> Norms:
        """Rows of a matrix, all of one block, read and counted while others are written.

        Args:
            numbers: of the vectors, int64 [rows].
            read: what gives the vectors of some numbers; several threads call it.
            sums: into which they are counted, in the order of the rows.

        Returns:
            their norms, fp32 [rows], NaN where a vector is not finite
        """
        size = self.piece_rows(obsm)
        firsts = range(0, len(numbers), size)
        norms = np.empty(len(numbers), dtype=np.float32)
        with ThreadPoolExecutor(READERS) as reading:
            pieces = (
                reading.submit(_read_counted, read, numbers[first : first + size])
                for first in firsts
            )
            for first, (vectors, found) in zip(firsts, ahead(pieces, PIECES_AHEAD), strict=True):
                self.write_vectors(obsm, start + first, vectors)
                sums.include(found)
                norms[first : first + len(vectors)] = found.norms
        return norms

    def write_records(
        self, start: int, ids: list[str], columns: Columns, status: npt.NDArray[np.int8]
    ) -> None:
        part = slice(start, start + len(ids))
        self._categories[part] = ids
        self._records["record_id"][part] = ids
        self._records["status"][part] = status
        for name in RECORD_TABLE:
            self._records[name][part] = columns[name]
        self.checksums.add("records_record_id", start, stored_bytes(ids, STRING))

    def write_lost(self, lost: Mapping[str, list[str]]) -> None:
        columns = [name for name in lost if name != "id"]
        group = ad.new_dataframe(self._uns, "lost", index="id", columns=columns)
        for name, values in lost.items():
            ad.new_column(group, name, len(values), STRING)[:] = values

    def finish(
        self, *, sample: str, uns: Mapping[str, Any], moments: Mapping[str, Moments]
    ) -> None:
        """Everything that is known once all rows are written.

        Args:
            moments: by model, of the rows that have a vector.
        """
        for name, value in uns.items():
            ad.write_value(self._uns, name, value)
        stats = {model.obsm: asdict(moments[model.name]) for model in MODELS}
        ad.write_value(self._uns, "stats", stats)
        integrity = {"block_rows": BLOCK_ROWS, **self.checksums.hex()}
        ad.write_value(self._uns, "integrity", integrity)
        self._file.attrs.create("schema_version", SCHEMA_VERSION, dtype=STRING)
        self._file.attrs.create("sample", sample, dtype=STRING)

    def _new_records(self, num_records: int) -> dict[str, h5py.Dataset]:
        group = ad.new_dataframe(
            self._uns, "records", index="record_id", columns=[*RECORD_TABLE, "status"]
        )
        columns = {"record_id": ad.new_column(group, "record_id", num_records, STRING)}
        columns["status"], names = ad.new_categorical(
            group, "status", num_records, "i1", num_categories=len(STATUSES)
        )
        names[:] = STATUSES
        for name, dtype in RECORD_TABLE.items():
            columns[name] = ad.new_column(group, name, num_records, dtype)
        return columns


def _read_counted(read: ReadVectors, numbers: Int64s) -> tuple[Halves, Counted]:
    vectors = read(numbers)
    return vectors, counted(vectors)


def read_moments(file: h5py.File) -> dict[str, Moments]:
    """By model, of the rows that have a vector."""
    stats = {model.name: file[f"uns/stats/{model.obsm}"] for model in MODELS}
    return {
        name: Moments(int(group["n"][()]), group["mean"][:], group["m2"][:])
        for name, group in stats.items()
    }


def expected_bytes(
    *,
    num_rows: int,
    num_protein_rows: int,
    num_dna_rows: int,
    num_records: int,
    dims: Mapping[str, int],
) -> int:
    """Size of a finished file, to be compared with the free space before the first byte."""
    rows_with = {"protein": num_protein_rows, "dna": num_dna_rows}
    vectors = 0
    for model in MODELS:
        shape = (num_rows, dims[model.name])
        chunk_rows = ad.matrix_chunk_rows(shape, chunk_bytes=MATRIX_CHUNK_BYTES)
        num_chunks = -(-rows_with[model.item] // chunk_rows) if num_rows else 0
        vectors += 2 * num_chunks * chunk_rows * dims[model.name]
    return TABLES_BYTES + vectors + ROW_BYTES * num_rows + RECORD_BYTES * num_records


class Checksums:
    """xxh3-128 of each column and matrix, per block of `BLOCK_ROWS` rows: blocks in any order, the
    rows of each in theirs."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[int, Any]] = {}
        self._done: dict[str, dict[int, str]] = {}

    def add(self, name: str, start: int, content: Any) -> None:
        block = start // BLOCK_ROWS
        number, digest = self._open.get(name, (-1, None))
        if number != block:
            self._close(name)
            digest = xxhash.xxh3_128()
            self._open[name] = (block, digest)
        digest.update(content)

    def hex(self) -> dict[str, list[str]]:
        for name in list(self._open):
            self._close(name)
        return {name: [done[block] for block in sorted(done)] for name, done in self._done.items()}

    def _close(self, name: str) -> None:
        if name in self._open:
            block, digest = self._open.pop(name)
            self._done.setdefault(name, {})[block] = digest.hexdigest()


def stored_bytes(values: Any, dtype: Any) -> Any:
    """What is hashed of a column: little-endian numbers, or texts each followed by a newline."""
    if dtype == STRING:
        return "\n".join([*values, ""]).encode()
    return np.ascontiguousarray(values, dtype=np.dtype(dtype).newbyteorder("<")).data
