"""`virembed classify`: scores and calls in the file and in VirNucPro's two tables."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

import anndata
import h5py
import numpy as np
import pytest
import torch

from tests.classifiers import make_classifier, publish
from tests.steps import Sample, assert_same_datasets, call
from virembed.calls import call_records, call_windows

from .conftest import WINDOW

SEED = 13  # of the classifier: calls some windows virus, some not

# Scores that VirNucPro publishes with its 500-nt model (others, virus), and what it called.
PUBLISHED = {
    "synthetic_seq_1_chunk_1R1": (0.12100612, 0.8789939),
    "synthetic_seq_1_chunk_1R2": (0.0011595711, 0.9988405),
    "synthetic_seq_2_chunk_1R1": (0.5501341, 0.4498659),
    "synthetic_seq_2_chunk_1R2": (0.06045397, 0.93954605),
    "fixed_500bp_seq1_chunk_1R1": (0.002076708, 0.9979233),
    "fixed_500bp_seq1_chunk_1R3": (0.21817714, 0.7818229),
    "fixed_500bp_seq2_chunk_1R1": (0.08007622, 0.9199237),
    "fixed_500bp_seq2_chunk_1R3": (0.22702886, 0.7729711),
}


@pytest.fixture(scope="module")
def made(pieces: Sample) -> Sample:
    return pieces


def dims(result: Path) -> tuple[int, int]:
    with h5py.File(result) as file:
        return file["obsm/X_dnaberts"].shape[1], file["obsm/X_esm2"].shape[1]


@pytest.fixture(scope="module")
def converted(made: Sample, tmp_path_factory) -> Path:
    return convert(made, tmp_path_factory.mktemp("mlp"))


def convert(
    made: Sample, home: Path, window: int = WINDOW, random=False, **options: object
) -> Path:
    """A classifier for the vectors of the sample, converted, its options changed."""
    dna_dim, protein_dim = dims(made.result)
    module = make_classifier(dna_dim + protein_dim, seed=SEED)
    source = publish(module, home / "500_model.pth", random=random)
    with h5py.File(made.result) as file:
        names = {m: file[f"uns/provenance/{m}/model_id"].asstr()[()] for m in ("esm2", "dnaberts")}
    given = {"window": window, "dnaberts-dim": dna_dim, "name": "mlp", **names, **options}
    arguments = [f"--{name}={value}" for name, value in given.items()]
    assert call("weights", "classifier", source, "--out", home / "mlp", *arguments) == 0
    return home / "mlp"


def classify(made: Sample, converted: Path, out: Path, *options: object) -> int:
    return call("classify", made.result, "--classifier", converted, "--out", out, *options)


def table(path: Path) -> list[dict[str, str]]:
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    return list(csv.DictReader(lines, delimiter="\t"))


@pytest.fixture(scope="module")
def classified(made: Sample, converted: Path, tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("classified")
    assert classify(made, converted, home / "S.h5", "--allow-random", "--text", home) == 0
    return home


def test_the_file_has_the_scores_of_its_rows_and_is_verified(made, classified):
    assert call("verify", classified / "S.h5") == 0
    a = anndata.read_h5ad(classified / "S.h5")
    n = int(a.uns["accounting"]["n_protein_rows"])
    vectors = np.hstack([a.obsm["X_dnaberts"][:n], a.obsm["X_esm2"][:n]]).astype(np.float32)
    module = make_classifier(vectors.shape[1], seed=SEED)
    expected = torch.softmax(module(torch.from_numpy(vectors)), dim=1).detach().numpy()
    assert n > 20
    assert a.obs["p_virus_mlp"].to_numpy()[:n] == pytest.approx(expected[:, 1], abs=1e-6)
    assert a.n_obs > n
    assert a.obs["p_virus_mlp"][n:].isna().all()
    assert (a.obs["window_is_virus_mlp"][n:] == -1).all()
    assert a.uns["classifiers"]["mlp"]["window_bp"] == WINDOW


def test_all_else_in_the_file_is_as_it_was(made, classified):
    with h5py.File(made.result) as before, h5py.File(classified / "S.h5") as after:
        names: list[str] = []
        before.visititems(lambda name, x: names.append(name) if isinstance(x, h5py.Dataset) else 0)
        for name in names:
            now = after[name]
            assert np.array_equal(before[name][()], now[()], equal_nan=now.dtype.kind == "f"), name
            assert dict(before[name].attrs) == dict(now.attrs)
            assert before[name].chunks == now.chunks
        assert dict(before.attrs) == dict(after.attrs)
        assert before.keys() == after.keys()


def test_the_tables_are_those_of_virnucpro(classified):
    a = anndata.read_h5ad(classified / "S.h5")
    frames = table(classified / "prediction_results.txt")
    assert list(frames[0]) == ["Sequence_ID", "Prediction", "score1", "score2"]
    assert [row["Sequence_ID"] for row in frames] == a.obs_names[: len(frames)].tolist()
    best: dict[str, list[float]] = defaultdict(lambda: [0, 0])
    for row in frames:
        scores = float(row["score1"]), float(row["score2"])
        assert sum(scores) == pytest.approx(1, abs=1e-6)
        assert row["Prediction"] == ("virus" if scores[1] > scores[0] else "others")
        assert np.float32(scores[1]) == a.obs.loc[row["Sequence_ID"], "p_virus_mlp"]
        window = best[row["Sequence_ID"][:-2]]
        window[:] = np.maximum(window, scores)
    windows = table(classified / "prediction_results_highestscore.csv")
    assert [row["Modified_ID"] for row in windows] == list(best)
    for row in windows:
        others, virus = best[row["Modified_ID"]]
        assert row["Is_Virus"] == str(virus >= others)
    assert {row["Is_Virus"] for row in windows} == {"True", "False"}
    for name, call_of_row in a.obs["window_is_virus_mlp"][: len(frames)].items():
        others, virus = best[name[:-2]]
        assert call_of_row == (virus >= others)


def test_records_are_counted_by_their_windows(classified):
    by_record: dict[str, list[bool]] = defaultdict(list)
    for row in table(classified / "prediction_results_highestscore.csv"):
        by_record[row["Modified_ID"].rpartition("_chunk_")[0]].append(row["Is_Virus"] == "True")
    text = (classified / "prediction_results_records.tsv").read_text()
    assert text.startswith("# Is_Virus: virus if at least half of the windows with an open frame")
    records = {
        row["Record_ID"]: row for row in table(classified / "prediction_results_records.tsv")
    }
    assert records.keys() == {"stops", "empty", *(f"p{n}_chunk_9" for n in range(5))}
    in_file = anndata.read_h5ad(classified / "S.h5").uns["records"]
    for name, row in records.items():
        calls = by_record.get(name, [])
        assert (int(row["windows_called"]), int(row["windows_virus"])) == (len(calls), sum(calls))
        expected = str(2 * sum(calls) >= len(calls)) if calls else ""
        assert row["Is_Virus"] == expected
        assert in_file.loc[name, "n_windows_virus_mlp"] == sum(calls)
        assert in_file.loc[name, "is_virus_mlp"] == {"True": 1, "False": 0, "": -1}[expected]
    assert records["stops"]["mean_score2"] == "nan"


def test_windows_are_called_as_virnucpro_called_its_own():
    names = list(PUBLISHED)
    windows = sorted({name[:-2] for name in names})
    record = np.array([windows.index(name[:-2]) for name in names], dtype=np.int32)
    scores = np.array(list(PUBLISHED.values()), dtype=np.float32)
    order = np.argsort(record, kind="stable")
    calls = call_windows(record[order], np.zeros(8, np.int32), scores[order])
    # published: Is_Virus True for all; highest scores of the second synthetic sequence
    assert calls.is_virus.tolist() == [True] * 4
    assert calls.best[3].tolist() == pytest.approx([0.5501341, 0.93954605])
    assert [str(score) for score in scores[0]] == ["0.12100612", "0.8789939"]


def test_ties_are_virus_and_neighbouring_windows_are_kept_apart():
    record, window = np.array([0, 0, 0, 2, 2]), np.array([0, 0, 1, 1, 2])
    scores = np.array([[0.6, 0.4], [0.4, 0.6], [0.7, 0.3], [0.5, 0.5], [0.9, 0.1]], np.float32)
    calls = call_windows(record, window, scores)
    assert calls.is_virus.tolist() == [True, False, True, False]
    assert calls.of_rows(5).tolist() == [1, 1, 0, 1, 0]
    records = call_records(record, calls, num_records=3)
    assert records.called.tolist() == [2, 0, 2]
    assert records.is_virus.tolist() == [1, -1, 1]
    assert records.mean_p_virus.tolist() == pytest.approx([0.45, np.nan, 0.3], nan_ok=True)


def test_a_file_may_be_replaced_by_its_classified_copy(made, converted, classified, tmp_path):
    own = Sample(tmp_path, made.weights)
    own.result.write_bytes(made.result.read_bytes())
    assert classify(own, converted, own.result, "--allow-random") == 0
    assert_same_datasets(own.result, classified / "S.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["S.h5"]


def test_scores_are_not_written_twice_but_of_another_classifier(
    made, classified, converted, tmp_path, capsys
):
    again = Sample(classified, made.weights)
    assert classify(again, converted, tmp_path / "S.h5", "--allow-random") == 2
    assert "has the scores of a classifier mlp already" in capsys.readouterr().err
    other = convert(made, tmp_path, name="other")
    assert classify(again, other, tmp_path / "S.h5", "--allow-random") == 0
    assert call("verify", tmp_path / "S.h5") == 0
    with h5py.File(tmp_path / "S.h5") as file:
        assert set(file["uns/classifiers"]) == {"mlp", "other"}


def test_random_weights_are_refused_unless_asked_for(made, converted, tmp_path, capsys):
    assert classify(made, converted, tmp_path / "S.h5") == 2
    error = capsys.readouterr().err
    assert "the vectors of esm2 and the vectors of dnaberts come from random weights" in error
    assert not (tmp_path / "S.h5").exists()
    random = convert(made, tmp_path, random=True)
    assert classify(made, random, tmp_path / "S.h5") == 2
    assert "the classifier mlp come from random weights" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({"window": 300}, "windows length is 200 in the file and 300 in the classifier"),
        ({"esm2": "esm2_t36_3B_UR50D"}, "in the file and esm2_t36_3B_UR50D in the classifier"),
        ({"dnaberts-dim": 3}, "and 3 in the classifier; esm2 dim is"),
    ],
)
def test_a_classifier_of_other_windows_or_vectors_is_refused(
    made, tmp_path, capsys, options, cause
):
    other = convert(made, tmp_path, **options)
    assert classify(made, other, tmp_path / "S.h5", "--allow-random") == 2
    assert cause in capsys.readouterr().err
    assert not (tmp_path / "S.h5").exists()


def test_other_rules_are_told(made, converted, tmp_path, capsys):
    assert classify(made, converted, tmp_path / "S.h5", "--allow-random") == 0
    assert "NOTE windows by the rules 'exact'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "column", ["obs/p_virus_mlp", "obs/window_is_virus_mlp", "uns/records/n_windows_virus_mlp"]
)
def test_verify_notices_an_altered_call(classified, tmp_path, capsys, column):
    altered = tmp_path / "S.h5"
    altered.write_bytes((classified / "S.h5").read_bytes())
    with h5py.File(altered, "r+") as file:
        file[column][1] += 1
    assert call("verify", altered) == 7
    name = column.rpartition("/")[2]
    assert f"{name} was altered in rows 0 to 65535" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", ">stops\n" + "TAACTAACTAACTTAGTTAGTTAG" * 25 + "\n"])
def test_a_sample_without_an_open_frame_has_no_score_and_is_no_mistake(
    converted, tiny_weights, tmp_path, text
):
    (tmp_path / "in.fa").write_text(text)
    sample = Sample(tmp_path, tiny_weights)
    assert sample.split(tmp_path / "in.fa", window=WINDOW) == 0
    sample.embed()
    assert sample.collect() == 0
    out = tmp_path / "classified.h5"
    assert classify(sample, converted, out, "--allow-random") == 0
    with h5py.File(out) as file:
        assert np.isnan(file["obs/p_virus_mlp"][:]).all()
    assert call("verify", out) == 0
