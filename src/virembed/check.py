"""CHECK: everything that can be wrong with a run's input, found before anything is computed.

Reads the sheet and every file in full and reports all problems at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread

from virembed.alphabets import alphabet_of
from virembed.errors import CombinedInputError, InputError
from virembed.record_ids import REFUSE, RecordIds, Source
from virembed.samplesheet import SheetRow, by_sample, read_sheet, write_sheet

Locate = Callable[[SheetRow], Path]


@dataclass(frozen=True, slots=True)
class SampleCheck:
    """What was found in the files of a sample.

    num_letters: bp, or residues of proteins
    """

    sample: str
    type: str
    num_records: int
    num_letters: int
    problems: list[InputError]


def check_run(
    sheet: Path, *, base: Path, out: Path | None, locate: Locate, duplicate_ids: str, threads: int
) -> list[SampleCheck]:
    """Checks a sheet and its files; writes the checked sheet if all is well.

    Args:
        base: what relative paths in the sheet are relative to.
        locate: where a row's file is to be read, which is not its own path inside a container.

    Raises:
        CombinedInputError: with every problem there is.
    """
    rows, problems = read_sheet(sheet, base=base)
    present: list[SheetRow] = []
    for row in rows:
        if locate(row).is_file():
            present.append(row)
        else:
            problems.append(
                InputError(
                    f"{sheet.name} line {row.line}: sample '{row.sample}': "
                    f"{row.path}: there is no such file",
                    "Correct the path; relative paths start at the sheet.",
                )
            )
    checks = _check_samples(present, locate, duplicate_ids, threads)
    for check in checks:
        problems += [
            InputError(f"sample '{check.sample}': {problem.problem}", problem.remedy)
            for problem in check.problems
        ]
    if problems:
        raise CombinedInputError(problems)
    if out:
        write_sheet(out, rows)
    return checks


def staged_files(directory: Path, lines: str) -> Locate:
    """Where the pipeline staged the files: directory/1/NAME for the first line listed, and so on.

    Args:
        lines: sheet lines in ascending order, as ranges: "2-5,7".
    """
    numbers: dict[int, int] = {}
    for part in filter(None, lines.split(",")):
        first, _, last = part.partition("-")
        for line in range(int(first), int(last or first) + 1):
            numbers[line] = len(numbers) + 1

    def locate(row: SheetRow) -> Path:
        if row.line not in numbers:
            return directory / "not-staged"
        return directory / str(numbers[row.line]) / row.path.name

    return locate


def _check_samples(
    rows: Iterable[SheetRow], locate: Locate, duplicate_ids: str, threads: int
) -> list[SampleCheck]:
    jobs = [
        (
            sample,
            files[0].type,
            [Source(locate(row), str(row.path), alphabet_of(row.type)) for row in files],
            duplicate_ids,
        )
        for sample, files in by_sample(rows).items()
    ]
    if threads < 2 or len(jobs) < 2:
        return [_check_sample(*job) for job in jobs]
    # not forked: a fork of a process with threads may hang
    spawn = get_context("spawn")
    with ProcessPoolExecutor(threads, mp_context=spawn, initializer=_end_with_parent) as pool:
        return list(pool.map(_check_sample, *zip(*jobs, strict=True), chunksize=8))


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""
    parent = parent_process()
    assert parent

    def watch() -> None:
        parent.join()
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def _check_sample(sample: str, kind: str, sources: list[Source], duplicate_ids: str) -> SampleCheck:
    problems: list[InputError] = []
    ids = RecordIds()
    num_letters = 0
    for source in sources:
        ids.start_file(source)
        try:
            for batch in source.batches(complain=problems.append):
                ids.add(batch.ids)
                num_letters += sum(map(len, batch.sequences))
        except InputError as problem:  # the rest of this file cannot be read, the next one can
            problems.append(problem)
    if duplicate_ids == REFUSE:
        problems += ids.errors()
    return SampleCheck(sample, kind, ids.num_records, num_letters, problems)
