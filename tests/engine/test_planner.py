from __future__ import annotations

import numpy as np
import pytest

from virembed.engine.planner import OVERSIZE_STEP, plan_packs


def plan(lengths, tokens_per_pack=100):
    packs = plan_packs(np.array(lengths, dtype=np.int64), tokens_per_pack=tokens_per_pack)
    return [(pack.items.tolist(), pack.num_tokens) for pack in packs]


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([], []),
        ([7], [([0], 100)]),
        ([100], [([0], 100)]),
        ([50, 50], [([0, 1], 100)]),
        ([50, 51], [([1], 100), ([0], 100)]),
        ([30, 40, 30], [([1, 0, 2], 100)]),
        ([10, 90, 20], [([1, 0], 100), ([2], 100)]),
        ([60, 50, 30, 30, 9, 8, 3], [([0, 2, 4], 100), ([1, 3, 5, 6], 100)]),
        ([101], [([0], OVERSIZE_STEP)]),
        ([OVERSIZE_STEP, 5], [([0], OVERSIZE_STEP), ([1], 100)]),
        ([OVERSIZE_STEP + 1, 101], [([0], 2 * OVERSIZE_STEP), ([1], OVERSIZE_STEP)]),
    ],
)
def test_packs_are_filled_with_the_longest_items_first(lengths, expected):
    assert plan(lengths) == expected


@pytest.mark.parametrize("seed", range(20))
def test_every_item_is_in_one_pack_and_fits(seed):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 300, size=rng.integers(1, 500))
    packs = plan_packs(lengths, tokens_per_pack=256)
    assert sorted(np.concatenate([pack.items for pack in packs]).tolist()) == [*range(len(lengths))]
    for pack in packs:
        assert pack.lengths.tolist() == lengths[pack.items].tolist()
        assert pack.lengths.sum() <= pack.num_tokens
        if pack.lengths[0] <= 256:
            assert pack.num_tokens == 256
        else:
            assert len(pack.items) == 1


def test_packs_waste_little():
    lengths = np.random.default_rng(1).integers(30, 168, size=5000)
    packs = plan_packs(lengths, tokens_per_pack=4096)
    # but for the last pack, for which nothing is left
    filled = [int(pack.lengths.sum()) / pack.num_tokens for pack in packs[:-1]]
    assert min(filled) > 0.99
    assert np.mean(filled) > 0.998
