"""Measures the embedding loop on a GPU: real sizes, random weights made on the device.

    python benchmarks/embed.py --out results.json [--models 3B,650M,150M,dnaberts] [--seconds 8]

For every model and distribution of lengths, residues (windows) per second from the first pack to
the last vector on the host, tokenisation beside it; then the matrix products of the same shapes
alone, in the same run; then transformers with SDPA in bf16 and fp16, where it is installed. The
last line is the JSON that --out gets.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from virembed.contracts import Tokenizer
from virembed.engine import settings
from virembed.engine.embed import embed_items
from virembed.models import dnaberts, esm2
from virembed.models.attention import ATTENTION, choose_attention
from virembed.models.random_weights import DNABERTS_SIZES, ESM2_SIZES, Size, random_tokenizer
from virembed.models.tokenizers import DnabertsTokenizer, Esm2Tokenizer
from virembed.weights_info import WeightsInfo

DEVICE = torch.device("cuda:0")
RESIDUES = np.frombuffer(b"ACDEFGHIKLMNPQRSTVWY", np.uint8)
BASES = np.frombuffer(b"ACGT", np.uint8)
WARM_UP_ITEMS = 400


def lengths_of(distribution: str, number: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """orf: open frames of 500 bp windows; prot: proteins; dna: 500 bp windows."""
    generator = np.random.default_rng(0)
    if distribution == "dna":
        return np.full(number, 500)
    if distribution == "prot":
        return np.clip(generator.lognormal(np.log(250), 0.6, number), 30, 1022).astype(np.int64)
    short = generator.integers(33, 167, number)
    return np.where(generator.random(number) < 0.5, 166, short)


def texts_of(distribution: str, number: int) -> list[str]:
    lengths = lengths_of(distribution, number)
    letters = BASES if distribution == "dna" else RESIDUES
    drawn = letters[np.random.default_rng(1).integers(0, len(letters), int(lengths.sum()))]
    text, ends = drawn.tobytes().decode(), np.cumsum(lengths)
    return [text[end - length : end] for end, length in zip(ends, lengths, strict=True)]


def encoder_of(model: str, size: Size, *, dtype: torch.dtype, attention: str) -> Any:
    """Drawn on the device: embeddings and products scaled as in `virembed weights random`."""
    module: Any = esm2 if model == "esm2" else dnaberts
    eps = 1e-5 if model == "esm2" else 1e-12
    info = WeightsInfo(
        model=model,
        name="benchmark",
        dim=size.dim,
        num_layers=size.num_layers,
        num_heads=size.num_heads,
        ffn_dim=size.ffn_dim,
        vocab_size=size.vocab_size,
        config={"token_dropout": True, "layer_norm_eps": eps},
        random=True,
        files={},
        source={},
    )
    torch.manual_seed(0)
    shapes = module.tensor_shapes(info)
    tensors = {name: draw(name, shape).to(dtype) for name, shape in shapes.items()}
    factory = module.Esm2 if model == "esm2" else module.Dnaberts
    name = choose_attention(attention, "cuda", dtype=dtype, alibi=model == "dnaberts").value
    return factory.from_tensors(tensors, info=info, dtype=dtype, attention=ATTENTION[name])


def draw(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    if name.endswith("inv_freq"):
        return 10000.0 ** -(torch.arange(shape[0], device=DEVICE) / shape[0])
    normal = torch.randn(shape, device=DEVICE)
    if len(shape) == 1:
        return 1 + 0.15 * normal if name.endswith("weight") else 0.1 * normal
    return normal * (0.3 if "embed" in name else 1.2 * shape[1] ** -0.5)


def seconds_a_pass(run: Callable[[], object], *, seconds: float) -> float:
    """Mean over `seconds`, so that clocks settle as in the loop."""
    run()
    torch.cuda.synchronize()
    begin, passes = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        for _ in range(4):
            run()
        torch.cuda.synchronize()
        passes += 4
    return (time.perf_counter() - begin) / passes


@torch.inference_mode()
def products_s(encoder: Any, num_tokens: int, *, seconds: float) -> float:
    """The matrix products of one forward pass and nothing else."""
    linears = [m for m in encoder.layers.modules() if isinstance(m, nn.Linear)]
    dtype = linears[0].weight.dtype
    inputs = {
        linear.in_features: torch.randn(num_tokens, linear.in_features, device=DEVICE, dtype=dtype)
        for linear in linears
    }

    def run() -> None:
        for linear in linears:
            F.linear(inputs[linear.in_features], linear.weight, linear.bias)

    return seconds_a_pass(run, seconds=seconds)


def measure(
    name: str, distribution: str, tokenizer: Tokenizer, *, options: argparse.Namespace
) -> dict[str, Any]:
    model, size = (
        ("dnaberts", DNABERTS_SIZES["base"]) if name == "dnaberts" else ("esm2", ESM2_SIZES[name])
    )
    dtype = settings.PRECISIONS[options.precision]
    encoder = encoder_of(model, size, dtype=dtype, attention=options.attention)
    tokens = settings.choose_tokens_per_pack(
        options.tokens_per_pack, "cuda:0", bytes_per_token=encoder.bytes_per_token
    )
    num_tokens = int(tokens.value)
    products = products_s(encoder, num_tokens, seconds=options.seconds / 2)

    def loop(number: int) -> tuple[Any, list[str]]:
        texts = texts_of(distribution, number)
        result = embed_items(
            texts, encoder=encoder, tokenizer=tokenizer, device=DEVICE, tokens_per_pack=num_tokens
        )
        return result, texts

    loop(WARM_UP_ITEMS)  # compiles
    trial, _ = loop(20 * WARM_UP_ITEMS)
    torch.cuda.reset_peak_memory_stats()
    number = int(20 * WARM_UP_ITEMS / trial.loop_s * options.seconds)
    result, texts = loop(number)
    letters = sum(map(len, texts))
    return {
        "model": name,
        "distribution": distribution,
        "precision": options.precision,
        "attention": options.attention,
        "tokens_per_pack": num_tokens,
        "items": number,
        "loop_s": result.loop_s,
        "before_first_pack_s": result.first_s,
        "items_per_s": number / result.loop_s,
        "letters_per_s": letters / result.loop_s,
        "tokens_per_item": float(result.num_tokens.mean()),
        "fill_share": result.fill_tokens / (num_tokens * result.num_packs),
        "products_ms": 1e3 * products,
        "pack_ms": 1e3 * result.loop_s / result.num_packs,
        "products_share": products * result.num_packs / result.loop_s,
        "peak_gib": torch.cuda.max_memory_allocated() / 2**30,
    }


def measure_transformers(name: str, distribution: str, dtype: torch.dtype, s: float) -> Any:
    """EsmModel with SDPA on batches sorted by length and padded, 16384 tokens each."""
    from transformers import EsmConfig, EsmModel  # noqa: PLC0415  an extra

    size = ESM2_SIZES[name]
    make_config: Any = EsmConfig
    make_model: Any = EsmModel
    config = make_config(
        vocab_size=33, mask_token_id=32, pad_token_id=1, hidden_size=size.dim,
        num_hidden_layers=size.num_layers, num_attention_heads=size.num_heads,
        intermediate_size=size.ffn_dim, position_embedding_type="rotary", token_dropout=True,
        hidden_act="gelu", emb_layer_norm_before=False, attn_implementation="sdpa",
    )  # fmt: skip
    with torch.device(DEVICE):
        model = make_model(config, add_pooling_layer=False).to(dtype).eval()
    lengths = np.sort(lengths_of(distribution, 2000) + 2)[::-1]
    batches, first = [], 0
    while first < len(lengths):
        number = max(1, 16384 // int(lengths[first]))
        chosen = torch.from_numpy(lengths[first : first + number].copy()).to(DEVICE)
        mask = torch.arange(int(lengths[first]), device=DEVICE) < chosen[:, None]
        batches.append((torch.full(mask.shape, 5, device=DEVICE).masked_fill(~mask, 1), mask))
        first += number

    @torch.inference_mode()
    def run() -> None:
        for ids, mask in batches:
            model(ids, attention_mask=mask.long())

    return float((lengths - 2).sum()) / seconds_a_pass(run, seconds=s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--models", default="3B,650M,150M,dnaberts")
    parser.add_argument("--precision", default="fp16", choices=settings.PRECISIONS)
    parser.add_argument("--attention", default="auto")
    parser.add_argument("--tokens-per-pack", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--no-transformers", action="store_true")
    options = parser.parse_args()
    settings.set_up_products()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as home:
        path = Path(home) / "tokenizer.json"
        random_tokenizer(DNABERTS_SIZES["base"].vocab_size, seed=0).save(str(path))
        bpe = DnabertsTokenizer(path)
    for name in options.models.split(","):
        for distribution in ("dna",) if name == "dnaberts" else ("orf", "prot"):
            tokenizer: Tokenizer = bpe if name == "dnaberts" else Esm2Tokenizer()
            row = measure(name, distribution, tokenizer, options=options)
            print(json.dumps(row), flush=True)
            rows.append(row)
            torch.cuda.empty_cache()
    others: dict[str, float] = {}
    if not options.no_transformers and "3B" in options.models.split(","):
        for distribution in ("orf", "prot"):
            rate = measure_transformers("3B", distribution, torch.bfloat16, options.seconds / 2)
            others[f"transformers sdpa bf16, 3B, {distribution}, residues/s"] = rate
    report = {
        "device": torch.cuda.get_device_name(DEVICE),
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d"),
        "rows": rows,
        "others": others,
    }
    text = json.dumps(report)
    options.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
