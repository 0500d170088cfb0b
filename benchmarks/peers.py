"""Other programs for the same vectors, on the GPU and the sequences of benchmarks/embed.py.

Each runs its own code at its own best: sorted by length or packed, large batches, half precision;
fair-esm in the setting of VirNucPro too. Vectors are means over residues and end on the host.
Weights are random, made on the device. What is not installed is left out, with the reason.

esm-efficient wants the package flash-attn. Where there is none, its one call of it goes to the same
kernel inside torch.
"""

from __future__ import annotations

import sys
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from virembed.models.random_weights import ESM2_SIZES, Size
from virembed.models.tokenizers import Esm2Tokenizer

DEVICE = torch.device("cuda:0")
TOKENS = 16384  # a batch
RUN = 100  # texts of about a batch
Texts = list[str]
Peer = Callable[[Texts], None]  # embeds


def made_on_device(make: Callable[[], Any], dtype: torch.dtype) -> Any:
    with torch.device(DEVICE):
        return make().to(dtype).eval()


def fair_esm(size: Size, dtype: torch.dtype, *, tokens: int, one_by_one: bool) -> Peer:
    """one_by_one: vectors are averaged and fetched each on its own, as VirNucPro does."""
    import esm  # noqa: PLC0415  an extra

    model = made_on_device(lambda: esm.ESM2(size.num_layers, size.dim, size.num_heads), dtype)
    convert = model.alphabet.get_batch_converter()
    last = size.num_layers

    @torch.inference_mode()
    def embed(texts: Texts) -> None:
        data = esm.FastaBatchedDataset([str(i) for i in range(len(texts))], texts)
        for batch in data.get_batch_indices(tokens, extra_toks_per_seq=1):
            _, chosen, ids = convert([data[i] for i in batch])
            hidden = model(ids.to(DEVICE), repr_layers=[last])["representations"][last]
            lengths = [len(text) for text in chosen]
            if one_by_one:
                for row, length in zip(hidden, lengths, strict=True):
                    row[1 : length + 1].mean(0).cpu()
            else:
                padded_means(hidden, torch.tensor(lengths, device=DEVICE)).cpu()

    return embed


def padded_means(hidden: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """hidden: [B, n, D], residues at 1 ... length."""
    position = torch.arange(hidden.shape[1], device=hidden.device)
    inside = (position > 0) & (position <= lengths[:, None])
    return (hidden * inside[:, :, None]).sum(1) / lengths[:, None]


def transformers_sdpa(size: Size, dtype: torch.dtype) -> Peer:
    """Batches of equal tokens, sorted by length and padded."""
    from transformers import EsmConfig, EsmModel  # noqa: PLC0415  an extra

    make_config: Any = EsmConfig
    make_model: Any = EsmModel
    config = make_config(
        vocab_size=33, mask_token_id=32, pad_token_id=1, hidden_size=size.dim,
        num_hidden_layers=size.num_layers, num_attention_heads=size.num_heads,
        intermediate_size=size.ffn_dim, position_embedding_type="rotary", token_dropout=True,
        hidden_act="gelu", emb_layer_norm_before=False, attn_implementation="sdpa",
    )  # fmt: skip
    model = made_on_device(lambda: make_model(config, add_pooling_layer=False), dtype)
    tokenizer = Esm2Tokenizer()

    @torch.inference_mode()
    def embed(texts: Texts) -> None:
        for ids in batches(tokenizer.encode(sorted(texts, key=len, reverse=True)), padded=True):
            lengths = torch.tensor([len(row) for row in ids])
            table = torch.ones(len(ids), int(lengths.max()), dtype=torch.int64)
            for row, own in zip(table, ids, strict=True):
                row[: len(own)] = torch.from_numpy(own)
            mask = (torch.arange(table.shape[1]) < lengths[:, None]).long()
            hidden = model(table.to(DEVICE), attention_mask=mask.to(DEVICE)).last_hidden_state
            padded_means(hidden, (lengths - 2).to(DEVICE)).cpu()

    return embed


def batches(ids: list[Any], *, padded: bool, tokens: int = TOKENS) -> Iterator[list[Any]]:
    """Longest first; `padded`: each takes as many tokens as the longest."""
    first = 0
    while first < len(ids):
        last, used = first, 0
        while last < len(ids):
            used += len(ids[first] if padded else ids[last])
            if used > tokens and last > first:
                break
            last += 1
        yield ids[first:last]
        first = last


def esm_efficient(size: Size, dtype: torch.dtype) -> Peer:
    """Packed, twice as many tokens a batch: its best setting here."""
    with flash_attn():
        from esme.esm import ESM2  # type: ignore[import-not-found]  # noqa: PLC0415
        from esme.pooling import (  # type: ignore[import-not-found]  # noqa: PLC0415
            PartitionMeanPool,
        )

    def make() -> Any:
        return ESM2(size.num_layers, size.dim, size.num_heads, dtype=dtype)

    model, pool, tokenizer = made_on_device(make, dtype), PartitionMeanPool(), Esm2Tokenizer()

    @torch.inference_mode()
    def embed(texts: Texts) -> None:
        for ids in batches(tokenizer.encode(texts), padded=False, tokens=2 * TOKENS):
            lengths = [len(row) for row in ids]
            bounds = torch.from_numpy(np.cumsum([0, *lengths])).int().to(DEVICE)
            tokens = torch.from_numpy(np.concatenate(ids)).to(DEVICE)
            hidden = model.forward_representation(tokens, (bounds, max(lengths)))
            pool(hidden, bounds).cpu()

    return embed


@contextmanager
def flash_attn() -> Iterator[None]:
    """For an import: a module flash_attn with the one function that packed embedding calls."""
    if find_spec("flash_attn"):
        yield
        return

    def varlen(q: Any, k: Any, v: Any, **options: Any) -> Any:
        bounds, longest = options["cu_seqlens_q"], options["max_seqlen_q"]
        q, k, no = q.to(v.dtype), k.to(v.dtype), False
        return torch.ops.aten._flash_attention_forward(
            q, k, v, bounds, bounds, longest, longest, 0.0, no, no
        )[0]

    module: Any = types.ModuleType("flash_attn")
    padding: Any = types.ModuleType("flash_attn.bert_padding")
    module.flash_attn_varlen_func = varlen
    padding.pad_input = padding.unpad_input = None  # for padded input only
    names = {module.__name__: module, padding.__name__: padding}
    sys.modules.update(names)
    try:
        yield
    finally:
        for name in names:  # transformers would take it for the whole package
            del sys.modules[name]


def sample_of(texts: Texts, number: int) -> Texts:
    """About `number` of the texts, which come sorted by length: runs of neighbours, evenly over all
    lengths, so that there is as much padding as in all of them."""
    num_runs = len(texts) // RUN
    chosen = min(num_runs, -(-number // RUN))
    starts = [int((k + 0.5) * num_runs / chosen) * RUN for k in range(chosen)]
    return [text for start in starts for text in texts[start : start + RUN]]


def residues_per_s(embed: Peer, texts: Texts, *, seconds: float) -> float:
    """Over more and more texts, until they take `seconds` or nearly so."""
    texts = sorted(texts, key=len)
    number = RUN
    embed(sample_of(texts, number))
    while True:
        chosen = sample_of(texts, number)
        torch.cuda.synchronize()
        begin = time.perf_counter()
        embed(chosen)
        torch.cuda.synchronize()
        took = time.perf_counter() - begin
        if took > seconds / 2 or len(chosen) < number:
            return sum(map(len, chosen)) / took
        number = int(number * min(10, seconds / took)) + 1


half, bf16 = torch.float16, torch.bfloat16
PEERS: dict[str, Callable[[Size], Peer]] = {
    "esm-efficient fp16, packed, 32768 tokens": lambda size: esm_efficient(size, half),
    "transformers SDPA fp16, sorted, 16384 tokens": lambda size: transformers_sdpa(size, half),
    "fair-esm fp16, sorted, 16384 tokens": lambda size: fair_esm(
        size, half, tokens=TOKENS, one_by_one=False
    ),
    "fair-esm as VirNucPro runs it (fp32, 2048 tokens)": lambda size: fair_esm(
        size, torch.float32, tokens=2048, one_by_one=True
    ),
    "esm-efficient bf16, packed, 32768 tokens": lambda size: esm_efficient(size, bf16),
    "transformers SDPA bf16, sorted, 16384 tokens": lambda size: transformers_sdpa(size, bf16),
}


def measure_peers(
    name: str, texts_by_distribution: dict[str, Texts], *, seconds: float
) -> Iterator[dict[str, Any]]:
    """Of an ESM-2 size; one row for each peer and distribution."""
    for label, make in PEERS.items():
        row = {"model": name, "peer": label}
        try:
            embed = make(ESM2_SIZES[name])
            for distribution, texts in texts_by_distribution.items():
                rate = residues_per_s(embed, texts, seconds=seconds)
                yield {**row, "distribution": distribution, "letters_per_s": rate}
            del embed
        except Exception as error:  # noqa: BLE001  a peer that fails must not end the run
            yield {**row, "failed": f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"}
        torch.cuda.empty_cache()
