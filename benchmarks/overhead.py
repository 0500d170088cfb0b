"""What the pipeline adds to the time on the device: a trace, held against a plan.

    python benchmarks/overhead.py trace.tsv plan.json [--collect-s S] [--wall-s S] [--processor]

Of a run of one sample whose EMBED tasks ran one after the other (one device): seconds before the
first of them, between them, and after the last, from the trace (with `trace.raw = true`). None of
it overlaps with embedding, so that all of it counts. Divided by the time of the loops of the plan,
which `virembed plan` or `benchmarks/large_sample.py` projects for the real models and a device.

The start of an EMBED task (Python, torch, weights) is part of its task. It is taken from the plan
and shown by itself.

    --collect-s  seconds of COLLECT with vectors of the real width (`benchmarks/collect.py`), where
                 the traced run had narrow ones
    --wall-s     seconds of the whole run, start and end of the engine included
    --processor  seconds of a processor instead of those on the clock, for tasks that shared their
                 cores with other programs
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path


class Task:
    """A row of a raw trace; times in seconds since the epoch."""

    def __init__(self, row: dict[str, str]) -> None:
        self.name = row["process"].split(":")[-1]
        self.realtime_s = int(row["realtime"]) / 1000
        self.cpu_s = self.realtime_s * float(row["%cpu"].rstrip("%")) / 100
        self.submit, self.start, self.complete = (
            int(row[column]) / 1000 for column in ("submit", "start", "complete")
        )


def covered(tasks: list[Task]) -> float:
    """Seconds in which at least one of the tasks ran."""
    total, until = 0.0, float("-inf")
    for task in sorted(tasks, key=lambda task: task.start):
        total += max(0.0, task.start + task.realtime_s - max(until, task.start))
        until = max(until, task.start + task.realtime_s)
    return total


def parts_of(tasks: list[Task], *, wall_s: float | None) -> dict[str, float]:
    """Seconds on the clock of each part of the overhead, all on the critical path."""
    embed = [task for task in tasks if task.name.startswith("EMBED")]
    begin, end = min(t.submit for t in tasks), max(t.complete for t in tasks)
    first, last = min(t.start for t in embed), max(t.start + t.realtime_s for t in embed)
    before = [task for task in tasks if task.start < first and task not in embed]
    after = [task for task in tasks if task.start >= last]
    parts = {name: covered([t for t in before if t.name == name]) for name in ("CHECK", "SPLIT")}
    parts["before the first EMBED: other tasks and gaps"] = first - begin - sum(parts.values())
    parts["gaps between EMBED tasks"] = last - first - covered(embed)
    for name in ("COLLECT", "REPORT"):
        parts[name] = covered([task for task in after if task.name == name])
    parts["after the last EMBED: gaps"] = end - last - parts["COLLECT"] - parts["REPORT"]
    if wall_s is not None:
        parts["start and end of the engine"] = wall_s - (end - begin)
    return parts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("trace", type=Path)
    parser.add_argument("plan", type=Path)
    parser.add_argument("--collect-s", type=float)
    parser.add_argument("--wall-s", type=float)
    parser.add_argument("--processor", action="store_true")
    arguments = parser.parse_args()
    with arguments.trace.open(newline="") as file:
        tasks = [Task(row) for row in csv.DictReader(file, delimiter="\t")]
    plan = json.loads(arguments.plan.read_text())
    num_embed = sum(task.name.startswith("EMBED") for task in tasks)
    planned = sum(int(plan["total"][f"{name}_tasks"]) for name in plan["models"])
    start_s = plan["start_s"] * planned
    loop_s = sum(model["gpu_s"] for model in plan["models"].values()) - start_s
    parts = parts_of(tasks, wall_s=arguments.wall_s)
    if arguments.processor:
        parts |= {task.name: task.cpu_s for task in tasks if task.name in parts}
    if arguments.collect_s is not None:
        parts["COLLECT"] = arguments.collect_s
    for name, seconds in parts.items():
        print(f"{name:<48}{seconds:9.1f} s  {seconds / loop_s:6.2%}")
    overhead = sum(parts.values())
    device = plan["rate"]["device"]
    print(f"{'overhead':<48}{overhead:9.1f} s  {overhead / loop_s:6.2%}")
    print(f"projected: loops of {planned} tasks on one {device:<16}{loop_s:9.1f} s")
    print(f"projected: start of {planned} tasks, {plan['start_s']:.0f} s each {start_s:17.1f} s")
    result = {
        "parts_s": parts, "overhead_s": overhead, "projected_loop_s": loop_s,
        "projected_start_s": start_s, "overhead": overhead / loop_s, "embed_tasks": num_embed,
    }  # fmt: skip
    print(json.dumps(result))


if __name__ == "__main__":
    main()
