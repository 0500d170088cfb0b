"""Products in fp8, emulated on the CPU: what is rounded, what is scaled, and what it costs."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn

from tests.steps import Weights
from virembed.engine.embed import embed_items
from virembed.models.fp8 import FP8, LARGEST, Fp8Linear, Quantised, like, quantised
from virembed.models.gating import halves_of, in_turns
from virembed.models.kernels import PLAIN
from virembed.models.registry import load_encoder
from virembed.parity import MIN_COSINE

LETTERS = {"esm2": "ACDEFGHIKLMNPQRSTVWY", "dnaberts": "ACGT"}
CPU = torch.device("cpu")


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def meant(y: Quantised) -> torch.Tensor:
    return y.values.float() * y.scale


def test_every_row_uses_the_whole_range_and_keeps_four_bits() -> None:
    x = draw(20, 64) * torch.logspace(-20, 4, 20)[:, None]
    y = quantised(x)
    assert y.values.dtype == FP8
    assert y.scale.shape == (20, 1)
    assert (y.values.float().abs().amax(1) == LARGEST).all()
    large = x.abs() > 2**-6 * y.scale  # e4m3 has fewer bits below
    assert ((meant(y) - x).abs() <= 2**-4 * x.abs())[large].all()
    assert ((meant(y) - x).abs() <= 2**-10 * y.scale)[~large].all()


def test_a_row_of_zeros_stays_zero() -> None:
    assert torch.equal(meant(quantised(torch.zeros(2, 16))), torch.zeros(2, 16))


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_what_is_not_finite_spoils_its_row_alone(value: float) -> None:
    x = draw(3, 16)
    x[1, 5] = value
    product = Fp8Linear(nn.Linear(16, 16))(quantised(x))
    assert not product[1].isfinite().any()
    assert product[[0, 2]].isfinite().all()


@pytest.mark.parametrize("bias", [True, False])
def test_a_product_is_that_of_the_rounded_numbers(bias: bool) -> None:
    linear = nn.Linear(48, 32, bias=bias).requires_grad_(False)
    y, weight = quantised(3 * draw(7, 48)), quantised(linear.weight)
    expected = meant(y).double() @ meant(weight).double().T
    if bias:
        expected += linear.bias
    ours = Fp8Linear(linear)(y)
    assert ours.dtype == torch.float16
    assert (ours - expected).abs().max() < 2**-10 * expected.abs().max()


def test_the_steps_between_products_hand_over_fp8() -> None:
    """As the fp16 steps do, rounded."""
    x, norm = draw(5, 32), nn.LayerNorm(32)
    for name in ("add_then_norm", "norm_of_sum"):
        step = getattr(PLAIN, name)
        y = step(x.clone(), None, norm, dtype=FP8)
        assert torch.equal(meant(y), meant(quantised(norm(x))))
    for name in ("linear_gelu", "linear_gated_gelu"):
        linear = Fp8Linear(nn.Linear(32, 64, bias=False))
        out = getattr(PLAIN, name)(y, linear)
        product = linear(y).float()
        a, gate = (product, 1.0) if name == "linear_gelu" else halves_of(product)
        expected = a * (1 + torch.erf(a / 2**0.5)) / 2 * gate
        assert (meant(out) - expected).abs().max() < 2**-4 * expected.abs().max()


def test_a_channel_and_its_gate_lie_in_turns() -> None:
    weight = torch.arange(48.0)[:, None]
    laid = in_turns(weight)
    assert laid[:, 0].tolist() == [
        *range(8), *range(24, 32), *range(8, 16), *range(32, 40), *range(16, 24), *range(40, 48)
    ]  # fmt: skip
    activated, gate = halves_of(laid.T)
    assert torch.equal(activated, weight[:24].T)
    assert torch.equal(gate, weight[24:].T)


def test_like_keeps_the_form() -> None:
    x = draw(2, 16)
    assert isinstance(like(quantised(x), x), Quantised)
    half = like(x.half(), x)
    assert isinstance(half, torch.Tensor)
    assert half.dtype == torch.float16


@pytest.fixture(params=["esm2", "dnaberts"])
def model(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def vectors(tiny_weights: Weights, model: str, dtype: torch.dtype, texts: list[str]):
    loaded = load_encoder(
        tiny_weights.converted[model], model=model, device=CPU, dtype=dtype, attention="auto"
    )
    return embed_items(
        texts,
        encoder=loaded.encoder,
        tokenizer=loaded.tokenizer,
        device=CPU,
        tokens_per_pack=512,
    ).vectors.astype(np.float64)


def texts_for(model: str) -> list[str]:
    rng = random.Random(5)
    return ["".join(rng.choices(LETTERS[model], k=rng.randint(1, 150))) for _ in range(30)]


def test_a_model_in_fp8_is_close_to_fp32_but_not_equal(tiny_weights, model) -> None:
    texts = texts_for(model)
    ours = vectors(tiny_weights, model, FP8, texts)
    exact = vectors(tiny_weights, model, torch.float32, texts)
    cosine = (ours * exact).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(exact, axis=1)
    assert MIN_COSINE["fp8"] < cosine.min() < 0.99999


def test_vectors_in_fp8_do_not_depend_on_their_neighbours(tiny_weights, model) -> None:
    texts = texts_for(model)
    whole = vectors(tiny_weights, model, FP8, texts)
    parts = [vectors(tiny_weights, model, FP8, part) for part in (texts[:3], texts[3:])]
    assert np.array_equal(whole, np.concatenate(parts))
