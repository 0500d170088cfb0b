"""`virembed collect`."""

from __future__ import annotations

from pathlib import Path

import click

from virembed.collect import Outputs, collect_sample
from virembed.residue_shards import SUFFIX as RESIDUES_SUFFIX
from virembed.shards import SUFFIX
from virembed.weights_info import read_info


@click.command(short_help="Collect the vectors of a sample into one HDF5 file.")
@click.option("--manifest", type=click.Path(path_type=Path), required=True, help="Of the sample.")
@click.option(
    "--shards",
    type=click.Path(path_type=Path),
    required=True,
    help="Directory of the sample's shards; it may be empty or missing.",
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    help="weights.json the shards must have been made with; once per model.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The result file.")
@click.option("--summary", type=click.Path(path_type=Path), required=True, help="Counts, as JSON.")
@click.option(
    "--proteins", type=click.Path(path_type=Path), required=True, help="Proteins, as FASTA.gz."
)
@click.option(
    "--residues",
    type=click.Path(path_type=Path),
    help=f"Write the residues too, from the CHUNK{RESIDUES_SUFFIX} beside the shards.",
)
def collect(
    manifest: Path,
    shards: Path,
    weights: tuple[Path, ...],
    out: Path,
    summary: Path,
    proteins: Path,
    residues: Path | None,
) -> None:
    """Collect the shards of a sample into one HDF5 file, proven to be complete.

    Fails, and writes nothing, if a shard is missing, doubled, damaged or of other weights.
    """
    result = collect_sample(
        manifest,
        shards=sorted(shards.glob(f"*{SUFFIX}")),
        cards=[read_info(card) for card in weights],
        outputs=Outputs(out, summary, proteins, residues),
        residues=sorted(shards.glob(f"*{RESIDUES_SUFFIX}")),
    )
    counts = result["accounting"]
    click.echo(
        f"{result['sample']}: {counts['rows']:,} rows, {counts['n_protein_rows']:,} with a "
        f"protein, of {counts['records_in']:,} records"
    )
