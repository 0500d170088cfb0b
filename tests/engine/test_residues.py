"""Residues out of the loop: each once, in whatever packs and precision its item was embedded."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.engine.test_embed import Letters, Marked, embed_marked, marked_texts
from tests.models.packs import pack
from tests.residues import assert_means
from virembed.engine.pooling import mean_pool, residue_states
from virembed.errors import IncompleteError


class Ends(Marked):
    """Leaves the first and the last token out, as ESM-2 does."""

    pool_skip = (1, 1)


class Received:
    """What the loop hands over, by item."""

    def __init__(self) -> None:
        self.rows: dict[int, np.ndarray] = {}

    def __call__(self, items, lengths, residues) -> None:
        assert residues.dtype == np.float16
        assert len(residues) == lengths.sum()
        for item, rows in zip(
            items.tolist(), np.split(residues, np.cumsum(lengths))[:-1], strict=True
        ):
            assert item not in self.rows
            self.rows[item] = rows.copy()


def embed(texts, encoder, tokens_per_pack=256, retries=()):
    received = Received()
    result = embed_marked(texts, encoder, tokens_per_pack, retries, residues=received)
    assert sorted(received.rows) == list(range(len(texts)))
    for item, rows in received.rows.items():
        assert_means(rows, result.vectors[item])
    return result, received.rows


def long_texts() -> list[str]:
    return [f"A{text}A" for text in marked_texts()]


def expected_rows(text: str) -> np.ndarray:
    ids = np.array([Letters.ids.index(letter) for letter in text[1:-1]], dtype=np.float64)
    return np.stack([ids, ids**2, np.ones_like(ids)], axis=1).astype(np.float16)


def test_each_item_has_the_states_of_its_own_letters():
    texts = long_texts()
    _, rows = embed(texts, Ends())
    assert all(np.array_equal(rows[item], expected_rows(text)) for item, text in enumerate(texts))


@pytest.mark.parametrize("limit", [255, 128, 64, 42])
def test_halved_packs_lose_and_double_none(limit):
    texts = long_texts()
    result, rows = embed(texts, Ends(limit=limit), tokens_per_pack=1024)
    assert result.num_halvings > 0
    assert all(np.array_equal(rows[item], expected_rows(text)) for item, text in enumerate(texts))


def test_what_overflowed_comes_from_the_retry_and_only_once():
    texts = long_texts()
    retries = [lambda: Ends(overflows="B"), Ends]
    result, rows = embed(texts, Ends(overflows="BC"), retries=retries)
    assert {0, 1, 2} == set(result.flags.tolist())
    assert all(np.array_equal(rows[item], expected_rows(text)) for item, text in enumerate(texts))


class LargeResidue(Ends):
    """One residue is too large for float16, the mean of its item is not."""

    def __call__(self, tokens):
        hidden = super().__call__(tokens)
        hidden[tokens.ids == Letters.ids.index("G")] *= 20000.0
        return hidden


def test_a_residue_too_large_for_float16_is_never_written():
    texts = ["A" + "B" * 30 + "GA", "ABBA"]
    plain = embed_marked(texts, LargeResidue(), tokens_per_pack=64)
    assert np.isfinite(plain.vectors).all()
    result, rows = embed(texts, LargeResidue(), retries=[Ends])
    assert result.flags.tolist() == [1, 0]
    assert np.isfinite(rows[0]).all()
    with pytest.raises(IncompleteError, match="too large for float16"):
        embed(texts, LargeResidue())


def test_the_vectors_are_the_same_with_and_without():
    texts = long_texts()
    alone = embed_marked(texts, Ends())
    together, _ = embed(texts, Ends())
    assert np.array_equal(alone.vectors, together.vectors)
    assert np.array_equal(alone.num_tokens, together.num_tokens)


@pytest.mark.parametrize("skip", [(0, 0), (1, 1), (2, 0), (0, 3)])
def test_the_states_that_the_mean_is_over(skip):
    generator = torch.Generator().manual_seed(4)
    parts = [torch.randn((length, 5), generator=generator) for length in (7, 1, 12, 4, 2)]
    tokens, hidden = pack([x[:, 0] for x in parts]), torch.cat(parts)
    kept = [x[skip[0] : max(len(x) - skip[1], skip[0])] for x in parts[:4]]
    states, finite = residue_states(hidden, tokens, skip=skip, num_sequences=4)
    assert torch.equal(states, torch.cat(kept).half())
    assert finite.all()
    hidden[8] = float("nan")  # the first token of the third sequence
    hidden[20, 2] = 1e6  # the first of the fourth, too large for float16
    hidden[24:] = float("inf")  # fill
    _, finite = residue_states(hidden, tokens, skip=skip, num_sequences=4)
    assert finite.tolist() == [True, True, skip[0] > 0, skip[0] > 0]
    assert mean_pool(hidden, tokens, skip=skip)[0].isfinite().all()
