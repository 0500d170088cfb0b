"""Attention over packed sequences: one signature, several kernels, chosen in one place.

Shape letters as in `virembed.contracts`: T packed tokens, B sequences, N heads, H size of a head;
here also n, the length of one sequence, and m <= n, a block of its queries.

A kernel computes, for each sequence of the pack on its own and each head,

    softmax(q k^T * scale - slope * |i - j|) v

with scores and softmax in fp32, whatever the dtype of q, k and v. Without slopes there is no bias.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Protocol

import torch

from virembed.contracts import Choice, PackedTokens
from virembed.errors import UsageError

SCORE_BYTES = 256 * 2**20  # what the scores of one batched product may take


class AttentionFunction(Protocol):
    """A kernel. q, k, v: [T, N, H]; slopes: fp32 [N] or None. Returns [T, N, H], dtype of v."""

    def __call__(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        tokens: PackedTokens,
        *,
        scale: float,
        slopes: torch.Tensor | None,
    ) -> torch.Tensor: ...


def dense(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    tokens: PackedTokens,
    *,
    scale: float,
    slopes: torch.Tensor | None,
) -> torch.Tensor:
    """Plain matrix products, the reference of every other kernel. Runs on every device."""
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


ATTENTION: dict[str, AttentionFunction] = {"dense": dense}


def choose_attention(requested: str, device_type: str) -> Choice:
    """The kernel to use, a key of `ATTENTION`, and why.

    Raises:
        UsageError: there is no kernel of that name.
    """
    if requested == "auto":
        return Choice("dense", f"auto: the kernel that runs on every device, here {device_type}")
    if requested not in ATTENTION:
        known = ", ".join(["auto", *sorted(ATTENTION)])
        raise UsageError(f"attention kernel {requested!r} is unknown", f"Choose one of {known}.")
    return Choice(requested, "asked for")
