"""`virembed classify`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Score the frames of a result with VirNucPro's classifier.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--classifier",
    type=click.Path(path_type=Path),
    required=True,
    help="Directory that `virembed weights classifier` made.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="The result file with the scores; FILE itself is replaced once its copy is whole.",
)
@click.option(
    "--text",
    type=click.Path(path_type=Path),
    help="Directory for the two tables of VirNucPro, and one of the records.",
)
@click.option("--allow-random", is_flag=True, help="Score vectors or with weights without biology.")
def classify(
    file: Path, classifier: Path, out: Path, text: Path | None, allow_random: bool
) -> None:
    """Score the open frames of a result FILE and call its windows virus or others.

    A window is called virus if the highest score "virus" of its frames is at least as high as the
    highest score "others". A record is called virus if at least half of its windows with an open
    frame are. A classifier that was trained on other windows or vectors is refused.
    """
    from virembed.classify import classify_result, counts, write_texts
    from virembed.models.classifier import load_classifier

    model = load_classifier(classifier)
    found = classify_result(file, model, out=out, allow_random=allow_random)
    paths = write_texts(out, found, text) if text else []
    n = counts(found)
    click.echo(
        f"{out}: {found.sample}, {n['frames_scored']:,} frames scored by {model.info.name}; virus "
        f"{n['windows_virus']:,} of {n['windows_called']:,} windows, "
        f"{n['records_virus']:,} of {n['records_called']:,} records"
    )
    for path in paths:
        click.echo(path)
    if note := rules_note(out, model.info.rules):
        click.echo(note, err=True)


def rules_note(result: Path, rules: str) -> str:
    """What is to be said where windows were cut by other rules than in training."""
    from virembed.classify import known_provenance
    from virembed.h5 import open_complete

    with open_complete(result, kind="result file", remedy="Classify again.") as file:
        windows = known_provenance(file)["windows"]
    unknown = [name for name in ("length", "rule") if windows[name] is None]
    if unknown:
        return f"NOTE the file does not say by which {' and '.join(unknown)} its windows were cut"
    if windows["rule"] != rules:
        return (
            f"NOTE windows by the rules '{windows['rule']}', the classifier was trained on "
            f"'{rules}': the DNA of a frame differs by a letter"
        )
    return ""
