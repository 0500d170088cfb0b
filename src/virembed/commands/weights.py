"""`virembed weights`. torch is imported when a command runs, so that `--help` is fast."""

from __future__ import annotations

from pathlib import Path

import click

from virembed.commands.classifier import classifier
from virembed.errors import UsageError, WeightsError
from virembed.layout import MODEL_NAMES
from virembed.weights_info import PUBLISHED, WeightsInfo, read_info

COLUMNS = "{:<10} {:<28} {:>6} {:>6} {:<7} {:<12} {:<8} {}"


@click.group(short_help="Fetch, convert, list or make up model weights.")
def weights() -> None:
    """Fetch, convert, list or make up model weights.

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
@click.option(
    "--store",
    type=click.Path(path_type=Path),
    help="Directory shared by all runs: make the weights directory in it, unless it is there.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Directory to make; with --store, a link to the directory in the store.",
)
@click.option("--name", help="What to call the model.  [default: as the file or directory]")
def convert(
    source: Path, model: str, store: Path | None, out: Path | None, name: str | None
) -> None:
    """Turn the published weights SOURCE into a weights directory.

    For ESM-2, SOURCE is a .pt file of fair-esm (esm2_t33_650M_UR50D.pt) or a Hugging Face
    directory (config.json and model.safetensors or pytorch_model.bin, sharded or not). For
    DNABERT-S, a Hugging Face directory, tokenizer.json included.

    Nothing in SOURCE is executed. The numbers are stored as they are, fp16 as fp16.

    With --store, the directory is STORE/NAME-HASH, where HASH tells the source files. If it is
    there, it is taken as it is; of many processes that ask at once, one converts. Its path is
    printed.
    """
    from virembed.models.convert import convert as convert_weights
    from virembed.models.convert import refuse_existing
    from virembed.models.store import convert_into_store

    if out is None and store is None:
        raise UsageError("no place to write to", "Give --store or --out.")
    if out is not None:
        refuse_existing(out)
    if store is None:
        assert out is not None
        info = convert_weights(source, model=model, out=out, name=name)
        click.echo(f"{out}: {_summary(info)}")
        return
    path, info = convert_into_store(source, model=model, store=store, name=name, say=_say)
    if out is not None:
        out.symlink_to(path.absolute())
    _say(_summary(info))
    click.echo(path)


@weights.command(short_help="Download a published model and convert it.")
@click.argument("name", type=click.Choice(list(PUBLISHED)), metavar="NAME")
@click.option(
    "--store",
    type=click.Path(path_type=Path),
    required=True,
    help="Directory shared by all runs, which the weights directory is made in.",
)
@click.option("--revision", default="main", help="Branch, tag or commit of the repository.")
def fetch(name: str, store: Path, revision: str) -> None:
    """Download the model NAME from Hugging Face, convert it into STORE and print the directory.

    NAME is one of esm2_t6_8M_UR50D, esm2_t12_35M_UR50D, esm2_t30_150M_UR50D, esm2_t33_650M_UR50D,
    esm2_t36_3B_UR50D, esm2_t48_15B_UR50D, DNABERT-S.

    Every file is compared with the checksum that Hugging Face gives. Only numbers, sizes and the
    tokenizer are downloaded, no code. Repeated after it was cut short, it goes on where it was;
    what is in STORE already is not downloaded again. Needs the extra `hub`.
    """
    try:
        from virembed.models.fetch import fetch as fetch_weights
    except ModuleNotFoundError as error:
        if error.name not in ("huggingface_hub", "httpx2"):
            raise
        raise UsageError(
            f"downloads need {error.name}, which is not installed",
            "Install it: pip install 'virembed[hub]'.",
        ) from None

    path, info = fetch_weights(name, store=store, revision=revision, say=_say)
    _say(f"{_summary(info)}, from {info.origin or 'files at hand'}")
    click.echo(path)


@weights.command(short_help="Make a model of random numbers, to try things out.")
@click.argument("model", type=click.Choice(MODEL_NAMES))
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Directory to write to."
)
@click.option("--seed", type=click.IntRange(0), default=0, help="Same seed, same numbers.")
@click.option(
    "--size",
    default="tiny",
    help="micro, wide, tiny, or a real size: 8M, 35M, 150M, 650M, 3B, 15B for esm2, base for"
    " dnaberts.",
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
@click.argument("directories", nargs=-1, type=click.Path(path_type=Path))
@click.option("--store", type=click.Path(path_type=Path), help="All weights directories in it.")
def list_(directories: tuple[Path, ...], store: Path | None) -> None:
    """Show what is in weights DIRECTORIES and compare every file with its checksum."""
    from virembed.models.store import entries
    from virembed.models.weights import verify_checksums

    if not directories and store is None:
        raise UsageError("nothing to list", "Give weights directories or --store.")
    if store is not None:
        directories += tuple(entries(store))
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


def _summary(info: WeightsInfo) -> str:
    mark = "RANDOM NUMBERS, " if info.random else ""
    return f"{info.model} {info.name}, {mark}sha256 {info.sha256}"


def _say(line: str) -> None:
    click.echo(line, err=True)
