"""SPLIT: the files of a sample in, its manifest and its chunks out.

One pass over the records in batches; what stays in memory is the index of distinct items.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import numpy.typing as npt

from virembed.checksum import sha256_of
from virembed.cut import Cut, cutter
from virembed.errors import CombinedInputError, InputError, UsageError
from virembed.fasta import RecordBatch
from virembed.frames import FrameRows, FrameRules
from virembed.items import ChunkWriter, ItemIndex
from virembed.layout import CONTIG, MODELS, PROTEIN, WINDOWS, ModelSlot
from virembed.manifest import (
    EMPTY,
    OK,
    PROTEIN_ROWS,
    ROW_COLUMNS,
    STATUSES,
    TOO_LONG,
    TOO_SHORT,
    WINDOW_ROWS,
    Columns,
    ManifestWriter,
    new_manifest,
)
from virembed.record_ids import REFUSE, RecordIds, Source
from virembed.samplesheet import SAFE_SAMPLE, SAFE_SAMPLE_HINT
from virembed.workload import SUFFIX, Workload, model_workload, write_workload

Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitSettings:
    """How a sample is cut.

    type:            of the sample, one of `layout.TYPES`
    rules:           "exact" or "virnucpro", for windows and frames
    duplicate_ids:   "refuse" or "suffix"
    min_record_bp:   shorter records give no rows and are listed as lost; not of proteins
    max_contig_bp:   longer ones likewise, of the type contig
    chunk_limits:    letters per chunk, by model
    """

    type: str
    window_bp: int
    rules: str
    genetic_code: int
    duplicate_ids: str
    min_record_bp: int
    max_contig_bp: int
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
        InputError: a file is damaged, no FASTA or FASTQ of such letters, or an id is repeated.
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
        rules = FrameRules(settings.rules, settings.genetic_code)
        self.cut = cutter(settings.type, window_bp=settings.window_bp, rules=rules)
        self.ids = RecordIds()
        self.counts: Counter[str] = Counter()
        self.indexes = {model.name: ItemIndex() for model in MODELS}
        self.inputs: list[dict[str, str]] = []

    def run(self, sources: list[Source], sample: str, path: Path) -> SplitResult:
        for source in sources:
            before = source.state()
            self.ids.start_file(source)
            for batch in source.batches():
                self.ids.add(batch.ids)
                self._add(batch)
            self.inputs.append({"name": source.shown, "sha256": sha256_of(source.path)})
            if source.state() != before:
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
        status = self._status(length)
        cut = self.cut(sequences, np.where(status == OK, length, 0))
        status[(status == OK) & ~cut.is_used] = EMPTY  # a protein of nothing but a stop sign

        copies = np.bincount(sequence_of, minlength=len(sequences))
        self._count(cut, copies)
        table = _row_columns(cut)
        for model in MODELS:
            table[model.name] = self._number(model, cut.rows)
        row_sequence = cut.windows.record[cut.rows.window]
        spread, record = _spread(row_sequence, sequence_of, len(sequences))
        # in the type of the file before they multiply: half the bytes, and none to convert
        table = {name: column.astype(ROW_COLUMNS[name])[spread] for name, column in table.items()}
        table["record"] = (first_record + record).astype(ROW_COLUMNS["record"])
        for block, chosen in _blocks(table).items():
            self.writer.add_rows(block, {n: column[chosen] for n, column in table.items()})
        per_sequence = {
            "length_bp": length,
            "num_windows": cut.num_windows,
            "num_closed_windows": cut.num_closed,
            "status": status,
        }
        self._add_records(
            batch, {name: column[sequence_of] for name, column in per_sequence.items()}, table
        )

    def _number(self, model: ModelSlot, rows: FrameRows) -> Int64s:
        """Item of each row, -1 for a row without one; new items go to manifest and chunks."""
        if model.item == "dna":
            texts, has_text = rows.dna, rows.dna_end > rows.dna_start
        else:
            texts, has_text = [text for text in rows.proteins if text], rows.protein_len > 0
        items = np.full(len(rows.frame), -1, dtype=np.int64)
        items[has_text], keys, new_texts = self.indexes[model.name].add(texts)
        self.writer.add_items(model.name, keys, new_texts)
        self.chunks[model.name].add(keys, new_texts)
        return items

    def _add_records(self, batch: RecordBatch, columns: Columns, table: Columns) -> None:
        """Records with what is known of them, and the rows of all of them to be counted."""
        first, num_records = self.counts["records_in"], len(batch.ids)
        length, status = columns["length_bp"], columns["status"]
        position = table["record"] - first
        is_protein = _blocks(table)[PROTEIN_ROWS]
        self.writer.add_records(
            batch.ids,
            {
                **columns,
                "num_protein_rows": np.bincount(position[is_protein], minlength=num_records),
                "num_window_rows": np.bincount(position[~is_protein], minlength=num_records),
            },
        )
        lost = np.flatnonzero(status != OK).tolist()
        entries = [self._lost(int(status[i]), int(length[i])) for i in lost]
        self.writer.add_lost([first + i for i in lost], entries)
        self.counts["records_in"] += num_records
        letters = "residues_in" if self.settings.type == PROTEIN else "bases_in"
        self.counts[letters] += int(length.sum())
        num_closed = int(columns["num_closed_windows"].sum())
        self.counts["windows"] += int(columns["num_windows"].sum())
        self.counts["windows_no_open_frame"] += num_closed
        if self.settings.rules != "exact":  # VirNucPro forgets them; they are counted all the same
            self.counts["windows_dropped"] += num_closed
        for code in (OK, EMPTY, TOO_SHORT, TOO_LONG):
            self.counts[f"records_{STATUSES[code]}"] += int((status == code).sum())
        if self.settings.type != WINDOWS:
            self.counts[f"{self.settings.type}s"] += int((status == OK).sum())

    def _status(self, length: Int64s) -> Int64s:
        """Status of records by their length alone."""
        status = np.where(length == 0, EMPTY, OK)
        if self.settings.type != PROTEIN:
            status[(length > 0) & (length < self.settings.min_record_bp)] = TOO_SHORT
        if self.settings.type == CONTIG:
            status[length > self.settings.max_contig_bp] = TOO_LONG
        return status

    def _lost(self, status: int, length: int) -> tuple[str, str, str]:
        detail = {
            EMPTY: "the record has no letters",
            TOO_SHORT: f"{length} bp, less than {self.settings.min_record_bp}",
            TOO_LONG: f"{length} bp, more than {self.settings.max_contig_bp}",
        }
        return "split", STATUSES[status], detail[status]

    def _count(self, cut: Cut, copies: Int64s) -> None:
        """Frames and codons; each distinct sequence counts once per record that has it."""
        for name, frames in cut.num_frames.items():
            self.counts[f"frames_{name}"] += int((frames * copies).sum())
        per_row = copies[cut.windows.record[cut.rows.window]]
        self.counts["codons_ambiguous"] += int((cut.rows.num_ambiguous_codons * per_row).sum())

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
                "type": self.settings.type,
                "window_bp": self.settings.window_bp,
                "rules": self.settings.rules,
                "genetic_code": self.settings.genetic_code,
                "duplicate_ids": self.settings.duplicate_ids,
                "min_record_bp": self.settings.min_record_bp,
                "max_contig_bp": self.settings.max_contig_bp,
            },
            "inputs": self.inputs,
            "counts": dict(self.counts),
        }


def _workload(sample: str, result: SplitResult, chunks: dict[str, ChunkWriter]) -> Workload:
    counts = Counter(result.counts)
    protein_rows = counts["frames_open"] + counts["proteins"]
    closed = counts["windows_no_open_frame"] - counts["windows_dropped"] + counts["contigs"]
    return Workload(
        sample=sample,
        records=counts["records_in"],
        bases=counts["bases_in"],
        windows=counts["windows"],
        open_frames=counts["frames_open"],
        rows=protein_rows + closed,
        protein_rows=protein_rows,
        dna_rows=counts["frames_open"] + closed,
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


def _row_columns(cut: Cut) -> Columns:
    rows, windows = cut.rows, cut.windows
    return {
        "window": windows.index[rows.window],
        "frame": rows.frame,
        "start": windows.start[rows.window],
        "end": windows.end[rows.window],
        "dna_start": rows.dna_start,
        "dna_end": rows.dna_end,
        "protein_len": rows.protein_len,
        "n_ambiguous": rows.n_ambiguous,
        "flags": rows.flags,
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


def _blocks(table: Columns) -> dict[str, npt.NDArray[np.bool_]]:
    has_protein = table["protein_len"] > 0
    return {PROTEIN_ROWS: has_protein, WINDOW_ROWS: ~has_protein}
