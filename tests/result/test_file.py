"""The result file: opens everywhere, says what it is, and shows every change to it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import anndata
import h5py
import numpy as np
import pytest

from tests.steps import DEMO, Sample, Weights, call
from virembed.layout import Flag

OLD_ANNDATA = Path(__file__).parents[2] / ".venv-anndata-0.10" / "bin" / "python"
STOPS = ">stops\n" + "TAACTAACTAACTTAGTTAGTTAG" * 25 + "\n"
SAMPLES = {
    "genomes": [DEMO / "NC_005816.fna.gz"],
    "no record": "",
    "an empty record": ">nothing\n",
    "no open frame": STOPS,
    "tiny": ">a\nAC\n>b\nATGGCC\n>b_again\nATGGCC\n>c\nN\n",
}


@pytest.fixture(scope="module", params=SAMPLES)
def sample(request, tmp_path_factory, tiny_weights: Weights) -> Sample:
    home = tmp_path_factory.mktemp("sample")
    given = SAMPLES[request.param]
    if isinstance(given, str):
        (home / "in.fa").write_text(given)
        given = [home / "in.fa"]
    sample = Sample(home, tiny_weights)
    assert sample.split(*given) == 0
    sample.embed()
    assert sample.collect() == 0
    return sample


def check_in_anndata(path: str) -> None:
    """Runs in each version of anndata: everything is read and consistent."""
    a = anndata.read_h5ad(path)
    accounting = a.uns["accounting"]
    protein_rows = int(accounting["n_protein_rows"])
    assert a.n_obs == int(accounting["rows"])
    assert a.obs_names.is_unique
    assert list(a.obs["frame"].cat.categories) == ["F1", "F2", "F3", "R1", "R2", "R3", "none"]
    assert a.obsm["X_esm2"].dtype == a.obsm["X_dnaberts"].dtype == np.float16
    assert np.isfinite(a.obsm["X_dnaberts"]).all()
    assert np.isfinite(a.obsm["X_esm2"][:protein_rows]).all()
    assert np.isnan(a.obsm["X_esm2"][protein_rows:]).all()
    assert (a.obs["has_esm2"].to_numpy() == (np.arange(a.n_obs) < protein_rows)).all()
    records = a.uns["records"]
    assert len(records) == int(accounting["records_in"])
    for name, row in records.iterrows():
        rows = a.obs.iloc[[*range(row["row_start"], row["row_stop"])]]
        windows = a.obs.iloc[[*range(row["dna_row_start"], row["dna_row_stop"])]]
        assert len(rows) + len(windows) == row["n_rows"]
        assert set(rows["record_id"]) | set(windows["record_id"]) <= {name}
        assert (windows["frame"] == "none").all()
    stats = a.uns["stats"]["X_dnaberts"]
    if a.n_obs:
        assert np.allclose(stats["mean"], a.obsm["X_dnaberts"].astype(float).mean(axis=0))
        variance = a.obsm["X_dnaberts"].astype(float).var(axis=0)
        assert np.allclose(stats["m2"] / stats["n"], variance)
    subset = a[: a.n_obs // 2].to_memory()
    assert subset.n_obs == a.n_obs // 2


def test_it_opens_in_the_newest_anndata(sample: Sample):
    check_in_anndata(str(sample.result))


@pytest.mark.skipif(not OLD_ANNDATA.exists(), reason="`make test` installs anndata 0.10 beside")
def test_it_opens_in_anndata_0_10(sample: Sample):
    code = Path(__file__).read_text().split("def check_in_anndata")[1].split("\n\n\n")[0]
    program = f"import anndata, sys\nimport numpy as np\ndef check_in_anndata{code}\n"
    program += "assert anndata.__version__.startswith('0.10.')\ncheck_in_anndata(sys.argv[1])\n"
    command = [str(OLD_ANNDATA), "-c", program, str(sample.result)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_it_is_complete_and_verified(sample: Sample, capsys):
    assert call("verify", sample.result) == 0
    assert "ok" in capsys.readouterr().out
    with h5py.File(sample.result) as file:
        assert set(file) == {"X", "obs", "var", "obsm", "varm", "obsp", "varp", "layers", "uns"}
        assert file.attrs["complete"] == 1
        assert file["obsm/X_esm2"].compression is None


def test_info_fits_a_screen_and_warns_of_random_weights(sample: Sample, capsys):
    assert call("info", sample.result) == 0
    out = capsys.readouterr().out
    assert len(out.splitlines()) <= 12
    assert out.count("random weights") == 2


def test_the_rows_of_a_tiny_sample(tmp_path: Path, tiny_weights: Weights):
    (tmp_path / "in.fa").write_text(SAMPLES["tiny"])
    tiny = Sample(tmp_path, tiny_weights)
    assert tiny.split(tmp_path / "in.fa") == 0
    tiny.embed()
    assert tiny.collect() == 0
    obs = anndata.read_h5ad(tiny.result).obs
    b_frames = ["F1", "F2", "F3", "R1", "R2", "R3"]
    proteins = [f"{record}_chunk_1{frame}" for record in ("b", "b_again") for frame in b_frames]
    assert obs.index.tolist() == [*proteins, "a_chunk_1", "c_chunk_1"]
    again = obs.loc["b_again_chunk_1F1"]
    assert obs.index[again["esm2_source_row"]] == "b_chunk_1F1"
    assert again["flags"] == Flag.ESM2_COPIED | Flag.DNABERTS_COPIED
    assert obs.loc["c_chunk_1", "flags"] == Flag.AMBIGUOUS_DNA
    assert obs.loc["a_chunk_1", "esm2_source_row"] == -1
    assert np.isnan(obs.loc["a_chunk_1", "esm2_norm"])


def damage_obsm(file):
    file["obsm/X_dnaberts"][3, 1] += 1


def damage_obs(file):
    file["obs/window"][0] += 1


def damage_ids(file):
    file["obs/row_id"][0] = "other"


def damage_accounting(file):
    file["uns/accounting/rows"][()] = 7


def remove_matrix(file):
    del file["obsm/X_esm2"]


def nan_in_matrix(file):
    file["obsm/X_esm2"][0] = np.nan


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        (damage_obsm, "X_dnaberts was altered in rows 0 to 65535"),
        (damage_obs, "obs_window was altered"),
        (damage_ids, "obs_row_id was altered"),
        (damage_accounting, "the accounting does not hold"),
        (remove_matrix, "X_esm2"),
        (nan_in_matrix, "not finite in rows 0"),
    ],
)
def test_verify_names_what_was_altered(tmp_path, tiny_weights, capsys, damage, cause):
    sample = Sample(tmp_path, tiny_weights)
    (tmp_path / "in.fa").write_text(">a\n" + "ATGGCCAAA" * 30 + "\n")
    assert sample.split(tmp_path / "in.fa") == 0
    sample.embed()
    assert sample.collect() == 0
    with h5py.File(sample.result, "r+") as file:
        damage(file)
    assert call("verify", sample.result) == 7
    assert cause in capsys.readouterr().err


def test_verify_knows_a_file_that_other_software_wrote(tmp_path, tiny_weights, capsys):
    sample = Sample(tmp_path, tiny_weights)
    (tmp_path / "in.fa").write_text(SAMPLES["tiny"])
    assert sample.split(tmp_path / "in.fa") == 0
    sample.embed()
    assert sample.collect() == 0
    anndata.read_h5ad(sample.result).write_h5ad(tmp_path / "derived.h5")
    assert call("verify", tmp_path / "derived.h5") == 7
    assert "written again by other software" in capsys.readouterr().err


@pytest.mark.parametrize("kept", [0, 100, 5000])
def test_a_file_cut_short_is_refused(tmp_path, tiny_weights, capsys, kept):
    (tmp_path / "cut.h5").write_bytes(b"\x89HDF\r\n\x1a\n"[:kept].ljust(kept, b"\0"))
    assert call("verify", tmp_path / "cut.h5") == 7
    assert capsys.readouterr().err.startswith("ERROR")


def test_a_killed_writer_leaves_nothing_that_passes_for_a_result(tmp_path, capsys):
    program = (
        "import os, sys; from pathlib import Path; from virembed.h5 import new_file\n"
        "with new_file(Path(sys.argv[1])) as f:\n"
        "    f['x'] = range(1000); f.flush(); os.kill(os.getpid(), 9)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "killed.h5")]
    assert subprocess.run(command, check=False).returncode == -9
    (partial,) = tmp_path.iterdir()
    assert partial.match("killed.h5.*.partial")
    partial.rename(tmp_path / "killed.h5")
    assert call("verify", tmp_path / "killed.h5") == 7
    assert "killed.h5: the result file was never finished" in capsys.readouterr().err
