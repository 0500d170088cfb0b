"""What one stage hands to the next: frozen records, their units and their shapes.

Shape letters, here and in every docstring: T packed tokens, B items of a pack, L layers, N heads,
H size of a head, D model size, F feed-forward size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # the stages without a model start without torch
    import numpy as np
    import numpy.typing as npt
    import torch


@dataclass(frozen=True, slots=True)
class Choice:
    """A decision that was taken in one place, with the reason that is stored beside the result."""

    value: str
    reason: str


@dataclass(frozen=True, slots=True)
class Pack:
    """The items of one forward pass, longest first.

    items:      int64 [B], positions in the planner's input
    lengths:    int64 [B], tokens of each item
    num_tokens: T, constant over the packs of a task; what the items leave free is filled with
                throw-away tokens, so that every matrix product has the same shape
    """

    items: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    num_tokens: int


@dataclass(frozen=True, slots=True)
class PackedTokens:
    """Token ids of several sequences, one after the other, without padding.

    ids:         int64 [T]
    cu_seqlens:  int32 [B + 1], where each sequence starts and the last one ends; cu_seqlens[-1] = T
    lengths:     the same as plain integers, so that nothing has to be read back from a GPU
    derived:     what kernels compute from the lengths, kept for the next layer, by name
    """

    ids: torch.Tensor
    cu_seqlens: torch.Tensor
    lengths: tuple[int, ...]
    derived: dict[str, torch.Tensor] = field(default_factory=dict, compare=False, repr=False)


class Tokenizer(Protocol):
    """Text to token ids, special tokens included."""

    fill_id: int  # a harmless id for throw-away tokens

    def encode(self, sequences: Sequence[str]) -> list[npt.NDArray[np.int64]]:
        """One int64 array of token ids per sequence."""
        ...


class Encoder(Protocol):
    """A model as the engine sees it: packed tokens in, last hidden states out."""

    dim: int  # D
    pool_skip: tuple[int, int]  # tokens left out of the mean at the start and end of a sequence
    pooling: str  # the same in words, stored with the vectors

    @property
    def bytes_per_token(self) -> int:
        """Memory of a forward pass at its peak, without weights."""
        ...

    def __call__(self, tokens: PackedTokens) -> torch.Tensor:
        """Hidden states [T, D] after the last layer, fp32."""
        ...
