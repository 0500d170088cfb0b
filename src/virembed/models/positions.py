"""Where each token of a pack stands in its own sequence. Nothing here waits for a GPU.

Shape letters: T packed tokens, B sequences, R rotary frequencies.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from virembed.contracts import PackedTokens


class Rotation(NamedTuple):
    """Angles by position, the same for all heads and sequences: a small table stays in caches.

    cos, sin:  fp32 [n, R], n the length of the longest sequence
    positions: int64 [T], of each token in its sequence
    """

    cos: torch.Tensor
    sin: torch.Tensor
    positions: torch.Tensor


def per_token(values: torch.Tensor, tokens: PackedTokens) -> torch.Tensor:
    """Each sequence's value at each token, [T]; the known size spares a look at the GPU."""
    return values.repeat_interleave(tokens.cu_seqlens.diff(), output_size=len(tokens.ids))


def positions_in_sequence(tokens: PackedTokens) -> torch.Tensor:
    """Position of each token in its own sequence, from 0; int64 [T]."""
    in_pack = torch.arange(len(tokens.ids), device=tokens.ids.device)
    return in_pack - per_token(tokens.cu_seqlens[:-1], tokens)


def rotation_of(tokens: PackedTokens, inv_freq: torch.Tensor) -> Rotation:
    """inv_freq: fp32 [R]."""
    positions = positions_in_sequence(tokens)
    angles = torch.arange(max(tokens.lengths), device=inv_freq.device)[:, None] * inv_freq
    return Rotation(angles.cos(), angles.sin(), positions)
