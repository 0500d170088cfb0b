"""The workload of a sample, `SAMPLE.split.json`: what SPLIT counted, for an estimate of the run.

One JSON object on one line, so that the files of many samples can be read as one. Knows no
weights and no device: tokens, not seconds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from virembed.atomic import whole_file
from virembed.errors import IncompleteError
from virembed.layout import MODEL_NAMES, ModelSlot

FORMAT = "virembed.split/2"
SUFFIX = ".split.json"
SPECIAL_TOKENS = 2  # at the start and the end of every item
_REMEDY = "Run `virembed split` again."
_NOT_SPACE = re.compile(r"\S")


@dataclass(frozen=True, slots=True)
class ModelWorkload:
    """What a model has to embed for a sample.

    items, letters: distinct sequences, and their residues or bp
    chunk_tokens:   tokens of each chunk; estimated where a token is more than one letter
    chunk_pairs:    sum over the items of a chunk of their squared tokens: what attention looks at
    """

    items: int
    letters: int
    chunk_tokens: list[int]
    chunk_pairs: list[int]

    @property
    def tokens(self) -> int:
        return sum(self.chunk_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A sample as SPLIT left it.

    rows, protein_rows, dna_rows: of the result, and those of them with a protein, or DNA
    manifest_bytes:     size of the manifest
    models:             by name
    """

    sample: str
    records: int
    bases: int
    windows: int
    open_frames: int
    rows: int
    protein_rows: int
    dna_rows: int
    manifest_bytes: int
    models: dict[str, ModelWorkload]


def model_workload(
    model: ModelSlot, *, starts: Sequence[int], letters: Sequence[int], squared: Sequence[int]
) -> ModelWorkload:
    """
    Args:
        starts: first item of each chunk, and the number of items at the end.
        letters, squared: sum of the lengths of the items of each chunk, and of their squares.
    """
    per_token = model.letters_per_token
    tokens, pairs = [], []
    for chunk, length in enumerate(letters):
        items = starts[chunk + 1] - starts[chunk]
        tokens.append(round(length / per_token) + SPECIAL_TOKENS * items)
        # the sum of (length / per_token + 2)² over the items
        crossed = 2 * SPECIAL_TOKENS * length / per_token + SPECIAL_TOKENS**2 * items
        pairs.append(round(squared[chunk] / per_token**2 + crossed))
    return ModelWorkload(starts[-1], sum(letters), tokens, pairs)


def write_workload(path: Path, workload: Workload) -> None:
    with whole_file(path) as partial:
        text = json.dumps({"format": FORMAT, **asdict(workload)}, sort_keys=True)
        partial.write_text(text + "\n")


def read_workloads(path: Path) -> list[Workload]:
    """The samples of a file, or of several such files joined.

    Raises:
        IncompleteError: missing, unreadable, cut short or no such file.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise IncompleteError(f"{path}: cannot be read ({error})", _REMEDY) from None
    decoder, position, found = json.JSONDecoder(), 0, []
    try:
        while begin := _NOT_SPACE.search(text, position):
            fields, position = decoder.raw_decode(text, begin.start())
            found.append(_workload(fields))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        line = text.count("\n", 0, position) + 1
        raise IncompleteError(
            f"{path} line {line}: not what SPLIT wrote ({error})", _REMEDY
        ) from None
    return found


def _workload(fields: dict[str, Any]) -> Workload:
    if fields.pop("format", None) != FORMAT:
        raise ValueError(f"not of format {FORMAT}")
    models: Mapping[str, Any] = fields.pop("models")
    if set(models) != set(MODEL_NAMES):
        raise ValueError(f"models {', '.join(models)}, not {', '.join(MODEL_NAMES)}")
    return Workload(**fields, models={name: ModelWorkload(**models[name]) for name in MODEL_NAMES})
