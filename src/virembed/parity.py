"""How far vectors are from those of the original implementation, by length of the sequence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from virembed.compare import row_cosines

LENGTH_CLASSES = (0, 50, 100, 200, 500, 1000, 4000)
# Cosine every vector has to reach, by precision of the products. That of fp8 is a choice: where it
# costs more than this, fp16 is the better deal.
MIN_COSINE = {"fp32": 0.999999, "fp16": 0.9999, "bf16": 0.999, "fp8": 0.99}


@dataclass(frozen=True, slots=True)
class LengthClass:
    """Differences of the sequences of `shortest` to `longest` letters.

    min_cosine, mean_cosine: between our vector and the original's
    max_difference: largest of a coordinate, float16 storage included
    """

    shortest: int
    longest: int
    num_sequences: int
    min_cosine: float
    mean_cosine: float
    max_difference: float


def compare(
    lengths: Sequence[int], ours: npt.NDArray[np.floating], originals: npt.NDArray[np.floating]
) -> Iterator[LengthClass]:
    """Differences by length class, classes without a sequence left out.

    Args:
        ours, originals: [sequences, D]
    """
    length = np.asarray(lengths)
    a, b = ours.astype(np.float64), originals.astype(np.float64)
    cosine = row_cosines(a, b)
    difference = np.abs(a - b).max(axis=1)
    number = np.searchsorted(LENGTH_CLASSES, length, side="right") - 1
    for here in (number == n for n in np.unique(number)):
        yield LengthClass(
            shortest=int(length[here].min()),
            longest=int(length[here].max()),
            num_sequences=int(here.sum()),
            min_cosine=float(cosine[here].min()),
            mean_cosine=float(cosine[here].mean()),
            max_difference=float(difference[here].max()),
        )
