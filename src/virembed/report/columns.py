"""Lengths, frames and norms of all rows: counts in bins, medians, outliers.

Reads every value of these columns, block by block; of a sample at most one column is in memory.
The bins are the same for all samples of a report, so that bars can be compared and added.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from virembed.layout import FRAME_NAMES, MODELS, PROTEIN
from virembed.result import BLOCK_ROWS
from virembed.verify import type_of

NUM_BINS = 36
FAR = 6.0  # an outlier is further from the median than this many robust standard deviations
MAD_TO_SIGMA = 1.4826  # of a normal distribution
NUM_SHOWN = 5  # outliers shown by id of each sample and model

Numbers = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Histogram:
    """One quantity of rows or records.

    scale: "linear" or "log"; on a log scale values of 0 are left out
    whole: values are whole numbers, and bins have whole borders
    """

    name: str
    title: str
    unit: str
    scale: str
    whole: bool


HISTOGRAMS = (
    Histogram("record_bp", "Length of records", "bp", "log", whole=True),
    Histogram("protein_len", "Length of proteins", "residues", "linear", whole=True),
    Histogram("dna_bp", "Length of embedded DNA", "bp", "linear", whole=True),
    *(
        Histogram(f"{model.name}_norm", f"Norm of {title} vectors", "norm", "linear", whole=False)
        for model, title in zip(MODELS, ("ESM-2", "DNABERT-S"), strict=True)
    ),
)


def value_blocks(file: h5py.File, name: str) -> Iterator[Numbers]:
    """The values of a histogram that exist, some at a time."""
    if name == "record_bp" and type_of(file) == PROTEIN:
        return
    source = {"record_bp": "uns/records/length", "dna_bp": "obs/dna_end"}.get(name, f"obs/{name}")
    for start in range(0, len(file[source]), BLOCK_ROWS):
        values = file[source][start : start + BLOCK_ROWS]
        if name == "dna_bp":
            values = values - file["obs/dna_start"][start : start + BLOCK_ROWS]
        yield values[values > 0] if values.dtype.kind == "i" else values[np.isfinite(values)]


def value_ranges(file: h5py.File) -> dict[str, tuple[float, float]]:
    """Smallest and largest value of each histogram that has any."""
    ranges = {}
    for histogram in HISTOGRAMS:
        ends = [
            float(end)
            for values in value_blocks(file, histogram.name)
            if len(values)
            for end in (values.min(), values.max())
        ]
        if ends:
            ranges[histogram.name] = (min(ends), max(ends))
    return ranges


def bin_edges(ranges: Iterable[dict[str, tuple[float, float]]]) -> dict[str, Numbers]:
    """Borders of the bins of each histogram that has values in any sample, float64 [bins + 1]."""
    known = list(ranges)
    edges = {}
    for histogram in HISTOGRAMS:
        ends = [part[histogram.name] for part in known if histogram.name in part]
        if ends:
            low, high = min(low for low, _ in ends), max(high for _, high in ends)
            edges[histogram.name] = _edges(histogram, low, high)
    return edges


def _edges(histogram: Histogram, low: float, high: float) -> Numbers:
    if histogram.scale == "log":
        # whole borders that differ, so that every length has one bin
        spaced = np.geomspace(low, high + 1, NUM_BINS + 1).round()
        return np.unique(spaced).astype(float) if high > low else np.array([low, low + 1])
    if histogram.whole:
        width = max(1, -(-int(high - low + 1) // NUM_BINS))
        return np.arange(low, high + width + 0.5, width, dtype=float)
    if high <= low:
        return np.array([low - 0.5, low + 0.5])
    return np.linspace(low, np.nextafter(high, np.inf), NUM_BINS + 1)


def read_columns(file: h5py.File, edges: dict[str, Numbers]) -> dict[str, Any]:
    """Counts in bins, frames, norms and outliers of one sample."""
    return {
        "bins": {name: _count(file, name, borders) for name, borders in edges.items()},
        "frames": frame_counts(file),
        "norms": {model.name: norm_facts(file, f"{model.name}_norm") for model in MODELS},
        "medians": {
            name: _median(list(value_blocks(file, name)))
            for name in ("record_bp", "protein_len", "dna_bp")
        },
    }


def _count(file: h5py.File, name: str, edges: Numbers) -> list[int]:
    counts = np.zeros(len(edges) - 1, dtype=np.int64)
    for values in value_blocks(file, name):
        counts += np.histogram(values, edges)[0]
    return [int(count) for count in counts]


def frame_counts(file: h5py.File) -> dict[str, int]:
    """Rows of each frame, F1 to R3 and none."""
    counts = np.zeros(len(FRAME_NAMES), dtype=np.int64)
    codes = file["obs/frame/codes"]
    for start in range(0, len(codes), BLOCK_ROWS):
        counts += np.bincount(codes[start : start + BLOCK_ROWS], minlength=len(FRAME_NAMES))
    return dict(zip(FRAME_NAMES, counts.tolist(), strict=True))


def norm_facts(file: h5py.File, column: str) -> dict[str, Any]:
    """Median and robust spread of the norms of a sample, and the rows far from them."""
    norms = file[f"obs/{column}"][:]
    present = norms[np.isfinite(norms)].astype(np.float64)
    if not len(present):
        return {"median": None, "sigma": None, "num_far": 0, "far": []}
    median = float(np.median(present))
    sigma = float(MAD_TO_SIGMA * np.median(np.abs(present - median)))
    distance = np.abs(np.where(np.isfinite(norms), norms.astype(np.float64), median) - median)
    # identical sequences make a spread of nothing, of which everything else would be an outlier
    far = np.flatnonzero(distance > FAR * sigma) if sigma else np.zeros(0, dtype=np.int64)
    shown = far[np.argsort(-distance[far], kind="stable")][:NUM_SHOWN]
    return {
        "median": median,
        "sigma": sigma,
        "num_far": len(far),
        "far": [
            {"row_id": file["obs/row_id"].asstr()[row], "norm": float(norms[row])} for row in shown
        ],
    }


def _median(blocks: Sequence[Numbers]) -> float | None:
    values = np.concatenate(blocks) if blocks else np.zeros(0)
    return float(np.median(values)) if len(values) else None
