"""Names that more than one stage must spell alike: models, files, columns, flag bits.

Knows nothing about how the files are read or written.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag

SCHEMA_VERSION = "1.1"

WINDOWS, CONTIG, PROTEIN = "windows", "contig", "protein"
TYPES = (WINDOWS, CONTIG, PROTEIN)  # of a sample: what of its records is embedded

FRAMES = ("F1", "F2", "F3", "R1", "R2", "R3")
NO_FRAME = "none"
NOTHING = "none"  # in the provenance, of how items were embedded where there were none
UNKNOWN = "unknown"  # in the provenance of an imported result; -1 where a number belongs
IMPORTED = "imported"  # the origin there
FRAME_NAMES = (*FRAMES, NO_FRAME)  # the code of a frame is its position here


@dataclass(frozen=True, slots=True)
class ModelSlot:
    """A kind of embedding every result file has room for.

    name:          as in options, file names and columns
    item:          what it embeds: "protein" or "dna"
    suffix:        of its chunk files
    flag_copied:   bit of `obs/flags`: the vector was computed for an identical sequence
    flag_wider:    bit of `obs/flags`: half precision overflowed, products had a wider range
    letters_per_token: 1 for residues; for byte pairs a mean over natural DNA, not exact
    ffn_products:  matrix products of the feed-forward part of a layer: 2, or 3 where it is gated
    """

    name: str
    item: str
    suffix: str
    flag_copied: int
    flag_wider: int
    letters_per_token: float
    ffn_products: int

    @property
    def obsm(self) -> str:
        return f"X_{self.name}"


class Flag(IntFlag):
    """Bits of `obs/flags`; the file itself carries this table in `uns/flags`."""

    PROTEIN_TRUNCATED = 1
    DNA_TRUNCATED = 2
    AMBIGUOUS_RESIDUES = 4
    AMBIGUOUS_DNA = 8
    SHORT_LAST_WINDOW = 16
    ESM2_COPIED = 32
    DNABERTS_COPIED = 64
    ESM2_FAILED = 128
    DNABERTS_FAILED = 256
    TERMINAL_STOP = 512
    ESM2_WIDER = 1024
    DNABERTS_WIDER = 2048
    IMPORTED = 4096


FLAG_MEANINGS = {
    Flag.PROTEIN_TRUNCATED: "protein truncated before embedding",
    Flag.DNA_TRUNCATED: "DNA truncated before embedding",
    Flag.AMBIGUOUS_RESIDUES: "residues dropped or X because their codon is ambiguous",
    Flag.AMBIGUOUS_DNA: "the embedded DNA has letters other than A, C, G, T",
    Flag.SHORT_LAST_WINDOW: "last window of its record, shorter than the window length",
    Flag.ESM2_COPIED: "ESM-2 vector copied from an identical protein",
    Flag.DNABERTS_COPIED: "DNABERT-S vector copied from identical DNA",
    Flag.ESM2_FAILED: "ESM-2 vector missing although there is a protein",
    Flag.DNABERTS_FAILED: "DNABERT-S vector missing",
    Flag.TERMINAL_STOP: "ends with a stop, which is not part of the protein",
    Flag.ESM2_WIDER: "ESM-2 products in bf16 or fp32, fp16 overflowed",
    Flag.DNABERTS_WIDER: "DNABERT-S products in bf16 or fp32, fp16 overflowed",
    Flag.IMPORTED: "imported from other software: coordinates and the other flags are unknown",
}

ESM2 = ModelSlot(
    name="esm2",
    item="protein",
    suffix=".faa",
    flag_copied=Flag.ESM2_COPIED,
    flag_wider=Flag.ESM2_WIDER,
    letters_per_token=1.0,
    ffn_products=2,
)
DNABERTS = ModelSlot(
    name="dnaberts",
    item="dna",
    suffix=".fna",
    flag_copied=Flag.DNABERTS_COPIED,
    flag_wider=Flag.DNABERTS_WIDER,
    letters_per_token=4.5,
    ffn_products=3,
)
MODELS = (ESM2, DNABERTS)
PROTEIN_TEXTS = ESM2  # the model whose items are the proteins published beside the result
MODEL_NAMES = tuple(model.name for model in MODELS)


def model_slot(name: str) -> ModelSlot:
    return next(model for model in MODELS if model.name == name)


def chunk_name(sample: str, model: str, number: int) -> str:
    """Name of a chunk, of its task and of its shard; sorts in the order of its items."""
    return f"{sample}.{model}.{number:05d}"


def row_id(record: str, window: int, frame: str) -> str:
    """VirNucPro's own id: window counted from 1, no suffix for a window without an open frame.

    Unique where record ids are: the last `_chunk_` is always ours.
    """
    return f"{record}_chunk_{window + 1}{'' if frame == NO_FRAME else frame}"
