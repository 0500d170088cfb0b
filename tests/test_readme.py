"""The README's commands, run as they stand there."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import pytest

from tests.steps import DEMO, Weights

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def commands(heading: str) -> list[str]:
    """Indented lines of a section, continuation lines joined."""
    section = README.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = re.findall(r"^ {4,}(.*)$", section.replace("\\\n", " "), re.MULTILINE)
    return [line.strip() for line in lines if line.strip().startswith(("virembed ", "tools/"))]


@pytest.fixture
def workplace(tmp_path: Path, tiny_weights: Weights) -> Path:
    """A directory with what the README presumes."""
    with gzip.open(DEMO / "NC_005816.fna.gz") as source:
        (tmp_path / "contigs.fasta").write_bytes(source.read())
    (tmp_path / "samples.csv").write_text("sample,fasta\nS1,contigs.fasta\n")
    shutil.copytree(tiny_weights.originals["dnaberts"], tmp_path / "DNABERT-S")
    shutil.copy(tiny_weights.originals["esm2"], tmp_path / "esm2_t33_650M_UR50D.pt")
    return tmp_path


def run(lines: list[str], directory: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for line in lines:
        done = subprocess.run(
            line,
            shell=True,
            cwd=directory,
            env=os.environ | {"PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


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
    run(
        [pipeline.replace("tools/", f"{ROOT}/tools/").replace("main.nf", f"{ROOT}/main.nf")],
        workplace,
    )
    assert (workplace / "results/S1/S1.h5").exists()
    assert (workplace / "results/S1/S1.proteins.faa.gz").exists()
