"""A sample in several chunks, taken through all steps without a fault."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.faults.program import (
    collect_arguments,
    embed_arguments,
    residues_of,
    split_arguments,
)
from tests.steps import DEMO, Sample, Weights, call

FASTA = DEMO / "NC_005816.fna.gz"


@pytest.fixture(scope="session")
def reference(tmp_path_factory, tiny_weights: Weights) -> Sample:
    """What every run with a fault is compared with."""
    sample = Sample(tmp_path_factory.mktemp("reference"), tiny_weights)
    assert call(*split_arguments(sample, FASTA)) == 0
    for chunk in sorted(sample.home.glob("chunks/*/*")):
        out = sample.shards / f"{chunk.stem}.shard.h5"
        asked = ("--residues", residues_of(out)) if chunk.suffix == ".faa" else ()
        assert call(*embed_arguments(sample, chunk.name, out), *asked) == 0
    asked = ("--residues", sample.residues)
    assert call(*collect_arguments(sample, sample.home), *asked) == 0
    return sample


@pytest.fixture
def copy(reference: Sample, tmp_path: Path) -> Sample:
    """The same, not yet collected."""
    home = tmp_path / "copy"
    results = shutil.ignore_patterns("S.h5", "S.json", "S.faa.gz", "S.residues.h5")
    shutil.copytree(reference.home, home, ignore=results)
    return Sample(home, reference.weights)
