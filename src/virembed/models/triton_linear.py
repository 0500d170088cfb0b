"""Products with the GELU in their epilogue, in Triton for Hopper. Imported on GPUs only.

cuBLAS multiplies 5 % faster, but what it writes has to be read and written again for the GELU,
which costs more than that. On other GPUs, in fp32 and in fp8, product and GELU are two steps.
"""

# ruff: noqa: PLR0913, PLR0917 - a kernel takes pointers and sizes, and calls no helpers
# mypy: disable-error-code="import-untyped, untyped-decorator, no-untyped-def"

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import nn
from triton.tools.tensor_descriptor import TensorDescriptor

from virembed.models.fp8 import Activations, Quantised
from virembed.models.gating import GATE_TURN
from virembed.models.triton_kernels import gated_gelu, gelu, gelu_of, gelu_quantised

BLOCK_M, BLOCK_N, BLOCK_K = 128, 256, 64
_GATE_TURN = tl.constexpr(GATE_TURN)


@triton.jit
def _linear_gelu(
    x_desc, w_desc, bias_ptr, out_desc, T, N, K,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP: tl.constexpr,
    PROGRAMS: tl.constexpr, GATED: tl.constexpr,
):  # fmt: skip
    """gelu(x W^T + bias), or gelu(a) * b for x W^T, in which a and b take turns.

    x: [T, K], W: [N, K], out: [T, N] or [T, N / 2].

    Each program takes every PROGRAMS-th tile, in groups of rows that share weights in L2. Beyond
    the edges, descriptors read zero and write nothing.
    """
    num_m = tl.cdiv(T, BLOCK_M)
    num_n = tl.cdiv(N, BLOCK_N)
    for tile in tl.range(tl.program_id(0), num_m * num_n, PROGRAMS, flatten=True):
        group = tile // (GROUP * num_n)
        rows = min(num_m - group * GROUP, GROUP)
        m = (group * GROUP + (tile % (GROUP * num_n)) % rows) * BLOCK_M
        n = ((tile % (GROUP * num_n)) // rows) * BLOCK_N
        acc = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
        for k in range(tl.cdiv(K, BLOCK_K)):
            x = x_desc.load([m, k * BLOCK_K])
            w = w_desc.load([n, k * BLOCK_K])
            acc = tl.dot(x, w.T, acc)
        dtype = out_desc.dtype
        if GATED:
            turns = tl.reshape(acc, (BLOCK_M, BLOCK_N // (2 * _GATE_TURN), 2, _GATE_TURN))
            a, b = tl.split(tl.permute(turns, (0, 1, 3, 2)))
            gated = tl.reshape(gelu_of(a, 0) * b, (BLOCK_M, BLOCK_N // 2))
            out_desc.store([m, n // 2], gated.to(dtype))
        else:  # in two halves, so that the tile to be written takes less shared memory
            halves = tl.permute(tl.reshape(acc, (BLOCK_M, 2, BLOCK_N // 2)), (0, 2, 1))
            left, right = tl.split(halves)
            col = n + tl.arange(0, BLOCK_N // 2)
            left += tl.load(bias_ptr + col, mask=col < N, other=0.0).to(tl.float32)[None, :]
            out_desc.store([m, n], gelu_of(left, 0).to(dtype))
            col += BLOCK_N // 2
            right += tl.load(bias_ptr + col, mask=col < N, other=0.0).to(tl.float32)[None, :]
            out_desc.store([m, n + BLOCK_N // 2], gelu_of(right, 0).to(dtype))


@lru_cache
def _hopper_processors(device: torch.device) -> int:
    """Multiprocessors of a Hopper GPU, 0 for another one."""
    properties = torch.cuda.get_device_properties(device)
    return int(properties.multi_processor_count) if properties.major == 9 else 0


def _fits(y: torch.Tensor) -> bool:
    half = y.dtype in (torch.float16, torch.bfloat16)
    return y.is_cuda and half and y.shape[1] % 8 == 0 and _hopper_processors(y.device) > 0


def _launch(y: torch.Tensor, linear: nn.Linear, *, gated: bool) -> torch.Tensor:
    out = y.new_empty(y.shape[0], linear.out_features // (2 if gated else 1))
    programs = _hopper_processors(y.device)
    _linear_gelu[(programs,)](
        TensorDescriptor.from_tensor(y, [BLOCK_M, BLOCK_K]),
        TensorDescriptor.from_tensor(linear.weight, [BLOCK_N, BLOCK_K]),
        y if gated else linear.bias,
        TensorDescriptor.from_tensor(out, [BLOCK_M, BLOCK_N // 2]),
        y.shape[0], linear.out_features, y.shape[1],
        BLOCK_M=BLOCK_M, BLOCK_N=BLOCK_N, BLOCK_K=BLOCK_K, GROUP=16,
        PROGRAMS=programs, GATED=int(gated), num_warps=8, num_stages=3 if gated else 4,
    )  # fmt: skip
    return out


def linear_gelu(y: Activations, linear: nn.Linear) -> Activations:
    if isinstance(y, Quantised):
        return gelu_quantised(linear(y), gated=False)
    return _launch(y, linear, gated=False) if _fits(y) else gelu(linear(y))


def linear_gated_gelu(y: Activations, linear: nn.Linear) -> Activations:
    if isinstance(y, Quantised):
        return gelu_quantised(linear(y), gated=True)
    assert linear.bias is None
    return _launch(y, linear, gated=True) if _fits(y) else gated_gelu(F.linear(y, linear.weight))
