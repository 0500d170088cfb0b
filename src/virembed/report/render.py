"""The report as one HTML file: template, style, script and numbers, nothing from anywhere else."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.resources import files
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from virembed.layout import FRAME_NAMES, MODELS, NO_FRAME
from virembed.report import figures, timeline
from virembed.report.maps import GRID, OTHER, PANEL_TITLES
from virembed.report.provenance_table import provenance_rows
from virembed.report.samples import FAILED, LOSSES, OK, STAGES, number_of
from virembed.report.svg import SHAPES, shape_of, short
from virembed.report.tables import completion, hours, planned_s, records_without_rows
from virembed.report.tasks import SERIES

MAX_SAMPLES_LISTED = 300
MAX_TASKS_LISTED = 30
NO_VALUE = "\N{EN DASH}"
RANDOM_NOTE = "Random weights: no biology"
MARKS = {OK: "✓ ok", LOSSES: "! losses", "empty": "○ empty", FAILED: "✕ failed"}


def render(data: Mapping[str, Any]) -> str:
    """The page for what `data.report_data` found."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(page_file),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["count"] = lambda value: f"{value:,}"
    environment.filters |= {"bp": _bases, "hours": hours, "sig": _significant}
    note = RANDOM_NOTE if data["random"] else ""
    page = environment.get_template("report.html.jinja")
    return page.render(
        data=data,
        note=note,
        style=Markup(_style()),
        script=Markup(page_file("report.js")),
        numbers=Markup(_numbers(data, note)),
        **_verdict(data),
        **_pictures(data, note),
        **_tasks(data),
        provenance=provenance_rows(data["samples"]),
    )


def page_file(name: str) -> str:
    return files("virembed.report").joinpath("page", name).read_text(encoding="utf-8")


def _style() -> str:
    """The style sheet; dark colours where the system is dark, unless the button says otherwise."""
    colours = page_file("dark.css")
    dark = (
        f"@media (prefers-color-scheme: dark) {{ :root:not([data-theme=light]) {{\n{colours}}} }}\n"
        f":root[data-theme=dark] {{\n{colours}}}"
    )
    return page_file("report.css").replace("DARK_SCHEME", dark)


def _verdict(data: Mapping[str, Any]) -> dict[str, Any]:
    samples, states = data["samples"], data["states"]
    worst_first = sorted(samples, key=lambda sample: sample["state"] == OK)
    failed, bad = states.get(FAILED, 0), states.get(LOSSES, 0) + states.get("empty", 0)
    if failed:
        headline = f"{failed} of {number_of(len(samples), 'sample')} failed"
    elif bad:
        headline = f"{number_of(len(samples), 'sample')} complete, {bad} with losses or empty"
    else:
        headline = f"{number_of(len(samples), 'sample')} complete"
    return {
        "headline": headline,
        "lead": completion(data).split("\n")[1],
        "listed": worst_first[:MAX_SAMPLES_LISTED],
        "num_unlisted": max(len(samples) - MAX_SAMPLES_LISTED, 0),
        "marks": MARKS,
        "without_rows": records_without_rows,
        "stages": _stages(data["totals"]),
        "models": MODELS,
        "model_titles": PANEL_TITLES,
        "short_titles": {name: title.split(", ")[1] for name, title in PANEL_TITLES.items()},
        "losses": [
            {"sample": sample["name"], **loss} for sample in samples for loss in sample["losses"]
        ],
    }


def _stages(totals: Mapping[str, int]) -> list[Any]:
    """Those of the types of samples there are."""
    if not totals.get("records_whole"):
        return [stage for stage in STAGES if stage[1] != "records_whole"]
    return [stage for stage in STAGES if totals.get(stage[1])]


def _pictures(data: Mapping[str, Any], note: str) -> dict[str, Any]:
    chart, everything = data["map"], _sums(data["samples"])
    names = [sample["name"] for sample in data["samples"]]
    colouring = chart["colourings"][0] if chart["colourings"] else {}
    components = [value for strip in data["strips"] for value in strip.get("component", [])]
    known = [value for value in components if value is not None]
    # the middle 96 % of the values: a few extremes would leave one colour for all others
    low, high = np.quantile(known, [0.02, 0.98]).tolist() if known else (0.0, 1.0)
    return {
        "maps": [(panel, figures.map_picture(panel, colouring, note)) for panel in chart["panels"]],
        "has_tsne": any("tsne" in panel["layouts"] for panel in chart["panels"]),
        "legend": _legend(colouring),
        "shape_of": shape_of,
        "histograms": [
            (each, figures.histogram_picture(each, everything["bins"][each["name"]]))
            for each in data["histograms"]
        ],
        "frames": figures.frames_picture(everything["frames"]) if everything["frames"] else "",
        "heats": [
            (PANEL_TITLES[name], found, figures.heat_map(found, names, PANEL_TITLES[name]))
            for name, found in data["distances"].items()
            if found
        ],
        "strips": [
            {
                **strip,
                "frames": figures.strip_picture(
                    strip["frames"], low=0, high=6, label="Open frames per window", scale="o"
                ),
                "component": figures.strip_picture(
                    strip["component"], low=low, high=high, label="First component of the DNA"
                )
                if "component" in strip
                else "",
                "score": figures.strip_picture(strip["score"], low=0, high=1, label="Score")
                if "score" in strip
                else "",
            }
            for strip in data["strips"]
        ],
    }


def _legend(colouring: Mapping[str, Any]) -> list[tuple[str, str, Any, int]]:
    """Class of the style sheet, name, shape and number of points of each class."""
    if not colouring:
        return []
    codes = [*range(len(colouring["labels"])), *([OTHER] if colouring["other"] else [])]
    return [
        (
            figures.colour_class(colouring["kind"], code),
            colouring["other"] if code == OTHER else colouring["labels"][code],
            shape_of(code) if colouring["kind"] == "classes" else shape_of(OTHER),
            colouring["code"].count(code),
        )
        for code in codes
    ]


def _tasks(data: Mapping[str, Any]) -> dict[str, Any]:
    tasks = data["tasks"]
    longest = sorted(tasks, key=lambda task: (-task["held_s"], task["task"]))
    longest = longest[:MAX_TASKS_LISTED]
    tops = {
        model.name: {name: _largest(longest, model.name, name) for name in SERIES}
        | {"busy_percent": 100.0}
        for model in MODELS
    }
    planned = data["plan"].get("models", {})
    versus = []
    for model in MODELS:
        if model.name in planned and "gpu_s" in planned[model.name]:
            took = data["devices"].get(model.name, {"held_s": 0.0, "num_tokens": 0})
            versus.append((PANEL_TITLES[model.name], planned[model.name], took))
    return {
        "lanes": timeline.lay_out(tasks),
        "on_gpu": any(task["gpu"] for task in tasks),
        "longest": [
            (
                task,
                {
                    name: figures.sparkline(task["series"][name], tops[task["model"]][name])
                    for name in SERIES
                },
            )
            for task in longest
        ],
        "num_tasks_unlisted": len(tasks) - len(longest),
        "versus": versus,
        "planned_s": planned_s(data) if versus else None,
        "took_s": sum(total["held_s"] for total in data["devices"].values()),
    }


def _largest(tasks: Sequence[Mapping[str, Any]], model: str, name: str) -> float:
    """Of a series, over the tasks of a model."""
    values = (v for task in tasks if task["model"] == model for v in task["series"][name])
    return max((value for value in values if value is not None), default=0.0)


def _sums(samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Counts in bins and frames of all samples together."""
    bins: dict[str, list[int]] = {}
    frames: dict[str, int] = {}
    for sample in samples:
        for name, counts in sample.get("bins", {}).items():
            before = bins.get(name, [0] * len(counts))
            bins[name] = [a + b for a, b in zip(before, counts, strict=True)]
        for frame, count in sample.get("frames", {}).items():
            frames[frame] = frames.get(frame, 0) + count
    return {"bins": bins, "frames": frames}


def _numbers(data: Mapping[str, Any], note: str) -> str:
    """What the script needs, as JSON that cannot end its element."""
    chart = data["map"]
    everything = _sums(data["samples"])
    content = {
        "all": _for_script({"name": "all", "counts": data["totals"]} | everything),
        "samples": [_for_script(sample) for sample in data["samples"]],
        "plot": figures.PLOT,
        "map": {
            "note": note,
            "grid": GRID,
            "other": OTHER,
            "num_colours": figures.NUM_COLOURS,
            "shapes": [asdict(shape) for shape in SHAPES],
            "frames": FRAME_NAMES,
            "no_frame": NO_FRAME,
            "records": chart["records"],
            "points": {name: packed(values) for name, values in chart["points"].items()},
            "panels": [
                {
                    "points": packed(panel["points"]),
                    "layouts": {
                        name: {axis: packed(values) for axis, values in xy.items()}
                        for name, xy in panel["layouts"].items()
                    },
                }
                for panel in chart["panels"]
            ],
            "colourings": [
                {**colouring, "code": packed(colouring["code"])}
                for colouring in chart["colourings"]
            ],
        },
        "heats": [
            {
                "title": PANEL_TITLES[name],
                "samples": found["samples"],
                "matrix": packed([value for row in found["matrix"] for value in row]),
                **figures.heat_layout(len(found["samples"])),
            }
            for name, found in data["distances"].items()
            if found
        ],
    }
    return json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")


def _for_script(sample: Mapping[str, Any]) -> dict[str, Any]:
    bins = dict(sample.get("bins", {}))
    bins["frames"] = list(sample.get("frames", {}).values())
    return {"name": sample["name"], "counts": sample["counts"], "bins": bins}


def packed(values: Sequence[float]) -> str:
    """Numbers as type and base64 of their bytes: "u2:..."; NaN stays NaN."""
    numbers = np.asarray(values)
    if numbers.dtype.kind == "f":
        kind = "f4"
    elif numbers.size and numbers.min() < 0:
        kind = "i4"
    else:
        largest = int(numbers.max()) if numbers.size else 0
        kind = "u1" if largest < 1 << 8 else "u2" if largest < 1 << 16 else "u4"
    return f"{kind}:{base64.b64encode(numbers.astype(f'<{kind}').tobytes()).decode('ascii')}"


def _bases(number: float) -> str:
    """1,160,955 as 1.16 Mbp."""
    text = short(number)
    return f"{text[:-1]} {text[-1]}bp" if text[-1].isalpha() else f"{text} bp"


def _significant(value: float | None, digits: int = 3) -> str:
    """Rounded to some digits, with thousands separated; a dash for no value."""
    if value is None:
        return NO_VALUE
    if value == 0 or abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"
