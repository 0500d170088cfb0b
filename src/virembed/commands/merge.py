"""`virembed merge`."""

from __future__ import annotations

from pathlib import Path

import click

from virembed.merge_results import merge_results


@click.command(short_help="Put the rows of several samples into one result file.")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The merged file.")
def merge(files: tuple[Path, ...], out: Path) -> None:
    """Put the rows of several result FILES into one.

    Ids of rows and records become SAMPLE:ID, the column `sample` says where a row comes from, and
    how each sample was made is kept. Files of other weights, precision, pooling or windows are
    refused.
    """
    click.echo(f"{out}: {merge_results(files, out=out):,} rows of {len(files)} samples")
