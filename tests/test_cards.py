"""Cards of weights and classifiers: read as written, refused in one line where they are not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from virembed.cards import CARD_SHA256, card_sha256
from virembed.classifier_info import ClassifierInfo, read_classifier_info, write_classifier_info
from virembed.errors import WeightsError
from virembed.weights_info import WeightsInfo, read_info, write_info

WEIGHTS = WeightsInfo(
    model="esm2",
    name="esm2_t6_8M_UR50D",
    dim=320,
    num_layers=6,
    num_heads=20,
    ffn_dim=1280,
    vocab_size=33,
    config={"token_dropout": True},
    random=False,
    files={"model.safetensors": "ab12"},
    source={"esm2_t6_8M_UR50D.pt": "cd34"},
)
CLASSIFIER = ClassifierInfo(
    name="mlp",
    hidden_dim=512,
    window_bp=300,
    rules="virnucpro",
    embeddings={"esm2": {"dim": 2560}, "dnaberts": {"dim": 768}},
    random=False,
    sha256="ef56",
    source={"300_model.pth": "0078"},
)
KINDS = {
    "weights.json": (WEIGHTS, write_info, read_info, "`virembed weights convert`"),
    "classifier.json": (
        *(CLASSIFIER, write_classifier_info, read_classifier_info),
        "`virembed weights classifier`",
    ),
}


@pytest.fixture(params=KINDS)
def card(request, tmp_path: Path) -> Path:
    """A card, written."""
    info, write, _, _ = KINDS[request.param]
    write(tmp_path, info)
    return tmp_path / request.param


def test_a_card_is_read_as_it_was_written(card: Path):
    info, _, read, _ = KINDS[card.name]
    assert read(card.parent) == info


def altered(card: Path, **fields: Any) -> None:
    """Other values under the old checksum."""
    card.write_text(json.dumps(json.loads(card.read_text()) | fields))


def change(card: Path, **fields: Any) -> None:
    """Other values, None for a field that is left out, and a checksum of them."""
    content = json.loads(card.read_text()) | fields
    kept = {name: value for name, value in content.items() if value is not None}
    del kept[CARD_SHA256]
    card.write_text(json.dumps({**kept, CARD_SHA256: card_sha256(kept)}))


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        (lambda card: card.unlink(), "there is no such file"),
        (lambda card: card.write_bytes(b"\xff"), "cannot be read ("),
        (lambda card: card.write_text('{"format"'), "cannot be read ("),
        (lambda card: card.write_text("[1]"), "not a card of format virembed."),
        (lambda card: change(card, format="virembed.other/1"), "not a card of format virembed."),
        (lambda card: altered(card, random=True), "altered since it was written"),
        (lambda card: altered(card, card_sha256=None), "altered since it was written"),
        (lambda card: change(card, source=None), "incomplete ("),
        (lambda card: change(card, colour="red"), "incomplete ("),
        (lambda card: change(card, files={}, embeddings={}), "incomplete ("),
    ],
)
def test_what_is_no_card_is_refused_with_the_way_to_get_one(
    card: Path, damage: Callable[[Path], Any], cause: str
):
    damage(card)
    _, _, read, remedy = KINDS[card.name]
    with pytest.raises(WeightsError) as caught:
        read(card.parent)
    assert str(caught.value).startswith(f"{card}: {cause}")
    assert str(caught.value).endswith(f"Make the directory with {remedy}.")


def test_a_card_that_lacks_what_the_rest_relies_on_is_refused(tmp_path: Path):
    write_info(tmp_path, WEIGHTS)
    change(tmp_path / "weights.json", files={"tokenizer.json": "ab12"})
    with pytest.raises(WeightsError, match=r"no checksum of model\.safetensors"):
        read_info(tmp_path)
    write_classifier_info(tmp_path, CLASSIFIER)
    change(tmp_path / "classifier.json", embeddings={"esm2": {"dim": 2560}})
    with pytest.raises(WeightsError, match="embeddings of esm2"):
        read_classifier_info(tmp_path)
