"""VirNucPro's classifier: its file read safely, its arithmetic that of the published module."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.classifiers import make_classifier, publish
from tests.steps import call
from virembed.errors import WeightsError
from virembed.models.classifier import load_classifier, read_published

DNA_DIM, PROTEIN_DIM = 6, 10
OPTIONS = ("--window", 500, "--dnaberts-dim", DNA_DIM, "--name", "mlp")


@pytest.fixture
def published(tmp_path: Path) -> Path:
    return publish(make_classifier(DNA_DIM + PROTEIN_DIM), tmp_path / "500_model.pth")


def convert(source: Path, out: Path, *options: object) -> int:
    return call("weights", "classifier", source, "--out", out, *OPTIONS, *options)


def test_a_pickled_module_and_its_state_dict_give_the_same_tensors(published, tmp_path, capsys):
    module = make_classifier(DNA_DIM + PROTEIN_DIM)
    torch.save(module.state_dict(), tmp_path / "state.pth")
    assert (
        convert(published, tmp_path / "a") == convert(tmp_path / "state.pth", tmp_path / "b") == 0
    )
    assert "6 + 10 numbers, windows of 500 bp, sha256" in capsys.readouterr().out
    a, b = (load_file(tmp_path / name / "model.safetensors") for name in "ab")
    assert a.keys() == b.keys() == module.state_dict().keys() - {"bn1.num_batches_tracked"}
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert all(torch.equal(a[name], module.state_dict()[name]) for name in a)


def by_hand(module, dna: np.ndarray, protein: np.ndarray) -> np.ndarray:
    """The published forward pass, written again in numpy and double precision."""
    t = {name: tensor.double().numpy() for name, tensor in module.state_dict().items()}
    x = np.concatenate([dna, protein], axis=1).astype(np.float64)
    hidden = x @ t["hidden_layer.weight"].T + t["hidden_layer.bias"]
    hidden = (hidden - t["bn1.running_mean"]) / np.sqrt(t["bn1.running_var"] + 1e-5)
    hidden = np.maximum(hidden * t["bn1.weight"] + t["bn1.bias"], 0)
    logits = hidden @ t["output_layer.weight"].T + t["output_layer.bias"]
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def test_the_scores_are_those_of_the_published_module(published, tmp_path):
    assert convert(published, tmp_path / "mlp") == 0
    classifier = load_classifier(tmp_path / "mlp")
    random = np.random.default_rng(1)
    dna = random.standard_normal((300, DNA_DIM)).astype(np.float16)
    protein = random.standard_normal((300, PROTEIN_DIM)).astype(np.float16)
    scores = classifier.scores(dna, protein)
    module = make_classifier(DNA_DIM + PROTEIN_DIM)
    assert scores == pytest.approx(by_hand(module, dna, protein), abs=1e-5)
    given = torch.from_numpy(np.hstack([dna, protein])).float()
    assert scores == pytest.approx(torch.softmax(module(given), dim=1).detach().numpy(), abs=1e-6)
    assert scores[:, 1].std() > 0.1  # the vectors do matter
    assert scores.dtype == np.float32


class Evil:
    def __reduce__(self):
        return os.system, ("touch executed",)


def test_nothing_in_a_file_is_executed(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"hidden_layer.weight": Evil()}, tmp_path / "evil.pth")
    assert convert(tmp_path / "evil.pth", tmp_path / "out") == 4
    error = capsys.readouterr().err
    assert "evil.pth: no classifier, not opened (it names" in error
    assert "system" in error
    assert not (tmp_path / "executed").exists()
    assert not (tmp_path / "out").exists()


def test_a_class_of_another_name_is_refused(tmp_path):
    torch.save(torch.nn.Conv1d(1, 1, 1), tmp_path / "conv.pth")
    with pytest.raises(WeightsError, match=r"it names torch\.nn\.modules\.conv\.Conv1d"):
        read_published(tmp_path / "conv.pth")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no zip", pickle.dumps([1, 2])])
def test_what_is_no_classifier_is_refused(tmp_path, capsys, content):
    (tmp_path / "x.pth").write_bytes(content)
    assert convert(tmp_path / "x.pth", tmp_path / "out") == 4
    assert "x.pth" in capsys.readouterr().err


def test_a_cut_file_is_refused(published, tmp_path, capsys):
    whole = published.read_bytes()
    published.write_bytes(whole[: len(whole) // 2])
    assert convert(published, tmp_path / "out") == 4


def change(path: Path, name: str, tensor: torch.Tensor | None) -> None:
    state = make_classifier(DNA_DIM + PROTEIN_DIM).state_dict()
    del state[name]
    torch.save({**state, **({} if tensor is None else {name: tensor})}, path)


@pytest.mark.parametrize(
    ("name", "tensor", "cause"),
    [
        ("bn1.running_var", None, "missing: bn1.running_var"),
        ("output_layer.weight", torch.zeros(3, 16), "[3, 16] instead of [2, 16]"),
        ("hidden_layer.weight", None, "missing"),
        ("bn1.bias", torch.full((16,), torch.nan), "not finite"),
        ("hidden_layer.weight", torch.zeros(16, DNA_DIM), "leaves none for ESM-2"),
    ],
)
def test_tensors_that_do_not_fit_are_named(tmp_path, capsys, name, tensor, cause):
    change(tmp_path / "x.pth", name, tensor)
    assert convert(tmp_path / "x.pth", tmp_path / "out") == 4
    assert cause in capsys.readouterr().err


def test_a_directory_that_is_there_and_an_unfit_name_are_refused(published, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    assert convert(published, tmp_path / "out") == 2
    assert convert(published, tmp_path / "other", "--name", "a/b") == 2
    assert "'a/b' is no name for a classifier" in capsys.readouterr().err


def test_a_damaged_directory_is_noticed(published, tmp_path):
    assert convert(published, tmp_path / "mlp") == 0
    path = tmp_path / "mlp" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\0")
    with pytest.raises(WeightsError, match="damaged: sha256"):
        load_classifier(tmp_path / "mlp")
    (tmp_path / "mlp" / "classifier.json").write_text("{}")
    with pytest.raises(WeightsError, match="not a card"):
        load_classifier(tmp_path / "mlp")
    with pytest.raises(WeightsError, match=r"nowhere/classifier\.json: there is no such file"):
        load_classifier(tmp_path / "nowhere")
