"""Measures the embedding loop on a GPU: real sizes, random weights made on the device.

    python benchmarks/embed.py --out results.json [--models 3B,650M,150M,dnaberts]
        [--precisions fp16,bf16,fp8] [--seconds 8] [--no-peers]

For every model, precision and distribution of lengths, residues (windows) per second from the
first pack to the last vector on the host, tokenisation beside it; then the matrix products of the
same shapes alone; then what else there is for ESM-2 (peers.py), in the same run, with the ratio of
ours to theirs. The last line is the JSON that --out gets.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peers import measure_peers
from torch import nn

from virembed.contracts import Tokenizer
from virembed.engine import settings
from virembed.engine.embed import embed_items
from virembed.models import dnaberts, esm2
from virembed.models.attention import ATTENTION, choose_attention
from virembed.models.fp8 import Fp8Linear, half_of, quantised
from virembed.models.random_weights import DNABERTS_SIZES, ESM2_SIZES, Size, random_tokenizer
from virembed.models.tokenizers import DnabertsTokenizer, Esm2Tokenizer
from virembed.weights_info import WeightsInfo

DEVICE = torch.device("cuda:0")
RESIDUES = np.frombuffer(b"ACDEFGHIKLMNPQRSTVWY", np.uint8)
BASES = np.frombuffer(b"ACGT", np.uint8)
WARM_UP_ITEMS = 400
TRIAL_PACKS = 10


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
    tensors = {name: draw(name, shape).to(half_of(dtype)) for name, shape in shapes.items()}
    factory = module.Esm2 if model == "esm2" else module.Dnaberts
    alibi = model == "dnaberts"
    name = choose_attention(attention, "cuda", dtype=half_of(dtype), alibi=alibi).value
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
    inputs: dict[tuple[int, bool], Any] = {}
    for linear in linears:
        x = torch.randn(num_tokens, linear.in_features, device=DEVICE)
        is_fp8 = isinstance(linear, Fp8Linear)
        made = quantised(x) if is_fp8 else x.to(linear.weight.dtype)
        inputs.setdefault((linear.in_features, is_fp8), made)

    def run() -> None:
        for linear in linears:
            linear(inputs[linear.in_features, isinstance(linear, Fp8Linear)])

    return seconds_a_pass(run, seconds=seconds)


def measure(
    name: str,
    distribution: str,
    tokenizer: Tokenizer,
    *,
    precision: str,
    options: argparse.Namespace,
) -> dict[str, Any]:
    model, size = (
        ("dnaberts", DNABERTS_SIZES["base"]) if name == "dnaberts" else ("esm2", ESM2_SIZES[name])
    )
    dtype = settings.PRECISIONS[precision]
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

    warm_up, _ = loop(WARM_UP_ITEMS)  # compiles
    few = int(TRIAL_PACKS * num_tokens / warm_up.num_tokens.mean())
    trial, _ = loop(few)
    torch.cuda.reset_peak_memory_stats()
    number = int(few / trial.loop_s * options.seconds)
    result, texts = loop(number)
    letters = sum(map(len, texts))
    return {
        "model": name,
        "distribution": distribution,
        "precision": precision,
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


def with_ratios(rows: list[dict[str, Any]], peers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Ours, in each precision, over theirs."""
    for peer in peers:
        for ours in rows:
            if all(ours[key] == peer.get(key) for key in ("model", "distribution")):
                rate = ours["letters_per_s"] / peer["letters_per_s"]
                peer[f"ours {ours['precision']} / theirs"] = round(rate, 2)
    return peers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--models", default="3B,650M,150M,dnaberts")
    parser.add_argument("--precisions", default="fp16")
    parser.add_argument("--attention", default="auto")
    parser.add_argument("--tokens-per-pack", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--peer-seconds", type=float, default=4.0)
    parser.add_argument("--no-peers", action="store_true")
    options = parser.parse_args()
    settings.set_up_products()
    rows: list[dict[str, Any]] = []
    peers: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as home:
        path = Path(home) / "tokenizer.json"
        random_tokenizer(DNABERTS_SIZES["base"].vocab_size, seed=0).save(str(path))
        bpe = DnabertsTokenizer(path)
    for name in options.models.split(","):
        distributions = ("dna",) if name == "dnaberts" else ("orf", "prot")
        for distribution, precision in product(distributions, options.precisions.split(",")):
            tokenizer: Tokenizer = bpe if name == "dnaberts" else Esm2Tokenizer()
            row = measure(name, distribution, tokenizer, precision=precision, options=options)
            print(json.dumps(row), flush=True)
            rows.append(row)
            torch.cuda.empty_cache()
        if name != "dnaberts" and not options.no_peers:
            texts = {distribution: texts_of(distribution, 20000) for distribution in distributions}
            for row in measure_peers(name, texts, seconds=options.peer_seconds):
                print(json.dumps(row), flush=True)
                peers.append(row)
    report = {
        "device": torch.cuda.get_device_name(DEVICE),
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d"),
        "rows": rows,
        "peers": with_ratios(rows, peers),
    }
    text = json.dumps(report)
    options.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
