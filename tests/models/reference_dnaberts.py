"""DNABERT-S in float64, one sequence at a time, written from the formulas and not from our code.

Slow and plain on purpose: what the fast implementation is compared with. Reads the published
file format (a Hugging Face directory) directly.
"""

from __future__ import annotations

import json
import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import tokenizers
import torch

Weights = dict[str, torch.Tensor]


@lru_cache
def read_weights(source: Path) -> tuple[Weights, dict[str, Any]]:
    """Tensors in float64, and config.json."""
    tensors = torch.load(source / "pytorch_model.bin", weights_only=True)
    config = json.loads((source / "config.json").read_text())
    return {name.removeprefix("bert."): t.double() for name, t in tensors.items()}, config


def layer_norm(x: torch.Tensor, w: Weights, name: str) -> torch.Tensor:
    centred = x - x.mean(-1, keepdim=True)
    variance = (centred**2).mean(-1, keepdim=True)
    return centred / (variance + 1e-12).sqrt() * w[f"{name}.weight"] + w[f"{name}.bias"]


def gelu(x: torch.Tensor) -> torch.Tensor:
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def slopes(heads: int) -> list[float]:
    """A geometric series for powers of two; else that of the power below and, appended, every
    other member of that of the power above."""
    if math.log2(heads).is_integer():
        ratio = 2 ** (-8 / heads)
        return [ratio**number for number in range(1, heads + 1)]
    below = 2 ** math.floor(math.log2(heads))
    return slopes(below) + slopes(2 * below)[0::2][: heads - below]


def attended(x: torch.Tensor, w: Weights, name: str, heads: int) -> torch.Tensor:
    n, width = x.shape
    d = width // heads
    qkv = x @ w[f"{name}.self.Wqkv.weight"].T + w[f"{name}.self.Wqkv.bias"]
    q, k, v = qkv[:, :width], qkv[:, width : 2 * width], qkv[:, 2 * width :]
    positions = torch.arange(n, dtype=torch.float64)
    distance = (positions[:, None] - positions).abs()
    columns = []
    for head, slope in enumerate(slopes(heads)):
        part = slice(head * d, (head + 1) * d)
        scores = q[:, part] @ k[:, part].T / math.sqrt(d) - slope * distance
        columns.append(torch.softmax(scores, -1) @ v[:, part])
    out = torch.cat(columns, dim=1)
    return out @ w[f"{name}.output.dense.weight"].T + w[f"{name}.output.dense.bias"]


def hidden_states(source: Path, ids: torch.Tensor) -> torch.Tensor:
    """Last hidden state, float64 [n, D]; ids with [CLS] and [SEP]."""
    w, config = read_weights(source)
    word = w["embeddings.word_embeddings.weight"][ids]
    x = layer_norm(
        word + w["embeddings.token_type_embeddings.weight"][0], w, "embeddings.LayerNorm"
    )
    for number in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{number}"
        a = attended(x, w, f"{name}.attention", config["num_attention_heads"])
        x = layer_norm(a + x, w, f"{name}.attention.output.LayerNorm")
        u = x @ w[f"{name}.mlp.gated_layers.weight"].T
        size = config["intermediate_size"]
        m = gelu(u[:, :size]) * u[:, size:]
        down = m @ w[f"{name}.mlp.wo.weight"].T + w[f"{name}.mlp.wo.bias"]
        x = layer_norm(down + x, w, f"{name}.mlp.layernorm")
    return x


def reference_embedding(weights_source: Path, sequence: str) -> torch.Tensor:
    """Mean over all tokens, [CLS] and [SEP] included, float64 [D]; source: a directory."""
    tokenizer = tokenizers.Tokenizer.from_file(str(weights_source / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    ids = torch.tensor(tokenizer.encode(sequence).ids)
    return hidden_states(weights_source, ids).mean(0)
