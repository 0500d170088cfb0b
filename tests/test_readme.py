"""The README's commands, run as they stand there."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import h5py
import pytest

from tests.documents import ROOT, commands_of, run
from tests.steps import DEMO, Weights

README = (ROOT / "README.md").read_text()


def commands(heading: str) -> list[str]:
    return commands_of(README, heading)


@pytest.fixture
def workplace(tmp_path: Path, tiny_weights: Weights) -> Path:
    """A directory with what the README presumes."""
    with gzip.open(DEMO / "NC_005816.fna.gz") as source:
        (tmp_path / "contigs.fasta").write_bytes(source.read())
    (tmp_path / "samples.csv").write_text("sample,fasta\nS1,contigs.fasta\n")
    shutil.copytree(tiny_weights.originals["dnaberts"], tmp_path / "DNABERT-S")
    shutil.copy(tiny_weights.originals["esm2"], tmp_path / "esm2_t33_650M_UR50D.pt")
    return tmp_path


def test_weights_and_the_steps_by_hand(workplace: Path):
    convert = [line for line in commands("Run it on your data") if "weights convert" in line]
    assert len(convert) == 2
    run(convert, workplace)
    by_hand = commands("The steps by hand")
    assert len(by_hand) == 5
    run(by_hand, workplace)
    with h5py.File(workplace / "S1.h5") as result:
        assert len(result["obs/row_id"]) > 10


@pytest.mark.pipeline
def test_the_run_on_your_own_data(workplace: Path):
    run([line for line in commands("Run it on your data") if "convert" in line], workplace)
    (pipeline,) = [line for line in commands("Run it on your data") if "nextflow" in line]
    run([pipeline], workplace)
    assert (workplace / "results/S1/S1.h5").exists()
    assert (workplace / "results/S1/S1.proteins.faa.gz").exists()
