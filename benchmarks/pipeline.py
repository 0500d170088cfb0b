"""The whole pipeline on one GPU of a machine and on all of them, then killed and resumed.

    python benchmarks/pipeline.py [--nextflow PROGRAM] [--size 650M] [--mbp 60] [--no-kill]
        [--esm2-chunk-residues N] [--dnaberts-chunk-bp N] [--out results.json]

Three runs of `main.nf -profile gpu` with the local executor on the same sample, whose contigs are
random genes, with random weights of the real sizes: on the first GPU alone, on all GPUs, and on all
GPUs with Nextflow killed for good half-way and resumed. Reported: seconds of each run, from the
first embedding's start to the last one's end, and from the first GPU taken to the last one given
back; their ratios; tasks by GPU, their parts in seconds, and how busy each GPU was. Stops with an
error if two tasks had one GPU at the same time, if a run differs from the first in any row or bit
of a vector, or if the resumed run repeated a finished embedding. The last line is the result as
JSON.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from virembed.compare import compare_results, lines

ROOT = Path(__file__).resolve().parent.parent
CODONS = [a + b + c for a in "ACGT" for b in "ACGT" for c in "ACGT"]
SENSE = [codon for codon in CODONS if codon not in ("TAA", "TAG", "TGA")]
CONTIG_BP = 6000
SAMPLE = "genes"
WARM_BP = 600_000
CACHE_DELAY_S = 3  # Nextflow writes its trace and its cache side by side


@dataclass(frozen=True)
class Task:
    """An embedding of a run.

    begin, end:      of the task, waiting for a GPU included, in seconds since the epoch
    taken, released: its GPU, likewise
    gpu:             its UUID
    seconds:         of its parts, see `virembed.shards.ShardOrigin`
    """

    name: str
    begin: float
    end: float
    taken: float
    released: float
    gpu: str
    busy_percent: float
    seconds: dict[str, float]


@dataclass(frozen=True)
class Run:
    wall_s: float
    tasks: list[Task]
    executed: list[str]

    @property
    def embedding_s(self) -> float:
        return max(task.end for task in self.tasks) - min(task.begin for task in self.tasks)

    @property
    def held_s(self) -> float:
        return max(task.released for task in self.tasks) - min(task.taken for task in self.tasks)

    def by_gpu(self) -> dict[str, list[Task]]:
        found: dict[str, list[Task]] = {}
        for task in sorted(self.tasks, key=lambda task: task.begin):
            found.setdefault(task.gpu, []).append(task)
        return found


class Pipeline:
    """A launch directory with a sheet and weights."""

    def __init__(self, home: Path, nextflow: str, size: str, mbp: float, chunks: list[str]) -> None:
        self.home, self.nextflow, self.chunks = home, nextflow, chunks
        for sheet, num_bp in (("samples", round(mbp * 1e6)), ("warm", WARM_BP)):
            write_contigs(home / f"{sheet}.fna", num_bp)
            (home / f"{sheet}.csv").write_text(f"sample,fasta\n{SAMPLE},{sheet}.fna\n")
        self.make_weights("esm2", size)
        self.make_weights("dnaberts", "base")

    def make_weights(self, model: str, size: str) -> None:
        make = [sys.executable, "-m", "virembed", "weights"]
        original = self.home / "original"
        subprocess.run([*make, "random", model, "--size", size, "--out", original], check=True)
        source = next(original.glob("*.pt")) if model == "esm2" else original
        out = f"--out={self.home / model}"
        subprocess.run([*make, "convert", source, f"--model={model}", out], check=True)
        shutil.rmtree(original)

    def start(self, name: str, gpus: str | None, *more: str) -> subprocess.Popen[bytes]:
        command = [
            *(self.nextflow, "run", str(ROOT / "main.nf"), "-ansi-log", "false"),
            *("-profile", "gpu", "--outdir", name),
            *("--input", "warm.csv" if name == "warm" else "samples.csv"),
            *("-work-dir", f"work_{name}", "-with-trace", f"{name}.txt"),
            *("--esm2_weights", "esm2", "--dnaberts_weights", "dnaberts"),
            *self.chunks,
            *more,
        ]
        shown = {} if gpus is None else {"CUDA_VISIBLE_DEVICES": gpus}
        return subprocess.Popen(command, cwd=self.home, env=os.environ | shown)

    def run(self, name: str, gpus: str | None, *more: str) -> Run:
        (self.home / f"{name}.txt").unlink(missing_ok=True)
        begin = time.perf_counter()
        status = self.start(name, gpus, *more).wait()
        wall_s = time.perf_counter() - begin
        if status != 0:
            sys.exit(f"the run on {gpus or 'all GPUs'} ended with {status}")
        return self.read(name, wall_s)

    def read(self, name: str, wall_s: float) -> Run:
        with (self.home / f"{name}.txt").open() as trace:
            rows = list(csv.DictReader(trace, delimiter="\t"))
        embeds = [row for row in rows if ":EMBED_" in row["name"] and row["status"] != "FAILED"]
        executed = [row["name"] for row in rows if row["status"] != "CACHED"]
        return Run(wall_s, [self.task(row) for row in embeds], executed)

    def task(self, row: dict[str, str]) -> Task:
        begin, end = (datetime.fromisoformat(row[key]).timestamp() for key in ("start", "complete"))
        (path,) = Path(row["workdir"]).glob("*.stats.json")
        stats = json.loads(path.read_text())
        taken = datetime.fromisoformat(stats["started"]).timestamp()
        return Task(
            name=row["name"],
            begin=begin,
            end=end,
            taken=taken,
            released=taken + stats["seconds"]["held"],
            gpu=stats["gpu"],
            busy_percent=stats["monitor"]["busy_percent"],
            seconds={**stats["seconds"], "write": stats["write_s"]},
        )

    def kill_half_way(self, name: str, num_embeds: int) -> list[str]:
        """Starts a run and kills Nextflow, and nothing else, when half of the tasks are done.

        Returns the names of the EMBED tasks that must be in Nextflow's cache by then.
        """
        process = self.start(name, None)
        trace = self.home / f"{name}.txt"
        while not trace.exists() or trace.read_text().count(":EMBED_") < num_embeds // 2:
            if process.poll() is not None:
                sys.exit(f"the run that was to be killed ended with {process.returncode}")
            time.sleep(0.2)
        killed_at = time.time()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        tasks = self.read(name, 0).tasks
        return [task.name for task in tasks if task.end < killed_at - CACHE_DELAY_S]

    def result(self, name: str) -> Path:
        return self.home / name / SAMPLE / f"{SAMPLE}.h5"


def write_contigs(path: Path, num_bp: int) -> None:
    """Contigs of random genes: one frame of every window is open, few of the others are."""
    rng = random.Random(0)
    with path.open("w") as file:
        for number in range(num_bp // CONTIG_BP):
            file.write(f">c{number}\n{''.join(rng.choices(SENSE, k=CONTIG_BP // 3))}\n")


def check_apart(run: Run) -> None:
    """No two tasks had one GPU at the same time; the clock is read to the millisecond."""
    for gpu, tasks in run.by_gpu().items():
        for before, after in pairwise(sorted(tasks, key=lambda task: task.taken)):
            if after.taken < before.released - 0.002:
                sys.exit(f"{before.name} and {after.name} shared {gpu}")


def check_same(pipeline: Pipeline, name: str) -> None:
    comparison = compare_results(pipeline.result("alone"), pipeline.result(name))
    if not comparison.identical:
        sys.exit("\n".join([f"the run '{name}' differs from the first:", *lines(comparison)]))


def kill_and_resume(pipeline: Pipeline, num_embeds: int) -> dict[str, Any]:
    kept = pipeline.kill_half_way("killed", num_embeds)
    resumed = pipeline.run("killed", None, "-resume")
    repeated = sorted(set(kept) & set(resumed.executed))
    if repeated:
        sys.exit(f"the resumed run repeated {', '.join(repeated)}")
    check_same(pipeline, "killed")
    return {"kept": len(kept), **described(resumed)}


def described(run: Run) -> dict[str, Any]:
    return {
        "wall_s": round(run.wall_s, 1),
        "embedding_s": round(run.embedding_s, 1),
        "held_s": round(run.held_s, 1),
        "tasks": {gpu: len(tasks) for gpu, tasks in run.by_gpu().items()},
        "busy_percent": {
            gpu: round(float(np.mean([task.busy_percent for task in tasks])), 1)
            for gpu, tasks in run.by_gpu().items()
        },
        "seconds": {model: mean_seconds(run, model) for model in ("EMBED_ESM2", "EMBED_DNABERTS")},
    }


def mean_seconds(run: Run, process: str) -> dict[str, float]:
    """Of the parts of its tasks."""
    tasks = [task for task in run.tasks if f":{process} " in task.name]
    return {
        part: round(float(np.mean([task.seconds[part] for task in tasks])), 2)
        for part in tasks[0].seconds
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--nextflow", default=str(ROOT / "tools/nextflow"), help="the engine")
    parser.add_argument("--size", default="650M", help="size of the ESM-2 model")
    parser.add_argument("--mbp", type=float, default=60, help="length of the sample")
    parser.add_argument("--esm2-chunk-residues", default="1500000", help="of a task")
    parser.add_argument("--dnaberts-chunk-bp", default="24000000", help="of a task")
    parser.add_argument("--no-kill", action="store_true", help="leave out the third run")
    parser.add_argument("--out", type=Path, help="where to write the JSON")
    arguments = parser.parse_args()
    names = ("esm2_chunk_residues", "dnaberts_chunk_bp")
    chunks = [f"--{name}={getattr(arguments, name)}" for name in names]
    result: dict[str, Any] = {"command": " ".join(sys.argv)}
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        pipeline = Pipeline(home, arguments.nextflow, arguments.size, arguments.mbp, chunks)
        pipeline.run("warm", None)  # compiles the kernels, brings the weights into memory
        alone = pipeline.run("alone", "0")
        together = pipeline.run("together", None)
        check_apart(together)
        check_same(pipeline, "together")
        result |= {
            "one_gpu": described(alone),
            "all_gpus": described(together),
            "held_ratio": alone.held_s / together.held_s,
            "embedding_ratio": alone.embedding_s / together.embedding_s,
            "wall_ratio": alone.wall_s / together.wall_s,
        }
        if not arguments.no_kill:
            result["resumed"] = kill_and_resume(pipeline, len(together.tasks))
    text = json.dumps(result)
    if arguments.out:
        arguments.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
