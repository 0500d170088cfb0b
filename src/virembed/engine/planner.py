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
    """Packs that hold every item once, longest items first; where the next one is too long for
    what is left of a pack, the longest ones that fit.

    Args:
        lengths: int64 [items], tokens of each; 0 is not allowed.
        tokens_per_pack: T of every pack whose items fit; a longer item gets a pack of its own
            whose size depends on nothing but its length.
    """
    order = np.argsort(-lengths, kind="stable")
    number = int((lengths > tokens_per_pack).sum())
    packs = []
    for item in order[:number]:
        num_tokens = -(-int(lengths[item]) // OVERSIZE_STEP) * OVERSIZE_STEP
        packs.append(Pack(np.array([item]), lengths[[item]], num_tokens))
    order = order[number:]
    while len(order):
        taken = _fill(lengths[order], tokens_per_pack)
        packs.append(Pack(order[taken], lengths[order[taken]], tokens_per_pack))
        order = order[~taken]
    return packs


def _fill(lengths: npt.NDArray[np.int64], free: int) -> npt.NDArray[np.bool_]:
    """Which items to take into a pack with room for `free` tokens. lengths: longest first."""
    taken = np.zeros(len(lengths), np.bool_)
    first = 0
    while True:
        first += int(np.searchsorted(-lengths[first:], -free))  # the longest that fits
        if first == len(lengths):
            return taken
        ends = np.cumsum(lengths[first:])
        number = int(np.searchsorted(ends, free, side="right"))
        taken[first : first + number] = True
        free -= int(ends[number - 1])
        first += number
