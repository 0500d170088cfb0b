"""ESM-2 in float64, one sequence at a time, written from the formulas and not from our code.

Slow and plain on purpose: what the fast implementation is compared with. Reads the published
file format (fair-esm `.pt`) directly.
"""

from __future__ import annotations

import argparse
import math
from functools import lru_cache
from pathlib import Path

import torch

ALPHABET = (
    "<cls> <pad> <eos> <unk> L A G V S E R T I D P K Q N F Y M H W C X B U Z O . - <null_1> <mask>"
)
IDS = {token: number for number, token in enumerate(ALPHABET.split())}
Weights = dict[str, torch.Tensor]


@lru_cache
def read_weights(source: Path) -> tuple[Weights, int, int]:
    """Tensors in float64, number of layers, number of heads."""
    with torch.serialization.safe_globals([argparse.Namespace]):
        content = torch.load(source, weights_only=True)
    cfg = content["cfg"]["model"]
    weights = {
        name.removeprefix("encoder.").removeprefix("sentence_encoder."): tensor.double()
        for name, tensor in content["model"].items()
    }
    return weights, cfg.encoder_layers, cfg.encoder_attention_heads


def layer_norm(x: torch.Tensor, w: Weights, name: str) -> torch.Tensor:
    centred = x - x.mean(-1, keepdim=True)
    variance = (centred**2).mean(-1, keepdim=True)
    return centred / (variance + 1e-5).sqrt() * w[f"{name}.weight"] + w[f"{name}.bias"]


def linear(x: torch.Tensor, w: Weights, name: str) -> torch.Tensor:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def gelu(x: torch.Tensor) -> torch.Tensor:
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def rotated(z: torch.Tensor, inv_freq: torch.Tensor) -> torch.Tensor:
    """Every pair (z_i, z_{i + d/2}) as a complex number times exp(i t f_i)."""
    half = len(inv_freq)
    pairs = torch.complex(z[:, :half], z[:, half:])
    angles = torch.arange(len(z), dtype=torch.float64)[:, None] * inv_freq
    turned = pairs * torch.exp(1j * angles)
    return torch.cat([turned.real, turned.imag], dim=1)


def embedded(ids: torch.Tensor, w: Weights) -> torch.Tensor:
    x = w["embed_tokens.weight"][ids].clone()
    masked = ids == IDS["<mask>"]
    x[masked] = 0
    return x * 0.88 / (1 - masked.double().mean())


def attended(y: torch.Tensor, w: Weights, name: str, heads: int) -> torch.Tensor:
    d = y.shape[1] // heads
    inv_freq = w[f"{name}.rot_emb.inv_freq"]
    q, k, v = (linear(y, w, f"{name}.{part}_proj") for part in "qkv")
    columns = []
    for head in range(heads):
        part = slice(head * d, (head + 1) * d)
        scores = rotated(q[:, part], inv_freq) @ rotated(k[:, part], inv_freq).T / math.sqrt(d)
        columns.append(torch.softmax(scores, -1) @ v[:, part])
    return linear(torch.cat(columns, dim=1), w, f"{name}.out_proj")


def hidden_states(source: Path, ids: torch.Tensor) -> torch.Tensor:
    """After the final LayerNorm, float64 [n, D]; ids with <cls> and <eos>."""
    w, layers, heads = read_weights(source)
    x = embedded(ids, w)
    for number in range(layers):
        name = f"layers.{number}"
        y = layer_norm(x, w, f"{name}.self_attn_layer_norm")
        x = x + attended(y, w, f"{name}.self_attn", heads)
        y = layer_norm(x, w, f"{name}.final_layer_norm")
        x = x + linear(gelu(linear(y, w, f"{name}.fc1")), w, f"{name}.fc2")
    return layer_norm(x, w, "emb_layer_norm_after")


def reference_embedding(weights_source: Path, sequence: str) -> torch.Tensor:
    """Mean over residues of one protein, float64 [D]. `weights_source`: a fair-esm `.pt`."""
    ids = torch.tensor([IDS[token] for token in ["<cls>", *sequence, "<eos>"]])
    return hidden_states(weights_source, ids)[1:-1].mean(0)
