"""`virembed parity`: the originals on the user's own weights and sequences."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from safetensors.torch import load_file

from tests.steps import DEMO, Sample, Weights, call
from virembed.parity import compare


@pytest.fixture(scope="module")
def proteins(tmp_path_factory, tiny_weights: Weights):
    sample = Sample(tmp_path_factory.mktemp("parity"), tiny_weights)
    assert sample.split(DEMO / "NC_005816.fna.gz", window=300) == 0
    texts = "".join((path.read_text()) for path in (sample.home / "chunks/esm2").iterdir())
    path = sample.home / "proteins.faa.gz"
    with gzip.open(path, "wt") as file:
        file.write(texts)
    return path


def run(model: str, fasta, weights, capsys, *options):
    code = call("parity", fasta, "--model", model, "--weights", weights, "--device=cpu", *options)
    return code, capsys.readouterr()


@pytest.mark.parametrize("model", ["esm2", "dnaberts"])
def test_our_vectors_are_those_of_the_originals(model, proteins, tiny_weights, capsys):
    fasta = proteins if model == "esm2" else DEMO / "lambda_longreads.fna.gz"
    code, out = run(model, fasta, tiny_weights.converted[model], capsys, "--num", "40")
    assert code == 0, out.err
    assert "every cosine is at least 0.999999" in out.out


def test_a_difference_is_found(proteins, tiny_weights, tmp_path, capsys, monkeypatch):
    """The original reads the tensors again: other numbers there have to show."""
    source = tiny_weights.converted["esm2"]
    for path in source.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(
        "virembed.models.originals.load_file",
        lambda *arguments: {k: v * 1.05 for k, v in load_file(*arguments).items()},
    )
    code, out = run("esm2", proteins, tmp_path, capsys)
    assert code == 1
    assert "below the limit" in out.err


def test_nucleotides_are_refused_for_the_protein_model(tiny_weights, capsys):
    code, out = run("esm2", DEMO / "lambda.fna.gz", tiny_weights.converted["esm2"], capsys)
    assert code == 3
    assert "nucleotides" in out.err


def test_differences_are_told_by_length():
    ours = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    originals = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 0.5]])
    classes = list(compare([10, 20, 300], ours, originals))
    assert [(c.shortest, c.longest, c.num_sequences) for c in classes] == [
        (10, 20, 2),
        (300, 300, 1),
    ]
    assert classes[0].min_cosine == pytest.approx(0.5**0.5)
    assert classes[1].min_cosine == pytest.approx(1.0)
    assert classes[1].max_difference == 0.5
