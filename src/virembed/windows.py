"""Windows: the slices of a record that are translated and embedded. Pure arithmetic on lengths.

Both rules cut a record of L letters into n = ceil(L / C) windows that overlap evenly and cover all
letters. The overlap to give away is r = n·C - L, spread over the gaps in whole letters, larger
shifts first:

    exact       over the n - 1 gaps there are: every window of a record longer than C has length C
    virnucpro   computed with n instead of n - 1, as VirNucPro does: the last window may be short
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]

RULES = ("exact", "virnucpro")


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows of several records, in the order of the records. All int64 [number of windows].

    record:     position of the record in the input
    index:      number of the window within its record, from 0
    start, end: half-open, forward strand of the record, in bp
    """

    record: Int64s
    index: Int64s
    start: Int64s
    end: Int64s


def cut_windows(lengths: npt.ArrayLike, *, window_bp: int, rules: str) -> Windows:
    """The windows of records of the given lengths; a record of length 0 has none."""
    length = np.asarray(lengths, dtype=np.int64)
    count = -(-length // window_bp)
    excess = count * window_bp - length
    parts = np.maximum(count - 1 if rules == "exact" else count, 1)
    small = excess // parts
    num_large = excess - small * (count - 1)

    record = np.repeat(np.arange(len(length)), count)
    index = np.arange(len(record)) - np.repeat(np.cumsum(count) - count, count)
    shift = small[record] * index + np.minimum(index, num_large[record])
    start = index * window_bp - shift
    return Windows(record, index, start, np.minimum(start + window_bp, length[record]))
