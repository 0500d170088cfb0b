"""Every attention kernel against the formula in fp32, on the same inputs."""

from __future__ import annotations

from itertools import accumulate

import pytest
import torch

from virembed.contracts import PackedTokens
from virembed.models.attention import ATTENTION, dense, obstacle
from virembed.models.positions import Rotation, positions_in_sequence

from .conftest import INTERPRETED

HEADS = [16, 24, 32, 64, 128]
NUM_HEADS = 4
PACKS = [[1], [2, 1, 1], [168, 130, 64, 63, 17, 1], [64] * 5, [65, 128, 33]]
LONG = [[4096, 1025, 300, 7]]
LIMIT = {torch.float32: 5e-6, torch.float16: 2e-3, torch.bfloat16: 2.5e-2}
# the interpreter cannot multiply bfloat16
DTYPES = [torch.float32, torch.float16] + ([] if INTERPRETED else [torch.bfloat16])


def tokens_of(lengths: list[int], device: torch.device) -> PackedTokens:
    bounds = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device)
    return PackedTokens(torch.zeros(sum(lengths), device=device).long(), bounds, tuple(lengths))


def qkv_of(num: int, head_size: int, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    generator = torch.Generator().manual_seed(num)
    qkv = torch.randn((num, 3, NUM_HEADS, head_size), generator=generator)
    return qkv.to(device, dtype)


def rotation_for(tokens: PackedTokens, head_size: int) -> Rotation:
    generator = torch.Generator().manual_seed(1)
    angles = 30 * torch.rand((max(tokens.lengths), head_size // 2), generator=generator)
    angles = angles.to(tokens.ids.device)
    return Rotation(angles.cos(), angles.sin(), positions_in_sequence(tokens))


def check(name: str, device, *, lengths, head_size, dtype, alibi=False, rotary=False) -> None:
    missing = obstacle(name, device.type, dtype=dtype, alibi=alibi)
    if missing and not (INTERPRETED and name == "packed"):
        pytest.skip(missing)
    qkv, tokens = qkv_of(sum(lengths), head_size, device, dtype), tokens_of(lengths, device)
    slopes = torch.tensor([0.5, 0.25, 0.02, 0.7], device=device) if alibi else None
    rotation = rotation_for(tokens, head_size) if rotary else None
    rest = {"scale": head_size**-0.5, "slopes": slopes, "rotation": rotation}
    expected = dense(*qkv.clone().float().unbind(1), tokens, **rest)
    ours = ATTENTION[name](*qkv.clone().unbind(1), tokens, **rest)
    assert ours.dtype == dtype
    assert (ours.float() - expected).abs().max() < LIMIT[dtype]


@pytest.mark.parametrize("alibi", [False, True])
@pytest.mark.parametrize("rotary", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("head_size", HEADS)
@pytest.mark.parametrize("lengths", PACKS + ([] if INTERPRETED else LONG))
def test_our_kernel(device, lengths, head_size, dtype, rotary, alibi) -> None:
    check(
        "packed", device,
        lengths=lengths, head_size=head_size, dtype=dtype, alibi=alibi, rotary=rotary,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["varlen", "flash"])
@pytest.mark.parametrize("rotary", [False, True])
@pytest.mark.parametrize("dtype", DTYPES[1:])
@pytest.mark.parametrize("head_size", HEADS)
@pytest.mark.parametrize("lengths", PACKS + LONG)
def test_the_kernels_of_others(cuda, name, lengths, head_size, dtype, rotary) -> None:
    check(name, cuda, lengths=lengths, head_size=head_size, dtype=dtype, rotary=rotary)


def test_flash_with_alibi(cuda) -> None:
    check("flash", cuda, lengths=[100, 40], head_size=64, dtype=torch.float16, alibi=True)


@pytest.mark.parametrize("length", [1, 15, 16, 31, 64, 100, 127, 256, 511, 1000, 2048, 4096])
def test_lengths(cuda, length) -> None:
    for rest in ({"rotary": True}, {"alibi": True}):
        check("packed", cuda, lengths=[length, 3], head_size=64, dtype=torch.float16, **rest)


@pytest.mark.parametrize("name", ["packed", "varlen"])
def test_bitwise_whatever_the_neighbours(cuda, name) -> None:
    lengths = [300, 168, 168, 90, 64, 5]
    qkv = qkv_of(sum(lengths), 64, cuda, torch.float16)
    rest = {"scale": 0.125, "slopes": None}
    kernel = ATTENTION[name]
    tokens = tokens_of(lengths, cuda)
    table = rotation_for(tokens, 64)
    together = kernel(*qkv.clone().unbind(1), tokens, rotation=table, **rest)
    start = 0
    for length in lengths:
        rows = slice(start, start + length)
        own = qkv[rows].clone()
        rotation = table._replace(positions=torch.arange(length, device=cuda))
        alone = kernel(*own.unbind(1), tokens_of([length], cuda), rotation=rotation, **rest)
        assert torch.equal(alone, together[rows])
        start += length


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the interpreter
def test_what_is_not_finite_stays_in_its_sequence(device) -> None:
    lengths = [70, 40, 20]
    clean = qkv_of(130, 32, device, torch.float16)
    dirty = clean.clone()
    dirty[70:110] = float("nan")
    tokens = tokens_of(lengths, device)
    rest = {"scale": 1.0, "slopes": None, "rotation": rotation_for(tokens, 32)}
    one = ATTENTION["packed"](*clean.unbind(1), tokens, **rest)
    other = ATTENTION["packed"](*dirty.unbind(1), tokens, **rest)
    assert torch.equal(one[:70], other[:70])
    assert torch.equal(one[110:], other[110:])
    assert other[70:110].isnan().all()
