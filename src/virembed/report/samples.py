"""What one result file says of its sample: verdict, counts, losses, provenance.

Small tables only; rows and vectors are read by `columns`, `rows` and `strips`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from virembed.accounting import check_identities
from virembed.errors import IncompleteError
from virembed.h5 import open_complete
from virembed.layout import MODELS, SCHEMA_VERSION
from virembed.result import BLOCK_ROWS

RESULT_SUFFIX, SUMMARY_SUFFIX = ".h5", ".summary.json"
NUM_EXAMPLES = 3  # ids shown of each kind of loss
OK, LOSSES, EMPTY, FAILED = "ok", "losses", "empty", "failed"  # states of a sample
_REMEDY = "Copy the file again, or run COLLECT again with -resume."

# stage, count of the whole, and its parts: (count, what it means, kind). "aside" is left out by
# the rules and no loss. The parts of a stage add up to the whole (see accounting.IDENTITIES).
STAGES: tuple[tuple[str, str, tuple[tuple[str, str, str], ...]], ...] = (
    (
        "Records",
        "records_in",
        (
            ("records_ok", "embedded", "kept"),
            ("records_empty", "empty", "lost"),
            ("records_too_short", "too short", "lost"),
            ("records_too_long", "too long", "lost"),
            ("records_not_dna", "not DNA", "lost"),
            ("records_duplicate_id", "id twice", "lost"),
            ("records_failed", "failed", "lost"),
        ),
    ),
    (
        "Windows",
        "windows",
        (
            ("windows_with_open_frame", "with an open frame", "kept"),
            ("n_window_rows", "without one: DNA only", "partly"),
            ("windows_dropped", "without one: dropped by the rules", "lost"),
        ),
    ),
    (
        "Frames, six a window",
        "frames_looked_at",
        (
            ("frames_open", "open", "kept"),
            ("frames_with_stop", "closed by a stop codon", "aside"),
            ("frames_empty", "shorter than a codon", "aside"),
        ),
    ),
    (
        "Records embedded whole",
        "records_whole",
        (("contigs", "contigs", "kept"), ("proteins", "proteins", "kept")),
    ),
    (
        "Protein vectors",
        "n_protein_rows",
        (
            ("esm2_unique", "computed", "kept"),
            ("esm2_copied", "copied from an identical protein", "partly"),
            ("esm2_failed", "missing", "lost"),
        ),
    ),
    (
        "DNA vectors",
        "n_dna_rows",
        (
            ("dnaberts_unique", "computed", "kept"),
            ("dnaberts_copied", "copied from identical DNA", "partly"),
            ("dnaberts_failed", "missing", "lost"),
        ),
    ),
)


@contextmanager
def open_result(path: Path) -> Iterator[h5py.File]:
    """A finished result file of this schema, its accounting checked.

    Raises:
        IncompleteError: no such file, or damaged, unfinished, of another schema.
    """
    with open_complete(path, kind="result file", remedy=_REMEDY) as file:
        version = file.attrs.get("schema_version")
        if version != SCHEMA_VERSION:
            message = f"{path}: schema version {version}, not {SCHEMA_VERSION}"
            raise IncompleteError(message, _REMEDY)
        check_identities(counts_of(file))
        yield file


def counts_of(file: h5py.File) -> dict[str, int]:
    return {name: int(value[()]) for name, value in file["uns/accounting"].items()}


def read_sample(path: Path, file: h5py.File) -> dict[str, Any]:
    """A row of the report's first table, and what other parts need of the sample."""
    counts = counts_of(file)
    state, verdict = judge(counts)
    made = _plain(file["uns/provenance"])
    return {
        "name": str(file.attrs["sample"]),
        "file": path.name,
        "bytes": path.stat().st_size,
        "collected": str(file.attrs["created"]),
        "state": state,
        "verdict": verdict,
        "counts": counts,
        "losses": _losses(file["uns/lost"]),
        "provenance": made,
        "random": [model.name for model in MODELS if made[model.name]["random_weights"]],
        "summary": _summary(path),
    }


def failed_sample(name: str, file: str, cause: str) -> dict[str, Any]:
    """The row of a sample that has no result that can be read."""
    return {
        "name": name,
        "file": file,
        "bytes": 0,
        "collected": "",
        "state": FAILED,
        "verdict": f"failed: {cause}",
        "counts": {},
        "losses": [],
        "provenance": {},
        "random": [],
        "summary": {},
    }


def judge(counts: Mapping[str, int]) -> tuple[str, str]:
    """State and verdict of a sample, the verdict a line that names every loss."""
    lost = losses_in_words(counts)
    records = number_of(counts["records_in"], "record")
    if not counts["rows"]:
        return EMPTY, f"empty: no row from {records}{f' ({lost})' if lost else ''}"
    rows = number_of(counts["rows"], "row")
    if lost:
        return LOSSES, f"complete: {rows} from {records}, with losses ({lost})"
    return OK, f"complete: {rows} from {records}, nothing lost"


def losses_in_words(counts: Mapping[str, int]) -> str:
    """Every loss there is with its number; nothing where there is none."""
    found = [f"{meaning}: {counts[count]:,}" for count, meaning in loss_counts() if counts[count]]
    return ", ".join(found)


def loss_counts() -> Iterator[tuple[str, str]]:
    """Names of the counts that are losses, and what to call them."""
    for stage, _, parts in STAGES:
        for count, meaning, kind in parts:
            if kind == "lost":
                yield count, f"{stage.split(',')[0].lower()} {meaning}"


def number_of(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _losses(lost: h5py.Group) -> list[dict[str, Any]]:
    """What stands in `uns/lost`, counted by stage and reason, with the first ids of each."""
    found: Counter[tuple[str, str]] = Counter()
    examples: dict[tuple[str, str], list[str]] = {}
    for start in range(0, len(lost["id"]), BLOCK_ROWS):
        part = slice(start, start + BLOCK_ROWS)
        stages, reasons = (lost[name].asstr()[part] for name in ("stage", "reason"))
        ids = lost["id"].asstr()[part]
        for record, *kind in zip(ids, stages, reasons, strict=True):
            stage, reason = kind
            found[stage, reason] += 1
            first = examples.setdefault((stage, reason), [])
            if len(first) < NUM_EXAMPLES:
                first.append(str(record))
    return [
        {"stage": stage, "reason": reason, "number": number, "examples": examples[stage, reason]}
        for (stage, reason), number in found.most_common()
    ]


def _summary(result: Path) -> dict[str, Any]:
    """`SAMPLE.summary.json` beside the result: timings, which the result does not have."""
    path = result.with_name(result.name.removesuffix(RESULT_SUFFIX) + SUMMARY_SUFFIX)
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise IncompleteError(f"{path}: cannot be read ({error})", _REMEDY) from None
    return content if isinstance(content, dict) else {}


def _plain(group: h5py.Group) -> dict[str, Any]:
    """A group of texts, numbers and lists as JSON knows them."""
    plain: dict[str, Any] = {}
    for name, item in group.items():
        if isinstance(item, h5py.Group):
            plain[name] = _plain(item)
        elif h5py.check_string_dtype(item.dtype) is None:
            plain[name] = item[()].tolist()
        else:
            texts = item.asstr()[()]
            plain[name] = texts if isinstance(texts, str) else texts.tolist()
    return plain
