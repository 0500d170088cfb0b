"""Attention over packed sequences: one signature, several kernels, chosen in one place.

Shape letters as in `virembed.contracts`: T packed tokens, B sequences, N heads, H size of a head;
here also n, the length of one sequence, and m <= n, a block of its queries.

A kernel computes, for each sequence of the pack on its own and each head,

    softmax(q k^T * scale - slope * |i - j|) v

with scores and softmax in fp32, whatever the dtype of q, k and v. Without slopes there is no bias.
With a rotation, q * scale and k are turned by it first, and the scores are not scaled again.

    dense     plain matrix products, the reference of the others; every device
    packed    our own, in Triton: rotation and bias inside, made for many short sequences; GPU
    varlen    the flash attention inside torch; GPU, half precision, no bias
    flash     the package flash-attn, where it is installed; GPU, half precision
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from itertools import groupby
from typing import Protocol

import torch

from virembed.contracts import Choice, PackedTokens
from virembed.errors import UsageError
from virembed.models.kernels import choose_kernels, has_triton, kernels_of, turned
from virembed.models.positions import Rotation

SCORE_BYTES = 256 * 2**20  # what the scores of one batched product may take


class AttentionFunction(Protocol):
    """A kernel. q, k, v: [T, N, H]; slopes: fp32 [N] or None. Returns [T, N, H], dtype of v.

    Where there is a rotation, q and k may be overwritten.
    """

    def __call__(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        tokens: PackedTokens,
        *,
        scale: float,
        slopes: torch.Tensor | None,
        rotation: Rotation | None = None,
    ) -> torch.Tensor: ...


def dense(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    tokens: PackedTokens,
    *,
    scale: float,
    slopes: torch.Tensor | None,
    rotation: Rotation | None = None,
) -> torch.Tensor:
    """Plain matrix products, the reference of every other kernel. Runs on every device."""
    if rotation is not None:
        q, k, scale = turned(q.float() * scale, rotation).to(q.dtype), turned(k, rotation), 1.0
    out = torch.empty_like(v)
    for start, num_sequences, length in equal_length_runs(tokens.lengths, num_heads=q.shape[1]):
        rows = slice(start, start + num_sequences * length)
        shape = (num_sequences, length, *q.shape[1:])
        q_run, k_run, v_run = (x[rows].view(shape).transpose(1, 2).float() for x in (q, k, v))
        out_run = out[rows].view(shape).transpose(1, 2)  # [B, N, n, H], writes into `out`
        for block in _query_blocks(length, num_heads=q.shape[1]):
            scores = q_run[:, :, block] @ k_run.mT * scale  # [B, N, m, n]
            if slopes is not None:
                scores -= alibi_bias(slopes, block, length)
            out_run[:, :, block] = scores.softmax(-1) @ v_run
    return out


def equal_length_runs(
    lengths: tuple[int, ...], *, num_heads: int
) -> Iterator[tuple[int, int, int]]:
    """Adjacent sequences that one batched product can take, as (first token, number, length).

    A pack comes sorted by length, so that there are few. Long runs are cut to `SCORE_BYTES`.
    """
    start = 0
    for length, run in groupby(lengths):
        remaining = sum(1 for _ in run)
        most = max(1, SCORE_BYTES // max(1, 4 * num_heads * length * length))
        while remaining > 0 and length > 0:
            num_sequences = min(remaining, most)
            yield start, num_sequences, length
            start += num_sequences * length
            remaining -= num_sequences


def _query_blocks(length: int, *, num_heads: int) -> Iterator[slice]:
    """Depends on nothing but the sequence itself, so that its result does not either."""
    block = max(1, SCORE_BYTES // (4 * num_heads * length))
    for first in range(0, length, block):
        yield slice(first, min(first + block, length))


def alibi_bias(slopes: torch.Tensor, queries: slice, length: int) -> torch.Tensor:
    """slope * |i - j|, fp32 [N, m, n], for the query positions i in `queries`, all keys j."""
    i = torch.arange(queries.start, queries.stop, device=slopes.device)
    j = torch.arange(length, device=slopes.device)
    return slopes[:, None, None] * (i[:, None] - j).abs()


def packed(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    tokens: PackedTokens,
    *,
    scale: float,
    slopes: torch.Tensor | None,
    rotation: Rotation | None = None,
) -> torch.Tensor:
    """Our own kernel, see `virembed.models.triton_attention`."""
    from virembed.models import triton_attention  # noqa: PLC0415  the CPU works without Triton

    return triton_attention.packed(q, k, v, tokens, scale=scale, slopes=slopes, rotation=rotation)


def _turn(q: torch.Tensor, k: torch.Tensor, rotation: Rotation, *, scale: float) -> float:
    """In place, for kernels that know no rotation; returns the scale that is left to do."""
    kernels = kernels_of(choose_kernels("auto", q.device.type).value)
    kernels.rotate(q, rotation, scale=scale)
    kernels.rotate(k, rotation, scale=1.0)
    return 1.0


def varlen(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    tokens: PackedTokens,
    *,
    scale: float,
    slopes: torch.Tensor | None,
    rotation: Rotation | None = None,
) -> torch.Tensor:
    """torch's flash attention: the operator below `torch.nn.attention.varlen`, which fixes the
    scale in the releases that have it."""
    assert slopes is None
    if rotation is not None:
        scale = _turn(q, k, rotation, scale=scale)
    bounds, longest = tokens.cu_seqlens, max(tokens.lengths)
    no = False
    out: torch.Tensor = torch.ops.aten._flash_attention_forward(
        q, k, v, bounds, bounds, longest, longest, 0.0, no, no, scale=scale
    )[0]
    return out


def flash(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    tokens: PackedTokens,
    *,
    scale: float,
    slopes: torch.Tensor | None,
    rotation: Rotation | None = None,
) -> torch.Tensor:
    """The package flash-attn; knows ALiBi."""
    from flash_attn import flash_attn_varlen_func  # type: ignore[import-not-found] # noqa: PLC0415

    if rotation is not None:
        scale = _turn(q, k, rotation, scale=scale)
    bounds, longest = tokens.cu_seqlens, max(tokens.lengths)
    out: torch.Tensor = flash_attn_varlen_func(
        q, k, v, bounds, bounds, longest, longest, softmax_scale=scale, alibi_slopes=slopes
    )
    return out


ATTENTION: dict[str, AttentionFunction] = {
    "dense": dense,
    "packed": packed,
    "varlen": varlen,
    "flash": flash,
}


def choose_attention(
    requested: str,
    device_type: str,
    *,
    dtype: torch.dtype = torch.float32,
    alibi: bool = False,
) -> Choice:
    """The kernel to use, a key of `ATTENTION`, and why.

    Args:
        dtype: of q, k and v
        alibi: there will be slopes

    Raises:
        UsageError: there is no kernel of that name, or it cannot run here.
    """
    if requested == "auto":
        if obstacle("packed", device_type, dtype=dtype, alibi=alibi) is None:
            return Choice("packed", f"auto: on {device_type} the fastest for short sequences")
        return Choice("dense", f"auto: the kernel that runs on every device, here {device_type}")
    if requested not in ATTENTION:
        known = ", ".join(["auto", *sorted(ATTENTION)])
        raise UsageError(f"attention kernel {requested!r} is unknown", f"Choose one of {known}.")
    missing = obstacle(requested, device_type, dtype=dtype, alibi=alibi)
    if missing is not None:
        raise UsageError(
            f"attention kernel {requested!r} cannot run: {missing}", "Choose auto or dense."
        )
    return Choice(requested, "asked for")


def available(device_type: str) -> dict[str, list[str]]:
    """Attention kernels that can run on a device, by the names of the models' ways to look at
    positions, and what does the steps between products."""
    dtype = torch.float16 if device_type == "cuda" else torch.float32
    ways = {"rotation": False, "alibi": True}
    found = {
        way: [n for n in ATTENTION if not obstacle(n, device_type, dtype=dtype, alibi=alibi)]
        for way, alibi in ways.items()
    }
    return {**found, "between": [choose_kernels("auto", device_type).value]}


def obstacle(name: str, device_type: str, *, dtype: torch.dtype, alibi: bool) -> str | None:
    """What keeps a kernel from running, None if nothing does."""
    if name == "dense":
        return None
    if device_type != "cuda":
        return f"it needs a GPU, the device is {device_type}"
    if name == "packed":
        return None if has_triton() else "triton is not installed"
    if dtype not in (torch.float16, torch.bfloat16):
        return f"it knows half precision only, not {dtype}"
    if name == "flash":
        return None if find_spec("flash_attn") else "flash-attn is not installed"
    return "it has no ALiBi bias" if alibi else None
