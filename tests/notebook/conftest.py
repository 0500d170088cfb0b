"""Results for the notebook, and the notebook run on them in the environment it is given with."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import dnaio
import numpy as np
import pytest

from tests.documents import DOCS, ROOT
from tests.steps import DEMO, Sample, Weights, call, make_weights

PAGE = DOCS / "notebook" / "README.md"
INSTALLED = ROOT / ".venv-notebook" / "stamp"
READS = 1000
CONTIGS_EACH = 12
CONTIG_BP = 900


@dataclass(frozen=True)
class NotebookRun:
    """What a run of the notebook left."""

    out: Path
    done: subprocess.CompletedProcess

    @property
    def page(self) -> str:
        return (self.out / "explore.html").read_text()

    def table(self, name: str) -> list[dict[str, str]]:
        head, *lines = (self.out / f"{name}.tsv").read_text().splitlines()
        return [dict(zip(head.split("\t"), line.split("\t"), strict=True)) for line in lines]


def run_notebook(out: Path, *results: Path) -> NotebookRun:
    """The notebook by the command of its page, on other files."""
    if not INSTALLED.exists():
        pytest.skip("`make notebook` and `make test CI=1` install its environment")
    (line,) = [line for line in PAGE.read_text().splitlines() if "make notebook RESULTS=" in line]
    asked = 'RESULTS="results/*/*.h5" OUT=figures'
    assert asked in line
    given = f'RESULTS="{os.pathsep.join(map(str, results))}" OUT="{out}"'
    done = subprocess.run(
        ["bash", "-c", line.replace(asked, given)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return NotebookRun(out, done)


def make_result(home: Path, weights: Weights, name: str, *files: Path, **options: object) -> Path:
    home.mkdir()
    sample = Sample(home, weights, name)
    assert sample.split(*files, **options) == 0
    sample.embed()
    assert sample.collect() == 0
    return sample.result


@pytest.fixture(scope="session")
def genomes(tmp_path_factory, tiny_weights: Weights) -> Path:
    files = [DEMO / "lambda.fna.gz", DEMO / "NC_005816.fna.gz"]
    return make_result(tmp_path_factory.mktemp("n") / "genomes", tiny_weights, "genomes", *files)


@pytest.fixture(scope="session")
def reads(tmp_path_factory, tiny_weights: Weights) -> Path:
    home = tmp_path_factory.mktemp("n")
    with dnaio.open(DEMO / "lambda_reads.fastq.gz") as reader:
        records = [f">{record.name}\n{record.sequence}\n" for record in islice(reader, READS)]
    (home / "reads.fa").write_text("".join(records))
    return make_result(home / "reads", tiny_weights, "reads", home / "reads.fa")


@pytest.fixture(scope="session")
def other_weights(tmp_path_factory) -> Path:
    """A result of the same models with other numbers."""
    home = tmp_path_factory.mktemp("n")
    weights = make_weights(home / "weights", seed=1)
    return make_result(home / "other", weights, "other", DEMO / "NC_005816.fna.gz")


@pytest.fixture(scope="session")
def merged(tmp_path_factory, tiny_weights: Weights) -> Path:
    """Two samples in one file. Contigs are rich in A and T or in G and C, in both."""
    home = tmp_path_factory.mktemp("n")
    generator = np.random.default_rng(0)
    at, gc = ([0.35, 0.15, 0.15, 0.35], [0.15, 0.35, 0.35, 0.15])
    parts = []
    for name in ("S1", "S2"):
        records = [
            f">{kind}{n}\n{''.join(generator.choice(list('ACGT'), CONTIG_BP, p=shares))}\n"
            for kind, shares in (("at", at), ("gc", gc))
            for n in range(CONTIGS_EACH)
        ]
        (home / f"{name}.fa").write_text("".join([*records, ">short\n", "ACGT" * 30, "\n"]))
        parts.append(make_result(home / name, tiny_weights, name, home / f"{name}.fa", window=150))
    assert call("merge", *parts, "--out", home / "ALL.h5") == 0
    return home / "ALL.h5"
