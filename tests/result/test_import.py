"""`virembed import`: feature files of VirNucPro and virnucpro-broad, and their traps."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pytest
import torch

from tests.classifiers import make_classifier, publish
from tests.steps import call
from virembed.layout import Flag

DNA_DIM, PROTEIN_DIM = 768, 12
# out of order, a record's name with `_chunk_` in it, tenth window after the second
IDS = ["b_chunk_10F1", "b_chunk_2R3", "b_chunk_2F2", "a_chunk_7_chunk_1R1", "a_chunk_7_chunk_1F3"]
SORTED = [
    "b_chunk_2F2",
    "b_chunk_2R3",
    "b_chunk_10F1",
    "a_chunk_7_chunk_1F3",
    "a_chunk_7_chunk_1R1",
]


def vector(name: str, dim: int) -> np.ndarray:
    """A vector that tells its id."""
    seed = [*name.encode(), dim]
    return np.random.default_rng(seed).standard_normal(dim).astype(np.float32)


def dna_file(path: Path, ids: Sequence[str], **more: Any) -> Path:
    data = [{"label": i, "mean_representation": vector(i, DNA_DIM).tolist()} for i in ids]
    torch.save({"nucleotide": list(ids), "data": data, **more}, path)
    return path


def protein_file(path: Path, ids: Sequence[str], **more: Any) -> Path:
    data = [torch.from_numpy(vector(i, PROTEIN_DIM)) for i in ids]
    torch.save({"proteins": list(ids), "data": data, **more}, path)
    return path


def merged_file(path: Path, ids: Sequence[str], **more: Any) -> Path:
    rows = [np.concatenate([vector(i, DNA_DIM), vector(i, PROTEIN_DIM)]) for i in ids]
    data = torch.from_numpy(np.array(rows).reshape(len(rows), -1))
    torch.save({"ids": list(ids), "data": data, **more}, path)
    return path


def broad_h5(path: Path, ids: Sequence[str]) -> Path:
    with h5py.File(path, "w") as file:
        file["sequence_ids"] = list(ids)
        file["embeddings"] = np.array([vector(i, PROTEIN_DIM) for i in ids])
    return path


def import_(out: Path, *arguments: object) -> int:
    return call("import", *arguments, "--out", out)


def check(result: Path) -> anndata.AnnData:
    """The rows of `IDS` in the order of a result, each with its own vectors; the file is whole."""
    assert call("verify", result) == 0
    a = anndata.read_h5ad(result)
    assert a.obs_names.tolist() == SORTED
    for name, dna, protein in zip(SORTED, a.obsm["X_dnaberts"], a.obsm["X_esm2"], strict=True):
        assert np.array_equal(dna, vector(name, DNA_DIM).astype(np.float16))
        assert np.array_equal(protein, vector(name, PROTEIN_DIM).astype(np.float16))
    return a


def of_two_models(home: Path) -> list[Path]:
    """Split files whose order and grouping differ between the models, one under a wrong name."""
    return [
        dna_file(home / "output_2_DNABERT_S.pt", IDS[:3], version="1.0", status="complete"),
        dna_file(home / "output_10_DNABERT_S.pt", IDS[3:]),
        protein_file(home / "output_1_DNABERT.pt", [*IDS[4:], *IDS[:2]]),
        protein_file(home / "output_2_ESM.pt", IDS[2:4]),
    ]


def of_the_second_version(home: Path) -> list[Path]:
    return [dna_file(home / "dna.pt", IDS), broad_h5(home / "embeddings.h5", IDS[::-1])]


def merged(home: Path) -> list[Path]:
    return [merged_file(home / "output_2_merged.pt", IDS[:2]), merged_file(home / "z.pt", IDS[2:])]


def a_directory(home: Path) -> list[Path]:
    (home / "S_merged" / "deeper").mkdir(parents=True)
    merged_file(home / "S_merged" / "output_10_merged.pt", IDS[3:], labels=[1])
    merged_file(home / "S_merged" / "output_9_merged.pt", IDS[:2])
    merged_file(home / "S_merged" / "output_9_merged_b.pt", IDS[2:3])
    (home / "S_merged" / "prediction_results.txt").write_text("Sequence_ID\n")
    (home / "S_merged" / "output_9_merged.pt.done").touch()
    return [home / "S_merged"]


@pytest.mark.parametrize("make", [of_two_models, of_the_second_version, merged, a_directory])
def test_every_row_keeps_its_vectors(tmp_path: Path, make: Callable[[Path], list[Path]]):
    assert import_(tmp_path / "S.h5", *make(tmp_path)) == 0
    a = check(tmp_path / "S.h5")
    assert a.obs["record_id"].tolist() == ["b"] * 3 + ["a_chunk_7"] * 2
    assert a.obs["window"].tolist() == [1, 1, 9, 0, 0]
    assert a.obs["strand"].tolist() == [1, -1, 1, 1, -1]
    records = a.uns["records"]
    assert records.index.tolist() == ["b", "a_chunk_7"]
    assert records["n_windows"].tolist() == [2, 1]
    assert records[["row_start", "row_stop"]].to_numpy().tolist() == [[0, 3], [3, 5]]


def test_nothing_is_invented(tmp_path: Path, capsys):
    assert import_(tmp_path / "S.h5", *merged(tmp_path)) == 0
    a = check(tmp_path / "S.h5")
    assert (a.obs["flags"] == Flag.IMPORTED).all()
    assert (a.obs[["start", "end", "dna_start", "protein_len", "n_ambiguous"]] == -1).all(axis=None)
    made = a.uns["provenance"]
    assert made["origin"] == "imported"
    assert (made["windows"]["length"], made["windows"]["rule"]) == (-1, "unknown")
    for model in ("esm2", "dnaberts"):
        told = {name for name, value in made[model].items() if value not in ("unknown", -1)}
        assert told == {"dim", "stored_dtype"}
    assert not {"bases_in", "windows", "tokens_esm2"} & set(a.uns["accounting"])
    assert list(made["input"]["names"]) == ["output_2_merged.pt", "z.pt"]
    capsys.readouterr()
    assert call("info", tmp_path / "S.h5") == 0
    out = capsys.readouterr().out
    assert "windows    3 of unknown bp, rules unknown, genetic code unknown" in out
    assert "imported: model and precision unknown" in out
    assert "WARNING" not in out


def test_it_can_be_compared_and_classified(tmp_path: Path, capsys):
    assert import_(tmp_path / "S.h5", *merged(tmp_path)) == 0
    assert import_(tmp_path / "T.h5", *of_the_second_version(tmp_path), "--window", 500) == 0
    assert call("compare", tmp_path / "S.h5", tmp_path / "T.h5") == 0
    source = publish(make_classifier(DNA_DIM + PROTEIN_DIM), tmp_path / "m.pth")
    mlp = tmp_path / "mlp"
    assert call("weights", "classifier", source, "--window", 300, "--out", mlp) == 0
    capsys.readouterr()
    # unknown windows are noted, known ones have to fit
    assert call("classify", tmp_path / "S.h5", "--classifier", mlp, "--out", tmp_path / "C.h5") == 0
    assert "does not say by which length and rule" in capsys.readouterr().err
    assert call("classify", tmp_path / "T.h5", "--classifier", mlp, "--out", tmp_path / "D.h5") == 2
    assert "windows length is 500 in the file and 300 in the classifier" in capsys.readouterr().err
    assert call("verify", tmp_path / "C.h5") == 0


def test_resumed_shards_are_warned_about(tmp_path: Path, capsys):
    assert import_(tmp_path / "S.h5", *of_the_second_version(tmp_path)) == 0
    assert "NOTE embeddings.h5: if the run of virnucpro-broad" in capsys.readouterr().err
    with h5py.File(tmp_path / "S.h5") as file:
        assert "resumed" in file["uns/provenance/notes"].asstr()[()]


def test_ids_that_differ_are_refused_or_left_out_and_counted(tmp_path: Path, capsys):
    extra = ["c_chunk_1F1", "c_chunk_2F1"]
    files = [dna_file(tmp_path / "d.pt", [*IDS, *extra]), protein_file(tmp_path / "p.pt", IDS)]
    assert import_(tmp_path / "S.h5", *files) == 3
    error = capsys.readouterr().err
    assert "differ: 2 without a vector of esm2, 0 without a vector of dnaberts, such as c_" in error
    assert not (tmp_path / "S.h5").exists()
    assert import_(tmp_path / "S.h5", *files, "--allow-missing") == 0
    assert "2 left out" in capsys.readouterr().out
    a = check(tmp_path / "S.h5")
    assert a.uns["accounting"]["rows_missing"] == 2
    assert a.uns["lost"].index.tolist() == extra
    assert set(a.uns["lost"]["reason"]) == {"no vector of esm2"}


def shifted(home: Path) -> list[Path]:
    """As VirNucPro writes it where a row has one vector only: all ids, fewer rows."""
    content = torch.load(merged_file(home / "m.pt", IDS), weights_only=True)
    torch.save({**content, "data": content["data"][1:]}, home / "m.pt")
    return [home / "m.pt"]


def none_in_common(home: Path) -> list[Path]:
    torch.save({"ids": IDS, "data": torch.empty(0, DNA_DIM + PROTEIN_DIM)}, home / "m.pt")
    return [home / "m.pt"]


def other_labels(home: Path) -> list[Path]:
    content = torch.load(dna_file(home / "d.pt", IDS), weights_only=True)
    torch.save({**content, "nucleotide": IDS[::-1]}, home / "d.pt")
    return [home / "d.pt"]


def unfinished(home: Path) -> list[Path]:
    return [merged_file(home / "m.pt", IDS, version="1.0", status="in_progress")]


def newer(home: Path) -> list[Path]:
    return [merged_file(home / "m.pt", IDS, version="2.0")]


def twice(home: Path) -> list[Path]:
    return [merged_file(home / "m.pt", IDS), merged_file(home / "stale.pt", IDS[:1])]


def one_model(home: Path) -> list[Path]:
    return [protein_file(home / "p.pt", IDS)]


def other_ids(home: Path) -> list[Path]:
    return [merged_file(home / "m.pt", ["contig_1"])]


def a_checkpoint(home: Path) -> list[Path]:
    torch.save({"embeddings": torch.zeros(1, 2), "sequence_ids": ["x"]}, home / "batch_00000.pt")
    return [home / "batch_00000.pt"]


def weights(home: Path) -> list[Path]:
    torch.save({"model": 1}, home / "w.pt")
    return [home / "w.pt"]


def fewer_in_h5(home: Path) -> list[Path]:
    with h5py.File(broad_h5(home / "e.h5", IDS), "r+") as file:
        del file["sequence_ids"]
        file["sequence_ids"] = IDS[1:]
    return [home / "e.h5"]


def other_h5(home: Path) -> list[Path]:
    h5py.File(home / "e.h5", "w").close()
    return [home / "e.h5"]


def not_finite(home: Path) -> list[Path]:
    content = torch.load(merged_file(home / "m.pt", IDS), weights_only=True)
    content["data"][2, 5] = 1e6  # no number of half precision
    torch.save(content, home / "m.pt")
    return [home / "m.pt"]


def cut_short(home: Path) -> list[Path]:
    path = merged_file(home / "m.pt", IDS)
    path.write_bytes(path.read_bytes()[:-900])
    return [path]


def nowhere(home: Path) -> list[Path]:
    return [home / "nowhere.pt"]


def no_files(home: Path) -> list[Path]:
    return [home]


class Evil:
    def __reduce__(self):
        return os.system, ("touch executed",)


def evil(home: Path) -> list[Path]:
    torch.save({"ids": Evil(), "data": 0}, home / "m.pt")
    return [home / "m.pt"]


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        (shifted, "5 ids and 4 vectors: which id belongs to which vector is lost"),
        (none_in_common, "5 ids and 0 vectors"),
        (other_labels, "the list of ids and the labels differ, first at"),
        (unfinished, "its status is 'in_progress'"),
        (newer, "of version 2.0"),
        (twice, "stale.pt: b_chunk_10F1 has a vector of dnaberts in"),
        (one_model, "no vectors of dnaberts in the files"),
        (other_ids, "contig_1 is no row id of VirNucPro"),
        (a_checkpoint, "a checkpoint in the middle of a run"),
        (weights, "no feature file: its keys are model"),
        (fewer_in_h5, "4 sequence_ids and 5 vectors"),
        (other_h5, "no sequence_ids and embeddings in it"),
        (not_finite, "too large for half precision"),
        (cut_short, "m.pt"),
        (nowhere, "there is no such file or directory"),
        (no_files, "no .pt and no .h5 file in it"),
        (evil, "no feature file, not opened (it names"),
    ],
)
def test_what_cannot_be_trusted_is_refused(tmp_path, monkeypatch, capsys, make, cause):
    monkeypatch.chdir(tmp_path)
    assert import_(tmp_path / "out" / "S.h5", *make(tmp_path)) == 3
    error = capsys.readouterr().err
    assert cause in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "executed").exists()
    assert not list((tmp_path / "out").glob("*"))


def test_verify_notices_an_altered_import(tmp_path, capsys):
    assert import_(tmp_path / "S.h5", *merged(tmp_path)) == 0
    with h5py.File(tmp_path / "S.h5", "r+") as file:
        file["obsm/X_esm2"][1, 1] += 1
    assert call("verify", tmp_path / "S.h5") == 7
    assert "X_esm2 was altered" in capsys.readouterr().err
