"""One large sample of short reads through the whole pipeline, with random models of one layer.

    python benchmarks/large_sample.py OUTDIR [--reads 2000000] [--gpu] [--esm2-chunk-residues N]
        [--dnaberts-chunk-bp N] [--nextflow PROGRAM]

What is timed is all but the models, which are the smallest there are ("micro") on the CPU. With
--gpu the profile `gpu` runs them, and they are as wide as ESM-2 3B and DNABERT-S ("wide"), so that
shards and result have their real size: with 2 million reads 20 GB each, and 20 GB more in `outdir`.
OUTDIR keeps trace.tsv, the results, and projected.DEVICE.json: the estimate of the same sample with
ESM-2 3B and DNABERT-S on an H200 and on an A100, for `benchmarks/overhead.py`. Printed: seconds and
peak memory of each process, memory of the head process, files per task. The last line is the
result as JSON.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import Any

from reads import write_reads
from scale import NEXTFLOW, HeadProcess, followed

from virembed.layout import MODEL_NAMES
from virembed.models.random_weights import DNABERTS_SIZES, ESM2_SIZES
from virembed.plan import make_plan, write_plan
from virembed.rates import shipped_rate
from virembed.weights_info import WeightsInfo
from virembed.workload import read_workloads

PROJECTED = {"esm2": ESM2_SIZES["3B"], "dnaberts": DNABERTS_SIZES["base"]}
DEVICES = ("H200", "A100")
# Milliseconds and bytes in the trace; one task at a time, as one device has it (GPUs are locked).
RAW = "trace.raw = true\n"
CONFIG = {"gpu": RAW, "cpu": f"{RAW}executor.cpus = 1\nprocess.resourceLimits = [cpus: 1]\n"}
SIZES = {"gpu": "wide", "cpu": "micro"}


def virembed(*arguments: object) -> None:
    command = [sys.executable, "-m", "virembed", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def lay_out(home: Path, num_reads: int, device: str) -> None:
    (home / "data").mkdir(parents=True)
    write_reads(home / "data" / "reads.fa", num_reads)
    (home / "samples.csv").write_text("sample,fasta\nreads,data/reads.fa\n")
    (home / "one.config").write_text(CONFIG[device])
    for model in MODEL_NAMES:
        published = home / "published" / model
        virembed("weights", "random", model, "--size", SIZES[device], "--out", published)
        found = next(published.glob("*.pt"), published)
        virembed("weights", "convert", found, "--model", model, "--out", home / model)


def run(home: Path, nextflow: str, options: list[str]) -> tuple[float, HeadProcess]:
    """Seconds of the run, and its head process."""
    weights = [f"--{model}_weights={home / model}" for model in MODEL_NAMES]
    return followed(
        home,
        *("-c", "one.config", "-with-trace", "trace.tsv", "--input", "samples.csv"),
        *("--outdir", "results", *weights, *options),
        nextflow=nextflow,
    )


def project(home: Path) -> None:
    """Writes what `virembed plan` says of the sample with the real models."""
    (workload,) = (home / "work").glob("*/*/*.split.json")
    cards = [
        WeightsInfo(
            model=name, name=f"{name}, sizes only", config={}, random=True, files={}, source={},
            **asdict(size),
        )
        for name, size in PROJECTED.items()
    ]  # fmt: skip
    for device in DEVICES:
        plan = make_plan(read_workloads(workload), cards=cards, rate=shipped_rate(device))
        write_plan(plan, tsv=None, as_json=home / f"projected.{device}.json")


def by_process(trace: Path) -> dict[str, dict[str, Any]]:
    """Tasks, seconds and memory of each process."""
    with trace.open(newline="") as file:
        tasks = list(csv.DictReader(file, delimiter="\t"))
    groups = defaultdict(list)
    for task in tasks:
        groups[task["process"].split(":")[-1]].append(task)
    return {
        name: {
            "tasks": len(group),
            "realtime_s": round(sum(int(task["realtime"]) for task in group) / 1000, 1),
            "cpu_percent": round(max(float(task["%cpu"].rstrip("%")) for task in group)),
            "peak_rss_mb": round(max(int(task["peak_rss"]) for task in group) / 1e6),
        }
        for name, group in groups.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("outdir", type=Path, help="must not be there; the results stay in it")
    parser.add_argument("--reads", type=int, default=2_000_000)
    parser.add_argument("--gpu", action="store_true", help="wide models, on a GPU")
    parser.add_argument("--nextflow", default=NEXTFLOW, help="the engine")
    parser.add_argument("--esm2-chunk-residues", type=int, help="default: of the pipeline")
    parser.add_argument("--dnaberts-chunk-bp", type=int, help="default: of the pipeline")
    arguments = parser.parse_args()
    home = arguments.outdir.absolute()
    device = "gpu" if arguments.gpu else "cpu"
    lay_out(home, arguments.reads, device)
    chunks = {
        name: getattr(arguments, name) for name in ("esm2_chunk_residues", "dnaberts_chunk_bp")
    }
    options = [f"--{name}={size}" for name, size in chunks.items() if size]
    options += ["-profile", "gpu"] if arguments.gpu else []
    wall_s, head = run(home, arguments.nextflow, options)
    project(home)
    processes = by_process(home / "trace.tsv")
    num_tasks = sum(process["tasks"] for process in processes.values())
    num_files = sum(len(files) for _, _, files in os.walk(home / "work"))
    for name, found in processes.items():
        print(
            f"{name:<16}{found['tasks']:>5} tasks {found['realtime_s']:9,.1f} s "
            f"{found['cpu_percent']:>5} % CPU, peak {found['peak_rss_mb']:,} MB"
        )
    report = {
        "command": " ".join(sys.argv),
        "reads": arguments.reads,
        "wall_s": round(wall_s, 1),
        "head_peak_mb": round(head.peak_bytes / 1e6),
        "head_cpu_s": round(head.cpu_s, 1),
        "files_per_task": round(num_files / num_tasks, 1),
        "work_bytes": sum(
            path.lstat().st_size for path in (home / "work").rglob("*") if path.is_file()
        ),
        "processes": processes,
    }
    shutil.rmtree(home / "work")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
