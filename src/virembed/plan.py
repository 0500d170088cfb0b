"""The estimate of a run before anything is embedded: device hours, wall time, disk.

From the workloads of SPLIT, the cards of the weights and the rate of a device. Reads no sequence
and needs no torch.
"""

from __future__ import annotations

import csv
import heapq
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from virembed.atomic import whole_file
from virembed.errors import IncompleteError, UsageError
from virembed.layout import MODELS, PROTEIN_TEXTS
from virembed.rates import CPU, Rate, shipped_rate
from virembed.result import expected_bytes
from virembed.weights_info import WeightsInfo
from virembed.workload import Workload

FORMAT = "virembed.plan/1"
START_S = 10.0  # of a task, around its loop: Python, torch, weights, shard (9 s for 650M)
DEVICES = (1, 4, 8)
ITEM_BYTES = 35  # of an item in its chunk, beside its letters
SHARD_BYTES = 6_000
SHARD_ROW_BYTES = 21  # of an item in its shard, beside its vector
RESIDUE_FILE_BYTES = 4_500  # of a file of residues, beside them
RESIDUE_ITEM_BYTES = 12  # of a protein in it
RESIDUE_SHARD_ITEM_BYTES = 32  # of a protein in those of the chunks
GZIPPED_RESIDUE_BYTES = 0.6
GZIPPED_ID_BYTES = 5


@dataclass(frozen=True, slots=True)
class SamplePlan:
    """What a sample costs.

    task_s:       seconds of each task, by model
    residue_bytes: of the file of residues, 0 where nobody asked for it
    result_bytes: of the files that are published, that included
    work_bytes:   of all files the tasks leave in the work directory, those included
    """

    workload: Workload
    task_s: dict[str, list[float]]
    residue_bytes: int
    result_bytes: int
    work_bytes: int

    def row(self) -> dict[str, Any]:
        """The numbers of the sample by name, as in the tables."""
        models = self.workload.models
        hours = {name: sum(seconds) / 3600 for name, seconds in self.task_s.items()}
        return {
            "sample": self.workload.sample,
            **{name: getattr(self.workload, name) for name in COUNTS},
            **{f"{name}_items": model.items for name, model in models.items()},
            **{f"{name}_tokens": model.tokens for name, model in models.items()},
            **{f"{name}_tasks": len(model.chunk_tokens) for name, model in models.items()},
            **{f"{name}_hours": value for name, value in hours.items()},
            "residue_bytes": self.residue_bytes,
            "result_bytes": self.result_bytes,
            "work_bytes": self.work_bytes,
        }


COUNTS = ("records", "bases", "windows", "open_frames", "rows")


@dataclass(frozen=True, slots=True)
class Plan:
    """The estimate of a run.

    rows:   of the samples, by name of the sample; see `SamplePlan.row`
    total:  sums of the rows
    wall_s: seconds with so many devices, without waiting in a queue
    cpu_core_hours: of the same work on processors
    """

    rate: Rate
    cards: dict[str, WeightsInfo]
    rows: list[dict[str, Any]]
    total: dict[str, Any]
    wall_s: dict[int, float]
    cpu_core_hours: float


def make_plan(
    workloads: Iterable[Workload],
    *,
    cards: Sequence[WeightsInfo],
    rate: Rate,
    residues: bool = False,
) -> Plan:
    """
    Args:
        residues: whether they are written too.

    Raises:
        UsageError: not exactly one card per model.
        IncompleteError: a sample is there twice, or there is none.
    """
    by_model = _by_model(cards)
    ordered = sorted(workloads, key=lambda workload: workload.sample)
    names = [workload.sample for workload in ordered]
    twice = [name for name, after in pairwise(names) if name == after]
    if twice or not names:
        problem = f"sample '{twice[0]}' is there twice" if twice else "there is no sample"
        raise IncompleteError(problem, "Give the SAMPLE.split.json of each sample once.")
    plans = [_sample(workload, by_model, rate, residues=residues) for workload in ordered]
    tasks = [seconds for plan in plans for task_s in plan.task_s.values() for seconds in task_s]
    rows = [plan.row() for plan in plans]
    processor = shipped_rate(CPU) if rate.is_gpu else rate
    return Plan(
        rate=rate,
        cards=by_model,
        rows=rows,
        total={name: sum(row[name] for row in rows) for name in rows[0] if name != "sample"},
        wall_s={number: makespan(tasks, number) for number in DEVICES},
        cpu_core_hours=sum(
            sum(map(sum, _task_s(workload, by_model, processor).values())) for workload in ordered
        )
        / 3600,
    )


def makespan(tasks: Iterable[float], num_devices: int) -> float:
    """Seconds until the last task is done, each, longest first, on the device that is free first.

    At most a third above the best order; never less than the longest task.
    """
    busy_until = [0.0] * num_devices
    for seconds in sorted(tasks, reverse=True):
        heapq.heappushpop(busy_until, busy_until[0] + seconds)
    return max(busy_until)


def write_plan(plan: Plan, *, tsv: Path | None, as_json: Path | None) -> None:
    """The samples as a table, one a line; totals and what they rest on as JSON."""
    if tsv:
        with whole_file(tsv) as partial, partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, plan.rows[0], delimiter="\t", lineterminator="\n")
            writer.writeheader()
            writer.writerows(
                {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()}
                for row in plan.rows
            )
    if as_json:
        with whole_file(as_json) as partial:
            partial.write_text(json.dumps(_summary(plan), indent=2, sort_keys=True) + "\n")


def _summary(plan: Plan) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "num_samples": len(plan.rows),
        "total": plan.total,
        "wall_s": {str(number): seconds for number, seconds in plan.wall_s.items()},
        "cpu_core_hours": plan.cpu_core_hours,
        "start_s": START_S,
        "rate": asdict(plan.rate),
        "models": {
            name: {
                "name": card.name,
                "random_weights": card.random,
                "flops_per_token": card.flops_per_token,
                "tokens": plan.total[f"{name}_tokens"],
                "gpu_s": 3600 * plan.total[f"{name}_hours"],
            }
            for name, card in plan.cards.items()
        },
    }


def _by_model(cards: Sequence[WeightsInfo]) -> dict[str, WeightsInfo]:
    found = [card.model for card in cards]
    if sorted(found) != sorted(model.name for model in MODELS):
        raise UsageError(
            f"weights cards of {' and '.join(found) or 'no model'}",
            "Give --weights once per model.",
        )
    return {model.name: cards[found.index(model.name)] for model in MODELS}


def _sample(
    workload: Workload, cards: Mapping[str, WeightsInfo], rate: Rate, *, residues: bool
) -> SamplePlan:
    esm2 = workload.models[PROTEIN_TEXTS.name]
    copies = workload.protein_rows / max(esm2.items, 1)
    ids = GZIPPED_ID_BYTES * workload.protein_rows
    proteins = GZIPPED_RESIDUE_BYTES * esm2.letters * copies + ids
    states = 2 * cards[PROTEIN_TEXTS.name].dim * esm2.letters if residues else 0
    residue_bytes = residues * (RESIDUE_FILE_BYTES + RESIDUE_ITEM_BYTES * esm2.items) + states
    result_bytes = (
        residue_bytes
        + round(proteins)
        + expected_bytes(
            num_rows=workload.rows,
            num_protein_rows=workload.protein_rows,
            num_dna_rows=workload.dna_rows,
            num_records=workload.records,
            dims={name: card.dim for name, card in cards.items()},
        )
    )
    between = sum(
        model.letters
        + model.items * (ITEM_BYTES + SHARD_ROW_BYTES + 2 * cards[name].dim)
        + SHARD_BYTES * len(model.chunk_tokens)
        for name, model in workload.models.items()
    )
    if residues:
        in_shards = RESIDUE_SHARD_ITEM_BYTES * esm2.items
        between += states + in_shards + RESIDUE_FILE_BYTES * len(esm2.chunk_tokens)
    work_bytes = workload.manifest_bytes + between + result_bytes
    task_s = _task_s(workload, cards, rate)
    return SamplePlan(workload, task_s, residue_bytes, result_bytes, work_bytes)


def _task_s(
    workload: Workload, cards: Mapping[str, WeightsInfo], rate: Rate
) -> dict[str, list[float]]:
    return {
        name: [
            START_S + rate.seconds(cards[name], tokens=tokens, pairs=pairs)
            for tokens, pairs in zip(model.chunk_tokens, model.chunk_pairs, strict=True)
        ]
        for name, model in workload.models.items()
    }
