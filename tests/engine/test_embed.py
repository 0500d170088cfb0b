"""The loop: the vector of a text is its own, whatever else is embedded with it."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from tests.steps import Weights
from virembed.contracts import PackedTokens
from virembed.engine import stream
from virembed.engine.embed import embed_items
from virembed.errors import IncompleteError, MemoryLimitError
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


class Marked:
    """Vectors tell what went in. `overflows`: ids that come out infinite; `limit`: tokens of a
    pack that fit into the memory."""

    dim, pool_skip, pooling, bytes_per_token = 3, (0, 0), "", 1

    def __init__(self, overflows: str = "", limit: float = float("inf")) -> None:
        self.overflows = [Letters.ids.index(letter) for letter in overflows]
        self.limit = limit
        self.sizes: list[int] = []

    def __call__(self, tokens: PackedTokens) -> torch.Tensor:
        self.sizes.append(len(tokens.ids))
        if len(tokens.ids) > self.limit:
            raise torch.OutOfMemoryError("injected")
        hidden = torch.stack([tokens.ids, tokens.ids**2, torch.ones_like(tokens.ids)], 1).float()
        hidden[torch.isin(tokens.ids, torch.tensor(self.overflows))] = float("inf")
        return hidden


class Letters:
    ids, fill_id = "_ABCDEFG", 0

    def encode(self, sequences):
        return [np.array([self.ids.index(letter) for letter in text]) for text in sequences]


def embed_marked(texts, encoder, tokens_per_pack=256, retries=(), name_of=None, residues=None):
    return embed_items(
        texts,
        encoder=encoder,
        tokenizer=Letters(),
        device=CPU,
        tokens_per_pack=tokens_per_pack,
        retries=retries,
        name_of=name_of,
        residues=residues,
    )


def marked_texts() -> list[str]:
    rng = random.Random(7)
    return ["".join(rng.choices("ABCDEFG", k=rng.randint(1, 40))) for _ in range(200)]


def test_only_what_overflowed_is_embedded_again_and_flagged():
    texts = marked_texts()
    expected = embed_marked(texts, Marked())
    assert not expected.flags.any()
    retries = [lambda: Marked(overflows="B"), Marked]
    result = embed_marked(texts, Marked(overflows="BC"), retries=retries)
    assert np.array_equal(result.vectors, expected.vectors)
    assert np.array_equal(result.num_tokens, expected.num_tokens)
    assert result.flags.tolist() == [2 if "B" in text else int("C" in text) for text in texts]


def test_what_overflows_in_every_precision_is_refused():
    with pytest.raises(IncompleteError, match="for 1 sequences, the first is number 2 of 3"):
        embed_marked(["A", "AB", "A"], Marked("B"), retries=[lambda: Marked("B")])


def test_a_wider_encoder_is_not_made_without_need():
    embed_marked(["A"], Marked(), retries=[lambda: pytest.fail("not needed")])


@pytest.mark.parametrize("limit", [255, 128, 64, 40])
def test_out_of_memory_halves_packs_and_loses_nothing(limit):
    texts = marked_texts()
    expected = embed_marked(texts, Marked())
    encoder = Marked(limit=limit)
    result = embed_marked(texts, encoder, tokens_per_pack=1024)
    assert np.array_equal(result.vectors, expected.vectors)
    assert sum(size > limit for size in encoder.sizes) == result.num_halvings > 0
    if limit >= 128:  # what did not fit once is not tried again
        assert result.num_halvings < 10


@pytest.mark.parametrize(
    ("error", "halved"),
    [
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", True),
        ("Triton Error [CUDA]: out of memory", True),
        ("CUDA error: an illegal memory access was encountered", False),
    ],
)
def test_libraries_out_of_memory_count_and_other_errors_do_not(error, halved):
    class Failing(Marked):
        def __call__(self, tokens):
            if len(tokens.ids) > 256:
                raise RuntimeError(error)
            return super().__call__(tokens)

    if halved:
        assert embed_marked(marked_texts(), Failing(), tokens_per_pack=512).num_halvings > 0
    else:
        with pytest.raises(RuntimeError, match="illegal"):
            embed_marked(marked_texts(), Failing(), tokens_per_pack=512)


def test_an_item_that_cannot_fit_is_named():
    with pytest.raises(MemoryLimitError, match=r"number 3 of 3 with its 2,000 tokens") as caught:
        embed_marked(["A", "AB", "A" * 2000], Marked(limit=1024))
    assert caught.value.exit_code == 6
    assert "alone; one of 1,000 does" in str(caught.value)
    with pytest.raises(MemoryLimitError, match="sequence key2 with its 2,000 tokens"):
        embed_marked(["A", "AB", "A" * 2000], Marked(limit=1024), name_of=lambda i: f"key{i}")


def test_the_first_block_is_small_and_the_others_twice_as_large(monkeypatch):
    monkeypatch.setattr(stream, "FIRST_BLOCK_LETTERS", 20)
    monkeypatch.setattr(stream, "BLOCK_LETTERS", 60)
    texts = ["A" * 10] * 20 + ["A" * 70, "A"]
    blocks = [block.tolist() for block in stream.blocks_of(texts, np.arange(22))]
    assert [len(block) for block in blocks] == [2, 4, 6, 6, 2, 1, 1]
    assert np.concatenate(blocks).tolist() == list(range(22))


def test_packs_run_on_over_blocks(monkeypatch):
    monkeypatch.setattr(stream, "BLOCK_LETTERS", 100)
    texts = marked_texts()
    result = embed_marked(texts, Marked())
    monkeypatch.undo()
    assert np.array_equal(result.vectors, embed_marked(texts, Marked()).vectors)
    assert result.num_packs <= 2 * result.num_tokens.sum() / 256
