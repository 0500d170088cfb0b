"""The vector of a sequence does not depend on what it is packed with.

In a pack of the same number of tokens, as the engine makes them, every matrix product has the same
shape, and on the CPU the result is the same bit for bit. In packs of other sizes the products
may add up in another order.
"""

from __future__ import annotations

import pytest
import torch

from virembed.engine.pooling import mean_pool

from .packs import Case, load, pack

NUM_TOKENS = 600


def embed(case: Case, sequences: list[torch.Tensor]) -> torch.Tensor:
    tokens = pack(sequences)
    return mean_pool(case.loaded.encoder(tokens), tokens, skip=case.loaded.encoder.pool_skip)


def fill(case: Case, sequences: list[torch.Tensor]) -> list[torch.Tensor]:
    missing = NUM_TOKENS - sum(len(ids) for ids in sequences)
    return [*sequences, torch.full((missing,), case.loaded.tokenizer.fill_id)]


def probe_and_neighbours(case: Case) -> tuple[torch.Tensor, list[list[torch.Tensor]]]:
    generator = torch.Generator().manual_seed(5)

    def draw(length: int) -> torch.Tensor:
        return torch.randint(5, 9, (length,), generator=generator)

    probe = draw(37)
    others = [
        [],
        [draw(100)],
        [draw(37)],
        [draw(37) for _ in range(9)],
        [draw(250), draw(60), draw(37), draw(5), draw(3)],
    ]
    return probe, others


def test_bitwise_in_packs_of_one_size(any_tiny: Case) -> None:
    probe, neighbours = probe_and_neighbours(any_tiny)
    alone = embed(any_tiny, fill(any_tiny, [probe]))[0]
    for others in neighbours:
        for place in (0, len(others)):
            sequences = [*others[:place], probe, *others[place:]]
            together = embed(any_tiny, fill(any_tiny, sequences))[place]
            assert torch.equal(together, alone)


def test_within_rounding_in_packs_of_any_size(any_tiny: Case) -> None:
    probe, neighbours = probe_and_neighbours(any_tiny)
    alone = embed(any_tiny, [probe])[0]
    for others in neighbours:
        together = embed(any_tiny, [*others, probe])[-1]
        assert (together - alone).abs().max() < 2e-6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_close_to_fp32(any_tiny: Case, dtype: torch.dtype) -> None:
    """Products in half precision, all else in fp32: the residual stream, angles, softmax, norms."""
    half = load(any_tiny.weights, model=any_tiny.loaded.info.model, dtype=dtype)
    tokens = pack([ids for ids in any_tiny.sequences if 2 < len(ids) < 300])
    hidden = half.encoder(tokens)
    assert hidden.dtype == torch.float32
    pooled, expected = (
        mean_pool(states, tokens, skip=half.encoder.pool_skip)
        for states in (hidden, any_tiny.loaded.encoder(tokens))
    )
    assert not torch.equal(pooled, expected)
    cosine = torch.nn.functional.cosine_similarity(pooled, expected)
    assert cosine.min() > (0.9999 if dtype == torch.float16 else 0.999)
