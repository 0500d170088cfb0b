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
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import nn

from virembed.contracts import Choice
from virembed.errors import UsageError
from virembed.models.fp8 import FP8, Activations, like, quantised
from virembed.models.gating import halves_of
from virembed.models.positions import Rotation


class AddNorm(Protocol):
    """x: fp32 [T, D], the residual stream, changed in place; update: [T, D] or None for zero.

    Returns [T, D] in `dtype`, for fp8 with scales; it may be x itself.
    """

    def __call__(
        self,
        x: torch.Tensor,
        update: torch.Tensor | None,
        norm: nn.LayerNorm,
        *,
        dtype: torch.dtype,
    ) -> Activations: ...


class Rotate(Protocol):
    """Scales x, [T, N, H], and turns it, in place."""

    def __call__(self, x: torch.Tensor, rotation: Rotation, *, scale: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Kernels:
    """
    add_then_norm:      x += update;       returns LN(x), the input of the next product
    norm_of_sum:        x = LN(x + update); returns x, the input of the next product
    rotate:             rotary positions
    linear_gelu:        the erf GELU of a product; [T, D] -> [T, F]
    linear_gated_gelu:  gelu(a) * b of a product, a and b in turns as `models.gating` lays them;
                        [T, D] -> [T, F]

    What goes into a product in fp8 is `Quantised`, and so is then what these two give.
    """

    add_then_norm: AddNorm
    norm_of_sum: AddNorm
    rotate: Rotate
    linear_gelu: Callable[[Activations, nn.Linear], Activations]
    linear_gated_gelu: Callable[[Activations, nn.Linear], Activations]


def _rounded(x: torch.Tensor, dtype: torch.dtype) -> Activations:
    return quantised(x) if dtype == FP8 else x.to(dtype)


def add_then_norm(
    x: torch.Tensor, update: torch.Tensor | None, norm: nn.LayerNorm, *, dtype: torch.dtype
) -> Activations:
    if update is not None:
        x += update
    return _rounded(norm(x), dtype)


def norm_of_sum(
    x: torch.Tensor, update: torch.Tensor | None, norm: nn.LayerNorm, *, dtype: torch.dtype
) -> Activations:
    if update is not None:
        x += update
    x.copy_(norm(x))
    return _rounded(x, dtype)


def turned(x: torch.Tensor, rotation: Rotation) -> torch.Tensor:
    """Turns each pair (x_i, x_{i+R}) of a head by its angle; x: [T, N, H], a copy."""
    cos, sin = (table[rotation.positions][:, None] for table in rotation[:2])
    first, second = x.float().chunk(2, dim=-1)
    both = torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
    return both.to(x.dtype)


def rotate(x: torch.Tensor, rotation: Rotation, *, scale: float) -> None:
    x.copy_(turned(x.float() * scale, rotation))


def linear_gelu(y: Activations, linear: nn.Linear) -> Activations:
    return like(y, F.gelu(linear(y)))


def linear_gated_gelu(y: Activations, linear: nn.Linear) -> Activations:
    activated, gate = halves_of(linear(y).float())
    return like(y, F.gelu(activated) * gate)


PLAIN = Kernels(add_then_norm, norm_of_sum, rotate, linear_gelu, linear_gated_gelu)


def kernels_of(name: str) -> Kernels:
    """ "plain" or "triton"."""
    if name == "plain":
        return PLAIN
    from virembed.models import triton_kernels, triton_linear  # noqa: PLC0415  GPUs only

    return Kernels(
        add_then_norm=triton_kernels.add_then_norm,
        norm_of_sum=triton_kernels.norm_of_sum,
        rotate=triton_kernels.rotate,
        linear_gelu=triton_linear.linear_gelu,
        linear_gated_gelu=triton_linear.linear_gated_gelu,
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
