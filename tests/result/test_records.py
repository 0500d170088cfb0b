"""`virembed export --format records`: the mean of each record, against a groupby of its rows."""

from __future__ import annotations

from pathlib import Path

import anndata
import h5py
import numpy as np
import pytest

from tests.result.test_import import IDS, import_, merged_file
from tests.steps import Sample, Weights, call
from virembed.seal import seal

from .conftest import WINDOW, make_sample, plasmid
from .test_export import export

COUNTS = {"X_esm2": "n_proteins", "X_dnaberts": "n_rows"}


def check(result: Path, table: Path) -> anndata.AnnData:
    """The table has each record with a row once, with the means that numpy makes of its rows."""
    assert call("verify", table) == 0
    rows, means = anndata.read_h5ad(result), anndata.read_h5ad(table)
    records = rows.uns["records"]
    expected = records.index[records["n_rows"] > 0]
    assert means.obs_names.tolist() == expected.tolist()
    assert set(expected) == set(rows.obs["record_id"])
    for name in ("length", "n_windows", "n_rows"):
        assert means.obs[name].tolist() == records.loc[expected, name].tolist()
    for matrix, column in COUNTS.items():
        assert means.obsm[matrix].dtype == np.float32
        for record, mean in zip(means.obs_names, means.obsm[matrix], strict=True):
            own = rows.obsm[matrix][rows.obs["record_id"] == record].astype(np.float64)
            own = own[np.isfinite(own[:, 0])]
            assert means.obs.loc[record, column] == len(own)
            if len(own):
                assert np.allclose(mean, own.mean(axis=0), rtol=3e-7, atol=1e-9)
            else:
                assert np.isnan(mean).all()
    counts = means.uns["accounting"]
    assert counts["records_in"] == len(records)
    assert counts["records_with_rows"] == means.n_obs
    assert counts["records_without_rows"] == len(records) - means.n_obs
    assert counts["n_rows"] == means.obs["n_rows"].sum() == rows.n_obs
    assert counts["n_proteins"] == means.obs["n_proteins"].sum()
    return means


@pytest.fixture(scope="module")
def virnucpro(tmp_path_factory, tiny_weights: Weights) -> Sample:
    """A sample under the rules of VirNucPro: windows without an open frame have no row."""
    sample = Sample(tmp_path_factory.mktemp("virnucpro"), tiny_weights, "V")
    stops = "TAACTAACTAACTTAGTTAGTTAG" * 25
    text = f">stops\n{stops}\n>a\n{plasmid()[:1700]}\n>both\n{plasmid()[:600]}{stops}\n"
    (sample.home / "in.fa").write_text(text)
    assert sample.split(sample.home / "in.fa", window=WINDOW, rules="virnucpro") == 0
    sample.embed()
    assert sample.collect() == 0
    return sample


def test_means_are_those_of_the_rows(pieces: Sample, tmp_path, capsys):
    out = tmp_path / "S.records.h5"
    assert export(pieces, "records", out) == 0
    assert capsys.readouterr().out == f"{out}: 6 records; 1 without a row are left out\n"
    means = check(pieces.result, out)
    assert means.obs.loc["stops", "n_proteins"] == 0
    # records with rows in both parts of the result are among them
    assert (means.obs["n_rows"] > means.obs["n_proteins"]).sum() > 1


def test_under_the_rules_of_virnucpro(virnucpro: Sample, tmp_path, capsys):
    assert export(virnucpro, "records", tmp_path / "V.records.h5") == 0
    assert "2 records; 1 without a row are left out" in capsys.readouterr().out
    means = check(virnucpro.result, tmp_path / "V.records.h5")
    assert (means.obs["n_rows"] == means.obs["n_proteins"]).all()


def test_records_may_begin_and_end_in_any_block(pieces, tmp_path, monkeypatch):
    """With blocks smaller than a record, and than the number of records."""
    assert export(pieces, "records", tmp_path / "one.h5") == 0
    monkeypatch.setattr("virembed.export.records.MATRIX_ROWS", 3)
    monkeypatch.setattr("virembed.export.records.BLOCK_ROWS", 4)
    assert export(pieces, "records", tmp_path / "other.h5") == 0
    one, other = (
        check(pieces.result, tmp_path / "one.h5"),
        check(pieces.result, tmp_path / "other.h5"),
    )
    assert one.obs.equals(other.obs)
    for matrix in COUNTS:
        assert np.allclose(one.obsm[matrix], other.obsm[matrix], rtol=3e-7, equal_nan=True)


def test_of_several_samples(pieces, virnucpro, tiny_weights, tmp_path):
    other = make_sample(tmp_path / "T", tiny_weights, f">x\n{plasmid()[:900]}\n>e\n", "T")
    assert call("merge", pieces.result, other.result, "--out", tmp_path / "ALL.h5") == 0
    out = tmp_path / "ALL.records.h5"
    assert call("export", tmp_path / "ALL.h5", "--format", "records", "--out", out) == 0
    means = check(tmp_path / "ALL.h5", out)
    assert means.obs["sample"].tolist() == [name.split(":")[0] for name in means.obs_names]
    assert list(means.obs["sample"].cat.categories) == ["S", "T"]
    # as if each had been exported by itself
    assert export(pieces, "records", tmp_path / "S.records.h5") == 0
    alone = anndata.read_h5ad(tmp_path / "S.records.h5")
    here = means[means.obs["sample"] == "S"]
    for matrix in COUNTS:
        assert np.allclose(here.obsm[matrix], alone.obsm[matrix], rtol=3e-7, equal_nan=True)


def test_of_an_imported_result(tmp_path):
    assert import_(tmp_path / "S.h5", merged_file(tmp_path / "m.pt", IDS)) == 0
    out = tmp_path / "S.records.h5"
    assert call("export", tmp_path / "S.h5", "--format", "records", "--out", out) == 0
    means = check(tmp_path / "S.h5", out)
    assert means.obs_names.tolist() == ["b", "a_chunk_7"]
    assert means.obs["length"].tolist() == [-1, -1]
    assert means.uns["provenance"]["origin"] == "imported"


def test_it_says_how_its_vectors_were_made(pieces, tmp_path):
    assert export(pieces, "records", tmp_path / "S.records.h5") == 0
    source = anndata.read_h5ad(pieces.result).uns["provenance"]
    means = anndata.read_h5ad(tmp_path / "S.records.h5")
    for model in ("esm2", "dnaberts"):
        made = means.uns["provenance"][model]
        assert made.pop("stored_dtype") == "float32, means of rows"
        assert source[model].pop("stored_dtype") == "float16"
        assert made == source[model]
        assert len(made["weights_sha256"]) == 64
    with h5py.File(tmp_path / "S.records.h5") as file:
        assert file.attrs["sample"] == "S"
        assert file.attrs["complete"] == 1


@pytest.mark.parametrize("fasta", ["", ">nothing\n"])
def test_a_sample_without_rows(tmp_path, tiny_weights, fasta):
    sample = make_sample(tmp_path / "S", tiny_weights, fasta)
    assert export(sample, "records", tmp_path / "S.records.h5") == 0
    assert call("verify", tmp_path / "S.records.h5") == 0
    means = anndata.read_h5ad(tmp_path / "S.records.h5")
    assert means.shape == (0, 0)
    assert means.uns["accounting"]["records_without_rows"] == fasta.count(">")


def test_it_is_no_result_file(pieces, tmp_path, capsys):
    table = tmp_path / "S.records.h5"
    assert export(pieces, "records", table) == 0
    again = ("export", table, "--format", "records", "--out", tmp_path / "x.h5")
    for command in (("info", table), again, ("compare", table, pieces.result)):
        capsys.readouterr()
        assert call(*command) == 7
        error = capsys.readouterr().err
        assert "not a result file, its format is virembed.records/1" in error
        assert len(error.splitlines()) == 1
    assert export(pieces, "records", tmp_path / "x.h5", "--rows", table) == 2
    assert "records averages all rows of a record" in capsys.readouterr().err
    assert call("export", "nowhere.h5", *again[2:]) == 7
    assert not (tmp_path / "x.h5").exists()


def test_the_report_passes_it_over(pieces, tmp_path):
    (tmp_path / "S").mkdir()
    (tmp_path / "S/S.h5").write_bytes(pieces.result.read_bytes())
    assert export(pieces, "records", tmp_path / "S/S.records.h5") == 0
    assert call("report", tmp_path, "--out", tmp_path / "report.html", "--map-points", 10) == 0


def count_one_more(file):
    file["obs/n_rows"][0] += 1


def lose_a_vector(file):
    file["obsm/X_dnaberts"][2] = np.nan


def lose_a_record(file):
    file["uns/accounting/records_with_rows"][()] += 1


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        (count_one_more, "obs/n_rows adds up to"),
        (lose_a_vector, "X_dnaberts is not finite"),
        (lose_a_record, "obs has not 7 records"),
    ],
)
def test_verify_finds_damage(pieces, tmp_path, capsys, damage, cause):
    table = tmp_path / "S.records.h5"
    assert export(pieces, "records", table) == 0
    with h5py.File(table, "r+") as file:
        damage(file)
    assert call("verify", table) == 7
    assert "no whole table of records" in capsys.readouterr().err
    seal(table)  # as if it had been written so
    assert call("verify", table) == 7
    assert cause in capsys.readouterr().err
