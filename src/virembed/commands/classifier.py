"""`virembed weights classifier`. torch is imported when the command runs."""

from __future__ import annotations

from pathlib import Path

import click

from virembed.layout import DNABERTS, ESM2
from virembed.windows import RULES


@click.command(short_help="Turn VirNucPro's .pth into a classifier directory.")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Directory to make.")
@click.option(
    "--window",
    type=click.IntRange(1),
    required=True,
    help="Length of the windows it was trained on, bp (500 for 500_model.pth).",
)
@click.option("--name", help="What to call it in a result.  [default: as the file]")
@click.option("--rules", type=click.Choice(RULES), default="virnucpro", help="Of these windows.")
@click.option("--esm2", default="esm2_t36_3B_UR50D", help="Protein model it was trained on.")
@click.option("--dnaberts", default="DNABERT-S", help="DNA model it was trained on.")
@click.option("--dnaberts-dim", type=click.IntRange(1), default=768, help="Width of its vectors.")
def classifier(
    source: Path,
    out: Path,
    window: int,
    name: str | None,
    rules: str,
    esm2: str,
    dnaberts: str,
    dnaberts_dim: int,
) -> None:
    """Turn SOURCE, the .pth of a classifier of VirNucPro, into a directory for `virembed classify`.

    The file says neither the window length nor the models it was trained on: the options do, and
    `classify` refuses results that were made otherwise. Nothing in SOURCE is executed.
    """
    from virembed.models.classifier import convert_classifier
    from virembed.models.dnaberts import Dnaberts
    from virembed.models.esm2 import Esm2

    info = convert_classifier(
        source,
        out=out,
        name=name or source.stem,
        window_bp=window,
        rules=rules,
        embeddings={
            DNABERTS.name: {"model_id": dnaberts, "dim": dnaberts_dim, "pooling": Dnaberts.pooling},
            ESM2.name: {"model_id": esm2, "pooling": Esm2.pooling},
        },
    )
    mark = "RANDOM NUMBERS, " if info.random else ""
    widths = " + ".join(str(info.dims[model.name]) for model in (DNABERTS, ESM2))
    click.echo(
        f"{out}: classifier {info.name} on {widths} numbers, windows of {info.window_bp} bp, "
        f"{mark}sha256 {info.sha256}"
    )
