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

from virembed.models.fp8 import FP8, LARGEST, SMALLEST_SCALE, Activations, Quantised
from virembed.models.gating import GATE_TURN
from virembed.models.positions import Rotation

ELEMENTS = 4096  # of a program of the element-wise kernels
_LARGEST, _SMALLEST_SCALE = tl.constexpr(LARGEST), tl.constexpr(SMALLEST_SCALE)
_GATE_TURN = tl.constexpr(GATE_TURN)


@triton.jit
def scale_of(x):
    """The scale of a row for e4m3. Skips NaN, which stays NaN in the row itself."""
    return tl.maximum(tl.max(tl.abs(x), axis=0) / _LARGEST, _SMALLEST_SCALE)


@triton.jit
def _add_norm(
    x_ptr, update_ptr, y_ptr, scale_ptr, weight_ptr, bias_ptr, eps,
    D: tl.constexpr, BLOCK: tl.constexpr, ADD: tl.constexpr, AFTER: tl.constexpr,
    QUANTISE: tl.constexpr,
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
    if QUANTISE:
        scale = scale_of(y)
        tl.store(scale_ptr + tl.program_id(0), scale)
        y *= 1.0 / scale
    tl.store(y_ptr + row + col, y.to(y_ptr.dtype.element_ty), mask=inside)


def _launch_add_norm(
    x: torch.Tensor, update: torch.Tensor | None, y: torch.Tensor, norm: nn.LayerNorm, *, after: int
) -> Activations:
    assert x.is_contiguous()
    assert x.dtype == torch.float32
    assert update is None or update.is_contiguous()
    num_rows, dim = x.shape
    block = triton.next_power_of_2(dim)
    quantise = y.dtype == FP8
    scale = x.new_empty(num_rows, 1) if quantise else x
    _add_norm[(num_rows,)](
        x, x if update is None else update, y, scale, norm.weight, norm.bias, norm.eps,
        D=dim, BLOCK=block, ADD=int(update is not None), AFTER=after, QUANTISE=int(quantise),
        num_warps=max(1, block // 4096),  # sums within one warp wait for no other
    )  # fmt: skip
    return Quantised(y, scale) if quantise else y


def add_then_norm(
    x: torch.Tensor, update: torch.Tensor | None, norm: nn.LayerNorm, *, dtype: torch.dtype
) -> Activations:
    return _launch_add_norm(x, update, torch.empty_like(x, dtype=dtype), norm, after=0)


def norm_of_sum(
    x: torch.Tensor, update: torch.Tensor | None, norm: nn.LayerNorm, *, dtype: torch.dtype
) -> Activations:
    y = x if dtype == torch.float32 else torch.empty_like(x, dtype=dtype)
    return _launch_add_norm(x, update, y, norm, after=1)


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
    # x Phi(x) = max(x, 0) - |x| Phi(-|x|), and log2 Phi(-z) is nearly a parabola: a polynomial of
    # degree 5, fitted for the least error of the whole, is off by 4.7e-7 at most, far below the
    # rounding to half precision. A tenth of the instructions of the library's erf.
    z = tl.abs(x)
    p = 0.007084458600729704 - 0.0004732938250526786 * z
    p = -0.05182715877890587 + p * z
    p = -0.4599926471710205 + p * z
    p = -1.1507877111434937 + p * z
    p = -1.000037670135498 + p * z
    return tl.maximum(x, 0.0) - z * tl.exp2(p)


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
def gated(h_ptr, i, inside, EXACT: tl.constexpr):
    """gelu(a) * b for numbers `i` of the outcome; rows hold a and b in turns."""
    a_ptr = h_ptr + (i // _GATE_TURN) * (2 * _GATE_TURN) + i % _GATE_TURN
    a = tl.load(a_ptr, mask=inside, other=0.0).to(tl.float32)
    b = tl.load(a_ptr + _GATE_TURN, mask=inside, other=0.0).to(tl.float32)
    return gelu_of(a, EXACT) * b


@triton.jit
def _gated_gelu(h_ptr, out_ptr, num, EXACT: tl.constexpr, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    y = gated(h_ptr, i, i < num, EXACT)
    tl.store(out_ptr + i, y.to(out_ptr.dtype.element_ty), mask=i < num)


def gated_gelu(h: torch.Tensor) -> torch.Tensor:
    assert h.is_contiguous()
    out = h.new_empty(h.shape[0], h.shape[1] // 2)
    grid = (triton.cdiv(out.numel(), ELEMENTS),)
    exact = int(h.dtype == torch.float32)
    _gated_gelu[grid](h, out, out.numel(), EXACT=exact, BLOCK=ELEMENTS, num_warps=8)
    return out


@triton.jit
def _gelu_quantise(
    h_ptr, out_ptr, scale_ptr,
    F: tl.constexpr, BLOCK: tl.constexpr, GATED: tl.constexpr,
):  # fmt: skip
    """One row: the scale needs all of it."""
    row = tl.program_id(0).to(tl.int64)
    col = tl.arange(0, BLOCK)
    if GATED:
        y = gated(h_ptr + row * (2 * F), col, col < F, 0)
    else:
        y = gelu_of(tl.load(h_ptr + row * F + col, mask=col < F, other=0.0).to(tl.float32), 0)
    scale = scale_of(y)
    tl.store(scale_ptr + row, scale)
    y *= 1.0 / scale
    tl.store(out_ptr + row * F + col, y.to(out_ptr.dtype.element_ty), mask=col < F)


def gelu_quantised(h: torch.Tensor, *, gated: bool) -> Quantised:
    """h: half [T, F], or [T, 2F] of which half is a gate."""
    assert h.is_contiguous()
    num_rows, ffn_dim = h.shape[0], h.shape[1] // (2 if gated else 1)
    out = h.new_empty(num_rows, ffn_dim, dtype=FP8)
    scale = h.new_empty(num_rows, 1, dtype=torch.float32)
    block = triton.next_power_of_2(ffn_dim)
    _gelu_quantise[(num_rows,)](
        h, out, scale, F=ffn_dim, BLOCK=block, GATED=int(gated),
        num_warps=min(16, max(1, block // 2048)),
    )  # fmt: skip
    return Quantised(out, scale)
