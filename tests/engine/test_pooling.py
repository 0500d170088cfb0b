from __future__ import annotations

import pytest
import torch

from tests.models.packs import pack
from virembed.engine.pooling import mean_pool

LENGTHS = [7, 3, 12, 4]


def draw(lengths: list[int]) -> tuple[list[torch.Tensor], torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    parts = [torch.randn((length, 5), generator=generator) for length in lengths]
    return parts, torch.cat(parts)


@pytest.mark.parametrize("skip", [(0, 0), (1, 1), (2, 0), (0, 1)])
def test_the_mean_over_the_tokens_that_are_not_skipped(skip: tuple[int, int]) -> None:
    parts, hidden = draw(LENGTHS)
    expected = torch.stack([x[skip[0] : len(x) - skip[1]].double().mean(0) for x in parts])
    ours = mean_pool(hidden, pack([x[:, 0] for x in parts]), skip=skip)
    assert ours.dtype == torch.float32
    assert (ours - expected).abs().max() < 1e-6


@pytest.mark.parametrize("value", [1e30, float("inf"), float("nan")])
def test_skipped_tokens_do_not_count_whatever_they_hold(value: float) -> None:
    parts, hidden = draw(LENGTHS)
    tokens = pack([x[:, 0] for x in parts])
    expected = mean_pool(hidden, tokens, skip=(1, 1))
    ends = tokens.cu_seqlens.long()
    hidden[ends[:-1]] = value
    hidden[ends[1:] - 1] = value
    assert torch.equal(mean_pool(hidden, tokens, skip=(1, 1)), expected)


def test_a_mean_does_not_depend_on_the_neighbours() -> None:
    parts, hidden = draw(LENGTHS)
    together = mean_pool(hidden, pack([x[:, 0] for x in parts]))
    alone = torch.cat([mean_pool(x, pack([x[:, 0]])) for x in parts])
    assert torch.equal(together, alone)
    hidden[7:10] = float("nan")  # the second sequence
    dirty = mean_pool(hidden, pack([x[:, 0] for x in parts]))
    assert torch.equal(dirty[[0, 2, 3]], alone[[0, 2, 3]])
    assert dirty[1].isnan().all()


@pytest.mark.parametrize("length", [1, 2])
def test_the_mean_of_nothing_is_nan_and_harms_nobody(length: int) -> None:
    parts, hidden = draw([4, length, 5])
    ours = mean_pool(hidden, pack([x[:, 0] for x in parts]), skip=(1, 1))
    assert ours[1].isnan().all()
    assert torch.allclose(ours[2], parts[2][1:-1].mean(0))


def test_half_precision_is_added_up_in_fp32() -> None:
    hidden = torch.full((5000, 2), 100.0, dtype=torch.float16)
    assert mean_pool(hidden, pack([hidden[:, 0]])).tolist() == [[100.0, 100.0]]
