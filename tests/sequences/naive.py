"""The sequence data path once more, as slowly and plainly as it can be said.

Strings and dicts, one record at a time, one letter at a time; written from the specification and
not from the product, which is compared with it. Knows nothing about files.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from Bio.Data import CodonTable

from virembed.layout import FRAMES, NO_FRAME, Flag

LETTERS = {
    "A": "A",
    "C": "C",
    "G": "G",
    "T": "T",
    "R": "AG",
    "Y": "CT",
    "S": "CG",
    "W": "AT",
    "K": "GT",
    "M": "AC",
    "B": "CGT",
    "D": "AGT",
    "H": "ACT",
    "V": "ACG",
    "N": "ACGT",
}
PLAIN_COMPLEMENT = {"A": "T", "C": "G", "G": "C", "T": "A"}
IUPAC_COMPLEMENT = PLAIN_COMPLEMENT | {
    "R": "Y",
    "Y": "R",
    "S": "S",
    "W": "W",
    "K": "M",
    "M": "K",
    "B": "V",
    "V": "B",
    "D": "H",
    "H": "D",
    "N": "N",
}


@dataclass(frozen=True)
class NaiveRow:
    row_id: str
    window: int
    frame: str
    start: int
    end: int
    dna_start: int
    dna_end: int
    dna: str
    protein: str
    flags: int
    n_ambiguous: int


@dataclass(frozen=True)
class Frame:
    """An open frame of a window: its protein and the slice of its own strand that codes for it."""

    protein: str
    start: int
    end: int
    ambiguous: bool
    terminal_stop: bool = False


# ------------------------------------------------------------------------------------- windows


def windows_virnucpro(length: int, size: int) -> list[tuple[int, int]]:
    if length == 0:
        return []
    n = (length + size - 1) // size
    r = n * size - length
    lo = r // n
    up = lo + 1
    need = r - lo * (n - 1)
    shifts = [up] * need + [lo] * (n - 1 - need) + [0]
    windows = []
    for k in range(n):
        start = k * size - sum(shifts[:k])
        windows.append((start, min(start + size, length)))
    return windows


def windows_exact(length: int, size: int) -> list[tuple[int, int]]:
    if length == 0:
        return []
    if length <= size:
        return [(0, length)]
    n = (length + size - 1) // size
    r = n * size - length
    lo = r // (n - 1)
    num_larger = r - lo * (n - 1)
    windows = []
    start = 0
    for k in range(n):
        windows.append((start, start + size))
        start += size - (lo + 1 if k < num_larger else lo)
    return windows


WINDOWS = {"virnucpro": windows_virnucpro, "exact": windows_exact}

# -------------------------------------------------------------------------------------- codons


def codon_table(genetic_code: int) -> dict[str, str]:
    """All 64 codons; a codon that is a stop and an amino acid is read as the amino acid."""
    table = CodonTable.unambiguous_dna_by_id[genetic_code]
    return dict.fromkeys(table.stop_codons, "*") | dict(table.forward_table)


def resolve(codon: str, table: dict[str, str]) -> str:
    """The residue that every reading of the codon agrees on, else X."""
    readings = {table["".join(bases)] for bases in itertools.product(*(LETTERS[c] for c in codon))}
    return readings.pop() if len(readings) == 1 else "X"


def codons(strand: str, offset: int) -> list[str]:
    return [strand[i : i + 3] for i in range(offset, len(strand) - 2, 3)]


def complement(window: str, letters: dict[str, str]) -> str:
    """The other strand, 5' to 3'; a letter that is not in the table stays as it is."""
    return "".join(letters.get(letter, letter) for letter in reversed(window))


# -------------------------------------------------------------------------------------- frames


def frame_virnucpro(strand: str, offset: int, table: dict[str, str]) -> Frame | None:
    residues = [table.get(codon, "") for codon in codons(strand, offset)]
    protein = "".join(residues)
    if "*" in protein or protein == "":
        return None
    end = min(offset + 3 * len(protein) + 1, len(strand))
    return Frame(protein, offset, end, ambiguous="" in residues)


def frame_exact(strand: str, offset: int, table: dict[str, str]) -> Frame | None:
    protein = "".join(resolve(codon, table) for codon in codons(strand, offset))
    terminal_stop = protein.endswith("*")
    if terminal_stop:
        protein = protein[:-1]
    if "*" in protein or protein == "":
        return None
    end = offset + 3 * len(protein)
    return Frame(protein, offset, end, ambiguous="X" in protein, terminal_stop=terminal_stop)


# ---------------------------------------------------------------------------------------- rows


def naive_rows(
    record_id: str, sequence: str, *, window_bp: int, rules: str, genetic_code: int = 1
) -> list[NaiveRow]:
    """The rows of one record, in the order record, window, F1 F2 F3 R1 R2 R3.

    A window without an open frame is a row of its own by the exact rules, and gone by VirNucPro's.
    """
    sequence = sequence.upper()
    if rules == "exact":
        sequence = sequence.replace("U", "T")
    windows = WINDOWS[rules](len(sequence), window_bp)
    rows = []
    for k, (start, end) in enumerate(windows):
        flags = 0
        if k == len(windows) - 1 and k > 0 and end - start < window_bp:
            flags = Flag.SHORT_LAST_WINDOW
        rows += window_rows(
            f"{record_id}_chunk_{k + 1}", sequence, k, (start, end), flags, rules, genetic_code
        )
    return rows


def window_rows(window_id, sequence, k, span, window_flags, rules, genetic_code) -> list[NaiveRow]:
    start, end = span
    table = codon_table(genetic_code)
    forward = sequence[start:end]
    letters = PLAIN_COMPLEMENT if rules == "virnucpro" else IUPAC_COMPLEMENT
    reverse = complement(forward, letters)
    read = frame_virnucpro if rules == "virnucpro" else frame_exact

    rows = []
    for name in FRAMES:
        strand = forward if name[0] == "F" else reverse
        frame = read(strand, int(name[1]) - 1, table)
        if frame is None:
            continue
        if name[0] == "F":
            dna_span = (start + frame.start, start + frame.end)
        else:
            dna_span = (end - frame.end, end - frame.start)
        dna = strand[frame.start : frame.end]
        flags = window_flags
        if frame.ambiguous:
            flags |= Flag.AMBIGUOUS_RESIDUES
        if frame.terminal_stop:
            flags |= Flag.TERMINAL_STOP
        rows.append(
            finished_row(window_id + name, k, name, span, dna_span, dna, frame.protein, flags)
        )
    if not rows and rules == "exact":
        rows.append(finished_row(window_id, k, NO_FRAME, span, span, forward, "", window_flags))
    return rows


def finished_row(row_id, k, frame, span, dna_span, dna, protein, flags) -> NaiveRow:
    n_ambiguous = sum(letter not in "ACGT" for letter in dna)
    if n_ambiguous > 0:
        flags |= Flag.AMBIGUOUS_DNA
    return NaiveRow(row_id, k, frame, *span, *dna_span, dna, protein, int(flags), n_ambiguous)


def in_result_order(rows: list[NaiveRow]) -> list[NaiveRow]:
    """Block A, the rows with a protein, then block B, those without; each in input order."""
    return [row for row in rows if row.protein] + [row for row in rows if not row.protein]


def distinct(texts: list[str]) -> list[str]:
    """Every text once, in the order of first appearance."""
    return list(dict.fromkeys(texts))


def cut_chunks(texts: list[str], limit: int) -> list[list[str]]:
    """Item i goes into chunk floor(letters before it / limit); a chunk may thus be skipped."""
    chunks: dict[int, list[str]] = {}
    before = 0
    for text in texts:
        chunks.setdefault(before // limit, []).append(text)
        before += len(text)
    return list(chunks.values())
