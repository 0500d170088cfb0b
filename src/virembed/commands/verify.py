"""`virembed verify`."""

from __future__ import annotations

from pathlib import Path

import click

from virembed.export.records import FORMAT, verify_records
from virembed.h5 import format_of
from virembed.verify import verify_result


@click.command(short_help="Prove that a result file is complete and unaltered.")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
def verify(files: tuple[Path, ...]) -> None:
    """Prove that result FILES are complete and as they were written.

    Recomputes every checksum and identity; ends with exit code 7 at the first file that fails.
    Takes the mean vectors of records, too (export --format records).
    """
    for file in files:
        if format_of(file) == FORMAT:
            click.echo(f"{file}: ok, {verify_records(file):,} records")
        else:
            click.echo(f"{file}: ok, {verify_result(file):,} rows")
