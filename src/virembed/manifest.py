"""The manifest of a sample: every row its result will have, and every item to embed for them.

SPLIT writes it, COLLECT reads it; it is the contract between the two. One HDF5 file:

    /                    attributes: sample, and what the rows were made with (JSON)
    records/             per record: id (text, see `_Texts`), length_bp, num_windows,
                         num_closed_windows (without an open frame), num_protein_rows,
                         num_window_rows, status
    lost/                per exception: record, stage, reason, detail
    protein_rows/        per open frame or protein given, in input order (block A of the result)
    window_rows/         per window without an open frame, or contig, in input order (block B)
        record window frame start end dna_start dna_end protein_len n_ambiguous flags
        esm2 dnaberts    number of the item to embed, -1 for none
    items/esm2/          per distinct protein, in order of first appearance: key, text
    items/dnaberts/      per distinct DNA slice: key
        chunk_start      first item of each chunk, and the number of items at the end

Knows neither sequences nor vectors.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from virembed.h5 import STRING, Appendable, new_file, open_sealed
from virembed.layout import MODEL_NAMES, MODELS

FORMAT = "virembed.manifest/3"
KEY_BYTES = 16
PICK_SPAN = 1 << 16  # texts read at a time where only some are wanted

STATUSES = ("ok", "empty", "too_short", "not_dna", "duplicate_id", "failed", "too_long")
OK, EMPTY, TOO_SHORT, TOO_LONG = 0, 1, 2, 6

ROW_COLUMNS = MappingProxyType(
    {
        "record": "i4",
        "window": "i4",
        "frame": "i1",
        "start": "i4",
        "end": "i4",
        "dna_start": "i4",
        "dna_end": "i4",
        "protein_len": "i4",
        "n_ambiguous": "i4",
        "flags": "u2",
        **dict.fromkeys(MODEL_NAMES, "i4"),
    }
)
RECORD_COLUMNS = MappingProxyType(
    {
        "length_bp": "i8",
        "num_windows": "i4",
        "num_closed_windows": "i4",
        "num_protein_rows": "i4",
        "num_window_rows": "i4",
        "status": "i1",
    }
)
LOST_TEXTS = ("stage", "reason", "detail")
PROTEIN_ROWS = "protein_rows"
WINDOW_ROWS = "window_rows"

Columns = dict[str, npt.NDArray[Any]]


class ManifestWriter:
    """Fills a manifest block by block; nothing of a block stays in memory."""

    def __init__(self, file: h5py.File) -> None:
        self._file = file
        records = file.create_group("records")
        self._ids = _Texts(records, "id")
        self._records = _columns(records, RECORD_COLUMNS)
        lost = file.create_group("lost")
        self._lost = [Appendable(lost, name, STRING) for name in LOST_TEXTS]
        self._lost_record = Appendable(lost, "record", "i8")
        self._rows = {
            block: _columns(file.create_group(block), ROW_COLUMNS)
            for block in (PROTEIN_ROWS, WINDOW_ROWS)
        }
        self._items = {model.name: _Items(file, model.name, model.item) for model in MODELS}

    def add_records(self, ids: list[str], columns: Columns) -> None:
        self._ids.append(ids)
        _append(self._records, columns)

    def add_lost(self, records: list[int], entries: list[tuple[str, str, str]]) -> None:
        """Exceptions: numbers of the records; stage, reason and detail of each."""
        self._lost_record.append(records)
        for position, column in enumerate(self._lost):
            column.append([entry[position] for entry in entries])

    def add_rows(self, block: str, columns: Columns) -> None:
        _append(self._rows[block], columns)

    def add_items(self, model: str, keys: list[bytes], texts: list[bytes]) -> None:
        self._items[model].append(keys, texts)

    def rename_records(self, names: dict[int, str]) -> None:
        """Gives some records another id: rewrites the ids, which are small beside the rows."""
        self._ids.replace(names)

    def finish(
        self, *, sample: str, settings: dict[str, Any], chunks: dict[str, list[int]]
    ) -> None:
        """
        Args:
            settings: what the rows were made with and counted; stored as JSON.
            chunks: first item of each chunk and the number of items, by model.
        """
        for model, starts in chunks.items():
            self._file[f"items/{model}"].create_dataset("chunk_start", data=np.array(starts, "i8"))
        self._file.attrs["format"] = FORMAT
        self._file.attrs["sample"] = sample
        self._file.attrs["settings"] = json.dumps(settings, sort_keys=True)


@contextmanager
def new_manifest(path: Path) -> Iterator[ManifestWriter]:
    with new_file(path) as file:
        yield ManifestWriter(file)


@dataclass(frozen=True, slots=True)
class Manifest:
    """A finished manifest, open for reading; columns are read by slices."""

    file: h5py.File

    @property
    def sample(self) -> str:
        return str(self.file.attrs["sample"])

    @property
    def settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = json.loads(self.file.attrs["settings"])
        return settings

    @property
    def num_records(self) -> int:
        return len(self.file["records/status"])

    def num_rows(self, block: str) -> int:
        return len(self.file[block]["record"])

    def num_items(self, model: str) -> int:
        return len(self.file[f"items/{model}/key"])

    def rows(self, block: str, start: int, stop: int) -> Columns:
        """All columns of `ROW_COLUMNS` of some rows of a block."""
        return {name: self.file[block][name][start:stop] for name in ROW_COLUMNS}

    def records(self, start: int, stop: int) -> Columns:
        return {name: self.file["records"][name][start:stop] for name in RECORD_COLUMNS}

    def record_ids(self, start: int, stop: int) -> list[str]:
        return _read_texts(self.file["records"], "id", start, stop)

    def lost(self) -> dict[str, list[str]]:
        """Columns of the exceptions, the id of their record first."""
        ids = self.ids_of_records(self.file["lost/record"][:])
        texts = {name: list(self.file["lost"][name].asstr()[:]) for name in LOST_TEXTS}
        return {"id": ids, **texts}

    def item_keys(self, model: str, start: int, stop: int) -> npt.NDArray[np.uint8]:
        """uint8 [items, 16]"""
        keys: npt.NDArray[np.uint8] = self.file[f"items/{model}/key"][start:stop]
        return keys

    def item_lengths(self, model: str) -> npt.NDArray[np.int64]:
        """int64 [items], letters of each; only models that embed proteins have texts."""
        ends: npt.NDArray[np.int64] = self.file[f"items/{model}/text_end"][:]
        return np.diff(ends, prepend=0)

    def ids_of_records(self, numbers: npt.NDArray[Any]) -> list[str]:
        """The id of each record asked for, in that order."""
        return _pick_texts(self.file["records"], "id", numbers)

    def texts_of_items(self, model: str, numbers: npt.NDArray[Any]) -> list[str]:
        """The protein of each item asked for; only models that embed proteins have texts."""
        return _pick_texts(self.file[f"items/{model}"], "text", numbers)

    def chunk_starts(self, model: str) -> npt.NDArray[np.int64]:
        """int64 [chunks + 1]: chunk c holds the items from starts[c] to starts[c + 1]."""
        starts: npt.NDArray[np.int64] = self.file[f"items/{model}/chunk_start"][:]
        return starts


@contextmanager
def open_manifest(path: Path) -> Iterator[Manifest]:
    """
    Raises:
        IncompleteError: not a finished manifest, or altered since it was written.
    """
    remedy = "Run `virembed split` again."
    with open_sealed(path, kind="manifest", remedy=remedy, form=FORMAT) as file:
        yield Manifest(file)


class _Texts:
    """Many short ASCII texts as one: the letters, and where each ends."""

    def __init__(self, group: h5py.Group, name: str) -> None:
        self._group, self._name = group, name
        self._letters = Appendable(group, f"{name}_letters", "u1")
        self._ends = Appendable(group, f"{name}_end", "i8")

    def append(self, texts: Sequence[str]) -> None:
        ends = np.cumsum(np.fromiter(map(len, texts), dtype=np.int64, count=len(texts)))
        self._ends.append(ends + self._letters.size)
        self._letters.append(np.frombuffer("".join(texts).encode("ascii"), dtype=np.uint8))

    def replace(self, texts: dict[int, str]) -> None:
        whole = _read_texts(self._group, self._name, 0, self._ends.size)
        for number, text in texts.items():
            whole[number] = text
        del self._group[f"{self._name}_letters"], self._group[f"{self._name}_end"]
        _Texts(self._group, self._name).append(whole)


def _read_texts(group: h5py.Group, name: str, start: int, stop: int) -> list[str]:
    return _texts_at(group, name, np.arange(start, stop)) if start < stop else []


def _pick_texts(group: h5py.Group, name: str, numbers: npt.NDArray[Any]) -> list[str]:
    """The texts of these numbers; reads only the spans that hold some of them."""
    texts: list[str] = []
    wanted, position = np.unique(numbers, return_inverse=True)
    for here in np.split(wanted, np.flatnonzero(np.diff(wanted // PICK_SPAN)) + 1):
        if len(here):
            texts += _texts_at(group, name, here)
    return [texts[at] for at in position.tolist()]


def _texts_at(group: h5py.Group, name: str, numbers: npt.NDArray[Any]) -> list[str]:
    """The texts of these numbers, ascending; reads all that lies between the first and the last,
    and makes texts of those alone: of a large sample few are wanted of each span."""
    first, stop = int(numbers[0]), int(numbers[-1]) + 1
    # where each begins, and after them the end of the last; none ends before number 0
    borders = group[f"{name}_end"][max(first - 1, 0) : stop]
    borders = borders if first else np.concatenate([[0], borders])
    base, end = int(borders[0]), int(borders[-1])
    letters = group[f"{name}_letters"][base:end].tobytes().decode("ascii")
    begins, ends = borders[numbers - first] - base, borders[numbers - first + 1] - base
    return [letters[a:b] for a, b in zip(begins.tolist(), ends.tolist(), strict=True)]


class _Items:
    def __init__(self, file: h5py.File, model: str, item: str) -> None:
        group = file.create_group(f"items/{model}")
        self._keys = Appendable(group, "key", "u1", width=KEY_BYTES)
        # proteins are handed over as text too; DNA is found in the input by its coordinates
        self._texts = _Texts(group, "text") if item == "protein" else None

    def append(self, keys: list[bytes], texts: list[bytes]) -> None:
        self._keys.append(np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, KEY_BYTES))
        if self._texts:
            self._texts.append([text.decode("ascii") for text in texts])


def _columns(group: h5py.Group, dtypes: MappingProxyType[str, str]) -> dict[str, Appendable]:
    return {name: Appendable(group, name, dtype) for name, dtype in dtypes.items()}


def _append(columns: dict[str, Appendable], block: Columns) -> None:
    for name, column in columns.items():
        column.append(block[name])
