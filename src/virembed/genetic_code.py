"""NCBI genetic codes as look-up tables over triplets of IUPAC letters.

A letter is a set of bases, written as four bits (A 1, C 2, G 4, T 8), a codon three such sets, so
that one table of 4096 entries answers for every codon, ambiguous or not, and a second one for the
codon read on the other strand.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
import numpy.typing as npt
from Bio.Data import CodonTable

STOP = ord("*")
UNKNOWN = ord("X")
DROPPED = 0  # VirNucPro leaves out the residue of a codon it does not know

_BASES = {
    "A": "A", "C": "C", "G": "G", "T": "T", "R": "AG", "Y": "CT", "K": "GT", "M": "AC",
    "S": "CG", "W": "AT", "B": "CGT", "D": "AGT", "H": "ACT", "V": "ACG", "N": "ACGT",
}  # fmt: skip
_BIT = {"A": 1, "C": 2, "G": 4, "T": 8}
_BITS = {letter: sum(_BIT[base] for base in bases) for letter, bases in _BASES.items()}
# U stands for any base here: rules that know RNA turn it into T before
BITS = bytes(_BITS.get(chr(i), 15) for i in range(256))

GENETIC_CODES = tuple(sorted(CodonTable.unambiguous_dna_by_id))


@dataclass(frozen=True, slots=True)
class GeneticCode:
    """Residue letters (ASCII) by codon, uint8 [4096]; index = bits 1 · 256 + bits 2 · 16 + bits 3.

    forward: of the codon as it stands
    reverse: of its reverse complement
    """

    forward: npt.NDArray[np.uint8]
    reverse: npt.NDArray[np.uint8]


@cache
def genetic_code(table: int, *, resolve_ambiguity: bool) -> GeneticCode:
    """The tables of an NCBI code.

    Args:
        resolve_ambiguity: an ambiguous codon is the residue its resolutions agree on, else X;
            False: it has no residue (`DROPPED`).
    """
    residues = _residues(table)
    sets = ["".join(b for b in "ACGT" if _BIT[b] & bits) for bits in range(16)]
    forward = np.zeros(4096, dtype=np.uint8)
    for i, (a, b, c) in enumerate(product(sets, repeat=3)):
        found = {residues["".join(codon)] for codon in product(a, b, c)}
        if len(a) == len(b) == len(c) == 1 or (resolve_ambiguity and len(found) == 1):
            forward[i] = ord(found.pop())
        else:
            forward[i] = UNKNOWN if resolve_ambiguity else DROPPED
    index = np.arange(4096)
    mirrored = (
        _complement(index & 15) << 8 | _complement(index >> 4 & 15) << 4 | _complement(index >> 8)
    )
    return GeneticCode(forward, forward[mirrored])


def _residues(table: int) -> dict[str, str]:
    """Residue or '*' of the 64 codons; one that is both (tables 27, 28, 31) codes its residue."""
    code = CodonTable.unambiguous_dna_by_id[table]
    return dict.fromkeys(code.stop_codons, "*") | dict(code.forward_table)


def _complement(bits: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """A and T, C and G change places: the four bits in reverse order."""
    return (bits & 1) << 3 | (bits & 2) << 1 | (bits & 4) >> 1 | (bits & 8) >> 3
