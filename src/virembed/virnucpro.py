"""Reads the feature files of VirNucPro and of virnucpro-broad.

What a file holds is told by its keys; file names mislead (some protein files are called DNABERT):

    .pt  nucleotide, data     DNABERT-S: ids, and per id {label, mean_representation: list}
    .pt  proteins, data       ESM-2: ids, and per id a vector
    .pt  ids, data            both: ids, and a matrix, DNABERT-S first
    .h5  sequence_ids, embeddings     ESM-2, of the second version of virnucpro-broad
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from virembed.errors import InputError
from virembed.layout import DNABERTS, ESM2, FRAMES
from virembed.pickles import load_restricted

DNABERTS_DIM = 768
SUFFIXES = (".pt", ".h5")
_BLOCK_ROWS = 1 << 11
_ID = re.compile(r"(.+)_chunk_([1-9][0-9]*)([FR][123])")
_REMEDY = "Give the file as VirNucPro wrote it, or leave it out."

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Features:
    """The rows of a file.

    models:   of the vectors side by side, one or both
    blocks:   fp32 [some rows, sum of the widths], in the order of `ids`; to be read once
    notes:    what cannot be told from the file
    """

    path: Path
    models: tuple[str, ...]
    ids: list[str]
    blocks: Iterator[Vectors]
    notes: tuple[str, ...] = ()


def parse_id(name: str) -> tuple[str, int, int] | None:
    """Record, window (from 0) and code of the frame of a row id; None if it is none.

    The last `_chunk_` counts: ids of records may hold one too.
    """
    found = _ID.fullmatch(name)
    return (found[1], int(found[2]) - 1, FRAMES.index(found[3])) if found else None


def feature_files(paths: Sequence[Path]) -> list[Path]:
    """The files given and those in the directories given, output_2 before output_10.

    Raises:
        InputError: a path is not there, or there is no feature file.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = (p for p in path.rglob("*") if p.suffix in SUFFIXES and p.is_file())
            files += sorted(inside, key=_natural)
        elif path.is_file():
            files.append(path)
        else:
            raise InputError(f"{path}: there is no such file or directory")
    if not files:
        raise InputError(f"{paths[0]}: no .pt and no .h5 file in it", "Give the feature files.")
    return files


def _natural(path: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", str(path))
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


@contextmanager
def open_features(path: Path) -> Iterator[Features]:
    """
    Raises:
        InputError: missing, damaged, unfinished, or no feature file; ids and rows do not match.
    """
    if path.suffix == ".h5":
        with _open_h5(path) as features:
            yield features
    else:
        yield _read_pt(path)


@contextmanager
def _open_h5(path: Path) -> Iterator[Features]:
    try:
        file = h5py.File(path, "r", locking="best-effort")
    except OSError as error:
        cause = " ".join(str(error).split())
        raise InputError(f"{path}: no readable HDF5 file ({cause})", _REMEDY) from None
    with file:
        if not {"sequence_ids", "embeddings"} <= set(file):
            raise InputError(f"{path}: no sequence_ids and embeddings in it", _REMEDY)
        vectors, names = file["embeddings"], file["sequence_ids"].asstr()[:]
        _require_rows(path, len(names), vectors.shape, key="sequence_ids")
        note = (
            f"{path.name}: if the run of virnucpro-broad that wrote it was resumed, its ids may "
            "stand beside vectors of other rows; the file does not tell"
        )
        blocks = (vectors[a : a + _BLOCK_ROWS] for a in range(0, len(vectors), _BLOCK_ROWS))
        yield Features(path, (ESM2.name,), list(names), blocks, (note,))


def _read_pt(path: Path) -> Features:
    content = load_restricted(path, what="feature file", error=InputError)
    if not isinstance(content, dict):
        raise InputError(f"{path}: no feature file: not a dictionary", _REMEDY)
    _require_finished(path, content)
    if "sequence_ids" in content:
        raise InputError(
            f"{path}: a checkpoint in the middle of a run", "Give the embeddings.h5 of the run."
        )
    for key, read in (("nucleotide", _dna), ("proteins", _proteins), ("ids", _merged)):
        if key in content and "data" in content:
            try:
                return read(path, [str(name) for name in content[key]], content["data"])
            except (KeyError, TypeError, AttributeError, ValueError) as error:
                raise InputError(f"{path}: not as VirNucPro writes it ({error})", _REMEDY) from None
    keys = ", ".join(sorted(map(str, content))) or "none"
    raise InputError(f"{path}: no feature file: its keys are {keys}", _REMEDY)


def _require_finished(path: Path, content: Mapping[Any, Any]) -> None:
    status, version = content.get("status", "complete"), str(content.get("version", "0"))
    major = version.partition(".")[0]
    if status != "complete":
        raise InputError(f"{path}: its status is '{status}'", "Finish the run that writes it.")
    if not major.isdecimal() or int(major) > 1:
        raise InputError(f"{path}: of version {version}, known are those before 2", _REMEDY)


def _require_rows(path: Path, num_ids: int, shape: tuple[int, ...], *, key: str) -> None:
    if len(shape) != 2 or num_ids != shape[0]:
        raise InputError(
            f"{path}: {num_ids} {key} and {shape[0] if shape else 0} vectors: which id belongs to "
            "which vector is lost",
            "Make it again from the files of the two models, or give those instead.",
        )


def _dna(path: Path, ids: list[str], data: Sequence[Mapping[str, Any]]) -> Features:
    labels = [str(entry["label"]) for entry in data]
    if labels != ids:
        _require_rows(path, len(ids), (len(labels), 0), key="ids")
        first = next(a for a, b in zip(ids, labels, strict=True) if a != b)
        raise InputError(
            f"{path}: the list of ids and the labels differ, first at {first}", _REMEDY
        )
    return _rows(path, DNABERTS.name, ids, [entry["mean_representation"] for entry in data])


def _proteins(path: Path, ids: list[str], data: Sequence[Any]) -> Features:
    _require_rows(path, len(ids), (len(data), 0), key="ids")
    return _rows(path, ESM2.name, ids, data)


def _rows(path: Path, model: str, ids: list[str], rows: Sequence[Any]) -> Features:
    def blocks() -> Iterator[Vectors]:
        for start in range(0, len(rows), _BLOCK_ROWS):
            yield np.array(
                [np.asarray(row, dtype=np.float32) for row in rows[start : start + _BLOCK_ROWS]]
            )

    if len({len(row) for row in rows}) > 1:
        raise InputError(f"{path}: its vectors differ in width", _REMEDY)
    return Features(path, (model,), ids, blocks())


def _merged(path: Path, ids: list[str], data: Any) -> Features:
    _require_rows(path, len(ids), tuple(data.shape), key="ids")
    if data.shape[1] <= DNABERTS_DIM:
        raise InputError(f"{path}: {data.shape[1]} columns hold no two vectors", _REMEDY)
    blocks = (
        data[start : start + _BLOCK_ROWS].float().numpy()
        for start in range(0, len(data), _BLOCK_ROWS)
    )
    return Features(path, (DNABERTS.name, ESM2.name), ids, blocks)
