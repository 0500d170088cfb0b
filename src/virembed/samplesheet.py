"""The sample sheet: CSV with the columns `sample`, `fasta` and perhaps `type`, one row per file.

Rows with the same sample are lanes of it; their files are taken in the order of their paths, so
that the order of the rows means nothing. Every problem is collected, none stops the reading.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from virembed.atomic import whole_file
from virembed.errors import InputError
from virembed.layout import TYPES, WINDOWS

COLUMNS = ("sample", "fasta")
TYPE_COLUMN = "type"
SAFE_SAMPLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
SAFE_SAMPLE_HINT = "Use letters, digits, '.', '_' and '-', beginning with a letter or digit."


@dataclass(frozen=True, slots=True)
class SheetRow:
    """A row of the sheet.

    line: of the sheet, from 1
    path: of the file, resolved against the directory of the sheet; not necessarily visible here
    type: of the sample, one of `layout.TYPES`
    """

    line: int
    sample: str
    path: Path
    type: str = WINDOWS


def read_sheet(path: Path, *, base: Path) -> tuple[list[SheetRow], list[InputError]]:
    """The usable rows of a sheet and what is wrong with the others.

    Args:
        base: what relative paths are relative to.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        problem = InputError(f"{path.name}: cannot be read ({error.strerror})", "Correct --input.")
        return [], [problem]
    except UnicodeDecodeError:
        problem = InputError(f"{path.name}: not a text file", "Save the sheet as CSV in UTF-8.")
        return [], [problem]
    reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True)
    header = [name.strip() for name in next(reader, [])]
    problems = _header_problems(path.name, header)
    if problems:
        return [], problems

    rows: list[SheetRow] = []
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        row = _row(f"{path.name} line {reader.line_num}", header, cells, base, reader.line_num)
        if isinstance(row, SheetRow):
            rows.append(row)
        else:
            problems.append(row)
    if not rows and not problems:
        problems.append(InputError(f"{path.name}: no samples", "Add a row sample,fasta per file."))
    problems += _repetitions(path.name, rows)
    return list({(row.sample, row.path): row for row in reversed(rows)}.values())[::-1], problems


def by_sample(rows: Iterable[SheetRow]) -> dict[str, list[SheetRow]]:
    """Rows of each sample in the order of their paths, samples in the order of their names."""
    samples: dict[str, list[SheetRow]] = {}
    for row in sorted(rows, key=lambda row: (row.sample, str(row.path))):
        samples.setdefault(row.sample, []).append(row)
    return samples


def write_sheet(path: Path, rows: Iterable[SheetRow]) -> None:
    """The checked sheet: absolute paths, rows sorted by sample and path."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*COLUMNS, TYPE_COLUMN))
    for sample in by_sample(rows).values():
        writer.writerows((row.sample, row.path, row.type) for row in sample)
    with whole_file(path) as partial:
        partial.write_bytes(os.fsencode(text.getvalue()))


def _header_problems(name: str, header: list[str]) -> list[InputError]:
    wanted = ",".join(COLUMNS)
    if not any(header):
        return [InputError(f"{name}: the sheet is empty", f"Its first line has to be {wanted}.")]
    known = f"The columns are {wanted} and, if need be, {TYPE_COLUMN}."
    problems = [
        InputError(f"{name} line 1: no column '{column}'", known)
        for column in COLUMNS
        if column not in header
    ]
    problems += [
        InputError(f"{name} line 1: unknown column '{column}'", known)
        for column in header
        if column not in (*COLUMNS, TYPE_COLUMN)
    ]
    if len(set(header)) < len(header) and not problems:
        problems.append(InputError(f"{name} line 1: a column stands twice", f"Keep {wanted}."))
    return problems


def _row(
    place: str, header: list[str], cells: list[str], base: Path, line: int
) -> SheetRow | InputError:
    if len(cells) != len(header):
        return InputError(
            f"{place}: {len(cells)} values for {len(header)} columns",
            "Put a value that holds a comma in quotes.",
        )
    values = dict(zip(header, (cell.strip() for cell in cells), strict=True))
    sample, fasta = values["sample"], values["fasta"]
    if not SAFE_SAMPLE.fullmatch(sample):
        return InputError(
            f"{place}: sample name '{sample}' cannot be a file name everywhere",
            SAFE_SAMPLE_HINT,
        )
    if not fasta:
        return InputError(f"{place}: sample '{sample}' has no file", "Fill in the column fasta.")
    kind = values.get(TYPE_COLUMN) or WINDOWS
    if kind not in TYPES:
        return InputError(
            f"{place}: sample '{sample}' has the type '{kind}'",
            f"Types are {', '.join(TYPES)}; without one it is {WINDOWS}.",
        )
    return SheetRow(line, sample, base / fasta, kind)


def _repetitions(name: str, rows: list[SheetRow]) -> list[InputError]:
    """A file or a name that a sample must not have again, and types that differ."""
    problems: list[InputError] = []
    seen: dict[tuple[str, Path], int] = {}
    spelled: dict[str, SheetRow] = {}
    for row in rows:
        first = seen.setdefault((row.sample, row.path), row.line)
        if first != row.line:
            problems.append(
                InputError(
                    f"{name} line {row.line}: sample '{row.sample}' has {row.path.name} already, "
                    f"in line {first}",
                    "Remove one of the two rows.",
                )
            )
        other = spelled.setdefault(row.sample.lower(), row)
        if other.sample == row.sample and other.type != row.type:
            problems.append(
                InputError(
                    f"{name} line {row.line}: sample '{row.sample}' is of type {row.type} here, "
                    f"in line {other.line} of type {other.type}",
                    "Give all files of a sample one type, or make them two samples.",
                )
            )
        if other.sample != row.sample:
            problems.append(
                InputError(
                    f"{name} line {row.line}: sample '{row.sample}' differs from "
                    f"'{other.sample}' in line {other.line} in case only",
                    "Some file systems cannot tell their files apart; rename one.",
                )
            )
    return problems
