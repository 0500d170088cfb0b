"""`virembed compare`: two results row by row, whatever their order."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.steps import DEMO, Sample, Weights, call
from virembed.compare import compare_results


@pytest.fixture(scope="module")
def records() -> list[str]:
    """Three pieces of a plasmid as FASTA records."""
    with gzip.open(DEMO / "NC_005816.fna.gz", "rt") as file:
        text = "".join(line.strip() for line in file if not line.startswith(">"))
    return [f">r{n}\n{text[n * 2000 : n * 2000 + 1700]}\n" for n in range(3)]


def result(home: Path, weights: Weights, *records: str) -> Path:
    home.mkdir()
    (home / "in.fa").write_text("".join(records))
    sample = Sample(home, weights)
    assert sample.split(home / "in.fa") == 0
    sample.embed()
    assert sample.collect() == 0
    return sample.result


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny_weights, records) -> Path:
    return result(tmp_path_factory.mktemp("compare") / "made", tiny_weights, *records)


def test_a_file_is_the_same_as_itself(made, capsys):
    assert call("compare", made, made) == 0
    out = capsys.readouterr().out
    with h5py.File(made) as file:
        num_rows, num_proteins = len(file["obs/row_id"]), int(file["obs/has_esm2"][:].sum())
    assert f"{num_rows:,} in both, 0 only in the first, 0 only in the second" in out
    assert f"{num_proteins:,} vectors, {num_proteins:,} equal bit for bit" in out
    assert out.splitlines()[-1].startswith("same ")


def test_the_order_of_the_records_does_not_matter(made, tmp_path, tiny_weights, records):
    turned = result(tmp_path / "turned", tiny_weights, *reversed(records))
    found = compare_results(made, turned)
    assert (found.only_first, found.only_second) == (0, 0)
    assert all(model.num_equal == model.num_rows > 0 for model in found.models)
    assert found.agree(1 - 1e-6)
    assert found.identical


def test_rows_of_one_file_only_are_counted_and_make_a_difference(
    made, tmp_path, tiny_weights, records, capsys
):
    fewer = result(tmp_path / "fewer", tiny_weights, *records[:2])
    found = compare_results(fewer, made)
    assert found.only_first == 0
    with h5py.File(made) as file:
        ids = file["obs/row_id"].asstr()[:]
    assert not found.identical
    assert found.only_second == sum(name.startswith("r2_") for name in ids) > 0
    assert call("compare", fewer, made) == 1
    assert "DIFFERENT" in capsys.readouterr().err


def test_the_row_that_differs_most_is_named(made, tmp_path):
    other = shutil.copy(made, tmp_path / "other.h5")
    with h5py.File(other, "r+") as file:
        row = int(np.flatnonzero(file["obs/has_esm2"][:])[1])
        file["obsm/X_esm2"][row] = -file["obsm/X_esm2"][row]
        name = file["obs/row_id"].asstr()[row]
    found = compare_results(made, Path(other))
    esm2, dnaberts = found.models
    assert not found.identical
    assert (esm2.worst, esm2.num_rows - esm2.num_equal) == (name, 1)
    assert esm2.min_cosine == pytest.approx(-1, abs=1e-6)
    assert dnaberts.num_equal == dnaberts.num_rows
    assert call("compare", made, other) == 1
    assert call("compare", made, other, "--min-cosine", "-1") == 0


def test_a_file_that_is_not_there_is_named(made, capsys):
    assert call("compare", made, "nowhere.h5") == 7
    assert "nowhere.h5: there is no such result file" in capsys.readouterr().err
