"""`virembed info`: a result file in a dozen lines, residues in a few."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import h5py

from virembed.errors import IncompleteError
from virembed.h5 import open_complete
from virembed.layout import MODELS, UNKNOWN, WINDOWS
from virembed.residues import FORMAT as RESIDUES
from virembed.residues import KIND, is_residues
from virembed.verify import type_of


@click.command(short_help="Show what is in a result file.")
@click.argument("file", type=click.Path(path_type=Path))
def info(file: Path) -> None:
    """Show what is in a result FILE, or a file of residues, and how it was made."""
    remedy = "Give the SAMPLE.h5 of a finished run."
    residues = is_residues(file)
    about, kind = (_residue_lines, KIND) if residues else (_lines, "result file")
    form = RESIDUES if residues else None
    with open_complete(file, kind=kind, remedy=remedy, form=form) as opened:
        try:
            lines = list(about(file, opened))
        except Exception as error:  # noqa: BLE001 - damage may come up as any error of h5py
            cause = " ".join(str(error).split())
            raise IncompleteError(f"{file}: damaged ({cause})", remedy) from None
        for line in lines:
            click.echo(line)


def _lines(path: Path, file: h5py.File) -> Iterator[str]:
    counts = {name: int(value[()]) for name, value in file["uns/accounting"].items()}
    made = file["uns/provenance"]
    yield f"{path}  {path.stat().st_size / 1e6:,.1f} MB"
    yield f"sample     {file.attrs['sample']}, collected {file.attrs['created']}"
    yield f"made by    {_text(made['pipeline'])}, schema {file.attrs['schema_version']}"
    yield f"input      {', '.join(made['input/names'].asstr()[:])}"
    yield f"records    {counts['records_in']:,}, of which without rows {_without_rows(counts):,}"
    yield from _rows(type_of(file), made["windows"], counts)
    for model in MODELS:
        yield f"{model.obsm:<10} {_matrix(file, model.name, model.obsm, counts)}"
    for name, classifier in file["uns"].get("classifiers", {}).items():
        found = {key: int(value[()]) for key, value in classifier["counts"].items()}
        yield (
            f"called     virus by {name}: {found['windows_virus']:,} of "
            f"{found['windows_called']:,} windows, {found['records_virus']:,} of "
            f"{found['records_called']:,} records"
        )
    for model in MODELS:
        if made[model.name]["random_weights"][()] == 1:
            yield f"WARNING    {model.obsm} comes from random weights: there is no biology in it"


def _rows(kind: str, windows: h5py.Group, counts: dict[str, int]) -> Iterator[str]:
    if kind != WINDOWS:
        yield f"rows       {counts['rows']:,}: each {kind} whole"
        return
    num_windows = counts.get("windows", counts["windows_with_open_frame"])
    yield (
        f"windows    {num_windows:,} of {_number(windows['length'])} bp, rules "
        f"{_text(windows['rule'])}, genetic code {_number(windows['genetic_code'])}"
    )
    yield (
        f"rows       {counts['rows']:,}: {counts['n_protein_rows']:,} open frames, "
        f"{counts['n_window_rows']:,} windows without one"
    )


def _residue_lines(path: Path, file: h5py.File) -> Iterator[str]:
    residues, about = file["esm2/residues"], file.attrs
    yield f"{path}  {path.stat().st_size / 1e6:,.1f} MB"
    yield f"sample     {about['sample']}, collected {about['created']}"
    yield (
        f"residues   {residues.shape[0]:,} x {residues.shape[1]} {residues.dtype} of "
        f"{len(file['esm2/row']):,} distinct proteins, {about['model_id']}, "
        f"products in {about['compute_dtype']}"
    )
    yield f"rows       esm2/row leads to {about['sample']}.h5, whose X_esm2 are the means of these"
    if about["random_weights"] == 1:
        yield "WARNING    the residues come from random weights: there is no biology in them"


def _matrix(file: h5py.File, model: str, obsm: str, counts: dict[str, int]) -> str:
    made = file[f"uns/provenance/{model}"]
    if _text(made["model_id"]) == UNKNOWN:
        shape = f"{counts[f'{model}_ok']:,} x {file[f'obsm/{obsm}'].shape[1]}"
        return f"{shape} {_text(made['stored_dtype'])}, imported: model and precision unknown"
    return (
        f"{counts[f'{model}_ok']:,} x {file[f'obsm/{obsm}'].shape[1]} "
        f"{_text(made['stored_dtype'])}, {_text(made['model_id'])}, "
        f"products in {_text(made['compute_dtype'])} on "
        f"{_text(made['device'])}, {counts[f'{model}_copied']:,} copied from identical sequences"
    )


def _number(dataset: Any) -> str:
    value = int(dataset[()])
    return UNKNOWN if value < 0 else str(value)


def _without_rows(counts: dict[str, int]) -> int:
    return counts["records_in"] - counts["records_ok"]


def _text(dataset: Any) -> str:
    return str(dataset.asstr()[()])
