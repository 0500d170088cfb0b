"""Weights from a formula, at the real sizes; see tests/golden/README.md."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file

from virembed.models import dnaberts, esm2
from virembed.models.attention import AttentionFunction, dense
from virembed.models.random_weights import DNABERTS_SIZES, ESM2_SIZES
from virembed.weights_info import WeightsInfo

from .packs import CPU, GOLDEN


@dataclass(frozen=True)
class Synthetic:
    encoder: torch.nn.Module
    golden: dict[str, torch.Tensor]
    facts: dict[str, Any]
    check: npt.NDArray[np.float64]  # sum and first element of each tensor, names in byte order


def mixed_bits(name: str, num: int) -> npt.NDArray[np.uint32]:
    x = np.arange(num, dtype=np.uint32)
    x *= np.uint32(0x9E3779B1)
    x += np.uint32(zlib.crc32(name.encode()))
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x85EBCA6B)
    x ^= x >> np.uint32(13)
    x *= np.uint32(0xC2B2AE35)
    x ^= x >> np.uint32(16)
    return x


def top_bits(name: str, num: int, *, bits: int, device: torch.device) -> torch.Tensor:
    """The first `bits` of each of the mixed numbers, fp32."""
    if device.type == "cpu":
        x = (mixed_bits(name, num) >> np.uint32(32 - bits)).astype(np.float32)
        return torch.from_numpy(x)
    # the same on a GPU, in 64 bits: the large models take minutes otherwise
    low = 0xFFFFFFFF
    y = torch.arange(num, device=device) * 0x9E3779B1 + zlib.crc32(name.encode()) & low
    y ^= y >> 16
    y = (y * 0x85EBCA6B) & low
    y ^= y >> 13
    y = (y * 0xC2B2AE35) & low
    y ^= y >> 16
    return (y >> (32 - bits)).float()


def centred(name: str, shape: tuple[int, ...], exponent: int, device: torch.device) -> torch.Tensor:
    x = top_bits(name, int(np.prod(shape)), bits=8, device=device)
    return ((x * 2 - 255) * 2.0 ** (-8 - exponent)).reshape(shape)


def norm_weight(name: str, shape: tuple[int, ...], device: torch.device) -> torch.Tensor:
    return 1 + (2 * top_bits(name, shape[0], bits=3, device=device) - 7) / 64


def esm2_tensor(
    name: str, shape: tuple[int, ...], inv_freq: torch.Tensor, exponent: int
) -> torch.Tensor:
    device = inv_freq.device
    if name.endswith("inv_freq"):
        return inv_freq
    if name.endswith("bias"):
        return centred(name, shape, 3, device)
    if len(shape) == 1:
        return norm_weight(name, shape, device)
    if name == "embed_tokens.weight":
        return centred(name, shape, 1, device)
    return centred(name, shape, exponent + 1 if "fc2" in name else exponent, device)


def dnaberts_tensor(name: str, shape: tuple[int, ...], device: torch.device) -> torch.Tensor:
    if name.endswith("bias"):
        return centred(name, shape, 3, device)
    if len(shape) == 1:
        return norm_weight(name, shape, device)
    exponent = 5 if "token_type" in name or "mlp.wo" in name else 4
    return centred(name, shape, exponent, device)


def sums(tensors: dict[str, torch.Tensor]) -> npt.NDArray[np.float64]:
    return np.array(
        [
            [tensors[n].double().sum().item(), tensors[n].flatten()[0].item()]
            for n in sorted(tensors)
        ]
    )


def info_of(model: str, size: Any, config: dict[str, Any]) -> WeightsInfo:
    return WeightsInfo(
        model=model,
        name="synthetic",
        dim=size.dim,
        num_layers=size.num_layers,
        num_heads=size.num_heads,
        ffn_dim=size.ffn_dim,
        vocab_size=size.vocab_size,
        config=config,
        random=True,
        files={},
        source={},
    )


@dataclass(frozen=True)
class Where:
    """How a synthetic model is run."""

    device: torch.device = CPU
    dtype: torch.dtype = torch.float32
    attention: AttentionFunction = dense


ON_CPU = Where()


def synthetic_esm2(size: str, where: Where = ON_CPU) -> Synthetic:
    golden, facts = stored(f"esm2_{size}")
    info = info_of("esm2", ESM2_SIZES[size], {"token_dropout": True, "layer_norm_eps": 1e-5})
    assert (facts["layers"], facts["embed_dim"]) == (info.num_layers, info.dim)
    tensors = {
        name: esm2_tensor(name, shape, golden["inv_freq"].to(where.device), facts["e"])
        for name, shape in esm2.tensor_shapes(info).items()
    }
    check = sums(tensors)
    encoder = esm2.Esm2.from_tensors(
        tensors, info=info, dtype=where.dtype, attention=where.attention
    )
    return Synthetic(encoder, golden, facts, check)


def synthetic_dnaberts(where: Where = ON_CPU) -> Synthetic:
    golden, facts = stored("dnaberts_full")
    info = info_of("dnaberts", DNABERTS_SIZES["base"], {"layer_norm_eps": 1e-12})
    shapes = dnaberts.tensor_shapes(info)
    pooler = {"pooler.dense.weight": (info.dim, info.dim), "pooler.dense.bias": (info.dim,)}
    tensors = {
        name: dnaberts_tensor(name, shape, where.device)
        for name, shape in (shapes | pooler).items()
    }
    check = sums(tensors)
    for name in pooler:
        del tensors[name]
    encoder = dnaberts.Dnaberts.from_tensors(
        tensors, info=info, dtype=where.dtype, attention=where.attention
    )
    return Synthetic(encoder, golden, facts, check)


def stored(name: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    directory = GOLDEN / "synthetic"
    facts: dict[str, Any] = json.loads((directory / f"{name}.json").read_text())
    return load_file(directory / f"{name}.safetensors"), facts
