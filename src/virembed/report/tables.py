"""The report as tables: summary.tsv, gpu.tsv, content for MultiQC, and the message at the end.

docs/report.md describes each column.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from html import escape
from pathlib import Path
from typing import Any

from virembed.atomic import whole_file
from virembed.layout import MODELS
from virembed.report.samples import (
    EMPTY,
    FAILED,
    LOSSES,
    OK,
    loss_counts,
    losses_in_words,
    number_of,
)

Facts = Mapping[str, Any]
Column = tuple[str, Callable[[Facts], Any]]


def _count(name: str) -> Callable[[Facts], Any]:
    return lambda sample: sample["counts"].get(name)


def _model_columns(model: str) -> list[Column]:
    def made(sample: Facts, key: str) -> Any:
        return sample["provenance"].get(model, {}).get(key)

    def norms(sample: Facts, key: str) -> Any:
        return sample.get("norms", {}).get(model, {}).get(key)

    return [
        (f"{model}_distinct", _count(f"{model}_unique")),
        (f"{model}_copied", _count(f"{model}_copied")),
        (f"{model}_missing", _count(f"{model}_failed")),
        (f"{model}_tokens", _count(f"tokens_{model}")),
        (f"{model}_norm_median", lambda sample: norms(sample, "median")),
        (f"{model}_norm_outliers", lambda sample: norms(sample, "num_far")),
        (f"{model}_weights", lambda sample: made(sample, "model_id")),
        (f"{model}_weights_sha256", lambda sample: made(sample, "weights_sha256")),
        (f"{model}_random_weights", lambda sample: made(sample, "random_weights")),
    ]


SUMMARY_COLUMNS: tuple[Column, ...] = (
    ("sample", lambda sample: sample["name"]),
    ("state", lambda sample: sample["state"]),
    ("records", _count("records_in")),
    ("records_without_rows", lambda sample: records_without_rows(sample["counts"])),
    ("bases", _count("bases_in")),
    ("windows", _count("windows")),
    ("windows_without_open_frame", _count("windows_no_open_frame")),
    ("windows_dropped", _count("windows_dropped")),
    ("open_frames", _count("frames_open")),
    ("rows", _count("rows")),
    ("protein_median_residues", lambda sample: sample.get("medians", {}).get("protein_len")),
    *(column for model in MODELS for column in _model_columns(model.name)),
    ("file", lambda sample: sample["file"]),
    ("file_bytes", lambda sample: sample["bytes"]),
    ("collected", lambda sample: sample["collected"]),
    ("verdict", lambda sample: sample["verdict"]),
)
GPU_COLUMNS = (
    *("task", "sample", "model", "device", "gpu", "driver", "started", "load_s", "tokenize_s"),
    *("loop_s", "held_s", "num_items", "num_tokens", "tokens_per_s", "busy_percent", "stalled_s"),
    *("peak_memory_gb", "power_w", "clock_mhz", "num_packs", "num_halvings", "fill_percent"),
)


_MQC_COLOURS = {
    "pass": [{"s_eq": OK}],
    "warn": [{"s_eq": LOSSES}, {"s_eq": EMPTY}],
    "fail": [{"s_eq": FAILED}],
}


def write_summary(path: Path, data: Facts) -> None:
    """One line per sample."""
    header = [name for name, _ in SUMMARY_COLUMNS]
    lines = [[value(sample) for _, value in SUMMARY_COLUMNS] for sample in data["samples"]]
    _write_tsv(path, header, lines)


def write_gpu(path: Path, data: Facts) -> None:
    """One line per EMBED task."""
    lines = []
    for task in data["tasks"]:
        started = datetime.fromtimestamp(task["started"], timezone.utc)
        shown = dict(task) | {"started": started.isoformat(timespec="seconds")}
        lines.append([shown[name] for name in GPU_COLUMNS])
    _write_tsv(path, GPU_COLUMNS, lines)


def write_multiqc(directory: Path, data: Facts) -> None:
    """Custom content: general statistics, a table of verdicts, and bars of the losses.

    MultiQC leaves out bars that are all zero; the verdicts are always there.
    """
    for content in (_mqc_general(data), _mqc_verdicts(data), _mqc_losses(data)):
        with whole_file(directory / f"{content['id']}_mqc.json") as path:
            path.write_text(json.dumps(content, indent=1) + "\n")


def _random_note(data: Facts) -> str:
    return " Random weights: no biology in these vectors." if data["random"] else ""


def _mqc_general(data: Facts) -> dict[str, Any]:
    filled = [sample for sample in data["samples"] if sample["counts"]]
    return {
        "id": "virembed_general",
        "plot_type": "generalstats",
        "headers": {
            "records": _header("Records", "Records in the input"),
            "records_without_rows": _header("Lost", "Records that gave no row", "Reds"),
            "rows": _header("Rows", f"Rows of the result file.{_random_note(data)}"),
            "open_frames": _header("Frames", "Open frames, each with a protein"),
        },
        "data": {
            sample["name"]: {
                "records": sample["counts"]["records_in"],
                "records_without_rows": records_without_rows(sample["counts"]),
                "rows": sample["counts"]["rows"],
                "open_frames": sample["counts"]["frames_open"],
            }
            for sample in filled
        },
    }


def _mqc_verdicts(data: Facts) -> dict[str, Any]:
    return {
        "id": "virembed_verdicts",
        "section_name": "virembed: verdicts",
        "description": f"What became of each sample.{_random_note(data)}",
        "plot_type": "table",
        "pconfig": {"id": "virembed_verdicts_table", "title": "virembed: verdicts"},
        "headers": {
            "state": {
                "title": "State",
                "description": "ok, losses, empty or failed",
                "cond_formatting_rules": _MQC_COLOURS,
            },
            "verdict": {"title": "Verdict", "description": "Every loss, or why it failed"},
        },
        "data": {
            sample["name"]: {"state": sample["state"], "verdict": _mqc_text(sample["verdict"])}
            for sample in data["samples"]
        },
    }


def _mqc_text(text: str) -> str:
    """A text for a cell of MultiQC, where cells are HTML and a comma parts thousands."""
    return escape(text, quote=False).replace(", ", "; ")


def _mqc_losses(data: Facts) -> dict[str, Any]:
    return {
        "id": "virembed_losses",
        "section_name": "virembed: losses",
        "description": "Records and windows that gave no row, and vectors that are missing."
        + _random_note(data),
        "plot_type": "bargraph",
        "pconfig": {
            "id": "virembed_losses_plot",
            "title": "virembed: losses",
            "ylab": "Number",
            "tt_decimals": 0,
        },
        "categories": {count: {"name": meaning} for count, meaning in loss_counts()},
        "data": {
            sample["name"]: {count: sample["counts"][count] for count, _ in loss_counts()}
            for sample in data["samples"]
            if sample["counts"]
        },
    }


def completion(data: Facts) -> str:
    """What the terminal shows at the end of a run."""
    states = data["states"]
    empty, failed = states.get(EMPTY, 0), states.get(FAILED, 0)
    samples = number_of(len(data["samples"]), "sample")
    totals = data["totals"]
    lost = losses_in_words(totals)
    lines = [
        f"{samples}: {len(data['samples']) - empty - failed} ok, {empty} empty, {failed} failed",
        f"{number_of(totals['rows'], 'row')} from {number_of(totals['records_in'], 'record')}, "
        f"{f'with losses ({lost})' if lost else 'nothing lost'}",
    ]
    if data["tasks"]:
        held_s = sum(total["held_s"] for total in data["devices"].values())
        estimate_s = planned_s(data)
        lines.append(
            f"EMBED held its devices for {hours(held_s)}"
            + (f", estimated {hours(estimate_s)}" if estimate_s is not None else "")
        )
    if data["random"]:
        lines.append("The weights are random: there is no biology in these vectors")
    return "\n".join(lines)


def records_without_rows(counts: Mapping[str, int]) -> int | None:
    return counts["records_in"] - counts["records_ok"] if counts else None


def planned_s(data: Facts) -> float | None:
    """Seconds on devices that were estimated for the whole run, None without an estimate."""
    planned = [model["gpu_s"] for model in data["plan"].get("models", {}).values()]
    return sum(planned) if planned else None


def hours(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:,.1f} h"


def _header(title: str, about: str, scale: str = "Blues") -> dict[str, str]:
    shown = {"namespace": "virembed", "title": title, "description": about}
    return shown | {"format": "{:,.0f}", "scale": scale}


def _write_tsv(path: Path, header: Sequence[str], lines: Sequence[Sequence[Any]]) -> None:
    with whole_file(path) as partial:
        texts = ["\t".join(header), *("\t".join(map(_text, line)) for line in lines)]
        partial.write_text("\n".join(texts) + "\n")


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value).replace("\t", " ").replace("\n", " ")
