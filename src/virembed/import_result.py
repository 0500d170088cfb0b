"""Results of VirNucPro and virnucpro-broad in, a result file out.

The files hold ids and vectors, no more. From the ids come record, window and frame; all else about
the rows and how they were made is unknown and stands as unknown in the file: -1 in columns of
numbers, the flag "imported", and the word in `uns/provenance`.

The vectors go through a scratch file beside the result, since files may have the rows in any order;
in memory are the ids, and one feature file at a time.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, BinaryIO, cast

import h5py
import numpy as np
import numpy.typing as npt

from virembed.accounting import imported_accounting
from virembed.errors import InputError, UsageError
from virembed.h5 import new_file
from virembed.layout import DNABERTS, ESM2, FRAMES, MODELS, Flag, ModelSlot
from virembed.manifest import OK
from virembed.moments import MomentSums, Norms
from virembed.provenance import README, flag_table, imported_provenance
from virembed.result import BLOCK_ROWS, OBS_COLUMNS, RECORD_TABLE, ResultWriter
from virembed.samplesheet import SAFE_SAMPLE, SAFE_SAMPLE_HINT
from virembed.shards import Vectors
from virembed.verify import verify_written
from virembed.virnucpro import DNABERTS_DIM, Features, feature_files, open_features, parse_id

Int64s = npt.NDArray[np.int64]

_SHOWN = 3  # ids named in a message


@dataclass(frozen=True, slots=True)
class Imported:
    """notes: what the user should know of the files."""

    num_rows: int
    num_records: int
    num_missing: int
    notes: list[str]


def import_files(
    paths: Sequence[Path],
    *,
    out: Path,
    sample: str,
    window_bp: int | None = None,
    allow_missing: bool = False,
) -> Imported:
    """Writes the result file `out` from feature files, or directories of them.

    Args:
        window_bp: length of the windows, if the user knows it.
        allow_missing: leave out rows of which only one model has the vector, and count them.

    Raises:
        UsageError: the sample's name cannot be that of a file.
        InputError: a file is not as it should be; an id stands twice or is none; the ids of the two
            models differ.
    """
    if not SAFE_SAMPLE.fullmatch(sample):
        raise UsageError(f"--sample {sample!r}: cannot be a file name everywhere", SAFE_SAMPLE_HINT)
    files = feature_files(paths)
    out.absolute().parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        scratch = {
            model.name: _Scratch(
                model.name,
                cast(
                    "BinaryIO",
                    stack.enter_context(tempfile.TemporaryFile(dir=out.absolute().parent)),
                ),
            )
            for model in MODELS
        }
        notes = [note for path in files for note in _read(path, scratch)]
        missing = _missing(scratch, allow_missing=allow_missing)
        rows = _sorted_rows(scratch, missing)
        with new_file(out, check=verify_written) as file:
            writer = _Importer(file, rows, scratch)
            writer.write()
            dims = {name: one.dim for name, one in scratch.items()}
            made = imported_provenance(files, dims, window_bp=window_bp, notes=notes)
            file.attrs["created"] = datetime.now(timezone.utc).isoformat(timespec="seconds")
            writer.finish(sample, missing, made)
    return Imported(len(rows.ids), len(rows.records), len(missing), notes)


class _Scratch:
    """The vectors of a model in the order they were read, and which id each has."""

    def __init__(self, model: str, file: BinaryIO) -> None:
        self.model, self._file = model, file
        self.position: dict[str, int] = {}
        self.dim = 0
        self._origin: list[tuple[int, Path]] = []  # first position of each file

    def add_ids(self, path: Path, ids: Sequence[str]) -> None:
        self._origin.append((len(self.position), path))
        for name in ids:
            if name in self.position:
                other = [p for start, p in self._origin if start <= self.position[name]][-1]
                raise InputError(
                    f"{path}: {name} has a vector of {self.model} in {other} already",
                    "Give every row once: a folder may hold files of an earlier run, or the "
                    "merged files beside those they were merged from.",
                )
            if parse_id(name) is None:
                raise InputError(
                    f"{path}: {name} is no row id of VirNucPro, RECORD_chunk_NUMBER and a frame",
                    "Give the files of a prediction as they are.",
                )
            self.position[name] = len(self.position)

    def add_vectors(self, path: Path, vectors: npt.NDArray[np.float32]) -> None:
        if self.dim not in (0, vectors.shape[1]):
            raise InputError(
                f"{path}: vectors of {vectors.shape[1]} numbers, those before have {self.dim}",
                "Give the files of one run.",
            )
        self.dim = vectors.shape[1]
        with np.errstate(over="ignore"):
            stored = vectors.astype("<f2")
        if not np.isfinite(stored).all():
            raise InputError(f"{path}: a number is not finite, or too large for half precision")
        self._file.write(stored.tobytes())

    def vectors(self) -> Vectors:
        self._file.flush()
        return Vectors(self, offset=0, shape=(len(self.position), self.dim))

    def opened(self) -> AbstractContextManager[BinaryIO]:
        return nullcontext(self._file)

    def read(self, file: BinaryIO, position: int, out: memoryview) -> None:
        if os.preadv(file.fileno(), [out], position) != len(out):
            raise OSError(errno.EIO, os.strerror(errno.EIO), "the scratch file of the import")


def _read(path: Path, scratch: Mapping[str, _Scratch]) -> tuple[str, ...]:
    with open_features(path) as features:
        for model in features.models:
            scratch[model].add_ids(path, features.ids)
        for block in features.blocks:
            for model, part in _parts(features, block):
                scratch[model].add_vectors(path, part)
        return features.notes


def _parts(
    features: Features, block: npt.NDArray[np.float32]
) -> list[tuple[str, npt.NDArray[np.float32]]]:
    if len(features.models) == 1:
        return [(features.models[0], block)]
    return [(DNABERTS.name, block[:, :DNABERTS_DIM]), (ESM2.name, block[:, DNABERTS_DIM:])]


def _missing(scratch: Mapping[str, _Scratch], *, allow_missing: bool) -> dict[str, str]:
    """Ids of which one model has no vector, and that model."""
    missing: dict[str, str] = {}
    for model, other in ((ESM2.name, DNABERTS.name), (DNABERTS.name, ESM2.name)):
        here, there = scratch[model].position, scratch[other].position
        if not here:
            raise InputError(
                f"no vectors of {model} in the files", "Give the files of both models."
            )
        missing |= {name: model for name in there if name not in here}
    if missing and not allow_missing:
        counts = ", ".join(
            f"{sum(model == name for model in missing.values())} without a vector of {name}"
            for name in scratch
        )
        shown = ", ".join(list(missing)[:_SHOWN])
        raise InputError(
            f"the ids of the two models differ: {counts}, such as {shown}",
            "Give the files of one run, all of them; to leave these rows out, add --allow-missing.",
        )
    return missing


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows in the order of a result.

    record, window, frame: int64 [n]; numbers of the record and window, code of the frame
    """

    ids: list[str]
    records: list[str]
    record: Int64s
    window: Int64s
    frame: Int64s

    @property
    def begins_window(self) -> npt.NDArray[np.bool_]:
        """bool [n], the first row of each window."""
        begins: npt.NDArray[np.bool_] = np.diff(self.record, prepend=-1) != 0
        begins |= np.diff(self.window, prepend=-1) != 0
        return begins


def _sorted_rows(scratch: Mapping[str, _Scratch], missing: Mapping[str, str]) -> _Rows:
    """By record in order of appearance, window and frame."""
    numbers: dict[str, int] = {}
    ids = [name for name in scratch[DNABERTS.name].position if name not in missing]
    keys = np.empty((len(ids), 3), dtype=np.int64)
    for row, name in enumerate(ids):
        parsed = parse_id(name)
        assert parsed
        keys[row] = numbers.setdefault(parsed[0], len(numbers)), parsed[1], parsed[2]
    order = np.lexsort(keys.T[::-1])
    record, window, frame = keys[order].T
    return _Rows([ids[row] for row in order.tolist()], list(numbers), record, window, frame)


class _Importer:
    def __init__(self, file: h5py.File, rows: _Rows, scratch: Mapping[str, _Scratch]) -> None:
        self.rows, self.scratch = rows, scratch
        self.dims = {name: one.dim for name, one in scratch.items()}
        self.vectors = {name: one.vectors() for name, one in scratch.items()}
        self.sums = {name: MomentSums(dim) for name, dim in self.dims.items()}
        self.writer = ResultWriter(
            file, num_rows=len(rows.ids), num_records=len(rows.records), dims=self.dims
        )

    def write(self) -> None:
        for start in range(0, len(self.rows.ids), BLOCK_ROWS):
            part = slice(start, min(start + BLOCK_ROWS, len(self.rows.ids)))
            norms = {model.name: self._write_vectors(model, part) for model in MODELS}
            self.writer.write_obs(start, self._obs(part, norms))
        self._write_records()

    def _write_vectors(self, model: ModelSlot, part: slice) -> Norms:
        """Norms of the vectors, fp32."""
        position = self.scratch[model.name].position
        where = np.array([position[name] for name in self.rows.ids[part]], dtype=np.int64)
        return self.writer.write_counted(
            model.obsm, part.start, where, self.vectors[model.name].take, self.sums[model.name]
        )

    def _obs(self, part: slice, norms: Mapping[str, npt.NDArray[np.float32]]) -> dict[str, Any]:
        rows = np.arange(part.start, part.stop)
        frame = self.rows.frame[part]
        known: dict[str, Any] = {
            "row_id": self.rows.ids[part],
            "record_id": self.rows.record[part],
            "frame": frame,
            "window": self.rows.window[part],
            "strand": np.where(frame < len(FRAMES) // 2, 1, -1),
            "flags": np.full(len(rows), Flag.IMPORTED),
        }
        for model in MODELS:
            known[f"has_{model.name}"] = np.ones(len(rows), dtype=bool)
            known[f"{model.name}_norm"] = norms[model.name]
            # no row is known to be a copy of another
            known[f"{model.name}_source_row"] = rows
        unknown = dict.fromkeys(OBS_COLUMNS, np.full(len(rows), -1))
        types = {**OBS_COLUMNS, "record_id": "i4", "frame": "i1"}
        columns = {**unknown, **known}
        return {n: v.astype(types[n]) if n in types else v for n, v in columns.items()}

    def _write_records(self) -> None:
        records = self.rows.records
        num_rows = np.bincount(self.rows.record, minlength=len(records))
        row_stop = np.cumsum(num_rows)
        no_rows = np.full(len(records), len(self.rows.ids))
        columns = {
            **dict.fromkeys(RECORD_TABLE, np.full(len(records), -1)),
            "n_windows": np.bincount(
                self.rows.record[self.rows.begins_window], minlength=len(records)
            ),
            "n_rows": num_rows,
            "row_start": row_stop - num_rows,
            "row_stop": row_stop,
            "dna_row_start": no_rows,
            "dna_row_stop": no_rows,
        }
        for start in range(0, len(records), BLOCK_ROWS):
            part = slice(start, start + BLOCK_ROWS)
            block = {name: values[part] for name, values in columns.items()}
            status = np.full(len(records[part]), OK, dtype=np.int8)
            self.writer.write_records(start, records[part], block, status)

    def finish(self, sample: str, missing: Mapping[str, str], provenance: dict[str, Any]) -> None:
        absent = [""] * len(missing)
        self.writer.write_lost(
            {
                "id": list(missing),
                "stage": ["import" for _ in missing],
                "reason": [f"no vector of {model}" for model in missing.values()],
                "detail": absent,
            }
        )
        counts = imported_accounting(
            num_records=len(self.rows.records),
            num_windows=int(self.rows.begins_window.sum()),
            num_rows=len(self.rows.ids),
            num_missing=len(missing),
        )
        self.writer.finish(
            sample=sample,
            uns={
                "accounting": counts,
                "flags": flag_table(),
                "provenance": provenance,
                "params_json": "{}",
                "README": README,
            },
            moments={name: sums.moments() for name, sums in self.sums.items()},
        )
