"""Packs: which items share a forward pass. A pure function of lengths; knows no torch, no model.

Every pack of a task has the same number of tokens. So every matrix product of the task has the
same shape, and the numbers of an item do not depend on what it was packed with.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from virembed.contracts import Pack

OVERSIZE_STEP = 1024  # an item beyond the budget is a pack of its own, in steps of this


def plan_packs(lengths: npt.NDArray[np.int64], *, tokens_per_pack: int) -> list[Pack]:
    """Packs that hold every item once, longest items first.

    Args:
        lengths: int64 [items], tokens of each; 0 is not allowed.
        tokens_per_pack: T of every pack whose items fit; a longer item gets a pack of its own
            whose size depends on nothing but its length.
    """
    order = np.argsort(-lengths, kind="stable")
    ends = np.cumsum(lengths[order])
    packs: list[Pack] = []
    first = 0
    while first < len(order):
        before = ends[first - 1] if first else 0
        last = int(np.searchsorted(ends, before + tokens_per_pack, side="right"))
        items = order[first : max(last, first + 1)]
        longest = int(lengths[items[0]])
        oversize = -(-longest // OVERSIZE_STEP) * OVERSIZE_STEP
        num_tokens = tokens_per_pack if longest <= tokens_per_pack else oversize
        packs.append(Pack(items, lengths[items], num_tokens))
        first += len(items)
    return packs
