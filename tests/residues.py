"""What a file of residues must hold, computed from the result and the models' reference."""

from __future__ import annotations

import gzip
from pathlib import Path

import h5py
import numpy as np
import torch

from tests.models.reference_esm2 import IDS, hidden_states
from tests.steps import Sample

HALF_ULP = 2.0**-11  # of a float16, relative; below the normal numbers 2^-25


def rounding(values: np.ndarray) -> np.ndarray:
    """The most by which a number moves when it is rounded to float16."""
    return np.abs(values) * HALF_ULP + 2.0**-25


def assert_means(rows: np.ndarray, vector: np.ndarray) -> None:
    """The vector (float16 [D]) is the mean of the rows (float16 [L, D]) but for their roundings."""
    exact = rows.astype(np.float64)
    allowed = rounding(exact).mean(axis=0) + rounding(vector.astype(np.float64)) + 1e-6
    difference = np.abs(exact.mean(axis=0) - vector.astype(np.float64))
    assert (difference <= 1.01 * allowed).all()


def proteins_of(sample: Sample) -> dict[str, str]:
    """By id of the row."""
    with gzip.open(sample.home / f"{sample.name}.proteins.faa.gz", "rt") as file:
        lines = file.read().splitlines()
    return {head[1:]: text for head, text in zip(lines[::2], lines[1::2], strict=True)}


def assert_every_row_is_a_mean(sample: Sample) -> int:
    """Every row with a protein has its residues: as many as letters, and their mean. Returns how
    many rows there are."""
    texts = proteins_of(sample)
    with h5py.File(sample.result) as result, h5py.File(sample.residues) as file:
        number = int(result["uns/accounting/n_protein_rows"][()])
        ids = result["obs/row_id"].asstr()[:number]
        vectors = result["obsm/X_esm2"][:number]
        sources = result["obs/esm2_source_row"][:number]
        residues, offsets = file["esm2/residues"][:], file["esm2/offsets"][:]
        first = file["esm2/row"][:]
    assert len(set(first.tolist())) == len(first) == len(offsets) - 1
    assert offsets[-1] == len(residues)
    protein_of = {row: k for k, row in enumerate(first.tolist())}
    assert set(protein_of) == set(sources.tolist())
    for row in range(number):
        k = protein_of[int(sources[row])]
        own = residues[offsets[k] : offsets[k + 1]]
        assert len(own) == len(texts[ids[row]])
        assert_means(own, vectors[row])
    return number


def assert_as_the_original(sample: Sample, weights: Path, *, limit: float) -> None:
    """Every residue is what the reference gives, but for its rounding to float16."""
    texts = proteins_of(sample)
    with h5py.File(sample.result) as result, h5py.File(sample.residues) as file:
        ids = result["obs/row_id"].asstr()[:]
        offsets, rows = file["esm2/offsets"][:], file["esm2/row"][:]
        for k, row in enumerate(rows.tolist()):
            tokens = ["<cls>", *texts[ids[row]], "<eos>"]
            expected = hidden_states(weights, torch.tensor([IDS[t] for t in tokens]))[1:-1].numpy()
            found = file["esm2/residues"][offsets[k] : offsets[k + 1]].astype(np.float64)
            assert (np.abs(found - expected) - rounding(expected)).max() < limit
