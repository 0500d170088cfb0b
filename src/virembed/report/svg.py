"""Small pictures as SVG text: bars, points, strips, heat maps, lines, in colours of the page.

Colours are classes and variables of the style sheet, so that one picture serves light and dark.
Knows nothing about embeddings.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape


@dataclass(frozen=True, slots=True)
class Shape:
    """A mark drawn at a point: a path relative to it; JavaScript draws the same on its canvas.

    cap:  of the line; a line of almost no length with a cap is a dot
    fill: the path encloses the mark, else the line is the mark
    """

    path: str
    width: float
    cap: str
    fill: bool


DOT = Shape("h.01", 5.0, "round", fill=False)
SHAPES = (
    DOT,
    Shape("m-3 2.4h6l-3-5.2z", 0.0, "butt", fill=True),
    Shape("m0-3.6l3.6 3.6-3.6 3.6-3.6-3.6z", 0.0, "butt", fill=True),
    Shape("m-3.2 0h6.4m-3.2-3.2v6.4", 1.6, "butt", fill=False),
    Shape("m-2.5-2.5l5 5m-5 0l5-5", 1.6, "butt", fill=False),
    Shape("h.01", 4.4, "square", fill=False),
    Shape("m-2.5 0a2.5 2.5 0 1 0 5 0a2.5 2.5 0 1 0-5 0", 1.4, "butt", fill=False),
)


def ticks(low: float, high: float, number: int = 5) -> list[float]:
    """Round values between two ends, steps of 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    rough = (high - low) / max(number - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * nice for nice in (1, 2, 5, 10) if power * nice >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(place * step, 12) for place in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten between two ends; with 2 and 5 times these where they are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5)):
        found = [f * 10.0**p for p in powers for f in factors if low <= f * 10.0**p <= high]
        if len(found) >= 3:
            return found
    return found or [low]


def short(value: float) -> str:
    """1,500,000 as 1.5M: for axes."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


class Picture:
    """Elements of one picture, in units of its view box."""

    def __init__(self, width: float, height: float, *, label: str, kind: str) -> None:
        self._head = (
            f'<svg class="{kind}" viewBox="0 0 {width:g} {height:g}" role="img" '
            f'aria-label="{escape(label)}">'
        )
        self._parts: list[str] = []

    def add(self, element: str) -> None:
        self._parts.append(element)

    def text(
        self, x: float, y: float, text: str, *, anchor: str = "middle", kind: str = ""
    ) -> None:
        name = f' class="{kind}"' if kind else ""
        self.add(f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}"{name}>{escape(text)}</text>')

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str = "axis") -> None:
        self.add(f'<path class="{kind}" d="M{x1:g} {y1:g}L{x2:g} {y2:g}"/>')

    def watermark(self, x: float, y: float, text: str) -> None:
        if text:
            self.text(x, y, text, anchor="end", kind="random")

    def done(self) -> Markup:
        return Markup(self._head + "".join(self._parts) + "</svg>")


def cells(
    values: Sequence[float | None], *, low: float, high: float, steps: int
) -> dict[int, list[int]]:
    """Positions of values by step of a colour scale; those without a value are left out."""
    found: dict[int, list[int]] = defaultdict(list)
    span = high - low or 1.0
    for place, value in enumerate(values):
        if value is not None:
            step = int((value - low) / span * steps)
            found[min(max(step, 0), steps - 1)].append(place)
    return dict(sorted(found.items()))


def point_paths(
    xs: Sequence[int], ys: Sequence[int], codes: Sequence[int], *, size: int, grid: int
) -> dict[int, str]:
    """The marks of each class as one path; marks that would lie upon each other are drawn once.

    Args:
        xs, ys: 0 to grid, y upwards.
        codes: class of each point.
    """
    places: dict[int, set[tuple[int, int]]] = defaultdict(set)
    for x, y, code in zip(xs, ys, codes, strict=True):
        places[code].add((x * size // grid, size - y * size // grid))
    return {
        code: "".join(f"M{x} {y}{shape_of(code).path}" for x, y in sorted(found))
        for code, found in sorted(places.items())
    }


def shape_of(code: int, colours: int = 8) -> Shape:
    """Classes of the same colour differ in shape."""
    return SHAPES[code // colours] if code < colours * len(SHAPES) else DOT


def polyline(values: Sequence[float], width: float, height: float, top: float) -> str:
    """A path through values at equal distances, 0 at the bottom and `top` at the top."""
    step = width / max(len(values) - 1, 1)
    scale = height / top if top > 0 else 0.0
    points = [f"{i * step:.1f} {height - value * scale:.1f}" for i, value in enumerate(values)]
    if len(points) == 1:
        points.append(f"{width:.1f} {points[0].split()[1]}")
    return "M" + "L".join(points)
