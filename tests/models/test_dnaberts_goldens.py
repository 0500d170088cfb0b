"""DNABERT-S against every tensor that the original implementation left in tests/golden."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F

from virembed.engine.pooling import mean_pool
from virembed.models.dnaberts import Dnaberts, alibi_slopes

from .packs import GOLDEN, Case, pack, worst

HIDDEN, MEAN, LOGITS = 2e-5, 1e-5, 5e-5
SEP = 2


def means(case: Case, sequences: list[torch.Tensor]) -> torch.Tensor:
    return mean_pool(case.hidden(sequences), pack(sequences), skip=case.loaded.encoder.pool_skip)


def texts(case: Case) -> list[str]:
    return [s["text"] for s in case.facts["sequences"] if s["text"] is not None]


def test_hidden_states_of_all_sequences_in_one_pack(dnaberts_tiny: Case) -> None:
    hidden = dnaberts_tiny.hidden(dnaberts_tiny.sequences)
    assert worst(hidden, dnaberts_tiny.tensors["hidden"]) < HIDDEN


def test_hidden_states_of_each_sequence_alone(dnaberts_tiny: Case) -> None:
    hidden = torch.cat([dnaberts_tiny.hidden([ids]) for ids in dnaberts_tiny.sequences])
    assert worst(hidden, dnaberts_tiny.tensors["hidden"]) < HIDDEN


def test_means_are_over_all_tokens(dnaberts_tiny: Case) -> None:
    ours = means(dnaberts_tiny, dnaberts_tiny.sequences)
    assert worst(ours, dnaberts_tiny.tensors["mean_all_tokens"]) < MEAN


def test_means_without_special_tokens_are_another_thing(dnaberts_tiny: Case) -> None:
    sequences = dnaberts_tiny.sequences[:14]
    ours = mean_pool(dnaberts_tiny.hidden(sequences), pack(sequences), skip=(1, 1))
    assert worst(ours, dnaberts_tiny.tensors["mean_no_special"]) < MEAN


def test_texts_give_the_original_token_ids(dnaberts_tiny: Case) -> None:
    encoded = dnaberts_tiny.loaded.tokenizer.encode(texts(dnaberts_tiny))
    for number, ids in enumerate(encoded):
        assert ids.tolist() == dnaberts_tiny.facts["text_token_ids"][str(number)]
        assert ids.tolist() == dnaberts_tiny.sequences[number].tolist()


@pytest.mark.parametrize("number", range(6))
def test_a_padded_batch_of_the_original_as_a_pack(dnaberts_tiny: Case, number: int) -> None:
    ids = dnaberts_tiny.tensors[f"batch{number}.input_ids"]
    mask = dnaberts_tiny.tensors[f"batch{number}.attention_mask"].bool()
    ours = means(dnaberts_tiny, [row[kept] for row, kept in zip(ids, mask, strict=True)])
    assert worst(ours, dnaberts_tiny.tensors[f"batch{number}.mean_eval"]) < MEAN


@pytest.mark.parametrize("max_length", [5000, 40])
def test_the_evaluation_function(dnaberts_tiny: Case, max_length: int) -> None:
    """It cuts to `max_length` tokens, [CLS] and [SEP] included."""
    encoded = dnaberts_tiny.loaded.tokenizer.encode(texts(dnaberts_tiny))
    sequences = [torch.from_numpy(ids) for ids in encoded]
    sequences = [
        torch.cat([ids[: max_length - 1], torch.tensor([SEP])]) if len(ids) > max_length else ids
        for ids in sequences
    ]
    golden = dnaberts_tiny.tensors[f"eval_function.max_len_{max_length}"]
    assert worst(means(dnaberts_tiny, sequences), golden) < MEAN


def traced(case: Case) -> tuple[Dnaberts, torch.Tensor]:
    encoder = case.loaded.encoder
    assert isinstance(encoder, Dnaberts)
    return encoder, case.sequences[case.facts["trace_sequence"]]


def test_the_states_after_the_embedding_and_each_layer(dnaberts_tiny: Case) -> None:
    encoder, ids = traced(dnaberts_tiny)
    states = torch.stack(list(encoder.states(pack([ids]))))
    assert worst(states, dnaberts_tiny.tensors["trace.states"]) < HIDDEN


def test_token_types(dnaberts_tiny: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Always 0 in the product; the golden with other types shows that row 0 is the one added."""
    encoder, ids = traced(dnaberts_tiny)
    types = dnaberts_tiny.tensors["trace.token_type_ids"]
    rows = source_tensors(dnaberts_tiny, "pytorch_model.bin")[
        "embeddings.token_type_embeddings.weight"
    ]
    embedded = encoder.word_embeddings(ids) + (rows[types] - rows[0])
    monkeypatch.setattr(encoder, "embed", lambda tokens: embedded)
    golden = dnaberts_tiny.tensors["trace.hidden_with_token_types"]
    assert worst(encoder(pack([ids])), golden) < HIDDEN


# The heads are no part of an embedding; applied here, they show more of the inside.


def source_tensors(case: Case, file: str) -> dict[str, torch.Tensor]:
    name = "dnaberts-tiny" if case.loaded.info.num_heads == 4 else "dnaberts-tiny-h12"
    tensors: dict[str, torch.Tensor] = torch.load(GOLDEN / name / file, weights_only=True)
    return tensors


def test_pooler_output(dnaberts_tiny: Case) -> None:
    w = source_tensors(dnaberts_tiny, "pytorch_model.bin")
    first = torch.stack([dnaberts_tiny.hidden([ids])[0] for ids in dnaberts_tiny.sequences])
    pooled = F.linear(first, w["pooler.dense.weight"], w["pooler.dense.bias"]).tanh()
    assert worst(pooled, dnaberts_tiny.tensors["pooler_output"]) < HIDDEN


def test_masked_language_logits(dnaberts_tiny: Case) -> None:
    if "trace.mlm_logits" not in dnaberts_tiny.tensors:
        assert dnaberts_tiny.loaded.info.num_heads == 12  # only the other model has that head
        return
    _, ids = traced(dnaberts_tiny)
    prefix = "cls.predictions."
    w = {
        name.removeprefix(prefix): tensor
        for name, tensor in source_tensors(dnaberts_tiny, "pytorch_model.mlm.bin").items()
        if name.startswith(prefix)
    }
    x = dnaberts_tiny.hidden([ids])
    x = F.gelu(F.linear(x, w["transform.dense.weight"], w["transform.dense.bias"]))
    norm = w["transform.LayerNorm.weight"], w["transform.LayerNorm.bias"]
    x = F.layer_norm(x, x.shape[-1:], *norm, 1e-12)
    logits = F.linear(x, w["decoder.weight"], w["decoder.bias"])
    assert worst(logits, dnaberts_tiny.tensors["trace.mlm_logits"]) < LOGITS


def test_alibi_slopes_for_1_to_40_heads() -> None:
    table = json.loads((GOLDEN / "dnaberts-tiny" / "golden.json").read_text())["alibi_slopes"]
    assert max(int(num_heads) for num_heads in table) == 40
    for num_heads, golden in table.items():
        ours = torch.tensor(alibi_slopes(int(num_heads)), dtype=torch.float32)
        assert torch.equal(ours, torch.tensor(golden, dtype=torch.float32)), num_heads
