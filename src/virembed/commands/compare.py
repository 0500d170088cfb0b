"""`virembed compare`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from virembed.compare import compare_results, lines


@click.command(short_help="Compare the rows and vectors of two result files.")
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@click.option(
    "--min-cosine",
    type=click.FloatRange(-1, 1),
    default=0.9999,
    help="What every pair of vectors has to reach.",
)
def compare(first: Path, second: Path, min_cosine: float) -> None:
    """Compare two result files, FIRST and SECOND, row by row.

    Rows are matched by their ids. Ends with exit code 1 if a row or a vector is in one file only,
    or if two vectors of a row are further apart than --min-cosine.
    """
    comparison = compare_results(first, second)
    for line in lines(comparison):
        click.echo(line)
    if not comparison.agree(min_cosine):
        click.echo("DIFFERENT  not the same rows and vectors", err=True)
        sys.exit(1)
    click.echo(f"same       every row is in both, every cosine at least {min_cosine}")
