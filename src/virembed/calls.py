"""From the scores of frames to calls of windows and counts of records, as VirNucPro counts.

A window is called a virus if the highest score "virus" of its frames is at least as high as the
highest score "others". VirNucPro goes no further; the counts of a record say how many of its
windows were called, and a record is a virus if at least half of those are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

OTHERS, VIRUS = 0, 1  # columns of the scores
LABELS = ("others", "virus")
NOT_CALLED = -1
WINDOW_RULE = "virus if max(score virus) >= max(score others) over the open frames of the window"
RECORD_RULE = "virus if at least half of the windows with an open frame are called virus"

Int64s = npt.NDArray[np.int64]
Int8s = npt.NDArray[np.int8]
Scores = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class WindowCalls:
    """One entry per window that has an open frame, in the order of the rows.

    first_row: int64 [W], the first of its rows; the rows of a window stand together
    best:      fp32 [W, 2], highest score of each class over its frames
    is_virus:  bool [W]
    """

    first_row: Int64s
    best: Scores
    is_virus: npt.NDArray[np.bool_]

    def of_rows(self, num_rows: int) -> Int8s:
        """int8 [rows]: 1 virus, 0 others, for each row the call of its window."""
        sizes = np.diff(self.first_row, append=num_rows)
        return np.repeat(self.is_virus.astype(np.int8), sizes)


def call_windows(
    record: npt.NDArray[np.int32], window: npt.NDArray[np.int32], scores: Scores
) -> WindowCalls:
    """
    Args:
        record, window: of each row with a protein, int32 [n]; equal neighbours are one window.
        scores: fp32 [n, 2]
    """
    if not len(record):
        return WindowCalls(np.empty(0, np.int64), scores, np.empty(0, np.bool_))
    begins = (np.diff(record) != 0) | (np.diff(window) != 0)
    first_row = np.flatnonzero(np.concatenate([[True], begins]))
    best = np.maximum.reduceat(scores, first_row)
    return WindowCalls(first_row, best, best[:, VIRUS] >= best[:, OTHERS])


@dataclass(frozen=True, slots=True)
class RecordCalls:
    """Per record of the input, [R].

    called:         int32, windows with an open frame
    virus:          int32, of these called virus
    mean_p_virus:   fp32, mean over the called windows of their highest score; NaN without any
    is_virus:       int8: 1, 0, or `NOT_CALLED` for a record without a called window
    """

    called: npt.NDArray[np.int32]
    virus: npt.NDArray[np.int32]
    mean_p_virus: npt.NDArray[np.float32]
    is_virus: Int8s


def call_records(
    record: npt.NDArray[np.int32], calls: WindowCalls, *, num_records: int
) -> RecordCalls:
    """
    Args:
        record: of each row with a protein, int32 [n], from 0 to `num_records` - 1.
    """
    of_window = record[calls.first_row]
    called = np.bincount(of_window, minlength=num_records).astype(np.int32)
    virus = np.bincount(of_window[calls.is_virus], minlength=num_records).astype(np.int32)
    total = np.bincount(of_window, weights=calls.best[:, VIRUS], minlength=num_records)
    mean = np.full(num_records, np.nan)
    np.divide(total, called, out=mean, where=called > 0)
    is_virus = np.where(called > 0, 2 * virus >= called, NOT_CALLED).astype(np.int8)
    return RecordCalls(called, virus, mean.astype(np.float32), is_virus)
