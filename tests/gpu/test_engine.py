"""The loop on the GPU: bitwise the same vectors whatever the packs, and no waiting inside."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from tests.models.packs import pack
from tests.residues import assert_means
from tests.steps import Weights
from virembed.contracts import PackedTokens
from virembed.engine.embed import embed_items
from virembed.engine.pooling import mean_pool, residue_states
from virembed.models.fp8 import FP8
from virembed.models.registry import load_encoder

LETTERS = {"esm2": "ACDEFGHIKLMNPQRSTVWY", "dnaberts": "ACGT"}
TOKENS_PER_PACK = 2048


@pytest.fixture(params=["esm2", "dnaberts"])
def model(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def load(tiny_weights: Weights, model: str, cuda, dtype=torch.float16, attention="auto"):
    weights = tiny_weights.converted[model]
    return load_encoder(weights, model=model, device=cuda, dtype=dtype, attention=attention)


def texts_for(model: str, number: int) -> list[str]:
    rng = random.Random(3)
    return ["".join(rng.choices(LETTERS[model], k=rng.randint(1, 400))) for _ in range(number)]


def embed(loaded, texts, cuda, tokens_per_pack=TOKENS_PER_PACK, **rest):
    return embed_items(
        texts,
        encoder=loaded.encoder,
        tokenizer=loaded.tokenizer,
        device=cuda,
        tokens_per_pack=tokens_per_pack,
        **rest,
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, FP8])
def test_bitwise_whatever_order_chunk_and_neighbours(cuda, tiny_weights, model, dtype) -> None:
    loaded = load(tiny_weights, model, cuda, dtype)
    texts = texts_for(model, 300)
    whole = embed(loaded, texts, cuda).vectors
    shuffled = random.Random(1).sample(range(300), 300)
    assert np.array_equal(
        whole[shuffled], embed(loaded, [texts[i] for i in shuffled], cuda).vectors
    )
    parts = [embed(loaded, part, cuda).vectors for part in (texts[:7], texts[7:110], texts[110:])]
    assert np.array_equal(whole, np.concatenate(parts))


@pytest.mark.parametrize("dtype", [torch.float16, FP8])
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
def test_a_forward_pass_never_waits_for_the_gpu(cuda, tiny_weights, model, dtype) -> None:
    loaded = load(tiny_weights, model, cuda, dtype)
    tokens = pack([torch.full((length,), 5) for length in (300, 90, 90, 7)])
    tokens = PackedTokens(tokens.ids.to(cuda), tokens.cu_seqlens.to(cuda), tokens.lengths)
    skip = loaded.encoder.pool_skip
    mean_pool(loaded.encoder(tokens), tokens, skip=skip)
    tokens.derived.clear()
    try:
        torch.cuda.set_sync_debug_mode("error")
        hidden = loaded.encoder(tokens)
        mean_pool(hidden, tokens, skip=skip)
        residue_states(hidden, tokens, skip=skip, num_sequences=3)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_residues_are_handed_over_once_and_their_means_are_the_vectors(cuda, tiny_weights) -> None:
    loaded = load(tiny_weights, "esm2", cuda)
    texts = texts_for("esm2", 300)
    rows: dict[int, np.ndarray] = {}

    def take(items, lengths, residues) -> None:
        for item, own in zip(
            items.tolist(), np.split(residues, np.cumsum(lengths))[:-1], strict=True
        ):
            assert item not in rows
            rows[item] = own.copy()

    result = embed(loaded, texts, cuda, residues=take)
    assert np.array_equal(result.vectors, embed(loaded, texts, cuda).vectors)
    assert [len(rows[item]) for item in range(300)] == [len(text) for text in texts]
    for item in range(300):
        assert_means(rows[item], result.vectors[item])


@pytest.mark.parametrize("dtype", [torch.float16, FP8])
def test_overflow_of_fp16_is_mended_by_bf16(cuda, tiny_weights, model, dtype) -> None:
    exact = load(tiny_weights, model, cuda, torch.float32)
    narrow = load(tiny_weights, model, cuda, dtype)
    wide = load(tiny_weights, model, cuda, torch.bfloat16)
    for loaded in (exact, narrow, wide):  # 70000 is infinite in fp16
        layer = loaded.encoder.layers[0]
        linear = layer.fc1 if model == "esm2" else layer.down
        linear.bias[0] = 70000.0
    texts = texts_for(model, 40)
    result = embed(narrow, texts, cuda, retries=[lambda: wide.encoder])
    assert (result.flags == 1).all()
    expected = embed(exact, texts, cuda).vectors
    assert np.isfinite(result.vectors).all()
    assert np.abs(result.vectors.astype("f4") - expected.astype("f4")).max() < 0.1


def test_memory_that_is_really_full(cuda, tiny_weights, model) -> None:
    loaded = load(tiny_weights, model, cuda)
    texts = texts_for(model, 600)
    expected = embed(loaded, texts, cuda).vectors
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(cuda).total_memory
    limit = torch.cuda.memory_reserved(cuda) + 24 * 2**20
    torch.cuda.set_per_process_memory_fraction(limit / total, cuda)
    try:
        result = embed(loaded, texts, cuda, tokens_per_pack=2**16)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, cuda)
    assert result.num_halvings > 0
    difference = np.abs(result.vectors.astype("f4") - expected.astype("f4"))
    assert difference.max() < 4e-3
