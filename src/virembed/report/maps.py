"""The points of the map as plain numbers: where they lie, what they are, how they are coloured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from virembed.layout import FRAME_NAMES, MODELS, NO_FRAME
from virembed.report.projection import Projection
from virembed.report.rows import SCORE_PREFIX, ChosenRows

GRID = 10_000  # steps of a coordinate from edge to edge
MARGIN = 0.03
MAX_NAMES_BYTES = 1_200_000  # of the record ids that the page carries
MAX_SAMPLES = 56  # colours times shapes
NUM_RECORDS = 8
NUM_STEPS = 8  # of a colour scale
OTHER = 255  # code of what has no colour of its own
PANEL_TITLES = {"esm2": "Proteins, ESM-2", "dnaberts": "DNA, DNABERT-S"}

Numbers = npt.NDArray[Any]


def thin(chosen: Sequence[ChosenRows]) -> list[ChosenRows]:
    """The same rows, or every second, fourth, ... so that the ids of their records fit a page."""
    step = 1
    while _name_bytes(chosen, step) > MAX_NAMES_BYTES:
        step *= 2
    return [
        ChosenRows(
            part.sample,
            part.row[::step],
            vectors={model: vectors[::step] for model, vectors in part.vectors.items()},
            columns={name: values[::step] for name, values in part.columns.items()},
            records=part.records[::step],
        )
        for part in chosen
    ]


def _name_bytes(chosen: Sequence[ChosenRows], step: int) -> int:
    return sum(len(name) + 3 for part in chosen for name in set(part.records[::step]))


def with_vector(chosen: Sequence[ChosenRows], model: str) -> Numbers:
    """Numbers of the points that have a vector of a model, int64."""
    if not chosen:
        return np.zeros(0, dtype=np.int64)
    finite = [np.isfinite(part.vectors[model][:, :1]).all(axis=1) for part in chosen]
    return np.flatnonzero(np.concatenate(finite))


def build_map(
    chosen: Sequence[ChosenRows],
    planes: Mapping[str, Projection | None],
    samples: Sequence[str],
    num_rows: int,
) -> dict[str, Any]:
    """Points, panels and colourings.

    points:    by column, one value per point; `record` is a position in `records`
    panels:    per model that has a plane: the points in it, and x and y of each layout, 0 to GRID
    colourings: classes with labels, and the class of every point
    """
    columns = _columns(chosen)
    names: dict[tuple[int, str], int] = {}
    columns["record"] = np.array(
        [
            names.setdefault((part.sample, name), len(names))
            for part in chosen
            for name in part.records
        ],
        dtype=np.int64,
    )
    records = [name for _, name in names]
    panels = []
    for model in MODELS:
        plane = planes.get(model.name)
        if plane is not None:
            panels.append(
                {
                    "model": model.name,
                    "title": PANEL_TITLES[model.name],
                    "points": with_vector(chosen, model.name).tolist(),
                    "layouts": {name: _on_grid(xy) for name, xy in plane.layouts.items()},
                    "explained": [round(share, 4) for share in plane.explained],
                }
            )
    return {
        "num_rows": num_rows,
        "num_points": len(columns["record"]),
        "points": {name: values.tolist() for name, values in columns.items()},
        "records": records,
        "panels": panels,
        "colourings": _colourings(columns, samples, records),
    }


def _columns(chosen: Sequence[ChosenRows]) -> dict[str, Numbers]:
    names = {name for part in chosen for name in part.columns}
    joined = {
        name: np.concatenate(
            [part.columns.get(name, np.full(len(part.row), np.nan)) for part in chosen]
        )
        for name in sorted(names)
    }
    empty = np.zeros(0, dtype=np.int64)
    joined["row"] = np.concatenate([part.row for part in chosen] or [empty])
    joined["sample"] = np.concatenate(
        [np.full(len(part.row), part.sample) for part in chosen] or [empty]
    )
    return joined


def _on_grid(xy: Numbers) -> dict[str, list[int]]:
    """Both axes on one scale, from 0 to `GRID`, y upwards."""
    low, high = xy.min(axis=0), xy.max(axis=0)
    scale = GRID * (1 - 2 * MARGIN) / max(float((high - low).max()), 1e-12)
    placed = np.rint(GRID / 2 + (xy - (low + high) / 2) * scale).astype(int)
    return {"x": placed[:, 0].tolist(), "y": placed[:, 1].tolist()}


def _colourings(
    columns: Mapping[str, Numbers], samples: Sequence[str], records: Sequence[str]
) -> list[dict[str, Any]]:
    """In the order of the menu; the first is that of the still picture."""
    if not len(columns["record"]):
        return []
    scores = [name for name in columns if name.startswith(SCORE_PREFIX)]
    found = [
        _by_sample(columns["sample"], samples),
        *(_by_number(columns[name], name, name.replace("_", " ")) for name in scores),
        _by_number(
            columns["protein_len"], "protein_len", "Protein length, residues", zero="no protein"
        ),
        _by_number(columns["dna_bp"], "dna_bp", "DNA length, bp", zero="no DNA"),
        _by_frame(columns["frame"]),
        _by_record(columns["record"], records),
    ]
    # where there is one class only, colours say nothing
    return [each for each in found if len(each["labels"]) > 1] or found[:1]


def _by_sample(sample: Numbers, samples: Sequence[str]) -> dict[str, Any]:
    present = np.unique(sample).tolist()
    code = np.full(len(samples), OTHER)
    code[present[:MAX_SAMPLES]] = np.arange(min(len(present), MAX_SAMPLES))
    labels = [samples[number] for number in present[:MAX_SAMPLES]]
    return _colouring("sample", "Sample", "classes", labels, code[sample], other="other samples")


def _by_record(record: Numbers, records: Sequence[str]) -> dict[str, Any]:
    several = [
        (number, count) for number, count in Counter(record.tolist()).most_common() if count > 1
    ]
    top = [number for number, _ in several[:NUM_RECORDS]]
    code = np.full(len(records), OTHER)
    code[top] = np.arange(len(top))
    labels = [records[number] for number in top]
    return _colouring("record", "Record", "classes", labels, code[record], other="other records")


def _by_frame(frame: Numbers) -> dict[str, Any]:
    code = np.where(frame == FRAME_NAMES.index(NO_FRAME), OTHER, frame.astype(np.int64))
    labels = list(FRAME_NAMES[:-1])
    return _colouring("frame", "Frame", "classes", labels, code, other="no open frame")


def _by_number(values: Numbers, key: str, title: str, *, zero: str = "") -> dict[str, Any]:
    """Classes of about equally many points, in ascending order.

    Args:
        zero: where 0 means that there is no value, what to call that.
    """
    known = np.isfinite(values) & ((values > 0) if zero else True)
    present = values[known]
    steps = np.linspace(0, 1, NUM_STEPS + 1)
    borders = np.unique(np.quantile(present, steps)) if len(present) else np.zeros(0)
    whole = bool(np.equal(np.mod(present, 1), 0).all())
    if whole and len(borders):
        borders = np.unique(np.ceil(borders))
    inner = np.asarray(borders[1:-1])
    code = np.full(len(values), OTHER)
    code[known] = np.searchsorted(inner, present, side="right")
    labels = []
    for step in range(len(inner) + 1 if len(present) else 0):
        inside = present[code[known] == step]
        ends = (inside.min(), inside.max()) if len(inside) else (0, 0)
        texts = [f"{end:,.0f}" if whole else f"{end:.3g}" for end in ends]
        labels.append(texts[0] if texts[0] == texts[1] else f"{texts[0]} to {texts[1]}")
    return _colouring(key, title, "scale", labels, code, other=zero or "none")


def _colouring(
    key: str, title: str, kind: str, labels: list[str], code: Numbers, *, other: str
) -> dict[str, Any]:
    return {
        "key": key,
        "title": title,
        "kind": kind,
        "labels": labels,
        "other": other if (code == OTHER).any() else "",
        "code": code.tolist(),
    }
