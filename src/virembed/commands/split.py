"""`virembed split`."""

from __future__ import annotations

from pathlib import Path

import click

from virembed.alphabets import alphabet_of
from virembed.genetic_code import GENETIC_CODES
from virembed.layout import TYPES, WINDOWS
from virembed.record_ids import POLICIES, REFUSE, Source
from virembed.split import SplitSettings, split_sample
from virembed.windows import RULES


@click.command(short_help="Cut a sample into windows, open frames and chunks to embed.")
@click.argument("fasta", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--sample", required=True, help="Name of the sample; file names begin with it.")
@click.option(
    "--type",
    type=click.Choice(TYPES),
    default=WINDOWS,
    help="What is embedded: windows of DNA and their open frames, or each record whole.",
)
@click.option("--window", "window_bp", type=click.IntRange(3), default=500, help="Length in bp.")
@click.option(
    "--rules",
    type=click.Choice(RULES),
    default="exact",
    help="exact, or virnucpro: VirNucPro's windows, frames and slices to the letter.",
)
@click.option(
    "--genetic-code",
    type=click.Choice([str(code) for code in GENETIC_CODES]),
    default="1",
    metavar="N",
    help="NCBI translation table.",
)
@click.option(
    "--duplicate-ids",
    type=click.Choice(POLICIES),
    default=REFUSE,
    help="A record id that stands twice: an error, or renamed to ID~2.",
)
@click.option("--min-record-bp", type=click.IntRange(1), default=1, help="Leave out shorter ones.")
@click.option(
    "--max-contig-bp",
    type=click.IntRange(1),
    default=1_000_000,
    help="Leave out longer ones; of the type contig.",
)
@click.option(
    "--esm2-chunk-residues", type=click.IntRange(1), default=20_000_000, help="Residues per chunk."
)
@click.option(
    "--dnaberts-chunk-bp", type=click.IntRange(1), default=500_000_000, help="DNA per chunk, in bp."
)
@click.option("--out-dir", type=click.Path(path_type=Path), default=Path(), help="Where to write.")
def split(
    fasta: tuple[Path, ...],
    sample: str,
    out_dir: Path,
    genetic_code: str,
    esm2_chunk_residues: int,
    dnaberts_chunk_bp: int,
    **settings: object,
) -> None:
    """Cut the FASTA or FASTQ files of one sample into windows and open frames.

    With --type contig each record is embedded whole; with --type protein the files hold proteins.

    Writes SAMPLE.manifest.h5, which lists every row the result will have, the distinct sequences
    to embed as chunks/esm2/*.faa and chunks/dnaberts/*.fna, and SAMPLE.split.json, from which
    `virembed plan` estimates the run. Files may be compressed with gzip, bzip2, xz or zstd.
    """
    result = split_sample(
        [Source(path, str(path), alphabet_of(str(settings["type"]))) for path in fasta],
        sample=sample,
        out_dir=out_dir,
        settings=SplitSettings(
            genetic_code=int(genetic_code),
            chunk_limits={"esm2": esm2_chunk_residues, "dnaberts": dnaberts_chunk_bp},
            **settings,  # type: ignore[arg-type]  # the other options, under their own names
        ),
    )
    counts, kind = result.counts, settings["type"]
    if not counts.get("records_in"):
        click.echo(f"WARNING sample '{sample}' has no records", err=True)
    click.echo(
        f"{sample}: {counts.get('records_in', 0):,} records, "
        + (
            f"{counts.get('windows', 0):,} windows, {counts.get('frames_open', 0):,} open frames"
            if kind == WINDOWS
            else f"{counts.get(f'{kind}s', 0):,} {kind}s to embed"
        )
        + "; chunks: "
        + ", ".join(f"{number} {model}" for model, number in result.num_chunks.items())
    )
