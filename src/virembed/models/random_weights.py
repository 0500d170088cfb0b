"""Random models in the published file formats, to try and to time everything without downloads.

Same sizes, names and formats as the real ones, so that conversion and loading are exercised too.
The numbers are scaled so that attention is far from uniform and biases and LayerNorms matter.
A key in the file marks it as random, and the mark stays with every vector made from it.

A seed gives the same tensors on every machine: each is drawn on its own, from seed and name.
"""

from __future__ import annotations

import argparse
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer

from virembed.errors import UsageError
from virembed.models import dnaberts, esm2
from virembed.models.checkpoints import CONFIG, RANDOM_MARK
from virembed.models.tokenizers import ESM2_ALPHABET
from virembed.models.weights import Shapes, Tensors, expand_shapes
from virembed.weights_info import TOKENIZER


@dataclass(frozen=True, slots=True)
class Size:
    num_layers: int
    dim: int  # D
    num_heads: int
    ffn_dim: int  # F
    vocab_size: int  # V


def _esm2_size(num_layers: int, dim: int, num_heads: int) -> Size:
    return Size(num_layers, dim, num_heads, 4 * dim, len(ESM2_ALPHABET))


# To see what everything but the model costs; wide: with vectors as long as those of the real ones
ESM2_SIZES = {
    "micro": _esm2_size(1, 8, 1),
    "wide": _esm2_size(1, 2560, 40),
    "tiny": _esm2_size(4, 64, 4),
    "8M": _esm2_size(6, 320, 20),
    "35M": _esm2_size(12, 480, 20),
    "150M": _esm2_size(30, 640, 20),
    "650M": _esm2_size(33, 1280, 20),
    "3B": _esm2_size(36, 2560, 40),
    "15B": _esm2_size(48, 5120, 40),
}
DNABERTS_SIZES = {
    "micro": Size(1, 8, 1, 16, 4096),
    "wide": Size(1, 768, 12, 3072, 4096),
    "tiny": Size(3, 64, 4, 128, 384),
    "base": Size(12, 768, 12, 3072, 4096),
}

# Parts of the published files that are no part of an embedding: the original code wants them.
ESM2_HEAD_AXES = {
    "lm_head.bias": "V",
    "lm_head.dense.weight": "D D",
    "lm_head.dense.bias": "D",
    "lm_head.layer_norm.weight": "D",
    "lm_head.layer_norm.bias": "D",
}
DNABERTS_HEAD_AXES = {"pooler.dense.weight": "D D", "pooler.dense.bias": "D"}

# Standard deviation of an embedding table; elsewhere that of a product's output for unit input.
EMBEDDING_SPREAD = {"embed_tokens": 0.3, "word_embeddings": 0.04, "token_type_embeddings": 0.02}
GAIN = {"q_proj": 1.3, "k_proj": 1.3, "Wqkv": 1.2, "fc1": 1.2, "fc2": 1.2, "gated_layers": 1.2}


def write_random_esm2(out: Path, *, size: str, seed: int) -> Path:
    """A fair-esm checkpoint `out`/esm2_t4_tiny_random.pt, fp16 like the published ones.

    Raises:
        UsageError: the size is unknown or the file is there already.
    """
    sizes = _look_up(size, ESM2_SIZES, model="esm2")
    path = out / f"esm2_t{sizes.num_layers}_{size}_random.pt"
    _refuse_existing(path)
    tensors: Tensors = {}
    for name, shape in _shapes(esm2.TENSOR_AXES, sizes).items():
        tensors[f"encoder.sentence_encoder.{name}"] = draw(name, shape, seed=seed).half()
    for name, shape in _shapes(ESM2_HEAD_AXES, sizes).items():
        tensors[f"encoder.{name}"] = draw(name, shape, seed=seed).half()
    tensors["encoder.lm_head.weight"] = tensors["encoder.sentence_encoder.embed_tokens.weight"]
    config = argparse.Namespace(
        encoder_layers=sizes.num_layers,
        encoder_embed_dim=sizes.dim,
        encoder_attention_heads=sizes.num_heads,
        token_dropout=True,
    )
    out.mkdir(parents=True, exist_ok=True)
    torch.save({"cfg": {"model": config}, "model": tensors, RANDOM_MARK: True}, path)
    return path


def write_random_dnaberts(out: Path, *, size: str, seed: int) -> Path:
    """A Hugging Face directory `out`: config.json, pytorch_model.bin (fp32), tokenizer.json.

    Raises:
        UsageError: the size is unknown or the directory holds a model already.
    """
    sizes = _look_up(size, DNABERTS_SIZES, model="dnaberts")
    _refuse_existing(out / CONFIG)
    axes = {**dnaberts.TENSOR_AXES, **DNABERTS_HEAD_AXES}
    tensors = {name: draw(name, shape, seed=seed) for name, shape in _shapes(axes, sizes).items()}
    out.mkdir(parents=True, exist_ok=True)
    random_tokenizer(sizes.vocab_size, seed=seed).save(str(out / TOKENIZER))
    torch.save(tensors, out / "pytorch_model.bin")
    (out / CONFIG).write_text(json.dumps(_dnaberts_config(sizes), indent=4, sort_keys=True) + "\n")
    return out


def _dnaberts_config(sizes: Size) -> dict[str, Any]:
    return {
        "architectures": ["BertModel"],
        "hidden_act": "gelu",
        "hidden_size": sizes.dim,
        "intermediate_size": sizes.ffn_dim,
        "layer_norm_eps": 1e-12,
        "model_type": "bert",
        "num_attention_heads": sizes.num_heads,
        "num_hidden_layers": sizes.num_layers,
        "type_vocab_size": 2,
        "vocab_size": sizes.vocab_size,
        RANDOM_MARK: True,
    }


def _look_up(size: str, table: dict[str, Size], *, model: str) -> Size:
    if size not in table:
        raise UsageError(f"{model} has no size {size!r}", f"Sizes: {', '.join(table)}.")
    return table[size]


def _refuse_existing(path: Path) -> None:
    if path.exists():
        raise UsageError(f"{path}: exists already", "Remove it or choose another directory.")


def _shapes(axes: dict[str, str], sizes: Size) -> Shapes:
    letters = {
        "2": 2,
        "V": sizes.vocab_size,
        "D": sizes.dim,
        "3D": 3 * sizes.dim,
        "F": sizes.ffn_dim,
        "2F": 2 * sizes.ffn_dim,
        "R": sizes.dim // sizes.num_heads // 2,
    }
    return expand_shapes(axes, sizes=letters, num_layers=sizes.num_layers)


def draw(name: str, shape: tuple[int, ...], *, seed: int) -> torch.Tensor:
    """One tensor, fp32, by the role that its name tells."""
    *_, module, kind = name.split(".")
    if kind == "inv_freq":
        return _rounded_frequencies(shape[0])
    generator = np.random.default_rng([seed, zlib.crc32(name.encode())])
    normal = torch.from_numpy(generator.standard_normal(shape, np.float32))
    if len(shape) == 1:
        is_norm_weight = kind == "weight"
        return 1 + 0.15 * normal if is_norm_weight else 0.1 * normal
    fan_in = shape[1]
    return normal.mul_(EMBEDDING_SPREAD.get(module, GAIN.get(module, 1.0) * fan_in**-0.5))


def _rounded_frequencies(num: int) -> torch.Tensor:
    """10000^(-i/R), rounded to fp16 as in the published checkpoints; [R]."""
    exponents = torch.arange(num, dtype=torch.float64) / num
    return (10000.0**-exponents).half().float()


def random_tokenizer(vocab_size: int, *, seed: int) -> tokenizers.Tokenizer:
    """A byte-pair encoding of the kind DNABERT-S has, trained on random DNA."""
    generator = np.random.default_rng([seed, zlib.crc32(TOKENIZER.encode())])
    letters = np.frombuffer(b"ACGT", np.uint8)[generator.integers(0, 4, (2000, 100))]
    tokenizer = tokenizers.Tokenizer(BPE(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    trainer = BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"],
        initial_alphabet=["A", "C", "G", "T"],
        show_progress=False,
    )
    tokenizer.train_from_iterator((row.tobytes().decode() for row in letters), trainer)
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    return tokenizer
