"""CLASSIFY: a result file in, the same with the scores and calls of a classifier out.

    obs/p_virus_NAME               fp32, score "virus" of the frame; NaN in rows without a protein
    obs/window_is_virus_NAME       int8, call of the row's window: 1, 0, or -1 without an open frame
    uns/records/..._NAME           per record: windows called, of these virus, mean score, call
    uns/classifiers/NAME           which classifier, and how it was counted

The vectors are read by blocks; some 30 bytes a row and 20 a record stay in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import h5py
import numpy as np
import numpy.typing as npt

from virembed import anndata_encoding as ad
from virembed.atomic import whole_file
from virembed.calls import (
    LABELS,
    NOT_CALLED,
    RECORD_RULE,
    VIRUS,
    WINDOW_RULE,
    RecordCalls,
    Scores,
    WindowCalls,
    call_records,
    call_windows,
)
from virembed.classifier_info import ClassifierInfo, differences
from virembed.errors import UsageError
from virembed.h5 import new_file, open_complete
from virembed.layout import DNABERTS, ESM2, MODELS, NOTHING, UNKNOWN, WINDOWS
from virembed.result import BLOCK_ROWS, MATRIX_ROWS, Checksums, stored_bytes
from virembed.verify import type_of, verify_written

FRAMES_TEXT = "prediction_results.txt"
WINDOWS_TEXT = "prediction_results_highestscore.csv"
RECORDS_TEXT = "prediction_results_records.tsv"
_CALL_TEXTS = {1: "True", 0: "False", NOT_CALLED: ""}


class ScoringModel(Protocol):
    """See `models.classifier.Classifier`."""

    @property
    def info(self) -> ClassifierInfo: ...

    def scores(self, dna: npt.NDArray[Any], protein: npt.NDArray[Any]) -> Scores: ...


@dataclass(frozen=True, slots=True)
class Classified:
    """scores: fp32 [rows with a protein, 2], others and virus."""

    sample: str
    scores: Scores
    windows: WindowCalls
    records: RecordCalls


def classify_result(
    path: Path, classifier: ScoringModel, *, out: Path, allow_random: bool = False
) -> Classified:
    """Writes `out`, which may be `path` itself, and returns what was scored and called.

    Raises:
        UsageError: the classifier was trained on other windows or vectors; it or the vectors are
            of random weights; the file has its scores already.
        IncompleteError: the file is missing, damaged, or not a result.
    """
    remedy = "Give the SAMPLE.h5 of a finished run."
    with open_complete(path, kind="result file", remedy=remedy) as source:
        _require_fitting(path, source, classifier.info)
        if not allow_random:
            _require_real_weights(path, source, classifier.info)
        scores = _scores(source, classifier)
        num_rows = len(scores)
        record = source["obs/record_id/codes"][:num_rows]
        windows = call_windows(record, source["obs/window"][:num_rows], scores)
        num_records = len(source["uns/records/record_id"])
        records = call_records(record, windows, num_records=num_records)
        found = Classified(str(source.attrs["sample"]), scores, windows, records)
        with new_file(out, check=verify_written) as file:
            ad.copy_elements(source, file)
            _add(file, classifier.info, found)
    return found


def known_provenance(file: h5py.File) -> dict[str, dict[str, Any]]:
    """What a result says of its windows and models; None for what it does not know, and for how a
    model embedded where it had nothing to embed."""
    made = file["uns/provenance"]
    found = {}
    for group in ("windows", *(model.name for model in MODELS)):
        fields = {name: _plain(dataset) for name, dataset in made[group].items()}
        found[group] = {
            n: None if value in (UNKNOWN, NOTHING, -1) else value for n, value in fields.items()
        }
    return found


def _plain(dataset: h5py.Dataset) -> str | int:
    value = dataset[()]
    return value.decode() if isinstance(value, bytes) else int(value)


def _require_fitting(path: Path, file: h5py.File, info: ClassifierInfo) -> None:
    if (kind := type_of(file)) != WINDOWS:
        raise UsageError(
            f"{path}: is of type {kind}; {info.name} needs the DNA and the protein of open frames",
            "Give a result of the type windows.",
        )
    found = known_provenance(file)
    if different := differences(info, found):
        raise UsageError(
            f"{path}: {info.name} was trained on something else: {'; '.join(different)}",
            "Give the classifier of these windows and models, or run the pipeline again as it was "
            "trained. If it is the same model under another name, convert the classifier again and "
            "say so (--esm2, --dnaberts).",
        )
    if f"p_virus_{info.name}" in file["obs"]:
        raise UsageError(
            f"{path}: has the scores of a classifier {info.name} already",
            "Give the file without them, or convert the classifier with another --name.",
        )


def _require_real_weights(path: Path, file: h5py.File, info: ClassifierInfo) -> None:
    made = known_provenance(file)
    random = [f"the vectors of {m.name}" for m in MODELS if made[m.name].get("random_weights")]
    random += [f"the classifier {info.name}"] if info.random else []
    if random:
        raise UsageError(
            f"{path}: {' and '.join(random)} come from random weights: scores mean nothing",
            "To try it out all the same, add --allow-random.",
        )


def _scores(file: h5py.File, classifier: ScoringModel) -> Scores:
    num_rows = int(file["uns/accounting/n_protein_rows"][()])
    scores = np.empty((num_rows, len(LABELS)), dtype=np.float32)
    dna, protein = file[f"obsm/{DNABERTS.obsm}"], file[f"obsm/{ESM2.obsm}"]
    for start in range(0, num_rows, MATRIX_ROWS):
        part = slice(start, min(start + MATRIX_ROWS, num_rows))
        scores[part] = classifier.scores(dna[part], protein[part])
    return scores


def _add(file: h5py.File, info: ClassifierInfo, found: Classified) -> None:
    """Columns, their checksums, and where they come from."""
    num_rows, num_scored = len(file["obs/row_id"]), len(found.scores)
    p_virus = np.full(num_rows, np.nan, dtype=np.float32)
    p_virus[:num_scored] = found.scores[:, VIRUS]
    calls = np.full(num_rows, NOT_CALLED, dtype=np.int8)
    calls[:num_scored] = found.windows.of_rows(num_scored)
    records: dict[str, npt.NDArray[Any]] = {
        "n_windows_called": found.records.called,
        "n_windows_virus": found.records.virus,
        "mean_p_virus": found.records.mean_p_virus,
        "is_virus": found.records.is_virus,
    }
    columns: list[tuple[str, str, npt.NDArray[Any]]]
    columns = [("obs", "p_virus", p_virus), ("obs", "window_is_virus", calls)]
    columns += [("records", name, values) for name, values in records.items()]
    checksums = Checksums()
    for table, prefix, values in columns:
        name = f"{prefix}_{info.name}"
        frame = file["obs"] if table == "obs" else file["uns/records"]
        ad.append_column(frame, name, values)
        for start in range(0, len(values), BLOCK_ROWS):
            block = stored_bytes(values[start : start + BLOCK_ROWS], values.dtype)
            checksums.add(f"{table}_{name}", start, block)
    for name, hashes in checksums.hex().items():
        ad.write_value(file["uns/integrity"], name, hashes)
    uns = file["uns"]
    classifiers = uns["classifiers"] if "classifiers" in uns else ad.new_dict(uns, "classifiers")
    ad.write_value(classifiers, info.name, _provenance(info, found))


def _provenance(info: ClassifierInfo, found: Classified) -> dict[str, Any]:
    return {
        **{name: value for name, value in asdict(info).items() if name != "name"},
        "random": int(info.random),
        "window_rule": WINDOW_RULE,
        "record_rule": RECORD_RULE,
        "counts": counts(found),
    }


def counts(found: Classified) -> dict[str, int]:
    records = found.records
    return {
        "frames_scored": len(found.scores),
        "windows_called": len(found.windows.is_virus),
        "windows_virus": int(found.windows.is_virus.sum()),
        "records_called": int((records.is_virus != NOT_CALLED).sum()),
        "records_virus": int((records.is_virus == 1).sum()),
    }


def write_texts(result: Path, found: Classified, directory: Path) -> list[Path]:
    """The two tables of VirNucPro, with its columns, and one of the records, in row order."""
    paths = [directory / name for name in (FRAMES_TEXT, WINDOWS_TEXT, RECORDS_TEXT)]
    writers = (_write_frames, _write_windows, _write_records)
    with open_complete(result, kind="result file", remedy="Classify again.") as file:
        for path, write in zip(paths, writers, strict=True):
            with whole_file(path) as partial, partial.open("w") as text:
                write(text, file, found)
    return paths


def _row_ids(file: h5py.File, num_rows: int) -> Iterator[tuple[slice, Any]]:
    for start in range(0, num_rows, BLOCK_ROWS):
        part = slice(start, min(start + BLOCK_ROWS, num_rows))
        yield part, file["obs/row_id"].asstr()[part]


def _write_frames(text: IO[str], file: h5py.File, found: Classified) -> None:
    text.write("Sequence_ID\tPrediction\tscore1\tscore2\n")
    for part, ids in _row_ids(file, len(found.scores)):
        scores = found.scores[part]
        for name, label, (others, virus) in zip(ids, scores.argmax(axis=1), scores, strict=True):
            text.write(f"{name}\t{LABELS[label]}\t{others!s}\t{virus!s}\n")


def _write_windows(text: IO[str], file: h5py.File, found: Classified) -> None:
    text.write("Modified_ID\tIs_Virus\n")
    first_row = found.windows.first_row
    for part, ids in _row_ids(file, len(found.scores)):
        here = slice(*np.searchsorted(first_row, [part.start, part.stop]))
        rows, calls = first_row[here] - part.start, found.windows.is_virus[here]
        # without the two letters of the frame
        text.writelines(f"{ids[r][:-2]}\t{c}\n" for r, c in zip(rows, calls, strict=True))


def _write_records(text: IO[str], file: h5py.File, found: Classified) -> None:
    names = ("Record_ID", "windows", "windows_called", "windows_virus", "mean_score2", "Is_Virus")
    text.write(f"# Is_Virus: {RECORD_RULE}; empty without such a window\n")
    text.write("\t".join(names) + "\n")
    calls, table = found.records, file["uns/records"]
    for start in range(0, len(calls.called), BLOCK_ROWS):
        part = slice(start, start + BLOCK_ROWS)
        columns = (
            table["record_id"].asstr()[part],
            table["n_windows"][part],
            calls.called[part],
            calls.virus[part],
            calls.mean_p_virus[part],
            [_CALL_TEXTS[call] for call in calls.is_virus[part].tolist()],
        )
        text.writelines("\t".join(map(str, line)) + "\n" for line in zip(*columns, strict=True))
