"""SPLIT: the files of a sample in, its manifest and its chunks out.

One pass over the records in batches; what stays in memory is the index of distinct items.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import numpy.typing as npt

from virembed.checksum import sha256_of
from virembed.errors import CombinedInputError, InputError, UsageError
from virembed.fasta import RecordBatch, read_batches
from virembed.frames import NO_FRAME_CODE, FrameRows, FrameRules, find_frames
from virembed.items import ChunkWriter, ItemIndex
from virembed.layout import MODELS, Flag, ModelSlot
from virembed.manifest import (
    EMPTY,
    OK,
    PROTEIN_ROWS,
    ROW_COLUMNS,
    TOO_SHORT,
    WINDOW_ROWS,
    Columns,
    ManifestWriter,
    new_manifest,
)
from virembed.record_ids import REFUSE, RecordIds, Source
from virembed.samplesheet import SAFE_SAMPLE, SAFE_SAMPLE_HINT
from virembed.windows import Windows, cut_windows
from virembed.workload import SUFFIX, Workload, model_workload, write_workload

Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitSettings:
    """How a sample is cut.

    rules:           "exact" or "virnucpro", for windows and frames
    duplicate_ids:   "refuse" or "suffix"
    min_record_bp:   shorter records give no rows and are listed as lost
    chunk_limits:    letters per chunk, by model
    """

    window_bp: int
    rules: str
    genetic_code: int
    duplicate_ids: str
    min_record_bp: int
    chunk_limits: dict[str, int]


@dataclass(frozen=True, slots=True)
class SplitResult:
    """What the command reports: counts by name, and the number of chunks by model."""

    manifest: Path
    counts: dict[str, int]
    num_chunks: dict[str, int]


def split_sample(
    sources: list[Source], *, sample: str, out_dir: Path, settings: SplitSettings
) -> SplitResult:
    """Writes SAMPLE.manifest.h5, chunks/MODEL/* and SAMPLE.split.json; nothing is left behind
    after an error.

    Raises:
        InputError: a file is damaged, no nucleotide FASTA or FASTQ, or an id is repeated.
    """
    if not SAFE_SAMPLE.fullmatch(sample):
        raise UsageError(f"--sample {sample!r}: cannot be a file name everywhere", SAFE_SAMPLE_HINT)
    out_dir.mkdir(parents=True, exist_ok=True)
    path = out_dir / f"{sample}.manifest.h5"
    with ExitStack() as stack:
        chunks = {
            model.name: stack.enter_context(
                ChunkWriter(
                    out_dir / "chunks" / model.name,
                    sample=sample,
                    model=model,
                    limit=settings.chunk_limits[model.name],
                )
            )
            for model in MODELS
        }
        writer = stack.enter_context(new_manifest(path))
        result = _Splitter(writer, chunks, settings).run(sources, sample, path)
    write_workload(out_dir / f"{sample}{SUFFIX}", _workload(sample, result, chunks))
    return result


class _Splitter:
    def __init__(
        self, writer: ManifestWriter, chunks: dict[str, ChunkWriter], settings: SplitSettings
    ) -> None:
        self.writer, self.chunks, self.settings = writer, chunks, settings
        self.rules = FrameRules(settings.rules, settings.genetic_code)
        self.ids = RecordIds()
        self.counts: Counter[str] = Counter()
        self.indexes = {model.name: ItemIndex() for model in MODELS}
        self.inputs: list[dict[str, str]] = []

    def run(self, sources: list[Source], sample: str, path: Path) -> SplitResult:
        for source in sources:
            before = _state(source.path)
            self.ids.start_file(source)
            for batch in read_batches(source.path, name=source.name):
                self.ids.add(batch.ids)
                self._add(batch)
            self.inputs.append({"name": _shown(source.name), "sha256": sha256_of(source.path)})
            if _state(source.path) != before:
                raise InputError(
                    f"{source.name}: was changed while it was read",
                    "Run again when nothing writes to it any more.",
                )
        self._settle_ids()
        for chunks in self.chunks.values():
            chunks.finish()
        self.writer.finish(
            sample=sample,
            settings=self._provenance(),
            chunks={name: [*c.starts, c.num_items] for name, c in self.chunks.items()},
        )
        num_chunks = {name: len(chunk.starts) for name, chunk in self.chunks.items()}
        return SplitResult(path, dict(self.counts), num_chunks)

    def _add(self, batch: RecordBatch) -> None:
        """Records of one file, every distinct sequence worked on once."""
        first_record = self.counts["records_in"]
        # numbers in order of appearance, given out by looking up: one pass at C speed
        numbers: defaultdict[str, int] = defaultdict(count().__next__)
        sequence_of = np.fromiter(
            map(numbers.__getitem__, batch.sequences), dtype=np.int64, count=len(batch.sequences)
        )
        sequences = list(numbers)
        length = np.fromiter(map(len, sequences), dtype=np.int64, count=len(sequences))
        used = np.where(length >= self.settings.min_record_bp, length, 0)
        windows = cut_windows(used, window_bp=self.settings.window_bp, rules=self.settings.rules)
        rows = find_frames(sequences, windows, self.rules)

        copies = np.bincount(sequence_of, minlength=len(sequences))
        self._count(rows, windows, copies)
        table = _row_columns(rows, windows, used, self.settings.window_bp)
        for model in MODELS:
            table[model.name] = self._number(model, rows)
        spread, record = _spread(windows.record[rows.window], sequence_of, len(sequences))
        # in the type of the file before they multiply: half the bytes, and none to convert
        table = {name: column.astype(ROW_COLUMNS[name])[spread] for name, column in table.items()}
        table["record"] = (first_record + record).astype(ROW_COLUMNS["record"])
        for block, chosen in _blocks(table["frame"]).items():
            self.writer.add_rows(block, {n: column[chosen] for n, column in table.items()})
        is_closed = rows.num_frames["open"] == 0
        per_sequence = {
            "length_bp": length,
            "num_windows": np.bincount(windows.record, minlength=len(sequences)),
            "num_closed_windows": np.bincount(windows.record[is_closed], minlength=len(sequences)),
        }
        self._add_records(
            batch, {name: column[sequence_of] for name, column in per_sequence.items()}, table
        )

    def _number(self, model: ModelSlot, rows: FrameRows) -> Int64s:
        """Item of each row, -1 for a row without one; new items go to manifest and chunks."""
        index = self.indexes[model.name]
        if model.item == "dna":
            items, keys, new_texts = index.add(rows.dna)
        else:
            items = np.full(len(rows.frame), -1, dtype=np.int64)
            proteins, keys, new_texts = index.add([text for text in rows.proteins if text])
            items[rows.protein_len > 0] = proteins
        self.writer.add_items(model.name, keys, new_texts)
        self.chunks[model.name].add(keys, new_texts)
        return items

    def _add_records(self, batch: RecordBatch, columns: Columns, table: Columns) -> None:
        """Records with what is known of them, and the rows of all of them to be counted."""
        first, num_records = self.counts["records_in"], len(batch.ids)
        length = columns["length_bp"]
        no_windows = np.where(length == 0, EMPTY, TOO_SHORT)
        status = np.where(columns["num_windows"] == 0, no_windows, OK)
        position = table["record"] - first
        is_window = table["frame"] == NO_FRAME_CODE
        self.writer.add_records(
            batch.ids,
            {
                **columns,
                "num_protein_rows": np.bincount(position[~is_window], minlength=num_records),
                "num_window_rows": np.bincount(position[is_window], minlength=num_records),
                "status": status,
            },
        )
        lost = np.flatnonzero(status != OK).tolist()
        self.writer.add_lost([first + i for i in lost], [self._lost(int(length[i])) for i in lost])
        self.counts["records_in"] += num_records
        self.counts["bases_in"] += int(length.sum())
        num_closed = int(columns["num_closed_windows"].sum())
        self.counts["windows"] += int(columns["num_windows"].sum())
        self.counts["windows_no_open_frame"] += num_closed
        if not self.rules.exact:  # VirNucPro forgets them; they are counted all the same
            self.counts["windows_dropped"] += num_closed
        for name, code in (("ok", OK), ("empty", EMPTY), ("too_short", TOO_SHORT)):
            self.counts[f"records_{name}"] += int((status == code).sum())

    def _lost(self, length: int) -> tuple[str, str, str]:
        if not length:
            return "split", "empty", "the record has no letters"
        return "split", "too_short", f"{length} bp, less than {self.settings.min_record_bp}"

    def _count(self, rows: FrameRows, windows: Windows, copies: Int64s) -> None:
        """Frames and codons; each distinct sequence counts once per record that has it."""
        per_window = copies[windows.record]
        per_row = per_window[rows.window]
        for name, frames in rows.num_frames.items():
            self.counts[f"frames_{name}"] += int((frames * per_window).sum())
        self.counts["codons_ambiguous"] += int((rows.num_ambiguous_codons * per_row).sum())

    def _settle_ids(self) -> None:
        if self.settings.duplicate_ids == REFUSE:
            errors = self.ids.errors()
            if errors:
                raise CombinedInputError(errors)
            return
        names = self.ids.new_names()
        if names:
            self.writer.rename_records(names)
            entry = ("split", "renamed", "its id stood in the sample before")
            self.writer.add_lost(list(names), [entry] * len(names))

    def _provenance(self) -> dict[str, object]:
        return {
            "params": {
                "window_bp": self.settings.window_bp,
                "rules": self.settings.rules,
                "genetic_code": self.settings.genetic_code,
                "duplicate_ids": self.settings.duplicate_ids,
                "min_record_bp": self.settings.min_record_bp,
            },
            "inputs": self.inputs,
            "counts": dict(self.counts),
        }


def _workload(sample: str, result: SplitResult, chunks: dict[str, ChunkWriter]) -> Workload:
    counts = Counter(result.counts)
    protein_rows = counts["frames_open"]
    return Workload(
        sample=sample,
        records=counts["records_in"],
        bases=counts["bases_in"],
        windows=counts["windows"],
        open_frames=counts["frames_open"],
        rows=protein_rows + counts["windows_no_open_frame"] - counts["windows_dropped"],
        protein_rows=protein_rows,
        manifest_bytes=result.manifest.stat().st_size,
        models={
            model.name: model_workload(
                model,
                starts=[*chunks[model.name].starts, chunks[model.name].num_items],
                letters=chunks[model.name].letters,
                squared=chunks[model.name].squared,
            )
            for model in MODELS
        },
    )


def _state(path: Path) -> tuple[int, ...] | None:
    """What changes when somebody writes to a file; None where there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _shown(name: str) -> str:
    """The last part of a path; bytes that are no UTF-8, which HDF5 cannot store, as `?`."""
    return os.path.basename(name).encode("utf-8", "replace").decode()


def _row_columns(rows: FrameRows, windows: Windows, length: Int64s, window_bp: int) -> Columns:
    start, end = windows.start[rows.window], windows.end[rows.window]
    record_length = length[windows.record[rows.window]]
    is_short = (record_length > window_bp) & (end - start < window_bp)
    return {
        "window": windows.index[rows.window],
        "frame": rows.frame,
        "start": start,
        "end": end,
        "dna_start": rows.dna_start,
        "dna_end": rows.dna_end,
        "protein_len": rows.protein_len,
        "n_ambiguous": rows.n_ambiguous,
        "flags": rows.flags | is_short * int(Flag.SHORT_LAST_WINDOW),
    }


def _spread(row_sequence: Int64s, sequence_of: Int64s, num_sequences: int) -> tuple[Int64s, Int64s]:
    """From rows of distinct sequences to rows of records.

    Args:
        row_sequence: sequence of each row, ascending.
        sequence_of: sequence of each record.

    Returns:
        The row each row of the records is a copy of, and the record it belongs to.
    """
    per_sequence = np.bincount(row_sequence, minlength=num_sequences)
    first_row = np.cumsum(per_sequence) - per_sequence
    per_record = per_sequence[sequence_of]
    record = np.repeat(np.arange(len(sequence_of)), per_record)
    within = np.arange(len(record)) - np.repeat(np.cumsum(per_record) - per_record, per_record)
    return first_row[sequence_of][record] + within, record


def _blocks(frame: Int64s) -> dict[str, npt.NDArray[np.bool_]]:
    is_window = frame == NO_FRAME_CODE
    return {PROTEIN_ROWS: ~is_window, WINDOW_ROWS: is_window}
