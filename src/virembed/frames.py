"""Open frames of windows: six-frame translation on whole arrays, and the texts to embed.

A codon is looked up once at every position of the joined records, for both strands. A frame of a
window is every third of these residues, so whether it is open follows from running counts of
stops, and its protein is one slice of the residues laid out by phase:

    letters   A T G C C T A ...            residues at 0, 1, 2, ...  r0 r1 r2 r3 r4 ...
    by phase  r0 r3 r6 ... | r1 r4 r7 ... | r2 r5 r8 ...

    exact       open: no stop except as last codon. U is T, IUPAC codes are complemented, a codon
                without a certain residue is X, the DNA of a frame is its codons without that stop
    virnucpro   open: no stop at all. U and IUPAC codes stay as they are on the other strand,
                a codon with one of them has no residue, the DNA is one letter longer; a window
                without an open frame has no row
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from virembed.genetic_code import BITS, DROPPED, STOP, UNKNOWN, genetic_code
from virembed.layout import FRAMES, Flag
from virembed.windows import Windows

Int64s = npt.NDArray[np.int64]

NO_FRAME_CODE = len(FRAMES)
_REVERSE = 3  # frames from this code on are on the reverse strand

_UPPER = bytes(range(256)).upper()
_UPPER_DNA = _UPPER.translate(bytes.maketrans(b"U", b"T"))
_COMPLEMENT = bytes.maketrans(b"ACGTRYKMBDHV", b"TGCAYRMKVHDB")
_COMPLEMENT_ACGT = bytes.maketrans(b"ACGT", b"TGCA")


@dataclass(frozen=True, slots=True)
class FrameRules:
    """Which frames count as open, and what is embedded of them.

    name:         of the window rule too
    genetic_code: NCBI number
    """

    name: str
    genetic_code: int

    @property
    def exact(self) -> bool:
        return self.name == "exact"


@dataclass(frozen=True, slots=True)
class FrameRows:
    """One row per open frame, and by the exact rules one per window without any.

    Sorted by window, then frame. `cut` makes rows of whole records of the same shape.

    window:              position in the windows given; int64, like all of these
    frame:               code of the frame (`layout.FRAME_NAMES`)
    dna_start, dna_end:  the letters to embed, forward strand of the record
    protein_len:         residues
    n_ambiguous:         letters of the DNA other than A, C, G, T
    flags:               bits of `layout.Flag`
    num_ambiguous_codons: codons without a certain residue
    proteins, dna:       the texts, b"" for no protein
    num_frames:          per window, of its six frames: open, with_stop, empty (without a residue)
    """

    window: Int64s
    frame: Int64s
    dna_start: Int64s
    dna_end: Int64s
    protein_len: Int64s
    n_ambiguous: Int64s
    flags: Int64s
    num_ambiguous_codons: Int64s
    proteins: list[bytes]
    dna: list[bytes]
    num_frames: dict[str, Int64s]


def find_frames(sequences: list[str], windows: Windows, rules: FrameRules) -> FrameRows:
    """The rows of some records, whose windows are given.

    Sequences are in letters of `alphabets.BASES`.
    """
    text = "".join(sequences).encode("ascii").translate(_UPPER_DNA if rules.exact else _UPPER)
    lengths = np.fromiter(map(len, sequences), dtype=np.int64, count=len(sequences))
    offset = (np.cumsum(lengths) - lengths)[windows.record]
    return _Strands(text, rules).rows(offset + windows.start, offset + windows.end, offset)


class _Strands:
    """Joined records, translated at every position of both strands."""

    def __init__(self, text: bytes, rules: FrameRules) -> None:
        self.rules = rules
        self.text = text
        bits = np.frombuffer(text.translate(BITS), dtype=np.uint8)
        # two letters of padding at the end, so that there is a codon at every position
        codon = np.zeros(len(text) + 2, dtype=np.uint16)
        codon[: len(bits)] = bits
        index = codon[:-2] << 4
        index |= codon[1:-1]
        index <<= 4
        index |= codon[2:]
        code = genetic_code(rules.genetic_code, resolve_ambiguity=rules.exact)
        self.forward = code.forward.take(index)
        self.reverse = code.reverse.take(index)
        self.ambiguous = np.frombuffer(text.translate(_AMBIGUOUS), dtype=np.bool_)
        self.has_ambiguous = bool(self.ambiguous.any())
        self.unsure = UNKNOWN if rules.exact else DROPPED

    def rows(self, start: Int64s, end: Int64s, offset: Int64s) -> FrameRows:
        """Rows of the windows [start, end) of the text; `offset` is where their record starts."""
        frame = np.arange(NO_FRAME_CODE)
        shift = frame % 3
        is_reverse = frame >= _REVERSE
        codons = np.maximum((end - start)[:, None] - shift, 0) // 3  # [windows, 6]
        low = np.where(is_reverse, end[:, None] - shift - 3 * codons, start[:, None] + shift)
        last = np.where(is_reverse, low, low + 3 * (codons - 1))

        stops, last_is_stop = self._stops(low, codons, last)
        unsure = self._unsure(low, codons)
        trimmed = last_is_stop if self.rules.exact else np.zeros_like(last_is_stop)
        residues = codons - trimmed - (0 if self.rules.exact else unsure)
        closed = stops > trimmed
        is_open = ~closed & (residues > 0)

        without = ~is_open.any(axis=1, keepdims=True) & self.rules.exact
        window, kind = np.nonzero(np.concatenate([is_open, without], axis=1))
        has_frame = kind < NO_FRAME_CODE
        picked = (window[has_frame], kind[has_frame])

        def column(values: Int64s) -> Int64s:
            full = np.zeros(len(window), dtype=np.int64)
            full[has_frame] = values[picked]
            return full

        protein_len = column(residues)
        dna_start, dna_end = self._dna(start[window], end[window], kind, protein_len)
        n_ambiguous = self._count(self.ambiguous, dna_start, dna_end)
        unsure, trimmed = column(unsure), column(trimmed)
        return FrameRows(
            window=window,
            frame=kind,
            dna_start=dna_start - offset[window],
            dna_end=dna_end - offset[window],
            protein_len=protein_len,
            n_ambiguous=n_ambiguous,
            flags=(unsure > 0) * int(Flag.AMBIGUOUS_RESIDUES)
            + (n_ambiguous > 0) * int(Flag.AMBIGUOUS_DNA)
            + (trimmed > 0) * int(Flag.TERMINAL_STOP),
            num_ambiguous_codons=unsure,
            proteins=self._proteins(column(low), column(codons), trimmed, kind, unsure),
            dna=self._dna_texts(dna_start, dna_end, kind),
            num_frames={
                "open": is_open.sum(axis=1),
                "with_stop": closed.sum(axis=1),
                "empty": (~closed & (residues <= 0)).sum(axis=1),
            },
        )

    def _stops(self, low: Int64s, codons: Int64s, last: Int64s) -> tuple[Int64s, Int64s]:
        """Stop codons per window and frame, and whether (0, 1) the last codon is one."""
        stops = np.empty_like(codons)
        last_is_stop = np.zeros_like(codons)
        for side, residues in ((slice(0, 3), self.forward), (slice(3, 6), self.reverse)):
            is_stop = residues == STOP
            stops[:, side] = _count_every_third(is_stop, low[:, side], codons[:, side])
            has_codon = codons[:, side] > 0
            last_is_stop[:, side][has_codon] = is_stop[last[:, side][has_codon]]
        return stops, last_is_stop

    def _unsure(self, low: Int64s, codons: Int64s) -> Int64s:
        """Codons without a certain residue per window and frame."""
        unsure = np.zeros_like(codons)
        if self.has_ambiguous:
            for side, residues in ((slice(0, 3), self.forward), (slice(3, 6), self.reverse)):
                is_unsure = residues == self.unsure
                unsure[:, side] = _count_every_third(is_unsure, low[:, side], codons[:, side])
        return unsure

    def _dna(
        self, start: Int64s, end: Int64s, kind: Int64s, protein_len: Int64s
    ) -> tuple[Int64s, Int64s]:
        """The letters to embed, as positions in the text, for each row."""
        size = 3 * protein_len + (0 if self.rules.exact else 1)
        shift = kind % 3
        from_left = np.minimum(start + shift + size, end)
        from_right = np.maximum(end - shift - size, start)
        whole = kind == NO_FRAME_CODE
        is_reverse = (kind >= _REVERSE) & ~whole
        dna_start = np.where(is_reverse, from_right, np.where(whole, start, start + shift))
        dna_end = np.where(is_reverse, end - shift, np.where(whole, end, from_left))
        return dna_start, dna_end

    def _count(self, letters: npt.NDArray[np.bool_], start: Int64s, end: Int64s) -> Int64s:
        if not self.has_ambiguous:
            return np.zeros_like(start)
        running = np.zeros(len(letters) + 1, dtype=np.int64)
        np.cumsum(letters, out=running[1:])
        return running[end] - running[start]

    def _dna_texts(self, start: Int64s, end: Int64s, kind: Int64s) -> list[bytes]:
        n = len(self.text)
        table = _COMPLEMENT if self.rules.exact else _COMPLEMENT_ACGT
        both = self.text + self.text.translate(table)[::-1]
        is_reverse = (kind >= _REVERSE) & (kind < NO_FRAME_CODE)
        first = np.where(is_reverse, 2 * n - end, start)
        return _slices(both, first, end - start)

    def _proteins(
        self, low: Int64s, codons: Int64s, trimmed: Int64s, kind: Int64s, unsure: Int64s
    ) -> list[bytes]:
        n = len(self.forward)
        backward = self.reverse[::-1]
        by_phase = [strand[phase::3] for strand in (self.forward, backward) for phase in range(3)]
        sizes = np.fromiter(map(len, by_phase), dtype=np.int64, count=6)
        phase_offset = np.cumsum(sizes) - sizes

        is_reverse = kind >= _REVERSE
        # on the reverse strand the first codon is the rightmost one; `low` is that of the last
        first = np.where(is_reverse, n - 1 - (low + 3 * (codons - 1)), low)
        first = np.where(codons > 0, first, 0)
        begin = phase_offset[first % 3 + 3 * is_reverse] + first // 3
        proteins = _slices(np.concatenate(by_phase).tobytes(), begin, codons - trimmed)
        if not self.rules.exact:
            for row in np.flatnonzero(unsure):
                proteins[row] = proteins[row].replace(b"\0", b"")
        return proteins


_AMBIGUOUS = bytes(chr(i) not in "ACGT" for i in range(256))


def _count_every_third(marks: npt.NDArray[np.bool_], low: Int64s, count: Int64s) -> Int64s:
    """How many of marks[low], marks[low + 3], ... (`count` of them) are set."""
    rows = -(-len(marks) // 3)
    padded = np.zeros((rows + 1, 3), dtype=np.int32)
    padded[1:].reshape(-1)[: len(marks)] = marks
    running = np.cumsum(padded, axis=0, out=padded).reshape(-1)  # running[i + 3]: up to position i
    low = np.where(count > 0, low, 0)  # a frame without a codon may lie outside
    result: Int64s = running[low + 3 * count] - running[low]
    return result


def _slices(text: bytes, start: Int64s, size: Int64s) -> list[bytes]:
    ends = (start + size).tolist()
    return [text[a:b] for a, b in zip(start.tolist(), ends, strict=True)]
