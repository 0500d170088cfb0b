"""ESM-2 against every tensor that the original implementation left in tests/golden/esm2-tiny."""

from __future__ import annotations

import argparse
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from virembed.contracts import PackedTokens
from virembed.engine.pooling import mean_pool
from virembed.models.attention import dense
from virembed.models.esm2 import Esm2
from virembed.models.kernels import turned
from virembed.models.tokenizers import PAD

from .packs import GOLDEN, Case, pack, worst

HIDDEN, MEAN, LOGITS = 2e-5, 1e-5, 5e-5
PLAIN = ("len", "unusual", "gap", "all_X", "empty")  # names of texts without literals or spaces


def means(case: Case, sequences: list[torch.Tensor]) -> torch.Tensor:
    return mean_pool(case.hidden(sequences), pack(sequences), skip=case.loaded.encoder.pool_skip)


def by_name(case: Case, name: str) -> torch.Tensor:
    return case.sequences[index_of(case, name)]


def index_of(case: Case, name: str) -> int:
    return [sequence["name"] for sequence in case.facts["sequences"]].index(name)


def test_hidden_states_of_all_sequences_in_one_pack(esm2_tiny: Case) -> None:
    hidden = esm2_tiny.hidden(esm2_tiny.sequences)
    assert worst(hidden, esm2_tiny.tensors["hidden"]) < HIDDEN


def test_hidden_states_of_each_sequence_alone(esm2_tiny: Case) -> None:
    hidden = torch.cat([esm2_tiny.hidden([ids]) for ids in esm2_tiny.sequences])
    assert worst(hidden, esm2_tiny.tensors["hidden"]) < HIDDEN


def test_means_leave_out_cls_and_eos(esm2_tiny: Case) -> None:
    assert worst(means(esm2_tiny, esm2_tiny.sequences), esm2_tiny.tensors["mean"]) < MEAN


def test_plain_texts_give_the_original_token_ids(esm2_tiny: Case) -> None:
    known = zip(esm2_tiny.facts["sequences"], esm2_tiny.sequences, strict=True)
    plain = [(s["text"], ids) for s, ids in known if s["name"].startswith(PLAIN)]
    assert len(plain) == 16
    encoded = esm2_tiny.loaded.tokenizer.encode([text for text, _ in plain])
    assert [ids.tolist() for ids in encoded] == [ids.tolist() for _, ids in plain]


@pytest.mark.parametrize("number", range(7))
def test_a_padded_batch_of_the_original_as_a_pack(esm2_tiny: Case, number: int) -> None:
    rows = esm2_tiny.tensors[f"batch{number}.tokens"]
    ours = means(esm2_tiny, [row[row != PAD] for row in rows])
    assert worst(ours, esm2_tiny.tensors[f"batch{number}.mean"]) < MEAN


def test_1500_residues_cut_to_1022(esm2_tiny: Case) -> None:
    ids = by_name(esm2_tiny, "len1500")
    cut = torch.cat([ids[:1023], ids[-1:]])
    hidden = esm2_tiny.hidden([cut])
    rows = hidden[[0, 1, 2, 511, 512, 1021, 1022, 1023]]
    assert worst(rows, esm2_tiny.tensors["len1500.trunc1022.hidden_rows"]) < HIDDEN
    mean = means(esm2_tiny, [cut])[0]
    assert worst(mean, esm2_tiny.tensors["len1500.trunc1022.mean"]) < MEAN


def test_1500_residues_uncut_mean_of_the_first_1024(esm2_tiny: Case) -> None:
    hidden = esm2_tiny.hidden([by_name(esm2_tiny, "len1500")])
    golden = esm2_tiny.tensors["len1500.full.mean_first_1024"]
    assert worst(hidden[1:1025].mean(0), golden) < MEAN


def test_the_states_after_the_embedding_and_each_layer(esm2_tiny: Case) -> None:
    encoder = esm2_tiny.loaded.encoder
    assert isinstance(encoder, Esm2)
    states = torch.stack(list(encoder.states(pack([by_name(esm2_tiny, "len33")]))))
    assert worst(states, esm2_tiny.tensors["trace.states"]) < HIDDEN


def test_the_rescaling_for_two_masks(esm2_tiny: Case) -> None:
    encoder = esm2_tiny.loaded.encoder
    assert isinstance(encoder, Esm2)
    embedded = encoder.embed(pack([by_name(esm2_tiny, "mask2")]))
    assert worst(embedded, esm2_tiny.tensors["mask2.embedding_output"]) < 1e-6


# The heads are no part of an embedding; applied here, they show more of the inside.


@pytest.fixture(scope="module")
def heads() -> dict[str, torch.Tensor]:
    directory = GOLDEN / "esm2-tiny"
    with torch.serialization.safe_globals([argparse.Namespace]):
        main = torch.load(directory / "esm2_t4_tiny.pt", weights_only=True)["model"]
        contact = torch.load(directory / "esm2_t4_tiny-contact-regression.pt", weights_only=True)
    return {name: tensor.float() for name, tensor in (main | contact["model"]).items()}


def logits(hidden: torch.Tensor, heads: dict[str, torch.Tensor]) -> torch.Tensor:
    w = {name.removeprefix("encoder.lm_head."): tensor for name, tensor in heads.items()}
    x = F.gelu(F.linear(hidden, w["dense.weight"], w["dense.bias"]))
    x = F.layer_norm(x, x.shape[-1:], w["layer_norm.weight"], w["layer_norm.bias"], 1e-5)
    return F.linear(x, heads["encoder.sentence_encoder.embed_tokens.weight"], w["bias"])


@pytest.mark.parametrize(("name", "golden"), [("len33", "trace.logits"), ("mask2", "mask2.logits")])
def test_masked_language_logits(
    esm2_tiny: Case, heads: dict[str, torch.Tensor], name: str, golden: str
) -> None:
    hidden = esm2_tiny.hidden([by_name(esm2_tiny, name)])
    assert worst(logits(hidden, heads), esm2_tiny.tensors[golden]) < LOGITS


@pytest.fixture
def attentions(esm2_tiny: Case, monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    """Probabilities [L, N, n, n] of the traced sequence, from what the kernel is given."""
    recorded: list[torch.Tensor] = []

    def recording(
        q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, tokens: PackedTokens, **rest: Any
    ) -> torch.Tensor:
        rotation = rest["rotation"]
        turned_q, turned_k = turned(q * rest["scale"], rotation), turned(k, rotation)
        scores = torch.einsum("inh,jnh->nij", turned_q, turned_k)
        recorded.append(scores.softmax(-1))
        return dense(q, k, v, tokens, **rest)

    monkeypatch.setattr(esm2_tiny.loaded.encoder, "attention", recording)
    esm2_tiny.hidden([by_name(esm2_tiny, "len33")])
    return torch.stack(recorded)


def test_attention_probabilities(esm2_tiny: Case, attentions: torch.Tensor) -> None:
    assert worst(attentions[0], esm2_tiny.tensors["trace.attentions_layer1"]) < 1e-5


def test_contacts(
    esm2_tiny: Case, attentions: torch.Tensor, heads: dict[str, torch.Tensor]
) -> None:
    maps = attentions.flatten(0, 1)[:, 1:-1, 1:-1]
    maps = maps + maps.mT
    corrected = maps - maps.sum(-1, keepdim=True) * maps.sum(-2, keepdim=True) / maps.sum(
        (-1, -2), keepdim=True
    )
    weight = heads["contact_head.regression.weight"][0]
    contacts = (
        torch.einsum("c,cij->ij", weight, corrected) + heads["contact_head.regression.bias"]
    ).sigmoid()
    assert worst(contacts, esm2_tiny.tensors["trace.contacts"]) < LOGITS


# The mistake that most re-implementations make comes out as the documented wrong answer.


@pytest.mark.parametrize("name", ["len33", "len255", "len1022", "len1500"])
def test_recomputed_frequencies_give_the_known_wrong_answer(
    esm2_tiny: Case, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    encoder = esm2_tiny.loaded.encoder
    assert isinstance(encoder, Esm2)
    assert torch.equal(encoder.inv_freq[0], esm2_tiny.tensors["inv_freq.checkpoint"])
    recomputed = esm2_tiny.tensors["inv_freq.recomputed_fp32"].expand_as(encoder.inv_freq)
    monkeypatch.setitem(encoder._buffers, "inv_freq", recomputed)
    wrong = means(esm2_tiny, [by_name(esm2_tiny, name)])[0]
    assert worst(wrong, esm2_tiny.tensors[f"recomputed_inv_freq.{name}.mean"]) < MEAN
    assert worst(wrong, esm2_tiny.tensors["mean"][index_of(esm2_tiny, name)]) > 10 * MEAN


def test_frequencies_that_differ_between_layers_are_each_used(
    esm2_tiny: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = esm2_tiny.loaded.encoder
    assert isinstance(encoder, Esm2)
    assert encoder.same_inv_freq == [False, True, True, True]
    ids = by_name(esm2_tiny, "len33")
    before = esm2_tiny.hidden([ids])
    monkeypatch.setattr(encoder, "same_inv_freq", [False] * 4)
    assert torch.equal(esm2_tiny.hidden([ids]), before)
    changed = encoder.inv_freq.clone()
    changed[2] *= 1.01
    monkeypatch.setitem(encoder._buffers, "inv_freq", changed)
    assert worst(esm2_tiny.hidden([ids]), before) > 1e-3
