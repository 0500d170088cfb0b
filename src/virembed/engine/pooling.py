"""From the hidden states of a pack to one vector per sequence."""

from __future__ import annotations

import torch

from virembed.contracts import PackedTokens


def mean_pool(
    hidden: torch.Tensor, tokens: PackedTokens, *, skip: tuple[int, int] = (0, 0)
) -> torch.Tensor:
    """Mean over the tokens of each sequence, without `skip` tokens at its start and end.

    hidden [T, D] -> fp32 [B, D]. A sequence of nothing but skipped tokens has the mean NaN.

    The rows of a sequence are added up on their own and in order: no sum runs over the pack, so
    the result is the same, bit for bit, whatever the neighbours hold. Nothing waits for a GPU.
    """
    starts, ends = tokens.cu_seqlens[:-1].long(), tokens.cu_seqlens[1:].long()
    first = torch.minimum(starts + skip[0], ends)
    last = torch.maximum(ends - skip[1], first)
    # three segments per sequence: skipped, kept, skipped
    cuts = torch.stack([starts, first, last], dim=1).flatten()
    offsets = torch.cat([cuts, ends[-1:]])
    sums = torch.segment_reduce(hidden.float(), "sum", offsets=offsets, initial=0.0, unsafe=True)
    return sums[1::3] / (last - first)[:, None]
