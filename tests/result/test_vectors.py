"""From FASTA to file, row by row: frames derived by other code, vectors by the originals."""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import dnaio
import esm
import h5py
import numpy as np
import pytest
import torch

from tests.models.reference_dnaberts import reference_embedding as original_dnaberts
from tests.sequences.naive import naive_rows
from tests.steps import DEMO, Sample, Weights

LIMIT = 1e-5  # before storage
HALF_ULP = 2.0**-11  # of float16, relative


@pytest.fixture(scope="module", params=["exact", "virnucpro"])
def rows_by_hand(request, tmp_path_factory, tiny_weights: Weights):
    """A finished sample of two genomes and 150 reads, and its rows derived naively."""
    home = tmp_path_factory.mktemp("vectors")
    sample = Sample(home, tiny_weights)
    with dnaio.open(DEMO / "lambda_reads.fastq.gz") as reader:
        reads = [(record.id, record.sequence) for record in reader][:150]
    (home / "reads.fa").write_text("".join(f">{name}\n{text}\n" for name, text in reads))
    files = [DEMO / "lambda.fna.gz", DEMO / "NC_005816.fna.gz", home / "reads.fa"]
    assert sample.split(*files, rules=request.param) == 0
    sample.embed()
    assert sample.collect() == 0
    expected = {}
    for file in files:
        with dnaio.open(file) as reader:
            for record in reader:
                rows = naive_rows(record.id, record.sequence, window_bp=500, rules=request.param)
                expected |= {row.row_id: row for row in rows}
    return sample, expected


def original_esm2(source: Path):
    """The model as fair-esm itself loads and runs it, one protein at a time."""
    with torch.serialization.safe_globals([argparse.Namespace]):
        content = torch.load(source, weights_only=True)
    model, alphabet = esm.pretrained.load_model_and_alphabet_core(source.stem, content, None)
    model.eval()
    convert = alphabet.get_batch_converter()

    def embed(protein: str) -> torch.Tensor:
        with torch.no_grad():
            tokens = convert([("", protein)])[2]
            layer = model.num_layers
            hidden = model(tokens, repr_layers=[layer])["representations"][layer]
        return hidden[0, 1:-1].mean(0)

    return embed


@pytest.mark.filterwarnings("ignore:Regression weights not found")
def test_every_row_has_the_vectors_the_originals_give(rows_by_hand):
    sample, expected = rows_by_hand
    with h5py.File(sample.result) as file:
        ids = file["obs/row_id"].asstr()[:].tolist()
        esm2, dnaberts = file["obsm/X_esm2"][:], file["obsm/X_dnaberts"][:]
    assert sorted(ids) == sorted(expected)
    protein_model = original_esm2(sample.weights.originals["esm2"])
    chosen = random.Random(0).sample(range(len(ids)), min(400, len(ids)))
    for row in chosen:
        wanted = expected[ids[row]]
        reference = original_dnaberts(sample.weights.originals["dnaberts"], wanted.dna)
        assert_stored(dnaberts[row], reference, ids[row])
        if wanted.protein:
            assert_stored(esm2[row], protein_model(wanted.protein), ids[row])
        else:
            assert np.isnan(esm2[row]).all()


def assert_stored(stored: np.ndarray, reference: torch.Tensor, row: str) -> None:
    """The stored float16 is what a vector within the limit of the reference rounds to."""
    difference = np.abs(stored.astype(np.float64) - reference.double().numpy())
    rounding = HALF_ULP * np.maximum(np.abs(stored.astype(np.float64)), 2.0**-14)
    assert (difference <= LIMIT + 2 * rounding).all(), row
