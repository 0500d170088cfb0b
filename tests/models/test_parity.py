"""ESM-2 against the installed originals, fair-esm and transformers, on the same tiny weights.

DNABERT-S cannot be run by a current transformers: there, goldens and the float64 transcription
(reference_dnaberts.py) stand in for it.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from itertools import pairwise
from typing import Any

import pytest
import torch

from virembed.models.convert import convert

from .packs import GOLDEN, Case, load, worst
from .reference_dnaberts import hidden_states as reference_dnaberts
from .reference_esm2 import hidden_states as reference_esm2

HIDDEN = 2e-5
SEQUENCES = [
    "M",
    "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQAPILSRVGDGTQDNLSGAEKAVQVKVKALPDAQFEVV",
    "MKBAUCXDOEZF.-",
    "MSWLMASLMYAKDSYISTVGAGHANFKLDPETW" * 20,
]


@pytest.fixture(scope="module")
def fair_esm() -> tuple[Any, Any]:
    pretrained = pytest.importorskip("esm.pretrained")
    path = GOLDEN / "esm2-tiny" / "esm2_t4_tiny.pt"
    with torch.serialization.safe_globals([argparse.Namespace]):
        content = torch.load(path, weights_only=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "Regression weights not found": for contacts only
        model, alphabet = pretrained.load_model_and_alphabet_core(path.stem, content, None)
    return model.eval(), alphabet


@pytest.mark.parametrize("sequence", SEQUENCES, ids=len)
def test_fair_esm(esm2_tiny: Case, fair_esm: tuple[Any, Any], sequence: str) -> None:
    model, alphabet = fair_esm
    _, _, tokens = alphabet.get_batch_converter()([("", sequence)])
    (ids,) = esm2_tiny.loaded.tokenizer.encode([sequence])
    assert ids.tolist() == tokens[0].tolist()
    with torch.no_grad():
        original = model(tokens, repr_layers=[4])["representations"][4][0]
    assert worst(esm2_tiny.hidden([torch.from_numpy(ids)]), original) < HIDDEN


@pytest.fixture(scope="module")
def transformers_esm() -> Any:
    transformers = pytest.importorskip("transformers")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a release of theirs deprecates is not our matter
        model = transformers.EsmModel.from_pretrained(
            GOLDEN / "esm2-tiny" / "hf", add_pooling_layer=False, attn_implementation="eager"
        )
    return model.eval()


@pytest.mark.parametrize("sequence", SEQUENCES, ids=len)
def test_transformers(esm2_tiny: Case, transformers_esm: Any, sequence: str) -> None:
    (ids,) = (torch.from_numpy(x) for x in esm2_tiny.loaded.tokenizer.encode([sequence]))
    with torch.no_grad():
        output = transformers_esm(ids[None], attention_mask=torch.ones(1, len(ids)))
    assert worst(esm2_tiny.hidden([ids]), output.last_hidden_state[0]) < HIDDEN


def test_what_transformers_saves_can_be_converted(
    esm2_tiny: Case, transformers_esm: Any, tmp_path: Any
) -> None:
    transformers_esm.save_pretrained(tmp_path / "saved")
    convert(tmp_path / "saved", model="auto", out=tmp_path / "weights")
    loaded = load(tmp_path / "weights", model="esm2")
    ids = esm2_tiny.sequences[5]
    case = Case(tmp_path, loaded, {}, {}, [ids])
    assert torch.equal(case.hidden([ids]), esm2_tiny.hidden([ids]))


def test_the_float64_references_agree_with_the_goldens(
    esm2_tiny: Case, dnaberts_tiny: Case
) -> None:
    """So that a wrong reference cannot vouch for a wrong implementation."""
    for number, (start, end) in enumerate(offsets(esm2_tiny)):
        if end - start < 300:
            path = GOLDEN / "esm2-tiny" / "esm2_t4_tiny.pt"
            ours = reference_esm2(path, esm2_tiny.sequences[number])
            assert worst(esm2_tiny.tensors["hidden"][start:end], ours) < HIDDEN
    name = "dnaberts-tiny" if dnaberts_tiny.loaded.info.num_heads == 4 else "dnaberts-tiny-h12"
    for number, (start, end) in enumerate(offsets(dnaberts_tiny)):
        if end - start < 200:
            ours = reference_dnaberts(GOLDEN / name, dnaberts_tiny.sequences[number])
            assert worst(dnaberts_tiny.tensors["hidden"][start:end], ours) < HIDDEN


def offsets(case: Case) -> list[tuple[int, int]]:
    return list(pairwise(case.tensors["offsets"].tolist()))
