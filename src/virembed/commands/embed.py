"""`virembed embed`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from virembed.layout import MODEL_NAMES

LOG_S = 60.0  # between two lines of progress in a log


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
@click.option("--stats", type=click.Path(path_type=Path), help="Write how the device did, as JSON.")
@click.option(
    "--residues", type=click.Path(path_type=Path), help="Write every residue too (ESM-2 only)."
)
@click.option("--device", default="auto", help="auto, cpu, cuda (the first free) or cuda:N.")
@click.option("--precision", default="auto", help="Of the products: auto, fp16, bf16, fp32 or fp8.")
@click.option("--attention", default="auto", help="Attention kernel, or auto.")
@click.option("--tokens-per-pack", type=click.IntRange(0), default=0, help="0 for automatic.")
@click.option("--threads", type=click.IntRange(0), default=0, help="CPU threads, 0 for all.")
def embed(
    chunk: Path,
    model: str,
    weights: Path,
    out: Path,
    stats: Path | None,
    residues: Path | None,
    threads: int,
    **asked: str | int,
) -> None:
    """Embed CHUNK, a file of `virembed split`, on one GPU or the CPU.

    Writes a shard: one vector per sequence, the mean over its residues (ESM-2) or tokens
    (DNABERT-S), under the key of the sequence. --residues writes a second file with what those
    means are over: 2 bytes times the width of the model for each residue.
    """
    import torch

    from virembed.embed import EmbedSettings, Listener, Outputs, embed_chunk

    if threads:
        torch.set_num_threads(threads)
    report = embed_chunk(
        chunk,
        model=model,
        weights=weights,
        outputs=Outputs(out, stats, residues),
        asked=EmbedSettings(**asked),  # type: ignore[arg-type]  # options under their own names
        listener=Listener(
            progress=lambda num_items: _Progress(chunk.stem, num_items),
            waiting=lambda: click.echo(f"{chunk.stem}: waiting for a free GPU", err=True),
        ),
    )
    origin = report.origin
    random = "  (random weights: no biology in these vectors)" if report.random_weights else ""
    click.echo(
        f"{chunk.stem}: {report.num_items:,} sequences, {report.num_tokens:,} tokens in "
        f"{origin.seconds['loop']:.1f} s on {origin.device}, {report.weights_name}{random}"
    )


class _Progress:
    """A line a minute in a log, a running line where a person watches."""

    def __init__(self, name: str, num_items: int) -> None:
        self.name, self.num_items = name, num_items
        self.watched = sys.stderr.isatty()
        self.begin = self.last = time.monotonic()

    def __call__(self, items: int, tokens: int) -> None:
        now = time.monotonic()
        done = items >= self.num_items
        if now - self.last < (0.2 if self.watched else LOG_S) and not (done and self.watched):
            return
        self.last = now
        rate = tokens / max(now - self.begin, 1e-9)
        left_s = (self.num_items - items) * (now - self.begin) / max(items, 1)
        line = (
            f"{self.name}: {items:,} of {self.num_items:,} sequences, {rate:,.0f} tokens/s, "
            f"{left_s:,.0f} s left"
        )
        if self.watched:
            click.echo(f"\r\033[K{line}", err=True, nl=done)
        else:
            click.echo(line, err=True)
