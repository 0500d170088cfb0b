"""`virembed import`. torch is imported when the command runs."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("import", short_help="Make a result file of the feature files of VirNucPro.")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The result file.")
@click.option("--sample", help="Name of the sample.  [default: as the result file]")
@click.option(
    "--window", type=click.IntRange(1), help="Length of the windows in bp, if you know it."
)
@click.option(
    "--allow-missing", is_flag=True, help="Leave out rows with a vector of one model only."
)
def import_(
    paths: tuple[Path, ...], out: Path, sample: str | None, window: int | None, allow_missing: bool
) -> None:
    """Make a result file of the feature files of VirNucPro or virnucpro-broad.

    PATHS are .pt and .h5 files, or directories of them: either merged files or those of both
    models. What they do not say stands as unknown in the result. Nothing in them is executed.
    """
    from virembed.import_result import import_files

    found = import_files(
        paths,
        out=out,
        sample=sample or out.stem,
        window_bp=window,
        allow_missing=allow_missing,
    )
    for note in found.notes:
        click.echo(f"NOTE {note}", err=True)
    click.echo(
        f"{out}: {found.num_rows:,} rows of {found.num_records:,} records, "
        f"{found.num_missing:,} left out that one model has no vector of"
    )
