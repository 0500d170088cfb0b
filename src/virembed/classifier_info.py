"""`classifier.json`, the identity card of a converted classifier. Needs no torch.

A classifier directory holds this card and `model.safetensors`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from virembed.cards import read_card, write_card
from virembed.errors import UsageError
from virembed.layout import MODELS

CARD = "classifier.json"
TENSORS = "model.safetensors"
FORMAT = "virembed.classifier/1"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")

Embeddings = dict[str, dict[str, str | int]]


@dataclass(frozen=True, slots=True)
class ClassifierInfo:
    """Which classifier, and what it was trained on.

    name:        part of the names of its columns in a result file
    hidden_dim:  width of its hidden layer
    window_bp:   length of the windows it was trained on
    rules:       the rules of those windows, as in `--rules`
    embeddings:  by model, what `uns/provenance` of a result has to say: dim always, and model_id,
                 pooling, ... as far as they are known
    random:      True if its weights are random numbers
    sha256:      of the tensors
    source:      sha256 of the file it was converted from, by name
    """

    name: str
    hidden_dim: int
    window_bp: int
    rules: str
    embeddings: Embeddings
    random: bool
    sha256: str
    source: dict[str, str]

    @property
    def dims(self) -> dict[str, int]:
        """Width of the vectors it takes, by model."""
        return {model: int(fields["dim"]) for model, fields in self.embeddings.items()}


def require_name(name: str) -> str:
    """
    Raises:
        UsageError: not fit to be part of a column's name.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"'{name}' is no name for a classifier",
            "Give --name of letters, digits, - and _: it becomes part of a column's name.",
        )
    return name


def write_classifier_info(directory: Path, info: ClassifierInfo) -> None:
    write_card(directory / CARD, info, form=FORMAT)


def read_classifier_info(directory: Path) -> ClassifierInfo:
    """
    Raises:
        WeightsError: there is no card, or it is not one of ours.
    """
    remedy = "Make the directory with `virembed weights classifier`."
    return read_card(directory / CARD, _complete, form=FORMAT, remedy=remedy)


def _complete(**fields: Any) -> ClassifierInfo:
    info = ClassifierInfo(**fields)
    if info.embeddings.keys() != {model.name for model in MODELS}:
        raise TypeError(f"embeddings of {', '.join(info.embeddings) or 'no model'}")
    return info


def differences(info: ClassifierInfo, provenance: Mapping[str, Mapping[str, object]]) -> list[str]:
    """What a result says of its windows and vectors that is not what the classifier learned from.

    Args:
        provenance: of the result: `windows` with `length` (bp), and per model the fields of
            `ClassifierInfo.embeddings`. What is None there is unknown and differs from nothing.
    """
    asked: Embeddings = {"windows": {"length": info.window_bp}, **info.embeddings}
    return [
        f"{group} {field} is {provenance[group][field]} in the file and {value} in the classifier"
        for group, fields in asked.items()
        for field, value in fields.items()
        if provenance[group].get(field) not in (None, value)
    ]
