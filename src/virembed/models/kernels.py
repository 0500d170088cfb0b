"""What happens between the matrix products, each piece in one pass over memory.

One signature, two implementations: plain PyTorch here, which runs everywhere and says what is
computed, and Triton for GPUs in `triton_kernels`, imported only when it is chosen. `choose_kernels`
is the one place where that happens.

Everything is computed in fp32, whatever the dtype of the tensors. Every row is computed on its
own, so no number depends on what else is in the pack.

Shape letters: T packed tokens, N heads, H size of a head, R = H / 2 rotary frequencies, D model
size, F feed-forward size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import nn

from virembed.contracts import Choice
from virembed.errors import UsageError


class Rotation(NamedTuple):
    """Angles by position, the same for all heads and sequences: a small table stays in caches.

    cos, sin:  fp32 [n, R], n the length of the longest sequence
    positions: int64 [T], of each token in its sequence
    """

    cos: torch.Tensor
    sin: torch.Tensor
    positions: torch.Tensor


class AddNorm(Protocol):
    """x: fp32 [T, D], the residual stream, changed in place; update: [T, D] or None for zero.

    Returns [T, D] in `dtype`; it may be x itself.
    """

    def __call__(
        self,
        x: torch.Tensor,
        update: torch.Tensor | None,
        norm: nn.LayerNorm,
        *,
        dtype: torch.dtype,
    ) -> torch.Tensor: ...


class Rotate(Protocol):
    """Turns q and k, [T, N, H] each, in place; q is scaled before it is turned."""

    def __call__(
        self, q: torch.Tensor, k: torch.Tensor, rotation: Rotation, *, scale: float
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Kernels:
    """
    add_then_norm:    x += update;       returns LN(x), the input of the next product
    norm_of_sum:      x = LN(x + update); returns x, the input of the next product
    rotate:           rotary positions
    gelu:             the erf GELU in place; h: [T, F]
    gated_gelu:       gelu(first half) * second half; [T, 2F] -> [T, F]
    """

    add_then_norm: AddNorm
    norm_of_sum: AddNorm
    rotate: Rotate
    gelu: Callable[[torch.Tensor], torch.Tensor]
    gated_gelu: Callable[[torch.Tensor], torch.Tensor]


def add_then_norm(
    x: torch.Tensor, update: torch.Tensor | None, norm: nn.LayerNorm, *, dtype: torch.dtype
) -> torch.Tensor:
    if update is not None:
        x += update
    normed: torch.Tensor = norm(x)
    return normed.to(dtype)


def norm_of_sum(
    x: torch.Tensor, update: torch.Tensor | None, norm: nn.LayerNorm, *, dtype: torch.dtype
) -> torch.Tensor:
    if update is not None:
        x += update
    x.copy_(norm(x))
    return x.to(dtype)


def turned(x: torch.Tensor, rotation: Rotation) -> torch.Tensor:
    """Turns each pair (x_i, x_{i+R}) of a head by its angle; x: [T, N, H], a copy."""
    cos, sin = (table[rotation.positions][:, None] for table in rotation[:2])
    first, second = x.float().chunk(2, dim=-1)
    both = torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
    return both.to(x.dtype)


def rotate(q: torch.Tensor, k: torch.Tensor, rotation: Rotation, *, scale: float) -> None:
    q.copy_(turned(q.float() * scale, rotation))
    k.copy_(turned(k, rotation))


def gelu(h: torch.Tensor) -> torch.Tensor:
    return F.gelu(h)


def gated_gelu(h: torch.Tensor) -> torch.Tensor:
    activated, gate = h.float().chunk(2, dim=-1)
    return (F.gelu(activated) * gate).to(h.dtype)


PLAIN = Kernels(add_then_norm, norm_of_sum, rotate, gelu, gated_gelu)


def kernels_of(name: str) -> Kernels:
    """ "plain" or "triton"."""
    if name == "plain":
        return PLAIN
    from virembed.models import triton_kernels as fused  # noqa: PLC0415  the CPU works without

    return Kernels(
        add_then_norm=fused.add_then_norm,
        norm_of_sum=fused.norm_of_sum,
        rotate=fused.rotate,
        gelu=fused.gelu,
        gated_gelu=fused.gated_gelu,
    )


def has_triton() -> bool:
    return find_spec("triton") is not None


def choose_kernels(requested: str, device_type: str) -> Choice:
    """ "plain" or "triton", and why.

    Raises:
        UsageError: Triton was asked for and cannot run.
    """
    possible = device_type == "cuda" and has_triton()
    if requested == "auto":
        if possible:
            return Choice("triton", "auto: one pass over memory for each step between products")
        return Choice("plain", f"auto: no GPU with Triton, device {device_type}")
    if requested == "triton" and not possible:
        raise UsageError(
            f"the Triton kernels cannot run on {device_type}", "They need a GPU and triton."
        )
    return Choice(requested, "asked for")
