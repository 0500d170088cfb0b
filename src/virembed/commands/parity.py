"""`virembed parity`: our vectors beside those of the original implementations."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from virembed.errors import InputError
from virembed.layout import MODEL_NAMES, model_slot
from virembed.parity import MIN_COSINE, compare

HEADER = (
    f"{'letters':>12} {'sequences':>10} {'min cosine':>12} {'mean cosine':>12} {'max diff':>10}"
)


@click.command(short_help="Compare our vectors with those of the original implementations.")
@click.argument("fasta", type=click.Path(path_type=Path))
@click.option("--model", type=click.Choice(MODEL_NAMES), required=True, help="Kind of embedding.")
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    required=True,
    help="Directory made by `virembed weights convert`.",
)
@click.option("--num", type=click.IntRange(1), default=200, help="Sequences to compare.")
@click.option("--device", default="auto", help="auto, cpu, cuda or cuda:N.")
@click.option("--precision", default="auto", help="Of our products, as for embed: fp8 too.")
@click.option("--attention", default="auto", help="Our attention kernel.")
def parity(
    fasta: Path,
    model: str,
    weights: Path,
    num: int,
    device: str,
    precision: str,
    attention: str,
) -> None:
    """Embed sequences of FASTA with our code and with the original, and compare the vectors.

    FASTA holds proteins for esm2 (as SAMPLE.proteins.faa.gz does) or DNA for dnaberts; sequences
    are taken evenly over the file. The original runs in fp32, one sequence at a time. Ends with
    exit code 1 if a vector is further away than the precision allows.
    """
    import numpy as np
    import torch

    from virembed.embed import EmbedSettings, ModelOnDevice
    from virembed.engine.settings import choose_device, device_name
    from virembed.models.originals import original_encoder

    texts = _texts(fasta, item=model_slot(model).item, num=num)
    chosen = choose_device(device)
    asked = EmbedSettings(precision=precision, attention=attention)
    run = ModelOnDevice(model, weights, asked, chosen)
    ours = run.embed(texts, progress=lambda _items, _tokens: None)
    begin = time.perf_counter()
    original = original_encoder(weights, run.info, torch.device(chosen.value))
    originals = np.stack([original(text).numpy() for text in texts])
    original_s = time.perf_counter() - begin

    limit = MIN_COSINE[run.precision.value]
    click.echo(
        f"{run.info.name}, products in {run.precision.value}, attention "
        f"{run.attention.value}, {device_name(chosen.value)}"
    )
    click.echo(HEADER)
    worst = 1.0
    for found in compare([len(text) for text in texts], ours.vectors, originals):
        worst = min(worst, found.min_cosine)
        click.echo(
            f"{f'{found.shortest}-{found.longest}':>12} {found.num_sequences:>10,} "
            f"{found.min_cosine:>12.8f} {found.mean_cosine:>12.8f} {found.max_difference:>10.2e}"
        )
    click.echo(
        f"speed: ours {len(texts) / ours.loop_s:,.0f} sequences/s, "
        f"original {len(texts) / original_s:,.0f}"
    )
    if not worst >= limit:
        click.echo(
            f"ERROR cosine {worst:.8f} is below the limit {limit} of this precision", err=True
        )
        sys.exit(1)
    click.echo(f"every cosine is at least {limit}")


def _texts(fasta: Path, *, item: str, num: int) -> list[str]:
    """`num` sequences spread evenly over the file."""
    import dnaio

    try:
        with dnaio.open(fasta) as reader:
            texts = [record.sequence.upper() for record in reader if record.sequence]
    except (OSError, dnaio.FileFormatError) as error:
        raise InputError(f"{fasta}: cannot be read ({error})", "Give a FASTA file.") from None
    if not texts:
        raise InputError(f"{fasta}: no sequences", "Give a FASTA file with some.")
    if item == "protein" and set("".join(texts)) <= set("ACGTUN"):
        raise InputError(f"{fasta}: these are nucleotides", "Give proteins for this model.")
    step = max(1, len(texts) / num)
    return [texts[int(i * step)] for i in range(min(num, len(texts)))]
