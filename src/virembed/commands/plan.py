"""`virembed plan`: the estimate of a run as a table."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from virembed.layout import MODEL_NAMES, model_slot
from virembed.plan import START_S, Plan, make_plan, write_plan
from virembed.rates import DEFAULT, NAMES, Rate, measured_rate, shipped_rate
from virembed.weights_info import read_info
from virembed.workload import read_workloads

SHOWN_SAMPLES = 20


@click.command(short_help="Estimate GPU hours, wall time and disk of a run after split.")
@click.argument("workloads", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    help="A weights directory or its weights.json; once per model.",
)
@click.option("--gpu", type=click.Choice(NAMES), help="Device to estimate for, with known rate.")
@click.option(
    "--doctor",
    type=click.Path(path_type=Path),
    help="What `virembed doctor --out` measured; --gpu goes before it.",
)
@click.option("--residues", is_flag=True, help="Residues are written too.")
@click.option("--out", type=click.Path(path_type=Path), help="Where to write the samples, as TSV.")
@click.option("--json", "as_json", type=click.Path(path_type=Path), help="... the totals, as JSON.")
@click.option("--outdir", type=click.Path(path_type=Path), help="Results: compare free space.")
@click.option("--work-dir", type=click.Path(path_type=Path), help="Work files: likewise.")
def plan(
    workloads: tuple[Path, ...],
    weights: tuple[Path, ...],
    gpu: str | None,
    doctor: Path | None,
    residues: bool,
    out: Path | None,
    as_json: Path | None,
    outdir: Path | None,
    work_dir: Path | None,
) -> None:
    """Estimate what it takes to embed WORKLOADS, the SAMPLE.split.json files of `virembed split`.

    Shows a table of the samples, GPU hours for each model, wall time and disk, and what the
    numbers rest on. Without --gpu and --doctor a card of the middle is taken, and named.
    """
    estimate = make_plan(
        [workload for path in workloads for workload in read_workloads(path)],
        cards=[read_info(path) for path in weights],
        rate=_rate(gpu, doctor),
        residues=residues,
    )
    write_plan(estimate, tsv=out, as_json=as_json)
    for line in (*_table(estimate), "", *_summary(estimate, assumed=not (gpu or doctor))):
        click.echo(line)
    for directory, name in ((work_dir, "work_bytes"), (outdir, "result_bytes")):
        if directory:
            _tell_space(directory, estimate.total[name])


def _rate(gpu: str | None, doctor: Path | None) -> Rate:
    if doctor and not gpu:
        return measured_rate(doctor)
    return shipped_rate(gpu or DEFAULT)


def _table(plan: Plan) -> Iterator[str]:
    """A line per sample, the first of many, and the total."""
    rows = [_cells(row["sample"], row) for row in plan.rows[:SHOWN_SAMPLES]]
    heads = ["sample", "records", "windows", "open frames"]
    for name in plan.cards:
        # a token of one letter is counted, others are estimated
        tokens = "tokens" if model_slot(name).letters_per_token == 1 else "tokens ~"
        heads += [f"{name} items", tokens, "tasks", "hours"]
    table = [heads, *rows, _cells("total", plan.total)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in table
    ]
    yield from lines[:-1]
    if len(plan.rows) > SHOWN_SAMPLES:
        yield f"... and {len(plan.rows) - SHOWN_SAMPLES:,} samples more"
    yield lines[-1]


def _cells(name: str, row: dict[str, Any]) -> list[str]:
    cells = [name, *(f"{row[column]:,}" for column in ("records", "windows", "open_frames"))]
    for model in MODEL_NAMES:
        cells += [f"{row[f'{model}_{column}']:,}" for column in ("items", "tokens", "tasks")]
        cells.append(_hours(row[f"{model}_hours"]))
    return cells


def _summary(plan: Plan, *, assumed: bool) -> Iterator[str]:
    total = plan.total
    hours = {name: total[f"{name}_hours"] for name in plan.cards}
    each = ", ".join(f"{name} {_hours(value)}" for name, value in hours.items())
    unit = "GPU-hours" if plan.rate.is_gpu else "hours"
    yield f"{unit:<10} {_hours(sum(hours.values()))}: {each}"
    numbers, walls = map(str, plan.wall_s), map(_time, plan.wall_s.values())
    yield (
        f"wall time  {', '.join(walls)} on {', '.join(numbers)} x {plan.rate.device}; waiting in a "
        "queue not included"
    )
    if plan.rate.is_gpu:
        yield f"CPU-hours  {_hours(plan.cpu_core_hours)} of one core, where there is no GPU"
    yield (
        f"disk       {_size(total['work_bytes'])} in the work directory, "
        f"{_size(total['result_bytes'])} of results"
    )
    if total["residue_bytes"]:
        yield (
            f"residues   {_size(total['residue_bytes'])} of the results; in the work directory "
            "twice, by chunk and by sample"
        )
    hint = "; yours is not known, name it with --gpu" if assumed else ""
    yield f"rests on   {plan.rate.device}{hint}"
    yield f"           {plan.rate.source}"
    yield f"           {START_S:.0f} s of start-up per task"
    for name, card in plan.cards.items():
        per_token = model_slot(name).letters_per_token
        estimated = "" if per_token == 1 else f"; {per_token} bp per token, within a factor of 1.5"
        mark = "; RANDOM NUMBERS, no biology in its vectors" if card.random else ""
        flops = f"{card.flops_per_token / 1e9:.3g} GFLOP per token"
        yield f"{name:<10} {card.name}, {flops}{estimated}{mark}"


def _tell_space(directory: Path, needed: int) -> None:
    whole = directory.absolute()
    existing = next(path for path in (whole, *whole.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    click.echo(f"free       {_size(free)} in {directory}")
    if free < needed:
        click.echo(
            f"WARNING {directory}: {_size(needed)} needed, {_size(free)} free. Make room, or "
            "choose another directory.",
            err=True,
        )


def _hours(hours: float) -> str:
    return f"{hours:,.2f}" if hours < 100 else f"{hours:,.0f}"


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:,.1f} MB" if num_bytes < 1e9 else f"{num_bytes / 1e9:,.1f} GB"
