"""`virembed export`: every format holds the numbers of the result under the right ids."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
from pathlib import Path

import anndata
import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.steps import Sample, call
from virembed.export.projection import project
from virembed.layout import MODELS

from .conftest import make_sample, plasmid


@pytest.fixture(scope="module")
def truth(pieces: Sample) -> anndata.AnnData:
    return anndata.read_h5ad(pieces.result)


@pytest.fixture
def some(truth: anndata.AnnData, tmp_path: Path) -> list[str]:
    """Ids of rows, of both blocks, in the order of the result; listed backwards in ids.txt."""
    ids = [truth.obs_names[row] for row in (1, 2, 7, 20, truth.n_obs - 3, truth.n_obs - 1)]
    (tmp_path / "ids.txt").write_text("\n".join([*ids[::-1], "", ids[0]]))
    return ids


def export(sample: Sample, form: str, out: Path, *options: object) -> int:
    return call("export", sample.result, "--format", form, "--out", out, *options)


@pytest.mark.parametrize("chosen", [False, True])
def test_npy(pieces, truth, tmp_path, some, chosen):
    options = ("--rows", tmp_path / "ids.txt") if chosen else ()
    assert export(pieces, "npy", tmp_path / "npy", *options) == 0
    rows = truth[some] if chosen else truth
    for model in MODELS:
        has = rows.obs[f"has_{model.name}"].to_numpy()
        matrix = np.load(tmp_path / "npy" / f"{model.obsm}.npy")
        ids = (tmp_path / "npy" / f"{model.obsm}.ids.txt").read_text().splitlines()
        assert matrix.dtype == np.float16
        assert ids == rows.obs_names[has].tolist()
        assert np.array_equal(matrix, rows.obsm[model.obsm][has])
    assert len(list((tmp_path / "npy").iterdir())) == 4


@pytest.mark.parametrize("chosen", [False, True])
def test_parquet(pieces, truth, tmp_path, some, chosen):
    options = ("--rows", tmp_path / "ids.txt") if chosen else ()
    assert export(pieces, "parquet", tmp_path / "S.parquet", *options) == 0
    rows = truth[some] if chosen else truth
    table = pq.read_table(tmp_path / "S.parquet")
    assert table.column("row_id").to_pylist() == rows.obs_names.tolist()
    for name in rows.obs:
        found, expected = table.column(name).to_pylist(), rows.obs[name].tolist()
        assert str(found) == str(expected), name
    for model in MODELS:
        expected = rows.obsm[model.obsm]
        found = table.column(model.obsm).to_pylist()
        assert [vector is not None for vector in found] == rows.obs[f"has_{model.name}"].tolist()
        for vector, row in zip(found, expected, strict=True):
            assert vector is None or np.array_equal(np.array(vector, np.float32), row)


def test_fp32_is_a_whole_result(pieces, truth, tmp_path):
    assert export(pieces, "fp32", tmp_path / "S32.h5") == 0
    assert call("verify", tmp_path / "S32.h5") == 0
    assert call("compare", pieces.result, tmp_path / "S32.h5", "--min-cosine", 1 - 1e-9) == 0
    a = anndata.read_h5ad(tmp_path / "S32.h5")
    for model in MODELS:
        assert a.obsm[model.obsm].dtype == np.float32
        assert np.array_equal(a.obsm[model.obsm], truth.obsm[model.obsm], equal_nan=True)
    assert a.uns["provenance"]["esm2"]["stored_dtype"] == "float32, copied from float16"
    assert a.obs.equals(truth.obs)
    with h5py.File(tmp_path / "S32.h5") as file:
        assert file["obsm/X_esm2"].dtype == "<f4"


def fasta_of(path: Path) -> dict[str, str]:
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    return dict(record.split("\n", 1) for record in text.strip().split(">")[1:])


def test_fasta(pieces, truth, tmp_path, some, capsys):
    assert export(pieces, "fasta", tmp_path / "all.faa") == 0
    published = fasta_of(pieces.home / "S.proteins.faa.gz")
    assert fasta_of(tmp_path / "all.faa").keys() == published.keys()
    assert export(pieces, "fasta", tmp_path / "S.faa", "--rows", tmp_path / "ids.txt") == 0
    assert "S.faa: 4 proteins, 2 rows without one" in capsys.readouterr().out
    found = fasta_of(tmp_path / "S.faa")
    assert list(found) == some[:4]
    for name, sequence in found.items():
        assert sequence.strip() == published[name].strip()
        assert len(sequence.strip()) == truth.obs.loc[name, "protein_len"]


def test_proteins_that_are_missing_or_of_another_run_are_named(pieces, tmp_path, capsys):
    nowhere = tmp_path / "nowhere.faa.gz"
    assert export(pieces, "fasta", tmp_path / "S.faa", "--proteins", nowhere) == 7
    assert "nowhere.faa.gz: there is no such file" in capsys.readouterr().err
    other = tmp_path / "other.faa.gz"
    other.write_bytes(gzip.compress(b">x\nMK\n"))
    assert export(pieces, "fasta", tmp_path / "S.faa", "--proteins", other) == 7
    assert "no protein of" in capsys.readouterr().err
    whole = (pieces.home / "S.proteins.faa.gz").read_bytes()
    other.write_bytes(whole[:-40])
    assert export(pieces, "fasta", tmp_path / "S.faa", "--proteins", other) == 7
    assert [path.name for path in tmp_path.iterdir()] == ["other.faa.gz"]


def test_protspace_bundle(pieces, truth, tmp_path):
    assert export(pieces, "protspace", tmp_path / "S.parquetbundle") == 0
    parts = (tmp_path / "S.parquetbundle").read_bytes().split(b"---PARQUET_DELIMITER---")
    annotations, metadata, data = (pq.read_table(io.BytesIO(part)) for part in parts)
    n = int(truth.uns["accounting"]["n_protein_rows"])
    ids = truth.obs_names[:n].tolist()
    assert annotations.schema.metadata[b"protspace_format_version"] == b"2"
    assert annotations.column("identifier").to_pylist() == ids
    assert annotations.column("protein_len").to_pylist() == truth.obs["protein_len"][:n].tolist()
    assert annotations.column("frame").to_pylist() == truth.obs["frame"][:n].tolist()
    names = metadata.column("projection_name").to_pylist()
    assert names == ["esm2 PCA_2", "dnaberts PCA_2"]
    assert metadata.column("dimensions").to_pylist() == [2, 2]
    points = data.to_pandas()
    for name, model in zip(names, MODELS, strict=True):
        here = points[points["projection_name"] == name]
        assert here["identifier"].tolist() == ids
        assert here["z"].isna().all()
        x = truth.obsm[model.obsm][:n].astype(float)
        z = (x - x.mean(axis=0)) / np.where(x.std(axis=0) > 0, x.std(axis=0), 1)
        u, s, _ = np.linalg.svd(z, full_matrices=False)
        found = np.abs(here[["x", "y"]].to_numpy())
        assert found == pytest.approx(np.abs(u[:, :2] * s[:2]), abs=1e-6)
        info = json.loads(metadata.column("info_json")[names.index(name)].as_py())
        shares = (s**2 / (s**2).sum())[:2]
        assert info["explained_variance_ratio"] == pytest.approx(shares, abs=1e-9)


def test_letters_that_mean_something_to_protspace_are_encoded(tmp_path, tiny_weights):

    fasta = f">gi|7;x%y\n{plasmid()[:1500]}\n"
    sample = make_sample(tmp_path / "S", tiny_weights, fasta)
    assert export(sample, "protspace", tmp_path / "S.parquetbundle") == 0
    part = (tmp_path / "S.parquetbundle").read_bytes().split(b"---PARQUET_DELIMITER---")[0]
    table = pq.read_table(io.BytesIO(part))
    assert set(table.column("record_id").to_pylist()) == {"gi%7C7%3Bx%25y"}
    assert table.column("identifier")[0].as_py().startswith("gi|7;x%y_chunk_")


def test_a_projection_is_the_same_in_any_blocks():
    x = np.random.default_rng(0).standard_normal((50, 6)) * [9, 1, 1, 1, 1, 0]
    x[:, 1] += x[:, 0]
    whole, parts = project(lambda: iter([x]), 6), project(lambda: iter([x[:7], x[7:]]), 6)
    assert parts.coordinates == pytest.approx(whole.coordinates, abs=1e-9)
    assert sum(whole.explained) < 1


@pytest.mark.parametrize("form", ["npy", "parquet", "protspace", "fasta"])
def test_ids_that_are_no_rows_are_named(pieces, tmp_path, capsys, form):
    with h5py.File(pieces.result) as file:
        first = file["obs/row_id"].asstr()[0]
    (tmp_path / "ids.txt").write_text(f"{first}\n\nnobody\nnobody_else\n")
    assert export(pieces, form, tmp_path / "out", "--rows", tmp_path / "ids.txt") == 3
    assert "ids.txt line 3: 'nobody' is no row of" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["ids.txt"]


def test_a_list_without_ids_is_refused(pieces, tmp_path, capsys):
    (tmp_path / "ids.txt").write_text("\n\n")
    assert export(pieces, "npy", tmp_path / "out", "--rows", tmp_path / "ids.txt") == 3
    assert "no id in it" in capsys.readouterr().err
    assert export(pieces, "npy", tmp_path / "out", "--rows", tmp_path / "nowhere") == 3
    assert export(pieces, "fp32", tmp_path / "out", "--rows", tmp_path / "ids.txt") == 2


def test_too_few_rows_for_a_map_are_refused(pieces, tmp_path, some, capsys):
    (tmp_path / "ids.txt").write_text("\n".join(some[:2]))
    assert export(pieces, "protspace", tmp_path / "x", "--rows", tmp_path / "ids.txt") == 2
    assert "2 rows with a protein; a map has 3 to 1,000,000" in capsys.readouterr().err


def test_a_missing_pyarrow_is_one_line(pieces, tmp_path):
    program = (
        "import sys; sys.modules['pyarrow'] = None\nfrom virembed.cli import main\n"
        "main(['export', sys.argv[1], '--format', 'parquet', '--out', sys.argv[2]])"
    )
    command = [sys.executable, "-c", program, str(pieces.result), str(tmp_path / "x.parquet")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        "ERROR parquet needs pyarrow, which is not installed. "
        "Install it: pip install 'virembed[parquet]'.\n"
    )


@pytest.mark.parametrize("form", ["npy", "parquet", "fp32", "fasta"])
def test_an_empty_sample(tmp_path, tiny_weights, form):

    sample = make_sample(tmp_path / "S", tiny_weights, ">nothing\n")
    assert export(sample, form, tmp_path / "out") == 0
    if form == "npy":
        assert len(np.load(tmp_path / "out" / "X_esm2.npy")) == 0
    if form == "parquet":
        assert pq.read_table(tmp_path / "out").num_rows == 0
