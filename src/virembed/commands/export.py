"""`virembed export`. Libraries of a format are imported when it is asked for."""

from __future__ import annotations

from pathlib import Path

import click
import h5py

from virembed.errors import UsageError
from virembed.h5 import open_complete

FORMATS = ("npy", "parquet", "fp32", "protspace", "fasta", "records")
_WHOLE = {"fp32": "copies the whole file", "records": "averages all rows of a record"}


@click.command(short_help="Write a result in another format.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(FORMATS), required=True, help="See above.")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="File; for npy a directory."
)
@click.option(
    "--rows",
    type=click.Path(path_type=Path),
    help="Text file of row ids, one a line: export these only, in the order of the result.",
)
@click.option(
    "--proteins",
    type=click.Path(path_type=Path),
    help="For fasta.  [default: SAMPLE.proteins.faa.gz beside FILE]",
)
def export(file: Path, form: str, out: Path, rows: Path | None, proteins: Path | None) -> None:
    """Write a result FILE in another format.

    \b
    npy        matrices as .npy with their row ids as text, without absent rows
    parquet    one table: columns of obs, and vectors as lists of float32
    fp32       the same HDF5 file with float32 matrices, for MATLAB
    protspace  .parquetbundle for protspace.app: maps of the proteins
    fasta      proteins of the rows
    records    mean vectors of each record, an HDF5 file that opens as AnnData

    parquet and protspace need pyarrow: pip install 'virembed[parquet]'.
    """
    if form in _WHOLE and rows:
        raise UsageError(f"{form} {_WHOLE[form]}", "Leave out --rows, or choose npy or parquet.")
    remedy = "Give the SAMPLE.h5 of a finished run."
    with open_complete(file, kind="result file", remedy=remedy) as opened:
        try:
            said = _write(opened, form, out, rows, proteins)
        except ModuleNotFoundError as error:
            if not str(error.name).startswith("pyarrow"):
                raise
            raise UsageError(
                f"{form} needs pyarrow, which is not installed",
                "Install it: pip install 'virembed[parquet]'.",
            ) from None
    click.echo(said)


def _write(file: h5py.File, form: str, out: Path, ids: Path | None, proteins: Path | None) -> str:
    """Writes the file and says what is in it."""
    if form == "records":
        from virembed.export.records import export_records

        found, without = export_records(file, out)
        return f"{out}: {found:,} records; {without:,} without a row are left out"
    from virembed.export.rows import chosen_rows

    rows = chosen_rows(file, ids)
    if form == "npy":
        from virembed.export.arrays import export_npy

        return "\n".join(map(str, export_npy(file, rows, out)))
    if form == "parquet":
        from virembed.export.tables import export_parquet

        export_parquet(file, rows, out)
    elif form == "fp32":
        from virembed.export.arrays import export_fp32

        export_fp32(file, out)
    elif form == "protspace":
        from virembed.export.protspace import export_protspace

        return f"{out}: {export_protspace(file, rows, out):,} proteins"
    else:
        from virembed.export.sequences import export_fasta, proteins_beside

        found = export_fasta(file, rows, out, proteins=proteins or proteins_beside(file))
        return f"{out}: {found:,} proteins, {len(rows) - found:,} rows without one"
    return f"{out}: {len(rows):,} rows"
