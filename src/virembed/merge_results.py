"""Several samples in one result file.

Rows keep their layout: first those with a protein of all samples, in the order of the files, then
those without. Ids of rows and records become SAMPLE:ID, `obs/sample` says the sample of each row,
and `uns/provenance/samples` keeps how each was made. Memory does not grow with the files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import accumulate
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from virembed import __version__
from virembed import anndata_encoding as ad
from virembed.accounting import check_identities
from virembed.errors import UsageError
from virembed.h5 import new_file, open_complete
from virembed.layout import IMPORTED, MODELS, NOTHING, ModelSlot
from virembed.manifest import LOST_TEXTS
from virembed.moments import merged
from virembed.provenance import README, flag_table
from virembed.result import BLOCK_ROWS, OBS_COLUMNS, RECORD_TABLE, ResultWriter, read_moments
from virembed.samplesheet import SAFE_SAMPLE
from virembed.verify import is_imported, type_of, verify_written

_REMEDY = "Give the SAMPLE.h5 of finished runs."
# Of a model, what may differ between samples of one file: where and by what it was computed.
_MAY_DIFFER = ("device", "torch", "attention", "stored_dtype", "model_id")


@dataclass(frozen=True, slots=True)
class _Part:
    """A sample, open for reading, and where its rows and records go.

    num_a:        rows with a protein
    to_a, to_b:   new number of its first row with a protein, and of its first without
    to_record:    new number of its first record
    """

    file: h5py.File
    sample: str
    num_a: int
    num_rows: int
    num_records: int
    to_a: int
    to_b: int
    to_record: int

    def new_rows(self, rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Numbers in the merged file of rows of this one; -1 stays."""
        moved = np.where(rows < self.num_a, rows + self.to_a, rows - self.num_a + self.to_b)
        return np.where(rows < 0, rows, moved)


@dataclass(frozen=True, slots=True)
class _Piece:
    """Neighbouring rows of a part: `count` from `source` on, which go to `target`."""

    part: _Part
    source: int
    target: int
    count: int


def merge_results(paths: Sequence[Path], *, out: Path) -> int:
    """Writes the rows of all files into one and returns their number.

    Raises:
        UsageError: fewer than two files, a sample given twice, or files that were made differently.
        IncompleteError: a file is missing or damaged.
    """
    if len(paths) < 2:
        raise UsageError("one file alone is merged already", "Give two files or more.")
    with ExitStack() as stack:
        files = [
            stack.enter_context(open_complete(path, kind="result file", remedy=_REMEDY))
            for path in paths
        ]
        _require_mergeable(paths, files)
        parts = _parts(files)
        with new_file(out, check=verify_written) as file:
            _Merger(file, parts).run(out.stem)
        return sum(part.num_rows for part in parts)


def _require_mergeable(paths: Sequence[Path], files: Sequence[h5py.File]) -> None:
    seen: dict[str, Path] = {}
    for path, file in zip(paths, files, strict=True):
        sample = str(file.attrs["sample"])
        if sample in seen:
            raise UsageError(f"{path}: sample '{sample}' is in {seen[sample]} too")
        seen[sample] = path
        assert SAFE_SAMPLE.fullmatch(sample)  # or SAMPLE:ID could be that of another
        if "sample" in file["obs"]:
            raise UsageError(f"{path}: is merged already", "Give the files of its samples.")
        if "classifiers" in file["uns"]:
            raise UsageError(
                f"{path}: has scores of a classifier",
                "Merge the files without scores, then classify the merged one.",
            )
        differences = list(_differences(files[0], file))
        if differences:
            raise UsageError(
                f"{paths[0]} and {path} were made differently: {'; '.join(differences)}",
                "Merge results of the same weights and settings.",
            )


def _differences(one: h5py.File, other: h5py.File) -> Iterator[str]:
    types = [type_of(file) for file in (one, other)]
    if len(set(types)) > 1:
        yield f"type is {types[0]} and {types[1]}"
        return
    for group in ("windows", *(model.name for model in MODELS)):
        a, b = (file[f"uns/provenance/{group}"] for file in (one, other))
        for name in sorted((a.keys() | b.keys()) - {*_MAY_DIFFER, "min_record_bp"}):
            values = [_text(group_of[name]) if name in group_of else "" for group_of in (a, b)]
            if len({*values} - {NOTHING}) > 1:  # a sample with nothing to embed fits all others
                yield f"{group} {name} is {values[0]} and {values[1]}"


def _text(dataset: h5py.Dataset) -> str:
    value = dataset[()]
    return value.decode() if isinstance(value, bytes) else str(value)


def _parts(files: Sequence[h5py.File]) -> list[_Part]:
    num_a = [int(file["uns/accounting/n_protein_rows"][()]) for file in files]
    num_rows = [len(file["obs/row_id"]) for file in files]
    num_records = [len(file["uns/records/record_id"]) for file in files]
    num_b = [rows - a for rows, a in zip(num_rows, num_a, strict=True)]
    return [
        _Part(file, str(file.attrs["sample"]), *numbers)
        for file, *numbers in zip(
            files,
            num_a,
            num_rows,
            num_records,
            accumulate(num_a[:-1], initial=0),
            accumulate(num_b[:-1], initial=sum(num_a)),
            accumulate(num_records[:-1], initial=0),
            strict=True,
        )
    ]


class _Merger:
    def __init__(self, file: h5py.File, parts: Sequence[_Part]) -> None:
        self.file, self.parts = file, parts
        self.num_rows = sum(part.num_rows for part in parts)
        self.num_records = sum(part.num_records for part in parts)
        blocks_a = [_Piece(part, 0, part.to_a, part.num_a) for part in parts]
        blocks_b = [_Piece(p, p.num_a, p.to_b, p.num_rows - p.num_a) for p in parts]
        self.rows = [*blocks_a, *blocks_b]
        self.records = [_Piece(part, 0, part.to_record, part.num_records) for part in parts]
        first = parts[0].file
        self.writer = ResultWriter(
            file,
            num_rows=self.num_rows,
            num_records=self.num_records,
            dims={model.name: first[f"obsm/{model.obsm}"].shape[1] for model in MODELS},
            samples=[part.sample for part in parts],
        )

    def run(self, name: str) -> None:
        for start, stop in _blocks(self.num_rows, BLOCK_ROWS):
            pieces = _clip(self.rows, start, stop)
            columns = [self._obs(piece) for piece in pieces]
            self.writer.write_obs(
                start, {key: np.concatenate([c[key] for c in columns]) for key in columns[0]}
            )
        for model in MODELS:
            self._write_vectors(model)
        for start, stop in _blocks(self.num_records, BLOCK_ROWS):
            self._write_records(start, _clip(self.records, start, stop))
        self._write_lost()
        self._finish(name)

    def _obs(self, piece: _Piece) -> dict[str, npt.NDArray[Any]]:
        part, obs = piece.part, piece.part.file["obs"]
        here = slice(piece.source, piece.source + piece.count)
        ids = [f"{part.sample}:{name}" for name in obs["row_id"].asstr()[here]]
        columns = {name: obs[name][here] for name in OBS_COLUMNS}
        for model in MODELS:
            source = f"{model.name}_source_row"
            columns[source] = part.new_rows(columns[source]).astype("i4")
        return {
            **columns,
            "row_id": np.array(ids, dtype=object),
            "record_id": obs["record_id/codes"][here] + part.to_record,
            "frame": obs["frame/codes"][here],
            "sample": np.full(piece.count, self.parts.index(part), dtype="i4"),
        }

    def _write_vectors(self, model: ModelSlot) -> None:
        num_rows = sum(int(p.file[f"uns/accounting/{model.name}_ok"][()]) for p in self.parts)
        for start, stop in _blocks(num_rows, self.writer.piece_rows(model.obsm)):
            vectors = [
                p.part.file[f"obsm/{model.obsm}"][p.source : p.source + p.count]
                for p in _clip(self.rows, start, stop)
            ]
            self.writer.write_vectors(model.obsm, start, np.concatenate(vectors).astype("<f2"))

    def _write_records(self, start: int, pieces: Sequence[_Piece]) -> None:
        ids: list[str] = []
        columns: list[dict[str, npt.NDArray[Any]]] = []
        status: list[npt.NDArray[np.int8]] = []
        for piece in pieces:
            part, table = piece.part, piece.part.file["uns/records"]
            here = slice(piece.source, piece.source + piece.count)
            ids += [f"{part.sample}:{name}" for name in table["record_id"].asstr()[here]]
            moved = {name: table[name][here] for name in RECORD_TABLE}
            for name in ("row_start", "row_stop"):
                moved[name] = moved[name] + part.to_a
            for name in ("dna_row_start", "dna_row_stop"):
                moved[name] = moved[name] - part.num_a + part.to_b
            columns.append(moved)
            status.append(table["status/codes"][here])
        joined = {name: np.concatenate([c[name] for c in columns]) for name in RECORD_TABLE}
        self.writer.write_records(start, ids, joined, np.concatenate(status))

    def _write_lost(self) -> None:
        lost: dict[str, list[str]] = {name: [] for name in ("id", *LOST_TEXTS)}
        for part in self.parts:
            table = part.file["uns/lost"]
            lost["id"] += [f"{part.sample}:{name}" for name in table["id"].asstr()[:]]
            for name in LOST_TEXTS:
                lost[name] += list(table[name].asstr()[:])
        self.writer.write_lost(lost)

    def _finish(self, name: str) -> None:
        imported = any(is_imported(part.file) for part in self.parts)
        counts = [
            {key: int(value[()]) for key, value in part.file["uns/accounting"].items()}
            for part in self.parts
        ]
        common = [key for key in counts[0] if all(key in one for one in counts)]
        summed = {key: sum(one[key] for one in counts) for key in common}
        check_identities(summed, imported=imported)
        moments = [read_moments(part.file) for part in self.parts]
        self.file.attrs["created"] = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self.writer.finish(
            sample=name,
            uns={
                "accounting": summed,
                "flags": flag_table(),
                "provenance": self._provenance(imported=imported),
                "params_json": "{}",
                "README": README,
            },
            moments={model.name: merged([one[model.name] for one in moments]) for model in MODELS},
        )
        samples = ad.new_dict(self.file["uns/provenance"], "samples")
        for part in self.parts:
            part.file.copy("uns/provenance", samples, name=part.sample)
            part.file.copy("uns/params_json", samples[part.sample])

    def _provenance(self, *, imported: bool) -> dict[str, Any]:
        made = [part.file["uns/provenance"] for part in self.parts]
        inputs = {
            key: [x for m in made for x in m[f"input/{key}"].asstr()[:]]
            for key in ("names", "sha256")
        }
        joined: dict[str, Any] = {
            "pipeline": f"merged by virembed {__version__}",
            "type": type_of(self.parts[0].file),
            **({"origin": IMPORTED} if imported else {}),
            "input": inputs,
            **{
                group: {name: _joined([m[group][name] for m in made]) for name in made[0][group]}
                for group in ("windows", *(model.name for model in MODELS))
            },
        }
        for model in MODELS:
            joined[model.name]["stored_dtype"] = "float16"
        return joined


def _joined(datasets: Sequence[h5py.Dataset]) -> Any:
    """The value of all samples; texts that differ one after the other, -1 for such numbers."""
    values = [dataset[()] for dataset in datasets]
    if isinstance(values[0], bytes):
        distinct = sorted({value.decode() for value in values})
        return ", ".join([text for text in distinct if text != NOTHING] or distinct)
    return int(values[0]) if len({int(value) for value in values}) == 1 else -1


def _blocks(size: int, step: int) -> Iterator[tuple[int, int]]:
    return ((start, min(start + step, size)) for start in range(0, size, step))


def _clip(pieces: Sequence[_Piece], start: int, stop: int) -> list[_Piece]:
    """What of the pieces goes to the targets from `start` to `stop`, in order."""
    found = []
    for piece in pieces:
        first = max(start, piece.target)
        last = min(stop, piece.target + piece.count)
        if first < last:
            source = piece.source + first - piece.target
            found.append(_Piece(piece.part, source, first, last - first))
    return found
