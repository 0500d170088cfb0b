"""`weights.json`, the identity card of a converted weights directory. Needs no torch.

A weights directory holds real files only (no links: containers mount a directory, not what its
links point to):

    weights.json         this card
    model.safetensors    tensors under the names of the original model, heads left out
    tokenizer.json       DNABERT-S only
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from virembed.cards import read_card, write_card
from virembed.layout import DNABERTS, ESM2, model_slot

CARD = "weights.json"
TENSORS = "model.safetensors"
TOKENIZER = "tokenizer.json"
FORMAT = "virembed.weights/1"

# The models by the names they are published under: ours of `layout.MODELS`, Hugging Face repository
PUBLISHED = {
    **{
        name: (ESM2.name, f"facebook/{name}")
        for name in (
            "esm2_t6_8M_UR50D",
            "esm2_t12_35M_UR50D",
            "esm2_t30_150M_UR50D",
            "esm2_t33_650M_UR50D",
            "esm2_t36_3B_UR50D",
            "esm2_t48_15B_UR50D",
        )
    },
    "DNABERT-S": (DNABERTS.name, "zhihan1996/DNABERT-S"),
}


@dataclass(frozen=True, slots=True)
class WeightsInfo:
    """Which model, where from, and the checksums that prove it.

    model:     "esm2" or "dnaberts" (a name of `layout.MODELS`)
    name:      such as "esm2_t33_650M_UR50D"
    dim:       D, width of an embedding
    num_layers, num_heads, ffn_dim, vocab_size: the sizes of the model
    config:    what else the forward pass needs (token_dropout, layer_norm_eps, ...)
    random:    True if the weights were made by `virembed weights random`: no biology in the vectors
    files:     sha256 of each file beside the card, by name
    source:    sha256 of each file the conversion read, by name
    origin:    REPOSITORY@COMMIT of Hugging Face if `weights fetch` got it, else empty
    """

    model: str
    name: str
    dim: int
    num_layers: int
    num_heads: int
    ffn_dim: int
    vocab_size: int
    config: dict[str, Any]
    random: bool
    files: dict[str, str]
    source: dict[str, str]
    origin: str = ""

    @property
    def sha256(self) -> str:
        """The checksum of the tensors: what `weights_sha256` means everywhere."""
        return self.files[TENSORS]

    @property
    def flops_per_token(self) -> int:
        """Operations of the matrix products with weights for one token; attention is not in it."""
        ffn_products = model_slot(self.model).ffn_products
        weights = 4 * self.dim**2 + ffn_products * self.dim * self.ffn_dim
        return 2 * self.num_layers * weights


def write_info(directory: Path, info: WeightsInfo) -> None:
    write_card(directory / CARD, info, form=FORMAT)


def read_info(path: Path) -> WeightsInfo:
    """The card of a weights directory, or the card itself.

    Raises:
        WeightsError: there is no card, it is not one of ours, or it was altered.
    """
    remedy = "Make the directory with `virembed weights convert`."
    card = path / CARD if path.is_dir() else path
    return read_card(card, _complete, form=FORMAT, remedy=remedy)


def _complete(**fields: Any) -> WeightsInfo:
    info = WeightsInfo(**fields)
    if TENSORS not in info.files:
        raise TypeError(f"no checksum of {TENSORS}")
    return info
