"""How the EMBED tasks did, from what `virembed embed --stats` wrote: rates, load, stalls."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from virembed.errors import IncompleteError

SUFFIX = ".stats.json"
STALLED_PERCENT = 50  # a GPU below it waits for the CPU or the disk
MAX_POINTS = 60  # of a series
SERIES = ("tokens_per_s", "busy_percent", "memory_gb", "power_w")


def read_tasks(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """One entry per stats file, in the order of their start.

    Raises:
        IncompleteError: not a file of `virembed embed --stats`.
    """
    tasks = [_task(path) for path in paths]
    return sorted(tasks, key=lambda task: (task["started"], task["task"]))


def _task(path: Path) -> dict[str, Any]:
    remedy = "Give the directory of the files of `virembed embed --stats`."
    try:
        stats = json.loads(path.read_text())
        return _facts(stats)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise IncompleteError(f"{path}: cannot be read ({error})", remedy) from None
    except (KeyError, TypeError, ValueError) as error:
        raise IncompleteError(f"{path}: no statistics of a task ({error!r})", remedy) from None


def _facts(stats: Mapping[str, Any]) -> dict[str, Any]:
    seconds, monitor, samples = stats["seconds"], stats["monitor"], stats["samples"]
    packed = stats["num_tokens"] + stats["fill_tokens"]
    return {
        "task": stats["chunk"],
        "sample": stats["chunk"].rsplit(".", 2)[0],
        "model": stats["model"],
        "device": stats["device"],
        "gpu": stats["gpu"] or "",
        "started": datetime.fromisoformat(stats["started"]).timestamp(),
        "load_s": seconds["load"],
        "tokenize_s": seconds["tokenize"],
        "loop_s": seconds["loop"],
        "held_s": seconds["held"],
        "num_items": stats["num_items"],
        "num_tokens": stats["num_tokens"],
        "tokens_per_s": stats["num_tokens"] / seconds["loop"] if seconds["loop"] else None,
        "busy_percent": monitor.get("busy_percent"),
        "stalled_s": stalled_s(samples),
        "peak_memory_gb": monitor["peak_memory_bytes"] / 1e9 if monitor else None,
        "power_w": monitor.get("power_w"),
        "clock_mhz": monitor.get("clock_mhz"),
        "num_packs": stats["num_packs"],
        "num_halvings": stats["num_halvings"],
        "fill_percent": 100 * stats["fill_tokens"] / packed if packed else 0.0,
        "driver": monitor.get("driver", ""),
        "series": series(samples),
    }


def stalled_s(samples: Sequence[Mapping[str, Any]]) -> float | None:
    """Seconds of the loop in which the GPU was busy less than half of the time.

    The first and the last interval are start and end of the loop, not stalls. None for a CPU.
    """
    if not samples or samples[0]["busy_percent"] is None:
        return None
    inside = list(pairwise(samples))[1:-1]
    waited = (b["seconds"] - a["seconds"] for a, b in inside if b["busy_percent"] < STALLED_PERCENT)
    return float(sum(waited))


def series(samples: Sequence[Mapping[str, Any]]) -> dict[str, list[float | None]]:
    """What the device did over time, as means over at most `MAX_POINTS` equally many samples.

    seconds: end of each interval since the start of the loop
    """
    moments = [{"seconds": 0.0, "tokens": 0}, *samples]
    step = -(-len(samples) // MAX_POINTS) or 1
    borders = [*range(0, len(samples), step), len(samples)] if samples else []
    found: dict[str, list[float | None]] = {name: [] for name in ("seconds", *SERIES)}
    for first, last in pairwise(borders):
        begin, end = moments[first], moments[last]
        lasted = end["seconds"] - begin["seconds"]
        part = samples[first:last]
        found["seconds"].append(round(end["seconds"], 3))
        rate = (end["tokens"] - begin["tokens"]) / lasted if lasted > 0 else 0.0
        found["tokens_per_s"].append(round(rate, 1))
        found["busy_percent"].append(_mean(part, "busy_percent"))
        found["memory_gb"].append(_mean(part, "memory_bytes", 1e9))
        found["power_w"].append(_mean(part, "power_w"))
    return found


def _mean(samples: Sequence[Mapping[str, Any]], name: str, unit: float = 1.0) -> float | None:
    known = [sample[name] for sample in samples if sample[name] is not None]
    return round(sum(known) / len(known) / unit, 2) if known else None


def device_seconds(tasks: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """By model: tasks, seconds they held their device, seconds in the loop, tokens."""
    totals: dict[str, dict[str, float]] = {}
    for task in tasks:
        total = totals.setdefault(
            task["model"], {"tasks": 0, "held_s": 0.0, "loop_s": 0.0, "num_tokens": 0}
        )
        total["tasks"] += 1
        total["held_s"] += task["held_s"]
        total["loop_s"] += task["loop_s"]
        total["num_tokens"] += task["num_tokens"]
    return totals
