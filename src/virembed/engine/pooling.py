"""From the hidden states of a pack to one vector per sequence, and those of its residues."""

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
    starts, ends, first, last = _bounds(tokens, skip)
    # three segments per sequence: skipped, kept, skipped
    cuts = torch.stack([starts, first, last], dim=1).flatten()
    offsets = torch.cat([cuts, ends[-1:]])
    sums = torch.segment_reduce(hidden.float(), "sum", offsets=offsets, initial=0.0, unsafe=True)
    return sums[1::3] / (last - first)[:, None]


def residue_states(
    hidden: torch.Tensor,
    tokens: PackedTokens,
    *,
    skip: tuple[int, int] = (0, 0),
    num_sequences: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The hidden states that `mean_pool` takes the mean over, of the first sequences of a pack.

    hidden [T, D] -> float16 [R, D], sequence after sequence; bool [B], whether all of a sequence
    are finite. Nothing waits for a GPU.
    """
    _, _, first, last = (bound[:num_sequences] for bound in _bounds(tokens, skip))
    numbers = last - first  # of residues, [B]
    total = sum(max(length - sum(skip), 0) for length in tokens.lengths[:num_sequences])
    ends = numbers.cumsum(0)  # in what comes out
    # the known size spares a look at the GPU
    shift = (last - ends).repeat_interleave(numbers, output_size=total)
    states = hidden.to(torch.float16)[torch.arange(total, device=hidden.device) + shift]
    # the largest of what is not finite is not finite either
    wrong = ~states.abs().amax(dim=1, keepdim=True).isfinite()
    offsets = torch.cat([ends.new_zeros(1), ends])
    num_wrong = torch.segment_reduce(
        wrong.float(), "sum", offsets=offsets, initial=0.0, unsafe=True
    )
    return states, num_wrong[:, 0] == 0


def _bounds(tokens: PackedTokens, skip: tuple[int, int]) -> tuple[torch.Tensor, ...]:
    """int64 [B] each: start and end of every sequence, start and end of its kept tokens."""
    starts, ends = tokens.cu_seqlens[:-1].long(), tokens.cu_seqlens[1:].long()
    first = torch.minimum(starts + skip[0], ends)
    last = torch.maximum(ends - skip[1], first)
    return starts, ends, first, last
