"""Everything the report shows, as one structure of plain lists, texts and numbers.

Memory does not grow with the samples: columns are read by blocks, vectors of the chosen rows only.
Each number can be computed again from the result files, the summaries and the files of `--stats`;
docs/report.md says how.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from virembed import __version__
from virembed.errors import IncompleteError, InputError, UsageError
from virembed.h5 import format_of
from virembed.layout import DNABERTS, MODEL_NAMES, MODELS
from virembed.moments import Moments, merged
from virembed.report.columns import HISTOGRAMS, bin_edges, read_columns, value_ranges
from virembed.report.distances import sample_distances
from virembed.report.maps import build_map, thin, with_vector
from virembed.report.projection import Projection, one_thread, project
from virembed.report.rows import ChosenRows, choose_rows, quotas
from virembed.report.samples import (
    FAILED,
    RESULT_SUFFIX,
    failed_sample,
    open_result,
    read_sample,
)
from virembed.report.strips import NUM_RECORDS, longest_records, read_strips
from virembed.report.tasks import SUFFIX, device_seconds, read_tasks
from virembed.result import read_moments

MAP_POINTS = 20_000


def find_results(given: Sequence[Path]) -> list[Path]:
    """Result files: those given, and those in or one folder below a directory given.

    Raises:
        UsageError: there is none.
    """
    found: list[Path] = []
    for path in given:
        if path.is_dir():
            files = [*path.glob(f"*{RESULT_SUFFIX}"), *path.glob(f"*/*{RESULT_SUFFIX}")]
            # tables made of a result may lie beside it
            found += [file for file in files if format_of(file) is None]
        else:
            found.append(path)
    if not found:
        places = ", ".join(map(str, given))
        raise UsageError(f"{places}: no result file", "Give SAMPLE.h5 files or the results folder.")
    return sorted(set(found), key=lambda path: (path.name, str(path)))


def report_data(
    results: Sequence[Path],
    *,
    expected: Sequence[str] = (),
    stats: Path | None = None,
    plan: Path | None = None,
    map_points: int = MAP_POINTS,
) -> dict[str, Any]:
    """
    Args:
        results: result files; one that cannot be read is a failed sample.
        expected: samples there should be; one without a result is a failed sample.
        stats: directory of the files of `virembed embed --stats`.
        plan: the estimate made before the run, see docs/report.md.
        map_points: rows on the map, at most.

    Raises:
        UsageError: results that do not belong together.
        IncompleteError, InputError: statistics or plan that cannot be read.
    """
    samples = _read_samples(results, expected)
    paths = {number: sample.pop("path") for number, sample in enumerate(samples)}
    files = {number: path for number, path in paths.items() if path is not None}
    _require_same_weights(samples)
    ranges = {number: _with(path, value_ranges) for number, path in files.items()}
    edges = bin_edges(ranges.values())
    for number, path in files.items():
        samples[number] |= _with(path, lambda file: read_columns(file, edges))
    moments = {number: _with(path, read_moments) for number, path in files.items()}
    chosen = _choose(samples, files, map_points)
    with one_thread():
        planes = _planes(chosen, moments)
        strips = _strips(files, planes.get(DNABERTS.name))
        distances = {
            model.name: sample_distances(
                {number: parts[model.name] for number, parts in moments.items()}
            )
            for model in MODELS
        }
    num_rows = sum(sample["counts"]["rows"] for sample in samples if sample["counts"])
    tasks = read_tasks(sorted(stats.glob(f"*{SUFFIX}"))) if stats else []
    return {
        "virembed": __version__,
        "samples": samples,
        "states": dict(Counter(sample["state"] for sample in samples)),
        "totals": _totals(samples),
        "random": sorted({model for sample in samples for model in sample["random"]}),
        "histograms": [
            {"name": h.name, "title": h.title, "unit": h.unit, "scale": h.scale}
            | {"edges": edges[h.name].tolist()}
            for h in HISTOGRAMS
            if h.name in edges
        ],
        "map": build_map(chosen, planes, [sample["name"] for sample in samples], num_rows),
        "strips": strips,
        "distances": distances,
        "tasks": tasks,
        "devices": device_seconds(tasks),
        "plan": read_plan(plan) if plan else {},
    }


def read_plan(path: Path) -> dict[str, Any]:
    """The estimate: {"models": {"esm2": {"gpu_s": 120.0, "tokens": 4000000}, ...}}.

    Raises:
        InputError: not such a file.
    """
    remedy = "Give the plan.json of this run."
    try:
        content = json.loads(path.read_text())
        models = {
            model.name: {
                key: float(value)
                for key, value in content["models"][model.name].items()
                if key in ("gpu_s", "tokens") and value is not None
            }
            for model in MODELS
            if model.name in content["models"]
        }
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})", remedy) from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: no plan of a run ({error!r})", remedy) from None
    return {"models": models}


def _read_samples(results: Sequence[Path], expected: Sequence[str]) -> list[dict[str, Any]]:
    """All samples by name; `path` is that of the result, None for a failed sample."""
    samples: dict[str, dict[str, Any]] = {}
    for path in results:
        try:
            with open_result(path) as file:
                sample = read_sample(path, file) | {"path": path}
        except IncompleteError as error:
            name = path.name.removesuffix(RESULT_SUFFIX)
            sample = failed_sample(name, path.name, error.problem) | {"path": None}
        if sample["name"] in samples:
            raise UsageError(
                f"{path}: sample {sample['name']} is there twice", "Give each result once."
            )
        samples[sample["name"]] = sample
    for name in expected:
        if name not in samples:
            samples[name] = failed_sample(name, "", "there is no result file") | {"path": None}
    if all(sample["state"] == FAILED for sample in samples.values()):
        causes = "; ".join(sample["verdict"] for sample in samples.values())
        raise IncompleteError(causes, "Copy the results again, or resume the run.")
    return [samples[name] for name in sorted(samples)]


def _require_same_weights(samples: Sequence[Mapping[str, Any]]) -> None:
    for model in MODELS:
        found = {
            sample["provenance"][model.name]["weights_sha256"]: sample["name"]
            for sample in samples
            if sample["provenance"]
        }
        if len(found) > 1:
            names = " and ".join(sorted(found.values())[:2])
            raise UsageError(
                f"{names} were embedded with other {model.name} weights; their vectors cannot be "
                "compared",
                "Make a report of each.",
            )


def _totals(samples: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    totals: Counter[str] = Counter()
    for sample in samples:
        totals.update(sample["counts"])
    return dict(totals)


def _with(path: Path, read: Any) -> Any:
    with open_result(path) as file:
        return read(file)


def _choose(
    samples: Sequence[Mapping[str, Any]], files: Mapping[int, Path], map_points: int
) -> list[ChosenRows]:
    numbers = list(files)
    shares = quotas([samples[number]["counts"]["rows"] for number in numbers], map_points)
    chosen = []
    for number, share in zip(numbers, shares, strict=True):
        if share:
            with open_result(files[number]) as file:
                chosen.append(choose_rows(file, sample=number, number=share))
    return thin(chosen)


def _planes(
    chosen: Sequence[ChosenRows], moments: Mapping[int, Mapping[str, Moments]]
) -> dict[str, Projection | None]:
    def plane(model: str) -> Projection | None:
        points = with_vector(chosen, model)
        vectors = np.concatenate([part.vectors[model] for part in chosen])[points]
        with one_thread():
            return project(vectors, merged([parts[model] for parts in moments.values()]))

    if not chosen:
        return {}
    # nearly all of the time a report takes
    with ThreadPoolExecutor(len(MODELS)) as pool:
        return dict(zip(MODEL_NAMES, pool.map(plane, MODEL_NAMES), strict=True))


def _strips(files: Mapping[int, Path], plane: Projection | None) -> list[dict[str, Any]]:
    """The longest records of the run, longest first."""
    found: list[dict[str, Any]] = []
    for number, path in files.items():
        with open_result(path) as file:
            found += longest_records(file, number)
        found = sorted(found, key=lambda r: (-r["length_bp"], r["sample"], r["number"]))
        found = found[:NUM_RECORDS]
    drawn: dict[tuple[int, int], dict[str, Any]] = {}
    for number in sorted({record["sample"] for record in found}):
        with open_result(files[number]) as file:
            own = [record for record in found if record["sample"] == number]
            for strip in read_strips(file, own, plane):
                drawn[number, strip["number"]] = strip
    return [drawn[record["sample"], record["number"]] for record in found]
