"""ESM-2 (Lin et al. 2023, doi:10.1126/science.ade2574), encoder only, on packed tokens.

    representation 0    embeddings, token-dropout rescaling
    layer               x += attention(LN(x)) with rotary positions;  x += FFN(LN(x))
    last                LN(x)

The numbers are those of fair-esm 2.0.0 in fp32, and so are the names; q, k and v are one product.

Shape letters: T packed tokens, B sequences, N heads, H size of a head, R = H / 2 rotary
frequencies, D = N H model size, F feed-forward size, V vocabulary.
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
from virembed.models.kernels import PLAIN, Kernels, choose_kernels, kernels_of
from virembed.models.positions import Rotation, per_token, rotation_of
from virembed.models.tokenizers import ESM2_ALPHABET, MASK
from virembed.models.weights import (
    NameTable,
    Shapes,
    SourceFormat,
    Tensors,
    assign_tensors,
    empty_embedding,
    expand_shapes,
    require,
)
from virembed.weights_info import WeightsInfo

# In training 15 % of the tokens were dropped, 80 % of them by <mask>. Where nothing is masked,
# embeddings are scaled as if the usual share were, which is what the layers have learnt to expect.
TRAINED_MASK_RATIO = 0.15 * 0.8


@dataclass(frozen=True, slots=True)
class Esm2Config:
    num_layers: int
    num_heads: int
    dim: int  # D
    ffn_dim: int  # F
    vocab_size: int  # V
    layer_norm_eps: float
    token_dropout: bool

    @classmethod
    def from_info(cls, info: WeightsInfo) -> Esm2Config:
        return cls(
            num_layers=info.num_layers,
            num_heads=info.num_heads,
            dim=info.dim,
            ffn_dim=info.ffn_dim,
            vocab_size=info.vocab_size,
            layer_norm_eps=info.config["layer_norm_eps"],
            token_dropout=info.config["token_dropout"],
        )

    @property
    def head_dim(self) -> int:
        return self.dim // self.num_heads


@dataclass(slots=True)
class Run:
    """What the layers of one forward pass share."""

    tokens: PackedTokens
    rotation: Rotation | None  # of the current layer
    attention: AttentionFunction
    kernels: Kernels


class Attention(nn.Module):
    def __init__(self, config: Esm2Config) -> None:
        super().__init__()
        self.shape = (3, config.num_heads, config.head_dim)
        self.qkv_proj = nn.Linear(config.dim, 3 * config.dim)
        self.out_proj = nn.Linear(config.dim, config.dim)

    def forward(self, y: Activations, run: Run) -> torch.Tensor:
        q, k, v = self.qkv_proj(y).unflatten(-1, self.shape).unbind(1)  # [T, N, H] each
        attended = run.attention(
            q, k, v, run.tokens, scale=self.shape[-1] ** -0.5, slopes=None, rotation=run.rotation
        )
        out: torch.Tensor = self.out_proj(attended.flatten(1))
        return out


class Layer(nn.Module):
    def __init__(self, config: Esm2Config) -> None:
        super().__init__()
        self.self_attn_layer_norm = nn.LayerNorm(config.dim, config.layer_norm_eps)
        self.self_attn = Attention(config)
        self.final_layer_norm = nn.LayerNorm(config.dim, config.layer_norm_eps)
        self.fc1 = nn.Linear(config.dim, config.ffn_dim)
        self.fc2 = nn.Linear(config.ffn_dim, config.dim)

    def forward(self, x: torch.Tensor, update: torch.Tensor | None, run: Run) -> torch.Tensor:
        """Adds `update`, what the layer before left to add, to the residual stream x, fp32.

        Returns the next update, [T, D] in half precision.
        """
        kernels, dtype = run.kernels, self.fc1.weight.dtype
        y = kernels.add_then_norm(x, update, self.self_attn_layer_norm, dtype=dtype)
        update = self.self_attn(y, run)
        y = kernels.add_then_norm(x, update, self.final_layer_norm, dtype=dtype)
        out: torch.Tensor = self.fc2(kernels.linear_gelu(y, self.fc1))
        return out


class Esm2(nn.Module):
    """An `Encoder` (see `virembed.contracts`)."""

    inv_freq: torch.Tensor
    dtype = torch.float32  # of the products; set by the loader
    pool_skip = (1, 1)
    pooling = "mean over residues, <cls> and <eos> left out"

    def __init__(self, config: Esm2Config, *, attention: AttentionFunction) -> None:
        super().__init__()
        self.config = config
        self.attention = attention
        self.kernels = PLAIN
        self.dim = config.dim
        self.embed_tokens = empty_embedding(config.vocab_size, config.dim)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_layers))
        self.emb_layer_norm_after = nn.LayerNorm(config.dim, config.layer_norm_eps)
        # Loaded, never recomputed: training rounded the frequencies to fp16, and the formula in
        # fp32 gives visibly other vectors. One row per layer, [L, R].
        self.register_buffer("inv_freq", torch.empty(config.num_layers, config.head_dim // 2))
        self.same_inv_freq = [False] * config.num_layers  # as the layer before; set by the loader

    @torch.inference_mode()
    def forward(self, tokens: PackedTokens) -> torch.Tensor:
        """Hidden states after the final LayerNorm, fp32 [T, D]."""
        for x, update in self._layers(tokens):  # noqa: B007
            pass
        norm = self.emb_layer_norm_after
        hidden = self.kernels.add_then_norm(x, update, norm, dtype=torch.float32)
        assert isinstance(hidden, torch.Tensor)
        return hidden

    def states(self, tokens: PackedTokens) -> Iterator[torch.Tensor]:
        """fp32 [T, D] after the embedding and after each layer, the last after the final LN."""
        for number, (x, update) in enumerate(self._layers(tokens)):
            state = x.clone() if update is None else x + update
            yield self.emb_layer_norm_after(state) if number == len(self.layers) else state

    def _layers(self, tokens: PackedTokens) -> Iterator[tuple[torch.Tensor, torch.Tensor | None]]:
        """Before each layer and after the last: residual stream, and what is still to be added."""
        x, update = self.embed(tokens), None
        run = Run(tokens, None, self.attention, self.kernels)
        for number, layer in enumerate(self.layers):
            yield x, update
            if not self.same_inv_freq[number]:
                run.rotation = rotation_of(tokens, self.inv_freq[number])
            update = layer(x, update, run)
        yield x, update

    @property
    def bytes_per_token(self) -> int:
        """Residual stream, its norm, and the feed-forward's inside and outcome."""
        dim, ffn_dim = self.config.dim, self.config.ffn_dim
        return 4 * dim + half_of(self.dtype).itemsize * (2 * dim + max(ffn_dim, 4 * dim))

    def embed(self, tokens: PackedTokens) -> torch.Tensor:
        """Embeddings, rescaled by the share of `<mask>` in each sequence; fp32 [T, D]."""
        x: torch.Tensor = self.embed_tokens(tokens.ids)  # [T, D]
        if not self.config.token_dropout:
            return x
        masked = tokens.ids == MASK  # [T]
        lengths = tokens.cu_seqlens.diff()  # [B]
        sequence = per_token(torch.arange(len(lengths), device=lengths.device), tokens)
        # whole numbers below 2^24: exact in fp32 in whatever order they are added
        num_masked = torch.zeros_like(lengths, dtype=torch.float32)
        num_masked.index_add_(0, sequence, masked.float())
        ratio = (num_masked / lengths)[sequence]  # [T]
        x = x.masked_fill(masked[:, None], 0.0)
        return x * (1 - TRAINED_MASK_RATIO) / (1 - ratio)[:, None]

    @classmethod
    def from_tensors(
        cls,
        tensors: Tensors,
        *,
        info: WeightsInfo,
        dtype: torch.dtype,
        attention: AttentionFunction,
    ) -> Esm2:
        """`tensors`: those of `tensor_shapes`, on the device of the model; emptied on the way."""
        with torch.device("meta"):
            model = cls(Esm2Config.from_info(info), attention=attention)
        own = module_tensors(tensors, num_layers=info.num_layers)
        assign_tensors(model, own, dtype=half_of(dtype))
        if dtype == FP8:
            use_fp8(model, ("qkv_proj", "fc1", "fc2"))
        same = (model.inv_freq[1:] == model.inv_freq[:-1]).all(dim=1)
        model.same_inv_freq = [False, *same.tolist()]
        model.dtype = dtype
        model.kernels = kernels_of(choose_kernels("auto", model.inv_freq.device.type).value)
        return model


def module_tensors(tensors: Tensors, *, num_layers: int) -> Tensors:
    """For each layer q, k and v as one tensor, and the frequencies of all layers as one.

    Takes the parts out of `tensors` to free them.
    """
    for layer in range(num_layers):
        prefix = f"layers.{layer}.self_attn"
        for kind in ("weight", "bias"):
            parts = [tensors.pop(f"{prefix}.{part}_proj.{kind}") for part in "qkv"]
            tensors[f"{prefix}.qkv_proj.{kind}"] = torch.cat(parts)
    names = [f"layers.{layer}.self_attn.rot_emb.inv_freq" for layer in range(num_layers)]
    tensors["inv_freq"] = torch.stack([tensors.pop(name) for name in names]).float()
    return tensors


# The tensors of a weights directory: fair-esm's names without their prefix, heads left out.
TENSOR_AXES = {
    "embed_tokens.weight": "V D",
    "layers.{}.self_attn_layer_norm.weight": "D",
    "layers.{}.self_attn_layer_norm.bias": "D",
    "layers.{}.self_attn.q_proj.weight": "D D",
    "layers.{}.self_attn.q_proj.bias": "D",
    "layers.{}.self_attn.k_proj.weight": "D D",
    "layers.{}.self_attn.k_proj.bias": "D",
    "layers.{}.self_attn.v_proj.weight": "D D",
    "layers.{}.self_attn.v_proj.bias": "D",
    "layers.{}.self_attn.out_proj.weight": "D D",
    "layers.{}.self_attn.out_proj.bias": "D",
    "layers.{}.self_attn.rot_emb.inv_freq": "R",
    "layers.{}.final_layer_norm.weight": "D",
    "layers.{}.final_layer_norm.bias": "D",
    "layers.{}.fc1.weight": "F D",
    "layers.{}.fc1.bias": "F",
    "layers.{}.fc2.weight": "D F",
    "layers.{}.fc2.bias": "D",
    "emb_layer_norm_after.weight": "D",
    "emb_layer_norm_after.bias": "D",
}


def tensor_shapes(info: WeightsInfo) -> Shapes:
    sizes = {
        "V": info.vocab_size,
        "D": info.dim,
        "F": info.ffn_dim,
        "R": info.dim // info.num_heads // 2,
    }
    return expand_shapes(TENSOR_AXES, sizes=sizes, num_layers=info.num_layers)


# Heads for masked tokens and contacts: no part of an embedding.
_HEADS: NameTable = {
    "lm_head.weight": None,
    "lm_head.bias": None,
    "lm_head.dense.weight": None,
    "lm_head.dense.bias": None,
    "lm_head.layer_norm.weight": None,
    "lm_head.layer_norm.bias": None,
    "contact_head.regression.weight": None,
    "contact_head.regression.bias": None,
}

FAIR_ESM_NAMES: NameTable = {**{name: name for name in TENSOR_AXES}, **_HEADS}

# Modules that have a weight and a bias.
_HUGGING_FACE_MODULES = {
    "encoder.layer.{}.attention.LayerNorm": "layers.{}.self_attn_layer_norm",
    "encoder.layer.{}.attention.self.query": "layers.{}.self_attn.q_proj",
    "encoder.layer.{}.attention.self.key": "layers.{}.self_attn.k_proj",
    "encoder.layer.{}.attention.self.value": "layers.{}.self_attn.v_proj",
    "encoder.layer.{}.attention.output.dense": "layers.{}.self_attn.out_proj",
    "encoder.layer.{}.LayerNorm": "layers.{}.final_layer_norm",
    "encoder.layer.{}.intermediate.dense": "layers.{}.fc1",
    "encoder.layer.{}.output.dense": "layers.{}.fc2",
    "encoder.emb_layer_norm_after": "emb_layer_norm_after",
}
_INV_FREQ = "layers.{}.self_attn.rot_emb.inv_freq"
HUGGING_FACE_NAMES: NameTable = {
    "embeddings.word_embeddings.weight": "embed_tokens.weight",
    **{f"{there}.weight": f"{here}.weight" for there, here in _HUGGING_FACE_MODULES.items()},
    **{f"{there}.bias": f"{here}.bias" for there, here in _HUGGING_FACE_MODULES.items()},
    # one vector per layer, or, saved by transformers 5, one for all ("layer.*" or no layer)
    "encoder.layer.{}.attention.self.rotary_embeddings.inv_freq": _INV_FREQ,
    "rotary_embeddings.inv_freq": _INV_FREQ,
    # ESM-2 has no learnt positions; transformers saves unused ones
    "embeddings.position_embeddings.weight": None,
    "embeddings.position_ids": None,
    "pooler.dense.weight": None,
    "pooler.dense.bias": None,
    "lm_head.decoder.weight": None,
    **_HEADS,
}


def fair_esm_fields(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """From the `cfg.model` of a checkpoint; what it does not say is fixed in fair-esm's code."""
    dim = cfg["encoder_embed_dim"]
    return {
        "dim": dim,
        "num_layers": cfg["encoder_layers"],
        "num_heads": cfg["encoder_attention_heads"],
        "ffn_dim": 4 * dim,
        "vocab_size": len(ESM2_ALPHABET),
        "config": {"token_dropout": bool(cfg["token_dropout"]), "layer_norm_eps": 1e-5},
    }


def hugging_face_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    require(config, position_embedding_type="rotary", hidden_act="gelu", mask_token_id=MASK)
    require({"emb_layer_norm_before": False, **config}, emb_layer_norm_before=False)
    return {
        "dim": config["hidden_size"],
        "num_layers": config["num_hidden_layers"],
        "num_heads": config["num_attention_heads"],
        "ffn_dim": config["intermediate_size"],
        "vocab_size": len(ESM2_ALPHABET),
        "config": {
            "token_dropout": config["token_dropout"],
            "layer_norm_eps": config["layer_norm_eps"],
        },
    }


FORMATS = {
    "fair-esm": SourceFormat(
        names=FAIR_ESM_NAMES,
        prefixes=("encoder.sentence_encoder.", "encoder."),
        fields=fair_esm_fields,
    ),
    "Hugging Face": SourceFormat(
        names=HUGGING_FACE_NAMES,
        prefixes=("esm.",),
        fields=hugging_face_fields,
        model_type="esm",
    ),
}
