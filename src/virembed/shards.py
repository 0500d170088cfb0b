"""The shard, the file one EMBED task writes: the vectors of a chunk, and how they came about.

/            attributes: format, chunk, weights card and settings as JSON
key          uint8 [items, 16]
num_tokens   int32 [items]
flags        uint8 [items], 0: embedded in the precision of the identity; n: at the nth wider one,
             because half precision overflowed (fp16, then bf16, then fp32)
vector       float16 [items, D], contiguous, so that rows are read without HDF5
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import h5py
import numpy as np
import numpy.typing as npt

from virembed.h5 import leave_cache, new_file, open_proven
from virembed.seal import SealedFile

FORMAT = "virembed.shard/2"
SUFFIX = ".shard.h5"
_REMEDY = "Remove the shard and run its EMBED task again."
LEAVING_BYTES = 1 << 18  # shorter runs are not worth a call
NEAR_ROWS = 4  # rows so near are read together with what lies between, sooner than one by one


@dataclass(frozen=True, slots=True)
class ShardIdentity:
    """What all shards of a model must have in common to be collected into one matrix.

    model:          "esm2" or "dnaberts"
    weights_sha256: of the tensors
    precision:      type of the matrix products
    pooling:        in words
    virembed:       version of the program that embedded
    """

    model: str
    weights_sha256: str
    dim: int
    precision: str
    pooling: str
    virembed: str


@dataclass(frozen=True, slots=True)
class ShardOrigin:
    """What may differ between shards: how and how fast a chunk was embedded.

    reasons: why device, precision, attention and tokens per pack are what they are
    seconds: wait (for a GPU); load, tokenize, loop, and held, in all, while it had one; checksums:
             of the weights, what of it came after that
    monitor: means and peaks of the device over the loop, {} for a CPU
    """

    chunk: str
    device: str
    attention: str
    tokens_per_pack: int
    reasons: dict[str, str]
    software: dict[str, str]
    num_packs: int
    num_halvings: int
    fill_tokens: int
    seconds: dict[str, float]
    monitor: dict[str, Any]


class Source(Protocol):
    """What vectors are read from: `SealedFile`, or a file of one's own."""

    def opened(self) -> AbstractContextManager[BinaryIO]: ...

    def read(self, file: BinaryIO, position: int, out: memoryview) -> None:
        """Some bytes of the opened file."""


class Vectors:
    """The vectors of a shard on disk, float16 [items, D]; reading leaves nothing in memory.

    Mapping the file would be less code, but mapped pages count as memory of the process, and on a
    cluster a task is killed for them.

    Args:
        offset: of the first vector, in bytes.

    Raises:
        IncompleteError: from all that reads: altered since they were written.
    """

    def __init__(self, source: Source, *, offset: int, shape: tuple[int, int]) -> None:
        self._source, self._offset, self.shape = source, offset, shape

    def __len__(self) -> int:
        return self.shape[0]

    def all(self) -> npt.NDArray[np.float16]:
        """float16 [items, D]"""
        return self.take(np.arange(len(self)))

    def take(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float16]:
        """Rows in any order, with repetitions; reads neighbours together.

        What was read of a whole run leaves the cache of the system, for it is not asked for again:
        a result of gigabytes is written sooner into that memory than into memory never used.
        """
        distinct, position = np.unique(rows, return_inverse=True)
        found = np.empty((len(distinct), self.shape[1]), dtype="<f2")
        borders = [0, *(np.flatnonzero(np.diff(distinct) > NEAR_ROWS) + 1).tolist(), len(distinct)]
        with self._source.opened() as file:
            for a, b in pairwise(borders):
                if b > a:
                    self._read_some(file, distinct[a:b], found[a:b])
        return found[position] if len(distinct) < len(rows) or (np.diff(rows) < 1).any() else found

    def _read_some(
        self, file: BinaryIO, rows: npt.NDArray[np.int64], out: npt.NDArray[np.float16]
    ) -> None:
        first, stop = int(rows[0]), int(rows[-1]) + 1
        if stop - first == len(rows):
            self._read(file, first, out)
            if out.nbytes >= LEAVING_BYTES:
                leave_cache(file.fileno(), self._position(first), out.nbytes)
        else:
            span = np.empty((stop - first, self.shape[1]), dtype="<f2")
            self._read(file, first, span)
            out[:] = span[rows - first]

    def _read(self, file: BinaryIO, first: int, out: npt.NDArray[np.float16]) -> None:
        self._source.read(file, self._position(first), out.data.cast("B"))

    def _position(self, row: int) -> int:
        """Of a row in the file, in bytes."""
        return self._offset + row * 2 * self.shape[1]


@dataclass(frozen=True, slots=True)
class Shard:
    """A finished shard. Keys, tokens and flags can be read while it is open, the rest always."""

    path: Path
    identity: ShardIdentity
    origin: ShardOrigin
    vectors: Vectors
    _file: h5py.File

    @property
    def keys(self) -> npt.NDArray[np.uint8]:
        """uint8 [items, 16]"""
        keys: npt.NDArray[np.uint8] = self._file["key"][:]
        return keys

    @property
    def num_tokens(self) -> npt.NDArray[np.int32]:
        """int32 [items]"""
        num_tokens: npt.NDArray[np.int32] = self._file["num_tokens"][:]
        return num_tokens

    @property
    def flags(self) -> npt.NDArray[np.uint8]:
        """uint8 [items]"""
        flags: npt.NDArray[np.uint8] = self._file["flags"][:]
        return flags


def write_shard(
    path: Path,
    *,
    identity: ShardIdentity,
    origin: ShardOrigin,
    keys: list[bytes],
    num_tokens: npt.NDArray[np.int64],
    vectors: npt.NDArray[np.float16],
    flags: npt.NDArray[np.uint8],
) -> None:
    """Writes a shard; it has its name only when it is whole."""
    with new_file(path) as file:
        file.create_dataset("key", data=np.frombuffer(b"".join(keys), "u1").reshape(-1, 16))
        file.create_dataset("num_tokens", data=num_tokens.astype("i4"))
        file.create_dataset("flags", data=flags)
        file.create_dataset("vector", data=vectors.astype("<f2", copy=False))
        file.attrs["format"] = FORMAT
        file.attrs["identity"] = json.dumps(asdict(identity), sort_keys=True)
        file.attrs["origin"] = json.dumps(asdict(origin), sort_keys=True)


@contextmanager
def open_shard(path: Path) -> Iterator[Shard]:
    """A shard, compared with its seal: its vectors when they are read, the rest at once.

    Raises:
        IncompleteError: not a finished shard, or altered since it was written.
    """
    sealed = SealedFile(path, kind="shard", remedy=_REMEDY)
    with open_proven(sealed, dataset="vector", form=FORMAT) as (file, offset):
        vectors = Vectors(sealed, offset=offset, shape=file["vector"].shape)
        yield Shard(
            path,
            identity=ShardIdentity(**json.loads(file.attrs["identity"])),
            origin=ShardOrigin(**json.loads(file.attrs["origin"])),
            vectors=vectors,
            _file=file,
        )


def differing_fields(one: ShardIdentity, other: ShardIdentity) -> list[str]:
    """Fields in which two identities differ, as "name: this, not that"."""
    pairs = ((f.name, getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
    return [f"{name}: {a}, not {b}" for name, a, b in pairs if a != b]
