"""The still pictures of the report: what is seen without JavaScript, and on paper."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from virembed.report.maps import GRID, NUM_STEPS, OTHER
from virembed.report.svg import (
    DOT,
    Picture,
    cells,
    log_ticks,
    point_paths,
    polyline,
    shape_of,
    short,
    ticks,
)

NUM_COLOURS = 8
PLOT = {"left": 46, "top": 12, "width": 346, "height": 150}  # of a histogram, within 400 x 208
_LEFT, _TOP, _WIDTH, _HEIGHT = PLOT.values()
_MAP_SIZE = 500
_MANY_POINTS = 5000  # more of them are drawn smaller
_NUMBERED_SAMPLES = 10  # a heat map of at most so many samples has numbers in its cells
_NAME_BEGIN, _NAME_END = 11, 8  # letters shown of a long name: names often begin, or end, alike


def colour_class(kind: str, code: int) -> str:
    """Class of the style sheet for a class of a colouring."""
    if code == OTHER:
        return "other"
    return f"s{code}" if kind == "scale" else f"c{code % NUM_COLOURS}"


def map_picture(panel: Mapping[str, Any], colouring: Mapping[str, Any], note: str) -> Markup:
    """One panel of the map in the first colouring and the first layout."""
    layout = panel["layouts"].get("tsne") or panel["layouts"]["pca"]
    codes = [colouring["code"][point] for point in panel["points"]]
    picture = Picture(_MAP_SIZE, _MAP_SIZE, label=f"Map: {panel['title']}", kind="points")
    classes = colouring["kind"] == "classes"
    thin = 0.7 if len(codes) > _MANY_POINTS else 1.0
    paths = point_paths(layout["x"], layout["y"], codes, size=_MAP_SIZE, grid=GRID)
    # what has no colour of its own lies below, the rarest class above all others
    for code, path in sorted(paths.items(), key=lambda item: (item[0] != OTHER, -len(item[1]))):
        shape = shape_of(code) if classes else DOT
        style = "fill" if shape.fill else "stroke"
        picture.add(
            f'<path class="{style} {colour_class(colouring["kind"], code)}" '
            f'stroke-width="{shape.width * thin:g}" stroke-linecap="{shape.cap}" d="{path}"/>'
        )
    picture.watermark(_MAP_SIZE - 6, _MAP_SIZE - 8, note)
    return picture.done()


def histogram_picture(histogram: Mapping[str, Any], counts: Sequence[int]) -> Markup:
    """Bars of counts over bins; `page/report.js` changes heights for a single sample."""
    edges = histogram["edges"]
    is_log = histogram["scale"] == "log"
    low, high = edges[0], edges[-1]

    def place(value: float) -> float:
        if is_log:
            return float(_LEFT + _WIDTH * math.log(value / low) / math.log(high / low))
        return float(_LEFT + _WIDTH * (value - low) / (high - low))

    picture = Picture(400, 208, label=f"{histogram['title']}: histogram", kind="histogram")
    _y_axis(picture, counts)
    top = max(ticks(0, max(counts, default=0) or 1, 4)[-1], *counts, 1)
    picture.add('<g class="bars">')
    for (begin, end), count in zip(pairwise(edges), counts, strict=True):
        left, right = place(begin), place(end)
        height = _HEIGHT * count / top
        gap = min(1.0, (right - left) / 4)
        picture.add(
            f'<rect x="{left:.1f}" y="{_TOP + _HEIGHT - height:.1f}" '
            f'width="{right - left - gap:.1f}" height="{height:.1f}">'
            f"<title>{_interval(begin, end, histogram)}: {count:,}</title></rect>"
        )
    picture.add("</g>")
    for value in log_ticks(low, high) if is_log else ticks(low, high):
        picture.line(place(value), _TOP + _HEIGHT, place(value), _TOP + _HEIGHT + 4)
        picture.text(place(value), _TOP + _HEIGHT + 17, short(value))
    picture.text(_LEFT + _WIDTH / 2, _TOP + _HEIGHT + 36, histogram["unit"], kind="title")
    return picture.done()


def frames_picture(frames: Mapping[str, int]) -> Markup:
    """A bar per frame."""
    counts = list(frames.values())
    picture = Picture(400, 208, label="Rows per frame", kind="histogram")
    _y_axis(picture, counts)
    top = max(ticks(0, max(counts) or 1, 4)[-1], *counts, 1)
    step = _WIDTH / len(counts)
    picture.add('<g class="bars">')
    for number, (frame, count) in enumerate(frames.items()):
        height = _HEIGHT * count / top
        kind = ' class="other"' if number == len(counts) - 1 else ""
        picture.add(
            f'<rect{kind} x="{_LEFT + number * step + 5:.1f}" '
            f'y="{_TOP + _HEIGHT - height:.1f}" width="{step - 10:.1f}" height="{height:.1f}">'
            f"<title>{frame}: {count:,}</title></rect>"
        )
    picture.add("</g>")
    for number, frame in enumerate(frames):
        picture.text(_LEFT + (number + 0.5) * step, _TOP + _HEIGHT + 17, frame)
    picture.text(_LEFT + _WIDTH / 2, _TOP + _HEIGHT + 36, "frame", kind="title")
    return picture.done()


def _y_axis(picture: Picture, counts: Sequence[int]) -> None:
    marks = [mark for mark in ticks(0, max(counts, default=0) or 1, 4) if mark == int(mark)]
    top = max(marks[-1], *counts, 1)
    picture.add('<g class="y">')
    for mark in marks:
        y = _TOP + _HEIGHT * (1 - mark / top)
        picture.line(_LEFT, y, _LEFT + _WIDTH, y, "axis" if mark == 0 else "grid")
        picture.text(_LEFT - 6, y + 4, short(mark), anchor="end")
    picture.add("</g>")


def _interval(begin: float, end: float, histogram: Mapping[str, Any]) -> str:
    if histogram["unit"] == "norm":
        return f"{begin:.4g} to {end:.4g}"
    last = int(end) - 1  # bins of whole numbers are half-open
    return f"{begin:,.0f}" if last <= begin else f"{begin:,.0f} to {last:,}"


def heat_layout(number: int) -> dict[str, float]:
    """Where the first cell of a heat map of so many samples begins, and the size of a cell."""
    # 10: names at the side must not touch
    return {"left": 170.0, "top": 18.0, "size": max(10.0, min(34.0, 300 / number))}


def heat_map(distances: Mapping[str, Any], names: Sequence[str], title: str) -> Markup:
    """Distances between samples, numbered at the top as at the side."""
    samples, matrix = distances["samples"], distances["matrix"]
    number = len(samples)
    left, top, size = heat_layout(number).values()
    width = left + max(size * number, 300) + 6
    picture = Picture(width, top + size * number + 6, label=title, kind="heat")
    values = [value for row in matrix for value in row]
    found = cells(values, low=0, high=max(values), steps=NUM_STEPS)
    for step, places in found.items():
        path = "".join(
            f"M{left + place % number * size:.4g} {top + place // number * size:.4g}"
            f"h{size:.4g}v{size:.4g}h-{size:.4g}z"
            for place in places
        )
        picture.add(f'<path class="fill s{step}" d="{path}"/>')
    every = 1 if size >= 12 else 5
    for place, sample in enumerate(samples):
        middle = (place + 0.5) * size
        text_size = "small" if size < 12 else ""
        y = top + middle + 4
        picture.text(
            left - 28, y, _shown(names[sample]), anchor="end", kind=f"name {text_size}".strip()
        )
        picture.text(left - 6, y, str(place + 1), anchor="end", kind=text_size)
        if (place + 1) % every == 0:
            picture.text(left + middle, top - 5, str(place + 1), kind=text_size)
    if number <= _NUMBERED_SAMPLES:
        _cell_numbers(picture, matrix, left=left, top=top, size=size)
    return picture.done()


def _shown(name: str) -> str:
    """A name that fits beside a heat map."""
    fits = len(name) <= _NAME_BEGIN + 1 + _NAME_END
    return name if fits else f"{name[:_NAME_BEGIN]}…{name[-_NAME_END:]}"


def _cell_numbers(
    picture: Picture, matrix: Sequence[Sequence[float]], *, left: float, top: float, size: float
) -> None:
    largest = max(max(row) for row in matrix) or 1.0
    for i, row in enumerate(matrix):
        for j, value in enumerate(row):
            # the upper half of the scale is light
            kind = "on-light" if value / largest > 0.6 else "on-dark"
            x, y = left + (j + 0.5) * size, top + (i + 0.5) * size + 4
            picture.text(x, y, f"{value:.2f}", kind=kind)


def strip_picture(
    values: Sequence[float | None], *, low: float, high: float, label: str, scale: str = "s"
) -> Markup:
    """Cells side by side, stretched to the width there is.

    Args:
        scale: "s" for the colours of the map, "o" for shades of one colour.
    """
    found = cells(values, low=low, high=high, steps=NUM_STEPS)
    paths = "".join(
        f'<path class="fill {scale}{step}" d="'
        + "".join(f"M{first} 0h{last - first}v1h-{last - first}z" for first, last in runs(places))
        + '"/>'
        for step, places in found.items()
    )
    return Markup(
        f'<svg class="strip" viewBox="0 0 {len(values)} 1" preserveAspectRatio="none" role="img" '
        f'aria-label="{label}">{paths}</svg>'
    )


def runs(places: Sequence[int]) -> list[tuple[int, int]]:
    """[3, 4, 5, 9] as [(3, 6), (9, 10)]."""
    found: list[tuple[int, int]] = []
    for place in places:
        if found and found[-1][1] == place:
            found[-1] = (found[-1][0], place + 1)
        else:
            found.append((place, place + 1))
    return found


def sparkline(values: Sequence[float | None], top: float) -> Markup:
    """A line from 0 to `top`; nothing where there are no values."""
    known = [value for value in values if value is not None]
    if not known or top <= 0:
        return Markup("")
    path = polyline(known, 100, 24, top)
    return Markup(
        '<svg class="spark" viewBox="0 -1 100 26" preserveAspectRatio="none" aria-hidden="true">'
        f'<path class="area" d="{path}V24H0z"/><path class="curve" d="{path}"/></svg>'
    )
