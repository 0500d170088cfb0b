"""Attention over packed sequences in Triton, made for many short ones. Imported on GPUs only.

A program takes one tile of queries of one head of one sequence, and goes over the keys of that
sequence. It needs no padding, turns q on the way in (rotary) and adds the ALiBi bias on the fly.
k is turned before, once: every tile of queries reads it again. Keys are taken in blocks counted
from the start of their sequence, so a result depends on its sequence alone.
"""

# ruff: noqa: PLR0913, PLR0917 - a kernel takes pointers and sizes, and calls no helpers
# mypy: disable-error-code="import-untyped, untyped-decorator, no-untyped-def"

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl

from virembed.contracts import PackedTokens
from virembed.models.positions import Rotation
from virembed.models.triton_kernels import rotate


class Tile(NamedTuple):
    """How a program is cut: queries, keys a step, warps, stages of the pipeline."""

    queries: int
    keys: int
    num_warps: int
    num_stages: int


def tile_of(head_size: int, dtype: torch.dtype, *, alibi: bool) -> Tile:
    """Measured on an H200; depends on nothing that differs between the packs of a task."""
    if dtype == torch.float32:  # without matrix units
        return Tile(32, 32, 4, 1)
    if head_size <= 32:
        return Tile(64, 32, 2, 3)
    return Tile(64, 32, 4, 3) if alibi or head_size > 64 else Tile(64, 64, 4, 3)


@triton.jit
def _attention(
    q_ptr, k_ptr, v_ptr, out_ptr, cos_ptr, sin_ptr, slopes_ptr, cu_ptr, sequence_ptr, block_ptr,
    stride, scale,
    N: tl.constexpr, H: tl.constexpr, BLOCK_H: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, ROTARY: tl.constexpr, ALIBI: tl.constexpr,
):  # fmt: skip
    tile = tl.program_id(0) // N  # the heads of a tile side by side: their rows are neighbours
    head = tl.program_id(0) % N
    sequence = tl.load(sequence_ptr + tile)
    start = tl.load(cu_ptr + sequence).to(tl.int64)
    n = (tl.load(cu_ptr + sequence + 1) - start).to(tl.int32)
    q_ptr += start * stride + head * H
    k_ptr += start * stride + head * H
    v_ptr += start * stride + head * H
    i = tl.load(block_ptr + tile) * BLOCK_M + tl.arange(0, BLOCK_M)
    h = tl.arange(0, BLOCK_H)
    R: tl.constexpr = H // 2
    log2_e: tl.constexpr = 1.4426950408889634
    rows = i.to(tl.int64)
    mask = (i < n)[:, None] & (h < H)[None, :]
    offset = rows[:, None] * stride
    q = tl.load(q_ptr + offset + h[None, :], mask=mask, other=0.0)
    if ROTARY:
        # x_i and x_{i+R} are partners: (a, b) -> (a cos - b sin, b cos + a sin)
        partner = tl.where(h < R, h + R, h - R)
        angle = i[:, None] * R + tl.where(h < R, h, h - R)[None, :]
        cos = tl.load(cos_ptr + angle, mask=mask, other=0.0)
        sin = tl.load(sin_ptr + angle, mask=mask, other=0.0)
        other = tl.load(q_ptr + offset + partner[None, :], mask=mask, other=0.0)
        other = tl.where((h < R)[None, :], -other.to(tl.float32), other.to(tl.float32))
        q = ((q.to(tl.float32) * scale) * cos + (other * scale) * sin).to(q_ptr.dtype.element_ty)
        scale = 1.0
    if ALIBI:
        slope = tl.load(slopes_ptr + head)

    top = tl.full([BLOCK_M], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK_M], tl.float32)
    acc = tl.zeros([BLOCK_M, BLOCK_H], tl.float32)
    for first in range(0, n, BLOCK_N):
        j = first + tl.arange(0, BLOCK_N)
        cols = j.to(tl.int64)
        mask_j = (j < n)[:, None] & (h < H)[None, :]
        k = tl.load(k_ptr + cols[:, None] * stride + h[None, :], mask=mask_j, other=0.0)
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * (scale * log2_e)
        if ALIBI:
            distance = tl.abs(i[:, None] - j[None, :]).to(tl.float32)
            scores -= slope * log2_e * distance
        scores = tl.where((j < n)[None, :], scores, float("-inf"))
        new_top = tl.maximum(top, tl.max(scores, axis=1))
        p = tl.exp2(scores - new_top[:, None])
        shrink = tl.exp2(top - new_top)
        total = total * shrink + tl.sum(p, axis=1)
        v = tl.load(v_ptr + cols[:, None] * stride + h[None, :], mask=mask_j, other=0.0)
        acc = acc * shrink[:, None]
        acc = tl.dot(p.to(v.dtype), v, acc, input_precision="ieee")
        top = new_top
    acc = acc / total[:, None]
    out = out_ptr + (start + rows)[:, None] * (N * H) + head * H + h[None, :]
    tl.store(out, acc.to(out_ptr.dtype.element_ty), mask=(i < n)[:, None] & (h < H)[None, :])


def tiles_of(tokens: PackedTokens, *, block: int) -> tuple[torch.Tensor, torch.Tensor]:
    """For each tile of `block` queries its sequence and its place in it; made once for a pack.

    Nothing is copied from or to the host: the number of tiles follows from the lengths.
    """
    names = f"tile sequence {block}", f"tile block {block}"
    if names[0] not in tokens.derived:
        counts = (tokens.cu_seqlens.diff() + (block - 1)) // block
        number = sum(-(-length // block) for length in tokens.lengths)
        device = counts.device
        sequences = torch.arange(len(counts), device=device, dtype=torch.int32)
        sequences = sequences.repeat_interleave(counts, output_size=number)
        before = (counts.cumsum(0) - counts)[sequences]
        blocks = torch.arange(number, device=device) - before
        tokens.derived[names[0]] = sequences
        tokens.derived[names[1]] = blocks.int()
    return tokens.derived[names[0]], tokens.derived[names[1]]


def packed(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    tokens: PackedTokens,
    *,
    scale: float,
    slopes: torch.Tensor | None = None,
    rotation: Rotation | None = None,
    tile: Tile | None = None,
) -> torch.Tensor:
    """An `AttentionFunction` of `virembed.models.attention`. `tile` is for measurements."""
    num_tokens, num_heads, head_size = q.shape
    if not (q.stride() == k.stride() == v.stride() and q.stride()[1:] == (head_size, 1)):
        q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
    out = v.new_empty(num_tokens, num_heads, head_size)
    tile = tile or tile_of(head_size, q.dtype, alibi=slopes is not None)
    if rotation is not None:
        rotate(k, rotation, scale=1.0)
    sequences, blocks = tiles_of(tokens, block=tile.queries)
    unused = tokens.cu_seqlens
    cos, sin = rotation[:2] if rotation else (unused, unused)
    _attention[(len(sequences) * num_heads,)](
        q, k, v, out, cos, sin, unused if slopes is None else slopes,
        tokens.cu_seqlens, sequences, blocks, q.stride(0), scale,
        N=num_heads, H=head_size,
        BLOCK_H=max(16, triton.next_power_of_2(head_size)),
        BLOCK_M=tile.queries, BLOCK_N=tile.keys,
        ROTARY=int(rotation is not None), ALIBI=int(slopes is not None),
        num_warps=tile.num_warps, num_stages=tile.num_stages,
    )  # fmt: skip
    return out
