"""`virembed report`."""

from __future__ import annotations

from pathlib import Path

import click

MAP_POINTS = 20_000


@click.command(short_help="Make the report of a run, and its tables.")
@click.argument("results", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "--stats", type=click.Path(path_type=Path), help="Directory of `embed --stats` files."
)
@click.option("--plan", type=click.Path(path_type=Path), help="The estimate made before the run.")
@click.option("--samples", type=click.Path(path_type=Path), help="Sheet of all samples there are.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The report, HTML.")
@click.option("--summary-tsv", type=click.Path(path_type=Path), help="Write a line per sample.")
@click.option("--gpu-tsv", type=click.Path(path_type=Path), help="Write a line per task of embed.")
@click.option("--mqc", type=click.Path(path_type=Path), help="Directory for tables of MultiQC.")
@click.option(
    "--map-points", type=click.IntRange(0, 65535), default=MAP_POINTS, help="Rows on the map."
)
def report(
    results: tuple[Path, ...],
    stats: Path | None,
    plan: Path | None,
    samples: Path | None,
    out: Path,
    summary_tsv: Path | None,
    gpu_tsv: Path | None,
    mqc: Path | None,
    map_points: int,
) -> None:
    """Make one HTML file of RESULTS: result files, or a directory of them.

    Works on an unfinished run too: with --samples, a sample without a result is shown as failed.
    """
    from virembed.atomic import whole_file
    from virembed.errors import CombinedInputError, IncompleteError
    from virembed.report.data import find_results, report_data
    from virembed.report.render import render
    from virembed.report.samples import FAILED
    from virembed.report.tables import completion, write_gpu, write_multiqc, write_summary
    from virembed.samplesheet import read_sheet

    expected: list[str] = []
    if samples:
        rows, problems = read_sheet(samples, base=samples.parent)
        if problems:
            raise CombinedInputError(problems)
        expected = sorted({row.sample for row in rows})
    data = report_data(
        find_results(results), expected=expected, stats=stats, plan=plan, map_points=map_points
    )
    with whole_file(out) as path:
        path.write_text(render(data), encoding="utf-8")
    if summary_tsv:
        write_summary(summary_tsv, data)
    if gpu_tsv:
        write_gpu(gpu_tsv, data)
    if mqc:
        write_multiqc(mqc, data)
    click.echo(completion(data))
    broken = [sample for sample in data["samples"] if sample["state"] == FAILED and sample["file"]]
    if broken:
        raise IncompleteError(
            "; ".join(sample["verdict"].removeprefix("failed: ") for sample in broken),
            "The report has the other samples.",
        )
