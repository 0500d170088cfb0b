"""`virembed verify`."""

from __future__ import annotations

from pathlib import Path

import click

from virembed.errors import IncompleteError
from virembed.export.records import FORMAT as RECORDS
from virembed.export.records import verify_records
from virembed.h5 import format_of, open_complete
from virembed.residues import ResiduesInfo, is_residues, result_identity, verify_residues
from virembed.verify import verify_result


@click.command(short_help="Prove that a result file is complete and unaltered.")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
def verify(files: tuple[Path, ...]) -> None:
    """Prove that result FILES, or files of residues, are complete and as they were written.

    Recomputes every checksum and identity; ends with exit code 7 at the first file that fails.
    Residues that are given with the result of their sample are proven to belong to it.
    Takes the mean vectors of records, too (export --format records).
    """
    results: list[Path] = []
    residues: list[tuple[Path, ResiduesInfo]] = []
    for file in files:
        if is_residues(file):
            info = verify_residues(file)
            residues.append((file, info))
            click.echo(
                f"{file}: ok, {info.num_residues:,} residues of {info.num_proteins:,} proteins"
            )
        elif format_of(file) == RECORDS:
            click.echo(f"{file}: ok, {verify_records(file):,} records")
        else:
            click.echo(f"{file}: ok, {verify_result(file):,} rows")
            results.append(file)
    if residues:
        for result in results:
            _compare(result, residues)


def _compare(path: Path, residues: list[tuple[Path, ResiduesInfo]]) -> None:
    with open_complete(path, kind="result file", remedy="") as result:
        sample = result.attrs["sample"]
        ours = [(file, info) for file, info in residues if info.sample == sample]
        identity = result_identity(result) if ours else ""
    for file, info in ours:
        if info.result_sha256 != identity:
            raise IncompleteError(
                f"{file}: its residues are not those of the rows of {path}",
                "Give the two files of one COLLECT.",
            )
        click.echo(f"{file}: belongs to {path}")
