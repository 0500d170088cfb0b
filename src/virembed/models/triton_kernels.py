"""The kernels of `virembed.models.kernels` in Triton. Imported on GPUs only.

Compiled at first use for the sizes of the model, once for all tasks: Triton keeps the result in
TRITON_CACHE_DIR (by default ~/.triton/cache). No kernel tunes itself: what is computed in which
order depends on the sizes of the model alone.
"""

# ruff: noqa: PLR0913, PLR0917 - a kernel takes pointers and sizes, and calls no helpers
# mypy: disable-error-code="import-untyped, untyped-decorator, no-untyped-def"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import nn

from virembed.models.positions import Rotation

ELEMENTS = 4096  # of a program of the element-wise kernels


@triton.jit
def _add_norm(
    x_ptr, update_ptr, y_ptr, weight_ptr, bias_ptr, eps,
    D: tl.constexpr, BLOCK: tl.constexpr, ADD: tl.constexpr, AFTER: tl.constexpr,
):  # fmt: skip
    """One row. AFTER: the stream is what comes out of the norm, else what goes into it."""
    row = tl.program_id(0).to(tl.int64) * D
    col = tl.arange(0, BLOCK)
    inside = col < D
    x = tl.load(x_ptr + row + col, mask=inside, other=0.0)
    if ADD:
        x += tl.load(update_ptr + row + col, mask=inside, other=0.0).to(tl.float32)
        if not AFTER:
            tl.store(x_ptr + row + col, x, mask=inside)
    mean = tl.sum(x, axis=0) / D
    centred = tl.where(inside, x - mean, 0.0)
    variance = tl.sum(centred * centred, axis=0) / D
    weight = tl.load(weight_ptr + col, mask=inside, other=0.0)
    bias = tl.load(bias_ptr + col, mask=inside, other=0.0)
    y = centred * (1.0 / tl.sqrt(variance + eps)) * weight + bias
    if AFTER:
        tl.store(x_ptr + row + col, y, mask=inside)
    tl.store(y_ptr + row + col, y.to(y_ptr.dtype.element_ty), mask=inside)


def _launch_add_norm(
    x: torch.Tensor, update: torch.Tensor | None, y: torch.Tensor, norm: nn.LayerNorm, *, after: int
) -> None:
    assert x.is_contiguous()
    assert x.dtype == torch.float32
    assert update is None or update.is_contiguous()
    num_rows, dim = x.shape
    block = triton.next_power_of_2(dim)
    _add_norm[(num_rows,)](
        x, x if update is None else update, y, norm.weight, norm.bias, norm.eps,
        D=dim, BLOCK=block, ADD=int(update is not None), AFTER=after,
        num_warps=min(8, max(1, block // 512)),
    )  # fmt: skip


def add_then_norm(
    x: torch.Tensor, update: torch.Tensor | None, norm: nn.LayerNorm, *, dtype: torch.dtype
) -> torch.Tensor:
    y = torch.empty_like(x, dtype=dtype)
    _launch_add_norm(x, update, y, norm, after=0)
    return y


def norm_of_sum(
    x: torch.Tensor, update: torch.Tensor | None, norm: nn.LayerNorm, *, dtype: torch.dtype
) -> torch.Tensor:
    y = x if dtype == torch.float32 else torch.empty_like(x, dtype=dtype)
    _launch_add_norm(x, update, y, norm, after=1)
    return y


@triton.jit
def _rotate(
    x_ptr, cos_ptr, sin_ptr, position_ptr, stride, scale,
    N: tl.constexpr, R: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_R: tl.constexpr,
):  # fmt: skip
    """All heads of one token."""
    token = tl.program_id(0).to(tl.int64)
    head = tl.arange(0, BLOCK_N)[:, None]
    r = tl.arange(0, BLOCK_R)[None, :]
    inside = (head < N) & (r < R)
    position = tl.load(position_ptr + token)
    cos = tl.load(cos_ptr + position * R + r, mask=r < R, other=0.0)
    sin = tl.load(sin_ptr + position * R + r, mask=r < R, other=0.0)
    first = x_ptr + token * stride + head * (2 * R) + r
    dtype = x_ptr.dtype.element_ty
    a = tl.load(first, mask=inside).to(tl.float32) * scale
    b = tl.load(first + R, mask=inside).to(tl.float32) * scale
    tl.store(first, (a * cos - b * sin).to(dtype), mask=inside)
    tl.store(first + R, (b * cos + a * sin).to(dtype), mask=inside)


def rotate(x: torch.Tensor, rotation: Rotation, *, scale: float) -> None:
    num_tokens, num_heads, head_size = x.shape
    assert x.stride()[1:] == (head_size, 1)
    _rotate[(num_tokens,)](
        x, *rotation, x.stride(0), scale,
        N=num_heads, R=head_size // 2,
        BLOCK_N=triton.next_power_of_2(num_heads), BLOCK_R=triton.next_power_of_2(head_size // 2),
        num_warps=4,
    )  # fmt: skip


@triton.jit
def gelu_of(x, EXACT: tl.constexpr):
    """x * Phi(x), fp32. What is not finite becomes NaN or stays: the guard has to see it."""
    if EXACT:
        return 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))
    # Abramowitz and Stegun 7.1.26: off by 1.5e-7 at most, far below the rounding to half
    # precision, at a third of the instructions of the library's erf.
    z = tl.abs(x) * 0.7071067811865476
    t = 1.0 / (1.0 + 0.3275911 * z)
    p = 0.5 * (-1.453152027 + t * 1.061405429)
    p = 0.5 * 1.421413741 + t * p
    p = 0.5 * -0.284496736 + t * p
    p = 0.5 * 0.254829592 + t * p
    tail = x * (t * p * tl.exp2(z * z * -1.4426950408889634))  # x * Phi(-|x|)
    return tl.where(x >= 0.0, x - tail, tail)


@triton.jit
def _gelu(h_ptr, num, EXACT: tl.constexpr, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(h_ptr + i, mask=i < num, other=0.0).to(tl.float32)
    tl.store(h_ptr + i, gelu_of(x, EXACT).to(h_ptr.dtype.element_ty), mask=i < num)


def gelu(h: torch.Tensor) -> torch.Tensor:
    assert h.is_contiguous()
    grid = (triton.cdiv(h.numel(), ELEMENTS),)
    _gelu[grid](h, h.numel(), EXACT=int(h.dtype == torch.float32), BLOCK=ELEMENTS, num_warps=8)
    return h


@triton.jit
def _gated_gelu(h_ptr, out_ptr, F: tl.constexpr, EXACT: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    col = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = col < F
    x = tl.load(h_ptr + row * 2 * F + col, mask=inside, other=0.0).to(tl.float32)
    gate = tl.load(h_ptr + row * 2 * F + F + col, mask=inside, other=0.0).to(tl.float32)
    gated = gelu_of(x, EXACT) * gate
    tl.store(out_ptr + row * F + col, gated.to(out_ptr.dtype.element_ty), mask=inside)


def gated_gelu(h: torch.Tensor) -> torch.Tensor:
    assert h.is_contiguous()
    num_rows, ffn_dim = h.shape[0], h.shape[1] // 2
    out = h.new_empty(num_rows, ffn_dim)
    block = min(1024, triton.next_power_of_2(ffn_dim))
    grid = (num_rows, triton.cdiv(ffn_dim, block))
    exact = int(h.dtype == torch.float32)
    _gated_gelu[grid](h, out, F=ffn_dim, EXACT=exact, BLOCK=block, num_warps=4)
    return out
