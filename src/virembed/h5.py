"""HDF5 as every file of ours is written: a temporary name until it is complete and on disk.

    with new_file(path) as file: ...     path.*.partial → flush, complete = 1, seal, check, rename
    with open_complete(path) as file:    refuses what was not finished
    with open_sealed(path) as file:      refuses what was altered in a single bit, too

A file whose writer was killed says complete = 0. The seal is the xxh3-128 hash of all bytes, behind
the last one that HDF5 knows of, where no reader looks: HDF5 has checksums for most of its metadata,
none for text, and may stumble over damage in any way.

No file is locked: nobody reads what has no name yet, and some file systems of clusters know no
locks.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
import xxhash

from virembed.atomic import whole_file
from virembed.errors import IncompleteError

STRING = h5py.string_dtype("utf-8")
COMPLETE = "complete"
_SEAL = b"virembed xxh3 %s\n"
_SEAL_BYTES = len(_SEAL % bytes(32))
_BLOCK_BYTES = 1 << 20


@contextmanager
def new_file(
    path: Path, *, check: Callable[[Path], object] = lambda _: None
) -> Iterator[h5py.File]:
    """A new file that gets its name only once it is whole; nothing is left after an error.

    Args:
        check: proves the written file by reading it again, raises if it is not as it should be.
    """
    with whole_file(path) as partial, _Disk(partial) as disk:
        try:
            with h5py.File(disk, "w", libver=("v110", "v110")) as file:
                # R cannot read boolean attributes
                file.attrs[COMPLETE] = np.uint8(0)
                yield file
                file.flush()
                file.attrs[COMPLETE] = np.uint8(1)
        finally:
            # before what h5py made of it
            disk.raise_error()
        seal(partial)
        check(partial)


class _Disk(io.FileIO):
    """A new file for h5py to write to, which keeps an error to itself until it is asked.

    HDF5 does not survive an error of the disk: it tries again for every object it closes, complains
    of each, and may crash when the program ends.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+b")
        self._path = path
        self._error: OSError | None = None

    def raise_error(self) -> None:
        """The first error there was, if any."""
        if self._error:
            raise OSError(self._error.errno, self._error.strerror, str(self._path)) from None

    def write(self, block: Any) -> int:
        left = memoryview(block)
        try:
            while left and not self._error:
                left = left[super().write(left) :]
        except OSError as error:
            self._error = error
        return len(block)

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self._error = self._error or error
        return size or 0


def seal(path: Path) -> None:
    """Appends the hash of all bytes; opening the file for writing with HDF5 removes it."""
    with path.open("r+b") as file:
        file.write(_seal_of(file, path.stat().st_size))


def seal_problem(path: Path) -> str | None:
    """What the seal says is wrong with a file, if anything. Reads every byte.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        expected = _seal_of(file, path.stat().st_size - _SEAL_BYTES)
        found = file.read()
    if not found.startswith(_SEAL.split(b"%")[0]):
        return "cut short, of another release, or written again by other software"
    return None if found == expected else "altered since it was written"


def _seal_of(file: BinaryIO, num_bytes: int) -> bytes:
    """The seal of the first bytes of a file, which is read up to there."""
    digest = xxhash.xxh3_128()
    while num_bytes > 0 and (block := file.read(min(num_bytes, _BLOCK_BYTES))):
        digest.update(block)
        num_bytes -= len(block)
    return _SEAL % digest.hexdigest().encode()


@contextmanager
def open_complete(
    path: Path, *, kind: str, remedy: str, form: str | None = None
) -> Iterator[h5py.File]:
    """A finished file for reading.

    Args:
        kind: for messages.
        form: what such a file says in its attribute `format`, which results do not have.

    Raises:
        IncompleteError: missing, truncated, damaged, never finished, or not a file of this kind.
    """
    try:
        file = h5py.File(path, "r", locking=False)
        complete = file.attrs.get(COMPLETE)
    except Exception as error:  # noqa: BLE001 - damage may come up as any error of h5py
        raise _unreadable(path, error, kind, remedy) from None
    with file:
        if complete is None:
            raise IncompleteError(
                f"{path}: no {kind} of virembed, or one that was written again by other software",
                "Give the original.",
            )
        if not complete:
            raise IncompleteError(f"{path}: the {kind} was never finished", remedy)
        if (found := file.attrs.get("format")) != form:
            difference = f" of format {form}" if form else f", its format is {found}"
            raise IncompleteError(f"{path}: not a {kind}{difference}", remedy)
        yield file


@contextmanager
def open_sealed(path: Path, *, kind: str, remedy: str, form: str) -> Iterator[h5py.File]:
    """A finished file for reading, every byte of which is as it was written.

    Args:
        kind, form: as in `open_complete`.

    Raises:
        IncompleteError: as `open_complete`, or altered.
    """
    try:
        problem = seal_problem(path)
    except OSError as error:
        raise _unreadable(path, error, kind, remedy) from None
    if problem:
        raise IncompleteError(f"{path}: no whole {kind}: {problem}", remedy)
    with open_complete(path, kind=kind, remedy=remedy, form=form) as file:
        yield file


def format_of(path: Path) -> str | None:
    """What a file says it is; None for a result, and for a file that cannot be read."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            form: str | None = file.attrs.get("format")
            return form
    except Exception:  # noqa: BLE001 - damage may come up as any error of h5py
        return None


def _unreadable(path: Path, error: Exception, kind: str, remedy: str) -> IncompleteError:
    if isinstance(error, FileNotFoundError):
        return IncompleteError(f"{path}: there is no such {kind}", remedy)
    cause = " ".join(str(error).split())
    return IncompleteError(f"{path}: no readable {kind} ({cause})", remedy)


class Appendable:
    """A one- or two-dimensional dataset that grows block by block."""

    def __init__(self, group: h5py.Group, name: str, dtype: Any, *, width: int = 0) -> None:
        shape = (0, width) if width else (0,)
        # small: HDF5 allocates whole chunks, and there are thousands of samples of three records
        chunk_rows = max(1, (1 << 14) // (np.dtype(dtype).itemsize * max(width, 1)))
        chunks = (chunk_rows, width) if width else (chunk_rows,)
        limit = (None, width) if width else (None,)
        self._data = group.create_dataset(name, shape, dtype, chunks=chunks, maxshape=limit)
        self.size = 0

    def append(self, block: Any) -> None:
        if len(block):
            self._data.resize(self.size + len(block), axis=0)
            self._data[self.size :] = block
            self.size += len(block)
