"""Loading a weights directory: all is checked, and everything wrong has place and remedy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from virembed.errors import WeightsError
from virembed.models.convert import convert
from virembed.models.registry import load_encoder
from virembed.models.weights import verify_checksums
from virembed.weights_info import read_info

from .packs import CPU, GOLDEN, load


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    convert(GOLDEN / "esm2-tiny" / "esm2_t4_tiny.pt", model="auto", out=tmp_path / "weights")
    return tmp_path / "weights"


def test_weights_of_another_model_are_refused(weights: Path) -> None:
    with pytest.raises(WeightsError, match="holds esm2 weights, dnaberts asked for"):
        load(weights, model="dnaberts")


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.999])
def test_a_truncated_file_is_refused_when_it_is_loaded(weights: Path, kept: float) -> None:
    path = weights / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(WeightsError, match=r"model\.safetensors: damaged .*weights convert"):
        load(weights, model="esm2")


def test_missing_files_are_refused(weights: Path) -> None:
    (weights / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"model\.safetensors: there is no such file"):
        load(weights, model="esm2")
    with pytest.raises(WeightsError, match=r"model\.safetensors: cannot be read"):
        verify_checksums(weights, read_info(weights))
    (weights / "weights.json").unlink()
    with pytest.raises(WeightsError, match=r"weights\.json: there is no such file"):
        load(weights, model="esm2")


def test_other_tensors_than_the_card_says_are_refused(weights: Path) -> None:
    tensors = load_file(weights / "model.safetensors")
    tensors["fc3.weight"] = tensors.pop("embed_tokens.weight")
    save_file(tensors, weights / "model.safetensors")
    expected = r"missing: embed_tokens\.weight; unexpected: fc3\.weight\. Make the directory again"
    with pytest.raises(WeightsError, match=expected):
        load(weights, model="esm2")


def test_one_changed_bit_is_found_by_the_checksum(weights: Path) -> None:
    info = read_info(weights)
    verify_checksums(weights, info)
    path = weights / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"sha256 is .*, the card says"):
        verify_checksums(weights, info)


@pytest.mark.parametrize(
    "change",
    [
        lambda card: card.update(num_heads=2 * card["num_heads"]),
        lambda card: card["config"].update(token_dropout=False),
        lambda card: card.update(random=not card["random"]),
        lambda card: card.pop("card_sha256"),
    ],
    ids=["heads", "token dropout", "random", "no checksum"],
)
def test_a_changed_card_is_refused(weights: Path, change: Callable[[Any], object]) -> None:
    path = weights / "weights.json"
    card = json.loads(path.read_text())
    change(card)
    path.write_text(json.dumps(card))
    with pytest.raises(WeightsError, match=r"weights\.json: altered since it was written"):
        load(weights, model="esm2")


def test_the_loaded_encoder_says_what_it_is(weights: Path) -> None:
    loaded = load_encoder(weights, model="esm2", device=CPU, dtype=torch.float32, attention="dense")
    assert loaded.encoder.dim == loaded.info.dim == 64
    assert loaded.encoder.pool_skip == (1, 1)
    assert "residues" in loaded.encoder.pooling
    assert (loaded.attention.value, loaded.attention.reason) == ("dense", "asked for")
