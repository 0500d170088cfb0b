"""The original implementations, run on converted weights one sequence at a time: slow, and the
measure of ours.

ESM-2 is fair-esm's own model class (extra `parity`). The code of DNABERT-S does not load in current
transformers, so its published formulas are written out here in fp32, without any of our layers.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from virembed.errors import UsageError
from virembed.layout import ESM2
from virembed.models.dnaberts import alibi_slopes
from virembed.models.tokenizers import DnabertsTokenizer
from virembed.weights_info import TENSORS, TOKENIZER, WeightsInfo

Original = Callable[[str], torch.Tensor]  # text → fp32 [D] on the CPU


def original_encoder(weights: Path, info: WeightsInfo, device: torch.device) -> Original:
    """The original model of a weights directory, fp32.

    Raises:
        UsageError: fair-esm is not installed.
    """
    tensors = {
        name: tensor.float() for name, tensor in load_file(weights / TENSORS, str(device)).items()
    }
    if info.model == ESM2.name:
        return _fair_esm(tensors, info, device)
    return _dnaberts(tensors, info, DnabertsTokenizer(weights / TOKENIZER), device)


def _fair_esm(
    tensors: dict[str, torch.Tensor], info: WeightsInfo, device: torch.device
) -> Original:
    try:
        import esm
    except ModuleNotFoundError:
        raise UsageError(
            "the original ESM-2 is not installed", "Install it: pip install 'virembed[parity]'."
        ) from None
    model = esm.ESM2(
        num_layers=info.num_layers,
        embed_dim=info.dim,
        attention_heads=info.num_heads,
        token_dropout=bool(info.config["token_dropout"]),
    )
    missing = model.load_state_dict(tensors, strict=False).missing_keys
    assert all(name.startswith(("lm_head", "contact_head")) for name in missing), missing
    model = model.to(device).eval()
    convert = model.alphabet.get_batch_converter()

    @torch.inference_mode()
    def embed(text: str) -> torch.Tensor:
        tokens = convert([("", text)])[2].to(device)
        hidden = model(tokens, repr_layers=[info.num_layers])["representations"][info.num_layers]
        mean: torch.Tensor = hidden[0, 1:-1].mean(0)
        return mean.cpu()

    return embed


def _dnaberts(
    w: dict[str, torch.Tensor],
    info: WeightsInfo,
    tokenizer: DnabertsTokenizer,
    device: torch.device,
) -> Original:
    slopes = torch.tensor(alibi_slopes(info.num_heads), device=device)

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        eps = info.config["layer_norm_eps"]
        return F.layer_norm(x, (info.dim,), w[f"{name}.weight"], w[f"{name}.bias"], eps)

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))

    def layer(x: torch.Tensor, bias: torch.Tensor, name: str) -> torch.Tensor:
        head_dim = info.dim // info.num_heads
        qkv = linear(x, f"{name}.attention.self.Wqkv").view(len(x), 3, info.num_heads, head_dim)
        q, k, v = qkv.permute(1, 2, 0, 3)  # each [N, n, H]
        attended = ((q @ k.mT) / head_dim**0.5 + bias).softmax(-1) @ v
        joined = linear(attended.transpose(0, 1).flatten(1), f"{name}.attention.output.dense")
        x = norm(joined + x, f"{name}.attention.output.LayerNorm")
        activated, gate = linear(x, f"{name}.mlp.gated_layers").chunk(2, dim=-1)
        return norm(linear(F.gelu(activated) * gate, f"{name}.mlp.wo") + x, f"{name}.mlp.layernorm")

    @torch.inference_mode()
    def embed(text: str) -> torch.Tensor:
        ids = torch.from_numpy(tokenizer.encode([text])[0]).to(device)
        words = w["embeddings.word_embeddings.weight"][ids]
        x = norm(words + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        position = torch.arange(len(ids), device=device)
        distance = (position[:, None] - position[None]).abs()
        bias = -slopes[:, None, None] * distance
        for number in range(info.num_layers):
            x = layer(x, bias, f"encoder.layer.{number}")
        return x.mean(0).cpu()

    return embed
