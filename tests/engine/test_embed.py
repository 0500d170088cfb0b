"""The loop: the vector of a text is its own, whatever else is embedded with it."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from tests.steps import Weights
from virembed.contracts import PackedTokens
from virembed.engine.embed import embed_items
from virembed.errors import IncompleteError
from virembed.models.registry import load_encoder

LETTERS = {"esm2": "ACDEFGHIKLMNPQRSTVWY", "dnaberts": "ACGT"}
CPU = torch.device("cpu")


@pytest.fixture(params=["esm2", "dnaberts"])
def loaded(request, tiny_weights: Weights):
    weights = tiny_weights.converted[request.param]
    return load_encoder(
        weights, model=request.param, device=CPU, dtype=torch.float32, attention="auto"
    )


def texts_for(loaded, number: int, *, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    letters = LETTERS[loaded.info.model]
    return ["".join(rng.choices(letters, k=rng.randint(1, 200))) for _ in range(number)]


def embed(loaded, texts, tokens_per_pack=1024):
    return embed_items(
        texts,
        encoder=loaded.encoder,
        tokenizer=loaded.tokenizer,
        device=CPU,
        tokens_per_pack=tokens_per_pack,
    )


def test_vectors_do_not_depend_on_the_order(loaded):
    texts = texts_for(loaded, 60)
    shuffled = random.Random(1).sample(range(60), 60)
    straight = embed(loaded, texts).vectors
    assert np.array_equal(straight[shuffled], embed(loaded, [texts[i] for i in shuffled]).vectors)


def test_vectors_do_not_depend_on_the_chunk(loaded):
    texts = texts_for(loaded, 60)
    halves = [embed(loaded, texts[:23]).vectors, embed(loaded, texts[23:]).vectors]
    assert np.array_equal(embed(loaded, texts).vectors, np.concatenate(halves))


def test_vectors_hardly_depend_on_the_size_of_packs(loaded):
    texts = texts_for(loaded, 60)
    one, other = embed(loaded, texts, 512).vectors, embed(loaded, texts, 4096).vectors
    assert np.abs(one.astype(np.float32) - other.astype(np.float32)).max() < 2e-3  # an ulp of fp16


def test_a_text_beyond_the_pack_is_embedded_on_its_own(loaded):
    letters = LETTERS[loaded.info.model]
    texts = ["".join(random.Random(2).choices(letters, k=3000)), *texts_for(loaded, 3)]
    assert np.isfinite(embed(loaded, texts, 256).vectors).all()


def test_all_tokens_are_accounted_for(loaded):
    result = embed(loaded, texts_for(loaded, 60))
    assert result.num_packs * 1024 == result.num_tokens.sum() + result.fill_tokens


def test_no_texts_give_no_vectors(loaded):
    assert embed(loaded, []).vectors.shape == (0, loaded.info.dim)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e6])
def test_what_is_not_finite_in_float16_is_refused(loaded, value):
    class Broken:
        dim, pool_skip, pooling = loaded.encoder.dim, (0, 0), ""

        def __call__(self, tokens: PackedTokens) -> torch.Tensor:
            return torch.full((len(tokens.ids), self.dim), value)

    with pytest.raises(IncompleteError, match="not finite"):
        embed_items(
            ["ACA"], encoder=Broken(), tokenizer=loaded.tokenizer, device=CPU, tokens_per_pack=64
        )
