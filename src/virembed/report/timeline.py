"""When each task held a device: lanes of bars over the time in which any task ran."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from virembed.report.svg import ticks

MAX_BARS = 1500
LONG_PAUSE_S = 120.0  # a longer time without any task is cut out of the axis
_UNITS = ((5400.0, 3600.0, "h"), (180.0, 60.0, "min"), (0.0, 1.0, "s"))


@dataclass(frozen=True, slots=True)
class Lanes:
    """
    lanes:  name of the device, and its bars: left and width in percent, and the task
    pauses: percent at which a pause was cut out, and how long it was in s
    marks:  percent and text of the axis
    """

    lanes: list[tuple[str, list[tuple[float, float, Mapping[str, Any]]]]]
    pauses: list[tuple[float, float]]
    marks: list[tuple[float, str]]
    left_out: int


def lay_out(tasks: Sequence[Mapping[str, Any]]) -> Lanes:
    """
    Args:
        tasks: in the order of their start, see `tasks.read_tasks`.
    """
    shown = list(tasks[:MAX_BARS])
    if not shown:
        return Lanes([], [], [], 0)
    spans = [(task["started"], task["started"] + task["held_s"]) for task in shown]
    active = _merged(spans)
    total = sum(end - begin for begin, end in active) or 1.0

    def percent(moment: float) -> float:
        before = sum(min(end, moment) - begin for begin, end in active if begin < moment)
        return round(100 * before / total, 3)

    lanes: list[tuple[str, list[tuple[float, float, Mapping[str, Any]]]]] = []
    free: list[tuple[str, float]] = []  # device and end of the last task of each lane
    for task, (begin, end) in zip(shown, spans, strict=True):
        device = task["gpu"] or task["device"]
        fitting = (i for i, lane in enumerate(free) if lane[0] == device and lane[1] <= begin)
        lane = next(fitting, len(free))
        if lane == len(free):
            free.append((device, end))
            lanes.append((device, []))
        free[lane] = (device, end)
        left = percent(begin)
        lanes[lane][1].append((left, max(round(percent(end) - left, 3), 0.15), task))
    pauses = [(percent(last[1]), begin - last[1]) for last, (begin, _) in pairwise(active)]
    return Lanes(_named(lanes), pauses, _marks(total), len(tasks) - len(shown))


def _merged(spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Times in which any task ran; shorter pauses belong to them."""
    active: list[tuple[float, float]] = []
    for begin, end in sorted(spans):
        if active and begin <= active[-1][1] + LONG_PAUSE_S:
            active[-1] = (active[-1][0], max(active[-1][1], end))
        else:
            active.append((begin, end))
    return active


def _named(lanes: Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """UUIDs as GPU 1, GPU 2, in order of their first task."""
    names: dict[str, str] = {}
    for device, _ in lanes:
        if device.startswith("GPU-"):
            names.setdefault(device, f"GPU {len(names) + 1}")
    return [(names.get(device, device), bars) for device, bars in lanes]


def _marks(total_s: float) -> list[tuple[float, str]]:
    size, unit = next((size, unit) for least, size, unit in _UNITS if total_s >= least)
    return [
        (100 * mark * size / total_s, f"{mark:g} {unit}") for mark in ticks(0, total_s / size, 6)
    ]
