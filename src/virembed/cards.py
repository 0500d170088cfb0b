"""Identity cards: what the files of a directory are, as JSON beside them.

A card has a checksum of itself: a number of heads that was changed would fit the same tensors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from virembed.errors import WeightsError

Card = TypeVar("Card")
CARD_SHA256 = "card_sha256"


def write_card(path: Path, card: Any, *, form: str) -> None:
    """Writes the fields of a dataclass.

    Args:
        form: name and version of this kind of card.
    """
    fields = {"format": form, **asdict(card)}
    fields[CARD_SHA256] = card_sha256(fields)
    path.write_text(json.dumps(fields, indent=2, sort_keys=True) + "\n")


def card_sha256(fields: dict[str, Any]) -> str:
    """The checksum of a card, of all its other fields."""
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def read_card(path: Path, make: Callable[..., Card], *, form: str, remedy: str) -> Card:
    """The card that `write_card` wrote.

    Args:
        make: makes it of its fields; TypeError, KeyError or AttributeError say what is wrong.
        remedy: how to get such a card.

    Raises:
        WeightsError: there is no card, it is not one of ours, or it was altered.
    """
    try:
        fields = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise WeightsError(f"{path}: there is no such file", remedy) from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise WeightsError(f"{path}: cannot be read ({error})", remedy) from None
    if not isinstance(fields, dict) or fields.get("format") != form:
        raise WeightsError(f"{path}: not a card of format {form}", remedy)
    if fields.pop(CARD_SHA256, None) != card_sha256(fields):
        raise WeightsError(f"{path}: altered since it was written, or of another release", remedy)
    del fields["format"]
    try:
        return make(**fields)
    except (TypeError, KeyError, AttributeError) as error:
        raise WeightsError(f"{path}: incomplete ({error})", remedy) from None
