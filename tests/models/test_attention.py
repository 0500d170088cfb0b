"""The dense kernel: what it computes, that it cuts up its work, and how a kernel is chosen."""

from __future__ import annotations

import pytest
import torch

from virembed.errors import UsageError
from virembed.models import attention as attention_module
from virembed.models.attention import ATTENTION, choose_attention, dense
from virembed.models.kernels import choose_kernels

from .packs import pack

NUM_HEADS, HEAD_SIZE = 3, 8


def draw(lengths: list[int], *, seed: int = 0) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    shape = (sum(lengths), NUM_HEADS, HEAD_SIZE)
    return tuple(torch.randn(shape, generator=generator) for _ in "qkv")


def tokens_of(lengths: list[int]):
    return pack([torch.zeros(length) for length in lengths])


def one_by_one(q, k, v, lengths, *, scale, slopes):
    """The formula in float64, one sequence and one head at a time."""
    out, start = torch.empty_like(v, dtype=torch.float64), 0
    for n in lengths:
        distance = (torch.arange(n)[:, None] - torch.arange(n)).abs().double()
        for head in range(NUM_HEADS):
            q_h, k_h, v_h = (x[start : start + n, head].double() for x in (q, k, v))
            bias = 0 if slopes is None else -slopes[head].double() * distance
            out[start : start + n, head] = (q_h @ k_h.T * scale + bias).softmax(-1) @ v_h
        start += n
    return out


@pytest.mark.parametrize("slopes", [None, torch.tensor([0.5, 0.25, 0.7])])
@pytest.mark.parametrize("score_bytes", [2**28, 3 * 4 * 40 * 7, 1])
@pytest.mark.parametrize("lengths", [[1], [40, 40, 17, 17, 17, 5, 1, 1], [3, 9, 3]])
def test_dense_is_the_formula_however_the_work_is_cut(
    monkeypatch: pytest.MonkeyPatch, lengths, score_bytes, slopes
) -> None:
    monkeypatch.setattr(attention_module, "SCORE_BYTES", score_bytes)
    q, k, v = draw(lengths)
    ours = dense(q, k, v, tokens_of(lengths), scale=0.4, slopes=slopes)
    expected = one_by_one(q, k, v, lengths, scale=0.4, slopes=slopes)
    assert (ours - expected).abs().max() < 2e-6


def test_the_scores_of_one_product_stay_within_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = 64 * 1024
    monkeypatch.setattr(attention_module, "SCORE_BYTES", limit)
    largest = 0
    original = torch.Tensor.softmax

    def watching(scores: torch.Tensor, dim: int) -> torch.Tensor:
        nonlocal largest
        largest = max(largest, scores.numel() * 4)
        return original(scores, dim)

    monkeypatch.setattr(torch.Tensor, "softmax", watching)
    lengths = [500, 20, 20, 20, 20, 20, 20, 20, 20, 20, 20, 20, 20, 20, 20, 20, 20]
    q, k, v = draw(lengths)
    dense(q, k, v, tokens_of(lengths), scale=1.0, slopes=None)
    assert limit / 2 < largest <= limit


def test_half_precision_comes_back_as_half_with_scores_in_fp32() -> None:
    lengths = [30, 12]
    q, k, v = (x.half() for x in draw(lengths))
    ours = dense(q, k, v, tokens_of(lengths), scale=0.4, slopes=None)
    assert ours.dtype == torch.float16
    expected = one_by_one(q, k, v, lengths, scale=0.4, slopes=None)
    assert (ours - expected).abs().max() < 1e-3  # the rounding of the result


def test_what_is_not_finite_stays_in_its_sequence() -> None:
    lengths = [6, 6, 6]
    q, k, v = draw(lengths)
    clean = dense(q, k, v, tokens_of(lengths), scale=1.0, slopes=None)
    for x in (q, k, v):
        x[6:12] = float("nan")
    dirty = dense(q, k, v, tokens_of(lengths), scale=1.0, slopes=None)
    assert torch.equal(dirty[:6], clean[:6])
    assert torch.equal(dirty[12:], clean[12:])


@pytest.mark.parametrize("device_type", ["cpu", "cuda"])
def test_auto_chooses_a_kernel_and_says_why(device_type: str) -> None:
    choice = choose_attention("auto", device_type)
    assert choice.value in ATTENTION
    assert device_type in choice.reason


def test_a_requested_kernel_is_taken_or_refused() -> None:
    assert choose_attention("dense", "cuda").value == "dense"
    with pytest.raises(UsageError, match=r"'flash9' is unknown\. Choose one of auto, dense"):
        choose_attention("flash9", "cuda")


@pytest.mark.parametrize("name", ["packed", "varlen", "flash"])
def test_a_kernel_for_gpus_is_refused_on_the_cpu(name: str) -> None:
    with pytest.raises(UsageError, match=f"'{name}' cannot run: it needs a GPU, the device is cpu"):
        choose_attention(name, "cpu", dtype=torch.float16)


def test_a_kernel_without_bias_or_full_precision_says_so() -> None:
    with pytest.raises(UsageError, match="no ALiBi"):
        choose_attention("varlen", "cuda", dtype=torch.float16, alibi=True)
    with pytest.raises(UsageError, match="half precision only"):
        choose_attention("varlen", "cuda", dtype=torch.float32)


def test_the_steps_between_products_are_chosen_or_refused() -> None:
    assert choose_kernels("auto", "cpu").value == "plain"
    assert choose_kernels("plain", "cuda").value == "plain"
    with pytest.raises(UsageError, match="need a GPU"):
        choose_kernels("triton", "cpu")
