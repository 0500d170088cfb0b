"""Are the record ids of a sample unique? Eight bytes a record while reading, the rest on demand.

Ids are remembered as 64-bit hashes; where two agree, the files are read again for the ids
themselves, so that an accidental agreement never counts.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path

import numpy as np
import numpy.typing as npt

from virembed.alphabets import NUCLEOTIDES, Alphabet
from virembed.errors import InputError
from virembed.fasta import (
    MAX_PROBLEMS_PER_FILE,
    Complain,
    RecordBatch,
    header_lines,
    read_batches,
    stop_at_first,
)

REFUSE, SUFFIX = "refuse", "suffix"
POLICIES = (REFUSE, SUFFIX)


@dataclass(frozen=True, slots=True)
class Source:
    """A file of a sample: where it is, what to call it in messages, what its letters are."""

    path: Path
    name: str
    alphabet: Alphabet = NUCLEOTIDES

    def batches(self, complain: Complain = stop_at_first) -> Iterator[RecordBatch]:
        """Its records, see `fasta.read_batches`."""
        return read_batches(self.path, name=self.name, complain=complain, alphabet=self.alphabet)

    @property
    def shown(self) -> str:
        """The last part of its name; bytes that are no UTF-8, which HDF5 cannot store, as `?`."""
        return os.path.basename(self.name).encode("utf-8", "replace").decode()

    def state(self) -> tuple[int, ...] | None:
        """What changes when somebody writes to the file; None where there is none."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


class RecordIds:
    """Collects the ids of a sample's records, file by file, then answers for all of them."""

    def __init__(self) -> None:
        self._blocks: list[npt.NDArray[np.int64]] = []
        self._files: list[tuple[int, Source]] = []  # with the number of its first record
        self.num_records = 0

    def start_file(self, source: Source) -> None:
        self._files.append((self.num_records, source))

    def add(self, ids: list[str]) -> None:
        self._blocks.append(np.fromiter(map(hash, ids), dtype=np.int64, count=len(ids)))
        self.num_records += len(ids)

    def errors(self) -> list[InputError]:
        """One error per repeated id, naming the first two places."""
        return [
            InputError(
                f"{self._place(numbers[0])} and {self._place(numbers[1])}: "
                f"record id '{record}' stands {len(numbers)} times in the sample",
                "Make ids unique, or use --duplicate_ids suffix.",
            )
            for record, numbers in list(self._duplicates().items())[:MAX_PROBLEMS_PER_FILE]
        ]

    def new_names(self) -> dict[int, str]:
        """For each repetition (record number) its id with the first free suffix: ~2, ~3, ..."""
        names: dict[int, str] = {}
        given: set[str] = set()
        for record, numbers in self._duplicates().items():
            suffixes = count(2)
            for number in numbers[1:]:
                candidates = (f"{record}~{i}" for i in suffixes)
                names[number] = next(n for n in candidates if n not in given and not self._has(n))
                given.add(names[number])
        return names

    @cached_property
    def _sorted(self) -> npt.NDArray[np.int64]:
        hashes = np.concatenate([np.empty(0, dtype=np.int64), *self._blocks])
        self._blocks.clear()
        hashes.sort()
        return hashes

    def _has(self, record: str) -> bool:
        position = np.searchsorted(self._sorted, hash(record))
        return bool(position < len(self._sorted) and self._sorted[position] == hash(record))

    def _duplicates(self) -> dict[str, list[int]]:
        """Record numbers by id, for ids that stand more than once; in input order."""
        repeated = np.unique(self._sorted[1:][self._sorted[1:] == self._sorted[:-1]])
        if not len(repeated):
            return {}
        by_id: defaultdict[str, list[int]] = defaultdict(list)
        for number, record in self._suspects(repeated):
            by_id[record].append(number)
        return {record: numbers for record, numbers in by_id.items() if len(numbers) > 1}

    def _suspects(self, hashes: npt.NDArray[np.int64]) -> Iterator[tuple[int, str]]:
        """Number and id of the records with one of these hashes, read from the files again."""
        for first, source in self._files:
            # what cannot be read of a damaged file was not read, and complained about, before
            with suppress(InputError):
                for batch in source.batches(complain=lambda _: None):
                    found = np.fromiter(map(hash, batch.ids), dtype=np.int64, count=len(batch.ids))
                    for i in np.flatnonzero(np.isin(found, hashes)).tolist():
                        yield first + batch.first + i, batch.ids[i]

    def _place(self, number: int) -> str:
        first, source = next(file for file in reversed(self._files) if file[0] <= number)
        return f"{source.name} line {header_lines(source.path, [number - first])[number - first]}"
