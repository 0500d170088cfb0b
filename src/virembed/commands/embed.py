"""`virembed embed`: here the engine and a model meet."""

from __future__ import annotations

import platform
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import click
import torch

import virembed
from virembed.contracts import Encoder
from virembed.engine import settings
from virembed.engine.embed import Progress, embed_items
from virembed.errors import InputError
from virembed.fasta import PROTEIN_ONLY
from virembed.items import read_chunk
from virembed.layout import MODEL_NAMES, model_slot
from virembed.models.registry import LoadedEncoder, load_encoder
from virembed.models.weights import verify_checksums
from virembed.shards import ShardIdentity, ShardOrigin, write_shard

_DNA_ONLY = frozenset("ACGTUN")
_MIN_LETTERS_TO_JUDGE = 200
PROGRESS_S = 60.0


@click.command(short_help="Embed one chunk with ESM-2 or DNABERT-S.")
@click.argument("chunk", type=click.Path(path_type=Path))
@click.option("--model", type=click.Choice(MODEL_NAMES), required=True, help="Kind of embedding.")
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    required=True,
    help="Directory made by `virembed weights convert`.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The shard to write.")
@click.option("--device", default="auto", help="auto, cpu, cuda or cuda:N.")
@click.option("--precision", default="auto", help="Products: auto, fp16, bf16 or fp32.")
@click.option("--attention", default="auto", help="auto, packed, varlen, flash or dense.")
@click.option("--tokens-per-pack", type=click.IntRange(0), default=0, help="0 for automatic.")
@click.option("--threads", type=click.IntRange(0), default=0, help="CPU threads, 0 for all.")
def embed(
    chunk: Path,
    model: str,
    weights: Path,
    out: Path,
    device: str,
    precision: str,
    attention: str,
    tokens_per_pack: int,
    threads: int,
) -> None:
    """Embed CHUNK, a file of `virembed split`, on one GPU or the CPU.

    Writes a shard: one vector per sequence, the mean over its residues (ESM-2) or tokens
    (DNABERT-S), under the key of the sequence.
    """
    begin = time.perf_counter()
    if threads:
        torch.set_num_threads(threads)
    chosen_device = settings.choose_device(device)
    chosen_precision = settings.choose_precision(precision, chosen_device.value)
    settings.set_up_products()
    keys, texts = _read_items(chunk, model_slot(model).item)

    def load(precision: str) -> LoadedEncoder:
        return load_encoder(
            weights,
            model=model,
            device=torch.device(chosen_device.value),
            dtype=settings.PRECISIONS[precision],
            attention=attention if precision == chosen_precision.value else "auto",
        )

    def load_wider(precision: str) -> Encoder:
        return load(precision).encoder

    loaded = load(chosen_precision.value)
    chosen_tokens = settings.choose_tokens_per_pack(
        tokens_per_pack, chosen_device.value, bytes_per_token=loaded.encoder.bytes_per_token
    )
    loaded_s = time.perf_counter() - begin
    with ThreadPoolExecutor(1) as pool:
        # reading every byte takes seconds for the large models: it runs beside the loop, and the
        # shard is not written before it has passed
        checked = pool.submit(verify_checksums, weights, loaded.info)
        result = embed_items(
            texts,
            encoder=loaded.encoder,
            tokenizer=loaded.tokenizer,
            device=torch.device(chosen_device.value),
            tokens_per_pack=int(chosen_tokens.value),
            progress=_progress_lines(chunk.stem, len(texts)),
            retries=[
                partial(load_wider, wider) for wider in settings.WIDER[chosen_precision.value]
            ],
        )
        checked.result()

    identity = ShardIdentity(
        model=model,
        weights_sha256=loaded.info.sha256,
        dim=loaded.info.dim,
        precision=chosen_precision.value,
        pooling=loaded.encoder.pooling,
        virembed=virembed.__version__,
    )
    origin = ShardOrigin(
        chunk=chunk.stem,
        device=settings.device_name(chosen_device.value),
        attention=loaded.attention.value,
        tokens_per_pack=int(chosen_tokens.value),
        reasons={
            "device": chosen_device.reason,
            "precision": chosen_precision.reason,
            "attention": loaded.attention.reason,
            "tokens_per_pack": chosen_tokens.reason,
        },
        software={"python": platform.python_version(), "torch": torch.__version__},
        num_packs=result.num_packs,
        fill_tokens=result.fill_tokens,
        seconds={"load": loaded_s, "tokenize": result.first_s, "loop": result.loop_s},
    )
    write_shard(
        out,
        identity=identity,
        origin=origin,
        keys=keys,
        num_tokens=result.num_tokens,
        vectors=result.vectors,
        flags=result.flags,
    )
    random = "  (random weights: no biology in these vectors)" if loaded.info.random else ""
    click.echo(
        f"{chunk.stem}: {len(texts):,} sequences, {int(result.num_tokens.sum()):,} tokens in "
        f"{result.loop_s:.1f} s on {origin.device}, {loaded.info.name}{random}"
    )


def _read_items(chunk: Path, item: str) -> tuple[list[bytes], list[str]]:
    keys: list[bytes] = []
    texts: list[str] = []
    for key, text in read_chunk(chunk):
        keys.append(key)
        texts.append(text)
    letters = "".join(texts[:1000])
    if item == "protein" and len(letters) >= _MIN_LETTERS_TO_JUDGE and set(letters) <= _DNA_ONLY:
        raise InputError(
            f"{chunk}: these are nucleotides, and the model is for proteins",
            "Give a chunk of chunks/esm2.",
        )
    if item == "dna" and set(letters) & PROTEIN_ONLY:
        raise InputError(
            f"{chunk}: these are proteins, and the model is for DNA",
            "Give a chunk of chunks/dnaberts.",
        )
    return keys, texts


def _progress_lines(name: str, num_items: int) -> Progress:
    """A line a minute, for logs."""
    begin = last = time.monotonic()

    def show(items: int, tokens: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= PROGRESS_S:
            last = now
            rate = tokens / (now - begin)
            left_s = (num_items - items) * (now - begin) / max(1, items)
            click.echo(
                f"{name}: {items:,} of {num_items:,} sequences, {rate:,.0f} tokens/s, "
                f"about {left_s / 60:.0f} min left",
                err=True,
            )

    return show
