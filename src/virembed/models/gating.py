"""How the channels of a gated product lie: eight that are activated, then the gates of these eight.

Of the outcome of a product on the matrix units a thread holds two channels of every eight. With
turns of eight it holds a channel and its gate, and neighbours in what it writes; no tile of the
product needs another one.
"""

from __future__ import annotations

import torch

GATE_TURN = 8


def in_turns(weight: torch.Tensor) -> torch.Tensor:
    """Rows of the first half, and of the second half, which is their gate, in turns; [2F, D]."""
    activated, gate = weight.reshape(2, -1, GATE_TURN, weight.shape[1])
    return torch.stack([activated, gate], dim=1).flatten(0, 2)


def halves_of(h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What is activated and what is its gate; [T, 2F] -> [T, F] each."""
    activated, gate = h.reshape(len(h), -1, 2, GATE_TURN).unbind(2)
    return activated.flatten(1), gate.flatten(1)
