"""`virembed check`."""

from __future__ import annotations

from pathlib import Path

import click

from virembed.check import check_run, staged_files
from virembed.layout import PROTEIN
from virembed.record_ids import POLICIES, REFUSE
from virembed.samplesheet import SheetRow


def _own_path(row: SheetRow) -> Path:
    return row.path


@click.command(short_help="Check a sample sheet and every file in it.")
@click.argument("sheet", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Where to write the checked sheet.")
@click.option(
    "--base",
    type=click.Path(path_type=Path),
    help="What relative paths in the sheet are relative to.  [default: directory of the sheet]",
)
@click.option("--duplicate-ids", type=click.Choice(POLICIES), default=REFUSE)
@click.option("--threads", type=click.IntRange(1), default=1, help="Samples read at once.")
@click.option(
    "--staged-dir",
    type=click.Path(path_type=Path),
    help="For the pipeline: files are at DIR/1/NAME, DIR/2/NAME, ...",
)
@click.option("--staged-lines", default="", help="... which belong to these lines, as in 2-5,7.")
def check(
    sheet: Path,
    out: Path | None,
    base: Path | None,
    duplicate_ids: str,
    threads: int,
    staged_dir: Path | None,
    staged_lines: str,
) -> None:
    """Check SHEET, a CSV file with the columns sample,fasta[,type], and every file it names.

    Reads everything once and reports all problems together, each with file, line and remedy.
    """
    locate = staged_files(staged_dir, staged_lines) if staged_dir else _own_path
    checks = check_run(
        sheet,
        base=base or sheet.parent.absolute(),
        out=out,
        locate=locate,
        duplicate_ids=duplicate_ids,
        threads=threads,
    )
    for sample in checks:
        unit = "residues" if sample.type == PROTEIN else "bp"
        click.echo(
            f"{sample.sample}: {sample.num_records:,} records, {sample.num_letters:,} {unit}"
        )
        if not sample.num_records:
            click.echo(f"WARNING sample '{sample.sample}' has no records", err=True)
