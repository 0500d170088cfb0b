"""How the results were made, as rows of a table: one value where all samples agree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from virembed.layout import MODELS, NOTHING

_TITLES = {
    "pipeline": "Program",
    "type": "Type of sample",
    "windows": "Windows",
    **dict(zip((model.name for model in MODELS), ("ESM-2", "DNABERT-S"), strict=True)),
}
_MAX_NAMES = 5


def provenance_rows(samples: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, bool]]:
    """Name, value, and whether it is a checksum; a value that differs is told per group of samples.

    Inputs have a table of their own.
    """
    values: dict[str, dict[str, list[str]]] = {}
    for sample in samples:
        for name, value in _flat(sample["provenance"]):
            values.setdefault(name, {}).setdefault(value, []).append(sample["name"])
    rows = []
    for name, found in values.items():
        for value, owners in found.items():
            names = ", ".join(owners[:_MAX_NAMES]) + (" …" if len(owners) > _MAX_NAMES else "")
            shown = value if len(found) == 1 else f"{value}  ({names})"
            rows.append((name, shown, "sha256" in name))
    return rows


def _flat(made: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for group, title in _TITLES.items():
        content = made.get(group)
        if isinstance(content, Mapping):
            for key, value in content.items():
                yield f"{title}: {_words(key)}", _shown(key, value)
        elif content is not None:
            yield title, str(content)


def _words(key: str) -> str:
    return key.replace("_", " ").replace("dtype", "type").replace("model id", "model")


def _shown(key: str, value: Any) -> str:
    if key == "random_weights":
        return "yes" if value else "no"
    return NOTHING if value == -1 else str(value)
