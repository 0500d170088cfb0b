"""Items, the distinct sequences to embed: keys, numbers in order of appearance, chunks.

An item is known by its key, the xxh3-128 hash of its text, so that an identical sequence is
embedded once per sample. Chunks are cut by letters in the order of first appearance: item i is in
chunk floor(letters before it / limit), which appending records does not change.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np
import numpy.typing as npt
import xxhash

from virembed.atomic import whole_file
from virembed.errors import InputError
from virembed.layout import ModelSlot, chunk_name

item_key = xxhash.xxh3_128_digest  # bytes → 16 bytes


class ItemIndex:
    """Numbers items by first appearance. Memory: about 160 bytes per distinct sequence."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    def add(self, texts: list[bytes]) -> tuple[npt.NDArray[np.int64], list[bytes], list[bytes]]:
        """Item number of each text (int64), and the keys and texts of those not seen before."""
        distinct = dict.fromkeys(texts)
        numbers, known = self._numbers, len(self._numbers)
        new_keys, new_texts = [], []
        for text in distinct:
            key = item_key(text)
            number = numbers.setdefault(key, known)
            if number == known:
                known += 1
                new_keys.append(key)
                new_texts.append(text)
            distinct[text] = number
        found = np.fromiter(map(distinct.__getitem__, texts), dtype=np.int64, count=len(texts))
        return found, new_keys, new_texts


class ChunkWriter:
    """Writes items as FASTA, whose ids are the keys, one file per chunk.

    A context: leaves complete files behind, or none after an error; files of an earlier run of the
    same sample are removed first. `finish` it before what speaks of its files gets a name.

    starts:  number of the first item of each chunk
    letters: of each chunk, and `squared` the sum of the squared lengths of its items
    """

    def __init__(self, directory: Path, *, sample: str, model: ModelSlot, limit: int) -> None:
        self._directory = directory
        self._sample, self._model, self._limit = sample, model, limit
        self._file: IO[bytes] | None = None
        self._open = ExitStack()  # closes the file and gives it its name
        self._number = -1  # of the open chunk
        self._letters = 0  # of all items so far
        self.starts: list[int] = []
        self.letters: list[int] = []
        self.squared: list[int] = []
        self.num_items = 0

    def __enter__(self) -> ChunkWriter:
        self._remove()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.__exit__(kind, error, trace)
        if error:
            self._remove()

    def add(self, keys: list[bytes], texts: list[bytes]) -> None:
        if not keys:
            return
        lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
        before = self._letters + np.cumsum(lengths) - lengths
        number = before // self._limit
        cuts = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), len(keys)]
        for a, b in pairwise(cuts):
            if number[a] != self._number:
                self._next(int(number[a]), a)
            self.letters[-1] += int(lengths[a:b].sum())
            self.squared[-1] += int(np.square(lengths[a:b]).sum())
            assert self._file
            self._file.write(
                b"".join(
                    b">%s\n%s\n" % (key.hex().encode(), text)
                    for key, text in zip(keys[a:b], texts[a:b], strict=True)
                )
            )
        self._letters += int(lengths.sum())
        self.num_items += len(keys)

    def finish(self) -> None:
        """Gives the last file its name; nothing can be added to it."""
        self._open.close()

    def _next(self, number: int, position: int) -> None:
        self.finish()
        # a single item longer than the limit leaves numbers out: chunks are counted, not numbered
        name = chunk_name(self._sample, self._model.name, len(self.starts)) + self._model.suffix
        path = self._open.enter_context(whole_file(self._directory / name))
        self._file = self._open.enter_context(path.open("wb"))
        self._number = number
        self.starts.append(self.num_items + position)
        self.letters.append(0)
        self.squared.append(0)

    def _remove(self) -> None:
        name = chunk_name(self._sample, self._model.name, 0).rstrip("0") + "[0-9]*"
        for path in self._directory.glob(name + self._model.suffix):
            path.unlink()


def read_chunk(path: Path) -> Iterator[tuple[bytes, str]]:
    """Key (16 bytes) and text of each item.

    Raises:
        InputError: not a chunk, or its text is not what its keys say.
    """
    remedy = "Run `virembed split` again."
    try:
        with open(path, "rb") as file:
            for line, header in enumerate(file):
                text = next(file, b"").rstrip(b"\n")
                key = item_key(text)
                if header != b">%s\n" % key.hex().encode():
                    raise InputError(
                        f"{path} line {2 * line + 1}: the id is not the key of the sequence", remedy
                    )
                yield key, text.decode("ascii")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})", remedy) from None
