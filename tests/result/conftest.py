from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tests.steps import DEMO, Sample, Weights

WINDOW = 200
STOPS = ">stops\n" + "TAACTAACTAACTTAGTTAGTTAG" * 25 + "\n"


def plasmid() -> str:
    with gzip.open(DEMO / "NC_005816.fna.gz", "rt") as file:
        return "".join(line.strip() for line in file if not line.startswith(">"))


def make_sample(home: Path, weights: Weights, fasta: str, name: str = "S") -> Sample:
    """A sample from its sequences to its result, windows of `WINDOW` bp."""
    home.mkdir(exist_ok=True)
    (home / "in.fa").write_text(fasta)
    sample = Sample(home, weights, name)
    assert sample.split(home / "in.fa", window=WINDOW) == 0
    sample.embed()
    assert sample.collect() == 0
    return sample


@pytest.fixture(scope="session")
def pieces(tmp_path_factory: pytest.TempPathFactory, tiny_weights: Weights) -> Sample:
    """Pieces of a plasmid, of several windows each; records without an open frame, without DNA."""
    text = plasmid()
    records = [f">p{n}_chunk_9\n{text[n * 1900 : n * 1900 + 1700]}\n" for n in range(5)]
    fasta = "".join([STOPS, *records, ">empty\n"])
    return make_sample(tmp_path_factory.mktemp("pieces"), tiny_weights, fasta)
