"""A run of five samples, from genomes to nothing at all, and the report of it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import dnaio
import pytest

from tests.steps import DEMO, Sample, Weights, call
from virembed.report.data import find_results, report_data

STOPS = ">stops\n" + "TAACTAACTAACTTAGTTAGTTAG" * 25 + "\n"
MAP_POINTS = 300


@dataclass(frozen=True)
class FinishedRun:
    """Results in one folder per sample, statistics of all tasks in another."""

    home: Path

    @property
    def results(self) -> Path:
        return self.home / "results"

    @property
    def stats(self) -> Path:
        return self.home / "stats"

    def result(self, sample: str) -> Path:
        return self.results / sample / f"{sample}.h5"

    def report(self, *results: Path, out: Path, **options: object) -> int:
        """Exit code of `virembed report`."""
        given = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        return call("report", *(results or [self.results]), "--out", out, *given)


def finish(sample: Sample, run: Path, *files: Path, **options: object) -> None:
    assert sample.split(*files, **options) == 0
    sample.embed()
    assert sample.collect() == 0
    folder = run / "results" / sample.name
    folder.mkdir(parents=True)
    (run / "stats").mkdir(exist_ok=True)
    for suffix in ("h5", "summary.json"):
        shutil.copy(sample.home / f"{sample.name}.{suffix}", folder)
    if sample.stats.exists():
        shutil.copytree(sample.stats, run / "stats", dirs_exist_ok=True)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory, tiny_weights: Weights) -> FinishedRun:
    home = tmp_path_factory.mktemp("finished_run")
    with dnaio.open(DEMO / "lambda_reads.fastq.gz") as reader:
        reads = [record.sequence for record in reader][:150]
    texts = {
        # reads twice, so that there are copies, and two kinds of loss
        "reads": "".join(f">r{i}\n{read}\n" for i, read in enumerate(reads + reads[:20]))
        + ">short\nACGT\n>nothing\n",
        "stops": STOPS,
        "empty": "",
        "one": ">a\nAC\n",
    }
    plasmid = DEMO / "NC_005816.fna.gz"
    options = {"window": 300, "esm2-chunk-residues": 2000}
    sample = Sample(home / "genome", tiny_weights, "genome")
    sample.home.mkdir()
    finish(sample, home, plasmid, **options)
    for name, text in texts.items():
        sample = Sample(home / name, tiny_weights, name)
        sample.home.mkdir()
        (sample.home / "in.fa").write_text(text)
        least = {"min-record-bp": 10} if name == "reads" else {}
        finish(sample, home, sample.home / "in.fa", **least)
    return FinishedRun(home)


@pytest.fixture(scope="session")
def data(finished_run: FinishedRun) -> dict:
    """What the report of the whole run shows."""
    results = find_results([finished_run.results])
    return report_data(results, stats=finished_run.stats, map_points=MAP_POINTS)


@pytest.fixture(scope="session")
def made(finished_run: FinishedRun, tmp_path_factory) -> Path:
    """The folder with all files of the report."""
    out = tmp_path_factory.mktemp("made")
    plan = out / "plan.json"
    plan.write_text(
        '{"models": {"esm2": {"gpu_s": 2.5, "tokens": 1000}, "dnaberts": {"gpu_s": 4}}}'
    )
    code = finished_run.report(
        out=out / "report.html",
        stats=finished_run.stats,
        plan=plan,
        summary_tsv=out / "summary.tsv",
        gpu_tsv=out / "gpu.tsv",
        mqc=out / "multiqc",
        map_points=MAP_POINTS,
    )
    assert code == 0
    return out
