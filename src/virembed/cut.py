"""What is made of records, by the type of their sample: the rows, and the texts to embed.

    windows   windows of the length given, their open frames, and windows without one
    contig    a row per record: its whole DNA
    protein   a row per record: the protein it is

Knows no file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from virembed.alphabets import STOP_SIGN
from virembed.frames import NO_FRAME_CODE, FrameRows, FrameRules, find_frames
from virembed.layout import CONTIG, PROTEIN, WINDOWS, Flag
from virembed.windows import Windows, cut_windows

Int64s = npt.NDArray[np.int64]

NOWHERE = -1  # number of the window of a whole record; coordinate where there is no DNA

_TO_DNA = str.maketrans("U", "T")


@dataclass(frozen=True, slots=True)
class Cut:
    """What some records are cut into.

    windows:     a window, or the whole record, for the numbers in `rows.window`
    rows:        what is embedded, sorted by record
    is_used:     per record, bool: something of it can be embedded
    num_windows, num_closed: per record: windows, and those without an open frame; int64
    num_frames:  per record, of the frames looked at: open, with_stop, empty; int64
    """

    windows: Windows
    rows: FrameRows
    is_used: npt.NDArray[np.bool_]
    num_windows: Int64s
    num_closed: Int64s
    num_frames: dict[str, Int64s]


Cutter = Callable[[Sequence[str], Int64s], Cut]


def cutter(kind: str, *, window_bp: int, rules: FrameRules) -> Cutter:
    """The function that cuts the records of a sample of this type.

    It takes sequences, and how many letters of each are used: all, or 0 for a record left out.
    """

    def windows(sequences: Sequence[str], used: Int64s) -> Cut:
        return _windows(sequences, used, window_bp=window_bp, rules=rules)

    return {WINDOWS: windows, CONTIG: _contigs, PROTEIN: _proteins}[kind]


def _windows(sequences: Sequence[str], used: Int64s, *, window_bp: int, rules: FrameRules) -> Cut:
    windows = cut_windows(used, window_bp=window_bp, rules=rules.name)
    rows = find_frames(list(sequences), windows, rules)
    is_short = (used[windows.record] > window_bp) & (windows.end - windows.start < window_bp)
    flags = rows.flags | is_short[rows.window] * int(Flag.SHORT_LAST_WINDOW)

    def per_record(of_window: npt.NDArray[np.integer] | npt.NDArray[np.bool_]) -> Int64s:
        # sums of weights are floats, exact far beyond any number of frames
        total = np.bincount(windows.record, weights=of_window, minlength=len(sequences))
        return total.astype(np.int64)

    num_windows = np.bincount(windows.record, minlength=len(sequences))
    return Cut(
        windows,
        replace(rows, flags=flags),
        is_used=num_windows > 0,
        num_windows=num_windows,
        num_closed=per_record(rows.num_frames["open"] == 0),
        num_frames={name: per_record(number) for name, number in rows.num_frames.items()},
    )


def _contigs(sequences: Sequence[str], used: Int64s) -> Cut:
    """By the exact rules: U is T, and what is no A, C, G, T stays."""
    record = np.flatnonzero(used)
    dna = [sequences[i].upper().translate(_TO_DNA).encode() for i in record.tolist()]
    other_letters = (len(text.translate(None, b"ACGT")) for text in dna)
    n_ambiguous = np.fromiter(other_letters, dtype=np.int64, count=len(dna))
    return _whole(
        len(sequences),
        Windows(record, np.full_like(record, NOWHERE), np.zeros_like(record), used[record]),
        proteins=[b""] * len(dna),
        dna=dna,
        n_ambiguous=n_ambiguous,
        flags=(n_ambiguous > 0) * int(Flag.AMBIGUOUS_DNA),
    )


def _proteins(sequences: Sequence[str], used: Int64s) -> Cut:
    """Without the stop sign at the end, which many gene finders write."""
    texts = [sequence.removesuffix(STOP_SIGN) for sequence in sequences]
    record = np.flatnonzero([bool(use and text) for use, text in zip(used, texts, strict=True)])
    proteins = [texts[i].upper().encode() for i in record.tolist()]
    has_stop = [len(texts[i]) < len(sequences[i]) for i in record.tolist()]
    nowhere = np.full_like(record, NOWHERE)
    return _whole(
        len(sequences),
        Windows(record, nowhere, nowhere, nowhere),
        proteins=proteins,
        dna=[],
        n_ambiguous=np.zeros_like(record),
        flags=np.array(has_stop, dtype=np.int64) * int(Flag.TERMINAL_STOP),
    )


def _whole(
    num_records: int,
    windows: Windows,
    *,
    proteins: list[bytes],
    dna: list[bytes],
    n_ambiguous: Int64s,
    flags: Int64s,
) -> Cut:
    """A row for each of `windows`, which are whole records."""
    num_rows = len(windows.record)
    none, zeros = np.zeros(num_records, dtype=np.int64), np.zeros(num_rows, dtype=np.int64)
    rows = FrameRows(
        window=np.arange(num_rows),
        frame=np.full(num_rows, NO_FRAME_CODE, dtype=np.int64),
        dna_start=windows.start,
        dna_end=windows.end,
        protein_len=np.fromiter(map(len, proteins), dtype=np.int64, count=num_rows),
        n_ambiguous=n_ambiguous,
        flags=flags,
        num_ambiguous_codons=zeros,
        proteins=proteins,
        dna=dna,
        num_frames={},
    )
    is_used = np.zeros(num_records, dtype=np.bool_)
    is_used[windows.record] = True
    return Cut(windows, rows, is_used, num_windows=none, num_closed=none, num_frames={})
