"""`virembed merge`: every row of every sample, with its own vectors, under an id of its own."""

from __future__ import annotations

from pathlib import Path

import anndata
import h5py
import numpy as np
import pytest

from tests.classifiers import make_classifier, publish
from tests.steps import Sample, Weights, call, make_weights
from virembed.layout import MODELS

from .conftest import make_sample, plasmid
from .test_file import check_in_anndata


@pytest.fixture(scope="module")
def samples(pieces: Sample, tmp_path_factory, tiny_weights: Weights) -> list[Sample]:
    """Three samples: one with the records of another, and one without any row."""
    home, text = tmp_path_factory.mktemp("merge"), plasmid()
    again = f">p0_chunk_9\n{text[:1700]}\n>other\n{text[300:900]}\n>p0_chunk_9 b\n"
    (home / "in.fa").write_text(again)
    second = Sample(home / "T", tiny_weights, "T")
    second.home.mkdir()
    assert second.split(home / "in.fa", **{"window": 200, "duplicate-ids": "suffix"}) == 0
    second.embed()
    assert second.collect() == 0
    return [make_sample(home / "E", tiny_weights, "", "E"), pieces, second]


@pytest.fixture(scope="module")
def merged(samples: list[Sample], tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("merged") / "ALL.h5"
    assert call("merge", *(sample.result for sample in samples), "--out", out) == 0
    return out


def test_it_is_a_whole_result(merged: Path, capsys):
    assert call("verify", merged) == 0
    check_in_anndata(str(merged))
    assert call("info", merged) == 0
    out = capsys.readouterr().out
    assert "merged by virembed" in out
    assert len(out.splitlines()) <= 13


def test_every_row_is_there_once_with_all_it_had(merged: Path, samples: list[Sample]):
    whole = anndata.read_h5ad(merged)
    assert whole.n_obs == sum(anndata.read_h5ad(s.result).n_obs for s in samples)
    for sample in samples:
        one = anndata.read_h5ad(sample.result)
        here = whole[whole.obs["sample"] == sample.name]
        assert here.obs_names.tolist() == [f"{sample.name}:{name}" for name in one.obs_names]
        expected = [f"{sample.name}:{name}" for name in one.obs["record_id"]]
        assert here.obs["record_id"].tolist() == expected
        for model in MODELS:
            assert np.array_equal(here.obsm[model.obsm], one.obsm[model.obsm], equal_nan=True)
            source, before = f"{model.name}_source_row", one.obs[f"{model.name}_source_row"]
            for row, number in zip(here.obs[source], before, strict=True):
                expected = f"{sample.name}:{one.obs_names[number]}" if number >= 0 else None
                assert (whole.obs_names[row] if row >= 0 else None) == expected
        same = [name for name in one.obs if not name.endswith("source_row") and name != "record_id"]
        # as text, in which NaN equals NaN
        assert str(here.obs[same].to_numpy().tolist()) == str(one.obs[same].to_numpy().tolist())


def test_counts_and_exceptions_are_those_of_all(merged: Path, samples: list[Sample]):
    whole = anndata.read_h5ad(merged).uns
    parts = [anndata.read_h5ad(sample.result).uns for sample in samples]
    for name, count in whole["accounting"].items():
        assert count == sum(part["accounting"][name] for part in parts), name
    assert len(whole["lost"]) == sum(len(part["lost"]) for part in parts) > 0
    assert all(name.split(":")[0] in "EST" for name in whole["lost"].index)
    names = [name for part in parts for name in part["provenance"]["input"]["names"]]
    assert list(whole["provenance"]["input"]["names"]) == names
    for sample, part in zip(samples, parts, strict=True):
        kept = whole["provenance"]["samples"][sample.name]
        assert kept["esm2"]["pooling"] == part["provenance"]["esm2"]["pooling"]
        assert kept["input"]["sha256"].tolist() == part["provenance"]["input"]["sha256"].tolist()
        assert kept["params_json"] == part["params_json"]


def test_it_can_be_classified_and_exported_but_not_merged_again(merged, samples, tmp_path, capsys):
    with h5py.File(merged) as file:
        dims = [file[f"obsm/X_{model}"].shape[1] for model in ("dnaberts", "esm2")]
        names = [file[f"uns/provenance/{m}/model_id"].asstr()[()] for m in ("esm2", "dnaberts")]
    source = publish(make_classifier(sum(dims)), tmp_path / "m.pth")
    options = ("--dnaberts-dim", dims[0], "--esm2", names[0], "--dnaberts", names[1])
    convert = ("weights", "classifier", source, "--window", 200, "--out", tmp_path / "mlp")
    assert call(*convert, *options) == 0
    classified = tmp_path / "ALL.classified.h5"
    classify = ("classify", merged, "--classifier", tmp_path / "mlp", "--out", classified)
    assert call(*classify, "--allow-random") == 0
    assert call("verify", classified) == 0
    assert call("export", merged, "--format", "npy", "--out", tmp_path / "npy") == 0
    capsys.readouterr()
    for other, cause in ((merged, "is merged already"), (classified, "is merged already")):
        assert call("merge", samples[1].result, other, "--out", tmp_path / "x.h5") == 2
        assert cause in capsys.readouterr().err
    assert call("export", merged, "--format", "fasta", "--out", tmp_path / "x.faa") == 2
    assert "merged of several samples" in capsys.readouterr().err


def test_blocks_of_many_files_fall_where_they_may(samples, merged, tmp_path, monkeypatch):
    """With blocks far smaller than the samples: pieces begin and end inside them."""
    for module in ("merge_results", "result", "verify"):
        monkeypatch.setattr(f"virembed.{module}.BLOCK_ROWS", 8)
        monkeypatch.setattr(f"virembed.{module}.MATRIX_ROWS", 4, raising=False)
    out = tmp_path / "ALL.h5"
    assert call("merge", *(sample.result for sample in samples), "--out", out) == 0
    assert call("verify", out) == 0
    with h5py.File(out) as a, h5py.File(merged) as b:
        for name in ("obs/row_id", "obs/esm2_source_row", "uns/records/row_start"):
            assert np.array_equal(a[name][()], b[name][()])
        for model in MODELS:
            matrices = (file[f"obsm/{model.obsm}"][()] for file in (a, b))
            assert np.array_equal(*matrices, equal_nan=True)


def alter(path: Path, source: Path, field: str, value: str) -> Path:
    path.write_bytes(source.read_bytes())
    with h5py.File(path, "r+") as file:
        file.attrs["sample"] = "other"
        del file[f"uns/provenance/{field}"]
        file[f"uns/provenance/{field}"] = value
    return path


@pytest.mark.parametrize(
    "field", ["esm2/compute_dtype", "dnaberts/pooling", "esm2/weights_sha256", "windows/rule"]
)
def test_files_that_were_made_differently_are_refused(samples, tmp_path, capsys, field):
    other = alter(tmp_path / "other.h5", samples[1].result, field, "another")
    assert call("merge", samples[1].result, other, "--out", tmp_path / "x.h5") == 2
    error = capsys.readouterr().err
    assert "were made differently" in error
    assert f"{field.replace('/', ' ')} is " in error
    assert "and another" in error
    assert not (tmp_path / "x.h5").exists()


def test_other_weights_are_refused(samples, tmp_path, capsys):
    weights = make_weights(tmp_path / "weights", seed=1)
    other = make_sample(tmp_path / "other", weights, f">x\n{plasmid()[:600]}\n", "X")
    assert call("merge", samples[1].result, other.result, "--out", tmp_path / "x.h5") == 2
    assert "weights_sha256 is" in capsys.readouterr().err


def test_one_file_and_one_sample_twice_are_refused(samples, tmp_path, capsys):
    one = samples[1].result
    assert call("merge", one, "--out", tmp_path / "x.h5") == 2
    assert call("merge", one, one, "--out", tmp_path / "x.h5") == 2
    assert "sample 'S' is in" in capsys.readouterr().err
    assert call("merge", one, "nowhere.h5", "--out", tmp_path / "x.h5") == 7
