"""Letters of sequences: which a file may hold, and what to say of others.

Knows no file.
"""

from __future__ import annotations

from dataclasses import dataclass

from virembed.layout import PROTEIN

BASES = "ACGTURYKMSWBDHVN"  # IUPAC
RESIDUES = "ACDEFGHIKLMNPQRSTVWYXBUZO"  # all that ESM-2 has a token for, but gaps
STOP_SIGN = "*"
NOT_IN_DNA = frozenset("EFILPQJOXZ*")  # but in proteins
_USUAL_BASES = b"ACGTUNacgtun"


@dataclass(frozen=True, slots=True)
class Alphabet:
    """
    letters: in upper case; lower case is allowed too
    thing:   what a letter stands for, in messages
    ending:  a sign that may stand once, at the end of a sequence
    """

    letters: str
    thing: str
    ending: str = ""

    def illegal(self, text: str) -> str:
        """The letters that do not belong here; looks at no ending."""
        allowed = (self.letters + self.letters.lower()).encode()
        return text.encode("latin-1", "replace").translate(None, allowed).decode("latin-1")

    def illegal_in(self, sequence: str) -> str:
        """The letters of a single sequence that do not belong there."""
        return self.illegal(sequence.removesuffix(self.ending) if self.ending else sequence)

    def complaint(self, letters: str) -> tuple[str, str]:
        """What is wrong with a sequence that has these illegal letters, and what helps."""
        problem = f"letter {letters[0]!r} is no {self.thing}"
        if self is NUCLEOTIDES and NOT_IN_DNA & set(letters.upper()):
            return (
                f"{problem}, this looks like a protein",
                "Give nucleotide sequences; proteins of your own need the type protein.",
            )
        if self is AMINO_ACIDS and letters[0] == STOP_SIGN:
            return (
                f"{problem}, a stop may stand at the end only",
                "Cut the protein at its stop, or remove it.",
            )
        return (
            problem,
            f"Allowed are {self.letters}, in either case; remove gaps, digits and other signs.",
        )


NUCLEOTIDES = Alphabet(BASES, "nucleotide")
AMINO_ACIDS = Alphabet(RESIDUES, "amino acid", ending=STOP_SIGN)


def alphabet_of(kind: str) -> Alphabet:
    """Of the files of a sample of a type, one of `layout.TYPES`."""
    return AMINO_ACIDS if kind == PROTEIN else NUCLEOTIDES


def only_bases(text: str) -> bool:
    """Whether a text that should be protein could as well be DNA."""
    return not text.encode("latin-1", "replace").translate(None, _USUAL_BASES)
