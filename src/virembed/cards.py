"""Identity cards: what the files of a directory are, as JSON beside them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from virembed.errors import WeightsError

Card = TypeVar("Card")


def write_card(path: Path, card: Any, *, form: str) -> None:
    """Writes the fields of a dataclass.

    Args:
        form: name and version of this kind of card.
    """
    text = json.dumps({"format": form, **asdict(card)}, indent=2, sort_keys=True)
    path.write_text(text + "\n")


def read_card(path: Path, make: Callable[..., Card], *, form: str, remedy: str) -> Card:
    """The card that `write_card` wrote.

    Args:
        make: makes it of its fields; TypeError, KeyError or AttributeError say what is wrong.
        remedy: how to get such a card.

    Raises:
        WeightsError: there is no card, or it is not one of ours.
    """
    try:
        fields = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise WeightsError(f"{path}: there is no such file", remedy) from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise WeightsError(f"{path}: cannot be read ({error})", remedy) from None
    if not isinstance(fields, dict) or fields.pop("format", None) != form:
        raise WeightsError(f"{path}: not a card of format {form}", remedy)
    try:
        return make(**fields)
    except (TypeError, KeyError, AttributeError) as error:
        raise WeightsError(f"{path}: incomplete ({error})", remedy) from None
