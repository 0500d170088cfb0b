"""DNABERT-S (Zhou et al. 2024, arXiv:2402.08777), encoder only, on packed tokens.

A MosaicBERT: BERT with ALiBi instead of position embeddings, gated feed-forward, LayerNorm after
each residual sum.

    embeddings    LN(word + token type 0)
    layer         x = LN(x + attention(x));  x = LN(x + W (GELU(a) * b)),  [a | b] = U x

The numbers are those of the original code on its PyTorch path in fp32.

Shape letters: T packed tokens, N heads, H size of a head, D = N H model size, F feed-forward size,
V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from virembed.contracts import PackedTokens
from virembed.models.attention import AttentionFunction
from virembed.models.fp8 import FP8, Activations, half_of, use_fp8
from virembed.models.gating import in_turns
from virembed.models.kernels import PLAIN, Kernels, choose_kernels, kernels_of
from virembed.models.weights import (
    NameTable,
    Shapes,
    SourceFormat,
    Tensors,
    assign_tensors,
    empty_embedding,
    expand_shapes,
    rename,
    require,
)
from virembed.weights_info import WeightsInfo


@dataclass(frozen=True, slots=True)
class DnabertsConfig:
    num_layers: int
    num_heads: int
    dim: int  # D
    ffn_dim: int  # F
    vocab_size: int  # V
    layer_norm_eps: float

    @classmethod
    def from_info(cls, info: WeightsInfo) -> DnabertsConfig:
        return cls(
            num_layers=info.num_layers,
            num_heads=info.num_heads,
            dim=info.dim,
            ffn_dim=info.ffn_dim,
            vocab_size=info.vocab_size,
            layer_norm_eps=info.config["layer_norm_eps"],
        )

    @property
    def head_dim(self) -> int:
        return self.dim // self.num_heads


def alibi_slopes(num_heads: int) -> list[float]:
    """Slope of each head (Press et al. 2022, arXiv:2108.12409).

    Geometric for a power of two. For other numbers, those of the next lower power, then every
    second one of the next higher power: appended, not sorted in.
    """
    power = 2 ** (num_heads.bit_length() - 1)
    slopes = [2 ** (-8 * (head + 1) / power) for head in range(power)]
    between = [2 ** (-8 * (2 * head + 1) / (2 * power)) for head in range(num_heads - power)]
    return slopes + between


@dataclass(frozen=True, slots=True)
class Run:
    """What the layers of one forward pass share."""

    tokens: PackedTokens
    slopes: torch.Tensor
    attention: AttentionFunction
    kernels: Kernels


class Layer(nn.Module):
    def __init__(self, config: DnabertsConfig) -> None:
        super().__init__()
        self.shape = (3, config.num_heads, config.head_dim)
        self.qkv = nn.Linear(config.dim, 3 * config.dim)
        self.out = nn.Linear(config.dim, config.dim)
        self.attention_norm = nn.LayerNorm(config.dim, config.layer_norm_eps)
        self.up = nn.Linear(config.dim, 2 * config.ffn_dim, bias=False)
        self.down = nn.Linear(config.ffn_dim, config.dim)
        self.ffn_norm = nn.LayerNorm(config.dim, config.layer_norm_eps)

    def forward(self, x: torch.Tensor, y: Activations, run: Run) -> Activations:
        """x: the residual stream, fp32 [T, D], changed in place; y: the same in the dtype of the
        products. Returns the next y."""
        kernels, dtype = run.kernels, self.up.weight.dtype
        q, k, v = self.qkv(y).unflatten(-1, self.shape).unbind(1)  # [T, N, H] each
        scale = self.shape[-1] ** -0.5
        attended = run.attention(q, k, v, run.tokens, scale=scale, slopes=run.slopes)
        update = self.out(attended.flatten(1))
        y = kernels.norm_of_sum(x, update, self.attention_norm, dtype=dtype)
        update = self.down(kernels.linear_gated_gelu(y, self.up))
        return kernels.norm_of_sum(x, update, self.ffn_norm, dtype=dtype)


class Dnaberts(nn.Module):
    """An `Encoder` (see `virembed.contracts`)."""

    dtype = torch.float32  # of the products; set by the loader
    pool_skip = (0, 0)
    pooling = "mean over all tokens, [CLS] and [SEP] included"

    def __init__(self, config: DnabertsConfig, *, attention: AttentionFunction) -> None:
        super().__init__()
        self.attention = attention
        self.kernels = PLAIN
        self.dim, self.ffn_dim = config.dim, config.ffn_dim
        self.slopes = torch.tensor(alibi_slopes(config.num_heads), dtype=torch.float32)
        self.word_embeddings = empty_embedding(config.vocab_size, config.dim)
        self.embedding_norm = nn.LayerNorm(config.dim, config.layer_norm_eps)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_layers))

    @torch.inference_mode()
    def forward(self, tokens: PackedTokens) -> torch.Tensor:
        """Hidden states after the last layer, fp32 [T, D]."""
        for x in self._layers(tokens):  # noqa: B007
            pass
        return x

    def states(self, tokens: PackedTokens) -> Iterator[torch.Tensor]:
        """fp32 [T, D] after the embedding and after each layer."""
        for x in self._layers(tokens):
            yield x.clone()

    def _layers(self, tokens: PackedTokens) -> Iterator[torch.Tensor]:
        """The residual stream, always the same tensor, before each layer and after the last."""
        x = self.embed(tokens)
        y = self.kernels.norm_of_sum(x, None, self.embedding_norm, dtype=self.dtype)
        run = Run(tokens, self.slopes, self.attention, self.kernels)
        for layer in self.layers:
            yield x
            y = layer(x, y, run)
        yield x

    @property
    def bytes_per_token(self) -> int:
        """Residual stream, its copy for the products, and the feed-forward's inside."""
        itemsize = half_of(self.dtype).itemsize
        return 4 * self.dim + itemsize * (2 * self.dim + 3 * self.ffn_dim)

    def embed(self, tokens: PackedTokens) -> torch.Tensor:
        """Word and type of each token, not normed yet; fp32 [T, D]."""
        # Row 0 of the words is that of [UNK]: a word like any other, not padding.
        x: torch.Tensor = self.word_embeddings(tokens.ids)
        return x

    @classmethod
    def from_tensors(
        cls,
        tensors: Tensors,
        *,
        info: WeightsInfo,
        dtype: torch.dtype,
        attention: AttentionFunction,
    ) -> Dnaberts:
        """`tensors`: those of `tensor_shapes`, on the device of the model."""
        config = DnabertsConfig.from_info(info)
        with torch.device("meta"):
            model = cls(config, attention=attention)
        own, _ = rename(tensors, MODULE_NAMES, prefixes=(), num_layers=info.num_layers)
        assign_tensors(model, module_tensors(own, num_layers=info.num_layers), dtype=half_of(dtype))
        if dtype == FP8:
            use_fp8(model, ("qkv", "up", "down"))
        device = model.word_embeddings.weight.device
        model.slopes = torch.tensor(alibi_slopes(config.num_heads), device=device)
        model.dtype = dtype
        model.kernels = kernels_of(choose_kernels("auto", device.type).value)
        return model


def module_tensors(tensors: Tensors, *, num_layers: int) -> Tensors:
    """All tokens are of type 0, so that the row of that type can be added to the words for good.
    The channels of the feed-forward are laid as `models.gating` says.
    """
    types = tensors.pop("token_type_embeddings.weight").float()
    words = tensors["word_embeddings.weight"].float()
    tensors["word_embeddings.weight"] = words + types[0]
    for layer in range(num_layers):
        name = f"layers.{layer}.up.weight"
        tensors[name] = in_turns(tensors[name])
    return tensors


# The tensors of a weights directory: the original `BertModel`'s names, pooler left out.
TENSOR_AXES = {
    "embeddings.word_embeddings.weight": "V D",
    "embeddings.token_type_embeddings.weight": "2 D",
    "embeddings.LayerNorm.weight": "D",
    "embeddings.LayerNorm.bias": "D",
    "encoder.layer.{}.attention.self.Wqkv.weight": "3D D",
    "encoder.layer.{}.attention.self.Wqkv.bias": "3D",
    "encoder.layer.{}.attention.output.dense.weight": "D D",
    "encoder.layer.{}.attention.output.dense.bias": "D",
    "encoder.layer.{}.attention.output.LayerNorm.weight": "D",
    "encoder.layer.{}.attention.output.LayerNorm.bias": "D",
    "encoder.layer.{}.mlp.gated_layers.weight": "2F D",
    "encoder.layer.{}.mlp.wo.weight": "D F",
    "encoder.layer.{}.mlp.wo.bias": "D",
    "encoder.layer.{}.mlp.layernorm.weight": "D",
    "encoder.layer.{}.mlp.layernorm.bias": "D",
}


def tensor_shapes(info: WeightsInfo) -> Shapes:
    sizes = {
        "2": 2,
        "V": info.vocab_size,
        "D": info.dim,
        "3D": 3 * info.dim,
        "F": info.ffn_dim,
        "2F": 2 * info.ffn_dim,
    }
    return expand_shapes(TENSOR_AXES, sizes=sizes, num_layers=info.num_layers)


# Tensor -> parameter of the module above.
MODULE_NAMES: NameTable = {
    "embeddings.word_embeddings.weight": "word_embeddings.weight",
    "embeddings.token_type_embeddings.weight": "token_type_embeddings.weight",
    "embeddings.LayerNorm.weight": "embedding_norm.weight",
    "embeddings.LayerNorm.bias": "embedding_norm.bias",
    "encoder.layer.{}.attention.self.Wqkv.weight": "layers.{}.qkv.weight",
    "encoder.layer.{}.attention.self.Wqkv.bias": "layers.{}.qkv.bias",
    "encoder.layer.{}.attention.output.dense.weight": "layers.{}.out.weight",
    "encoder.layer.{}.attention.output.dense.bias": "layers.{}.out.bias",
    "encoder.layer.{}.attention.output.LayerNorm.weight": "layers.{}.attention_norm.weight",
    "encoder.layer.{}.attention.output.LayerNorm.bias": "layers.{}.attention_norm.bias",
    "encoder.layer.{}.mlp.gated_layers.weight": "layers.{}.up.weight",
    "encoder.layer.{}.mlp.wo.weight": "layers.{}.down.weight",
    "encoder.layer.{}.mlp.wo.bias": "layers.{}.down.bias",
    "encoder.layer.{}.mlp.layernorm.weight": "layers.{}.ffn_norm.weight",
    "encoder.layer.{}.mlp.layernorm.bias": "layers.{}.ffn_norm.bias",
}

HUGGING_FACE_NAMES: NameTable = {
    **{name: name for name in TENSOR_AXES},
    # heads: no part of an embedding
    "pooler.dense.weight": None,
    "pooler.dense.bias": None,
    "cls.predictions.transform.dense.weight": None,
    "cls.predictions.transform.dense.bias": None,
    "cls.predictions.transform.LayerNorm.weight": None,
    "cls.predictions.transform.LayerNorm.bias": None,
    "cls.predictions.decoder.weight": None,
    "cls.predictions.decoder.bias": None,
    "classifier.weight": None,
    "classifier.bias": None,
}


def hugging_face_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    require(config, hidden_act="gelu", type_vocab_size=2)
    return {
        "dim": config["hidden_size"],
        "num_layers": config["num_hidden_layers"],
        "num_heads": config["num_attention_heads"],
        "ffn_dim": config["intermediate_size"],
        "vocab_size": config["vocab_size"],
        "config": {"layer_norm_eps": config["layer_norm_eps"]},
    }


FORMATS = {
    "Hugging Face": SourceFormat(
        names=HUGGING_FACE_NAMES,
        prefixes=("bert.",),  # `BertModel` saves without, masked LM and classifier with it
        fields=hugging_face_fields,
        model_type="bert",
    ),
}
