"""The residues of a chunk, `CHUNK.residues.h5`: what the vectors of its shard are the means of.

/            attributes: format, chunk, identity of the shard as JSON
key          uint8 [items, 16], those of the shard
start        int64 [items], first row of each item in `residues`
length       int64 [items], residues of each item
residues     float16 [sum of lengths, D], contiguous; items in the order they were computed

Written while the device computes: one block after the other, in a thread of its own.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from virembed.errors import IncompleteError
from virembed.h5 import LargeFile, new_large_file, open_complete, open_proven, require_space
from virembed.seal import SealedFile
from virembed.shards import ShardIdentity

FORMAT = "virembed.residue_shard/1"
SUFFIX = ".residues.h5"
BLOCKS_WAITING = 2  # packs that may wait for the disk
READ_BYTES = 1 << 24  # at a time
_KIND = "file of residues"
_REMEDY = "Remove the file and run its EMBED task again."


class ResidueWriter:
    """Takes residues in any order of items and appends them to a file."""

    def __init__(self, large: LargeFile, *, num_items: int, shape: tuple[int, int]) -> None:
        self._large = large
        self._residues = large.file.create_dataset("residues", shape, "<f2")
        self._start = np.full(num_items, -1, np.int64)
        self._length = np.zeros(num_items, np.int64)
        self._size = 0
        self._thread = ThreadPoolExecutor(1)
        self._waiting: deque[Future[None]] = deque()

    def put(
        self,
        items: npt.NDArray[np.int64],
        lengths: npt.NDArray[np.int64],
        residues: npt.NDArray[np.float16],
    ) -> None:
        """Items (positions), how many residues each has, and those, float16 [sum of lengths, D].

        Returns before they are written; waits where the disk does not keep up.

        Raises:
            OSError: an earlier block could not be written.
        """
        self._start[items] = self._size + np.cumsum(lengths) - lengths
        self._length[items] = lengths
        self._waiting.append(self._thread.submit(self._write, self._size, residues))
        self._size += len(residues)
        while len(self._waiting) > BLOCKS_WAITING:
            self._waiting.popleft().result()

    def finish(self, *, identity: ShardIdentity, chunk: str, keys: list[bytes]) -> None:
        """Once every item is there: waits until all is written, and says what it is."""
        while self._waiting:
            self._waiting.popleft().result()
        assert self._size == len(self._residues)
        assert (self._start >= 0).all()
        file = self._large.file
        file.create_dataset("key", data=np.frombuffer(b"".join(keys), "u1").reshape(-1, 16))
        file.create_dataset("start", data=self._start)
        file.create_dataset("length", data=self._length)
        file.attrs["format"] = FORMAT
        file.attrs["chunk"] = chunk
        file.attrs["identity"] = json.dumps(asdict(identity), sort_keys=True)

    def stop(self) -> None:
        self._thread.shutdown(cancel_futures=True)

    def _write(self, first: int, residues: npt.NDArray[np.float16]) -> None:
        if len(residues):
            self._residues[first : first + len(residues)] = residues
        self._large.raise_error()


@contextmanager
def new_residue_shard(
    path: Path, *, num_items: int, num_residues: int, dim: int
) -> Iterator[ResidueWriter]:
    """Has its name once it is finished and whole.

    Raises:
        IncompleteError: there is no room for it.
    """
    require_space(path.parent, 2 * num_residues * dim)
    with new_large_file(path) as large:
        writer = ResidueWriter(large, num_items=num_items, shape=(num_residues, dim))
        try:
            yield writer
        finally:
            writer.stop()


@dataclass(frozen=True, slots=True)
class ResidueShard:
    """What a file of residues says of itself.

    keys:    uint8 [items, 16]
    starts:  int64 [items], rows of `residues`
    lengths: int64 [items]
    shape:   rows and D
    """

    path: Path
    chunk: str
    identity: ShardIdentity
    keys: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    shape: tuple[int, int]


def read_residue_shard(path: Path) -> ResidueShard:
    """
    Raises:
        IncompleteError: missing, not finished, or no such file; it may be altered still.
    """
    with open_complete(path, kind=_KIND, remedy=_REMEDY, form=FORMAT) as file:
        try:
            return _described(path, file)
        except IncompleteError:
            raise
        except Exception as error:  # noqa: BLE001 - damage may come up as any error of h5py
            cause = " ".join(str(error).split())
            raise IncompleteError(f"{path}: damaged ({cause})", _REMEDY) from None


@contextmanager
def open_residue_shard(path: Path) -> Iterator[tuple[ResidueShard, Residues]]:
    """The same, compared with its seal: its residues when they are read, the rest at once.

    Raises:
        IncompleteError: also where it was altered since it was written.
    """
    sealed = SealedFile(path, kind=_KIND, remedy=_REMEDY)
    with open_proven(sealed, dataset="residues", form=FORMAT) as (file, offset):
        shard = _described(path, file)
        yield shard, Residues(sealed, offset=offset, shard=shard)


def _described(path: Path, file: h5py.File) -> ResidueShard:
    fields: dict[str, Any] = json.loads(file.attrs["identity"])
    return ResidueShard(
        path,
        chunk=str(file.attrs["chunk"]),
        identity=ShardIdentity(**fields),
        keys=file["key"][:],
        starts=file["start"][:],
        lengths=file["length"][:],
        shape=file["residues"].shape,
    )


class Residues:
    """The residues of a chunk on disk, read in the order of the items.

    Raises:
        IncompleteError: from `blocks`: altered since they were written.
    """

    def __init__(self, sealed: SealedFile, *, offset: int, shard: ResidueShard) -> None:
        self._sealed, self._offset, self._shard = sealed, offset, shard

    def blocks(self) -> Iterator[npt.NDArray[np.float16]]:
        """Item after item, float16 [rows, D], at most `READ_BYTES` or one row at a time; a block is
        overwritten by the next one."""
        dim = self._shard.shape[1]
        room = np.empty((max(READ_BYTES // (2 * dim), 1), dim), dtype="<f2")
        filled = 0
        places = zip(self._shard.starts.tolist(), self._shard.lengths.tolist(), strict=True)
        with self._sealed.opened() as file:
            for start, length in places:
                done = 0
                while done < length:
                    number = min(length - done, len(room) - filled)
                    out = room[filled : filled + number].data.cast("B")
                    self._sealed.read(file, self._offset + (start + done) * 2 * dim, out)
                    done, filled = done + number, filled + number
                    if filled == len(room):
                        yield room
                        filled = 0
        if filled:
            yield room[:filled]
