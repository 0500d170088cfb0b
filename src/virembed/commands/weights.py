"""`virembed weights`. torch is imported when a command runs, so that `--help` is fast."""

from __future__ import annotations

from pathlib import Path

import click

from virembed.commands.classifier import classifier
from virembed.errors import WeightsError
from virembed.layout import MODEL_NAMES
from virembed.weights_info import WeightsInfo, read_info

COLUMNS = "{:<10} {:<28} {:>6} {:>6} {:<7} {:<12} {:<8} {}"


@click.group(short_help="Convert, list or make up model weights.")
def weights() -> None:
    """Convert, list or make up model weights.

    The models are published in several file formats. `convert` turns each into a directory of one
    format, with checksums, and that is what `virembed embed` and the pipeline read.
    """


weights.add_command(classifier)


@weights.command(short_help="Turn published weights into a weights directory.")
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "--model",
    type=click.Choice(["auto", *MODEL_NAMES]),
    default="auto",
    help="Which model it has to be; auto takes what the file says.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Directory to make.")
@click.option("--name", help="What to call the model.  [default: as the file or directory]")
def convert(source: Path, model: str, out: Path, name: str | None) -> None:
    """Turn the published weights SOURCE into a weights directory.

    For ESM-2, SOURCE is a .pt file of fair-esm (esm2_t33_650M_UR50D.pt) or a Hugging Face
    directory (config.json and model.safetensors or pytorch_model.bin, sharded or not). For
    DNABERT-S, a Hugging Face directory, tokenizer.json included.

    Nothing in SOURCE is executed. The numbers are stored as they are, fp16 as fp16.
    """
    from virembed.models.convert import convert as convert_weights

    info = convert_weights(source, model=model, out=out, name=name)
    click.echo(f"{out}: {info.model} {info.name}, {_mark(info)}sha256 {info.sha256}")


@weights.command(short_help="Make a model of random numbers, to try things out.")
@click.argument("model", type=click.Choice(MODEL_NAMES))
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Directory to write to."
)
@click.option("--seed", type=click.IntRange(0), default=0, help="Same seed, same numbers.")
@click.option(
    "--size",
    default="tiny",
    help="tiny, or a real size: 8M, 35M, 150M, 650M, 3B, 15B for esm2, base for dnaberts.",
)
def random(model: str, out: Path, seed: int, size: str) -> None:
    """Make a MODEL of random numbers in the format it is published in.

    For trials and timing without a download. It goes through `convert` like real weights, and
    vectors made from it are marked as random: there is no biology in them.
    """
    from virembed.models.random_weights import write_random_dnaberts, write_random_esm2

    write = write_random_esm2 if model == "esm2" else write_random_dnaberts
    click.echo(write(out, size=size, seed=seed))


@weights.command("list", short_help="Show weights directories and check their files.")
@click.argument("directories", nargs=-1, required=True, type=click.Path(path_type=Path))
def list_(directories: tuple[Path, ...]) -> None:
    """Show what is in weights DIRECTORIES and compare every file with its checksum."""
    from virembed.models.weights import verify_checksums

    header = ("model", "name", "layers", "dim", "random", "sha256", "files", "directory")
    click.echo(COLUMNS.format(*header))
    problems: list[WeightsError] = []
    for directory in directories:
        info = read_info(directory)
        try:
            verify_checksums(directory, info)
            state = "ok"
        except WeightsError as error:
            problems.append(error)
            state = "DAMAGED"
        click.echo(COLUMNS.format(*_row(info, state), directory))
    if problems:
        raise problems[0]


def _row(info: WeightsInfo, state: str) -> tuple[object, ...]:
    random_ = "random" if info.random else "-"
    return (info.model, info.name, info.num_layers, info.dim, random_, info.sha256[:12], state)


def _mark(info: WeightsInfo) -> str:
    return "RANDOM NUMBERS, " if info.random else ""
