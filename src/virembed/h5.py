"""HDF5 as every file of ours is written: a temporary name until it is complete and on disk.

    with new_file(path) as file: ...     path.*.partial → flush, complete = 1, seal, check, rename
    with new_large_file(path) as large:  the same, with errors of the disk to be had on the way
    with open_complete(path) as file:    refuses what was not finished
    with open_sealed(path) as file:      refuses what was altered in a single bit, too

A file whose writer was killed says complete = 0. The seal (`virembed.seal`) proves every byte.

No file is locked: nobody reads what has no name yet, and some file systems of clusters know no
locks.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from virembed.atomic import whole_file
from virembed.errors import IncompleteError
from virembed.seal import CALL_BYTES, BlockHashes, SealedFile, seal, unreadable

STRING = h5py.string_dtype("utf-8")
COMPLETE = "complete"
_TO_DISK_BYTES = 1 << 25  # so much that was written is sent to the disk at a time


@contextmanager
def new_file(
    path: Path, *, check: Callable[[Path], object] = lambda _: None
) -> Iterator[h5py.File]:
    """A new file that gets its name only once it is whole; nothing is left after an error.

    Args:
        check: proves the written file by reading it again, raises if it is not as it should be.
    """
    with new_large_file(path, check=check) as large:
        yield large.file


@dataclass(frozen=True, slots=True)
class LargeFile:
    """A file of gigabytes that is being written.

    raise_error: raises the first error of the disk there was, if any; `new_large_file` does so at
                 the end, whoever writes for hours asks earlier
    """

    file: h5py.File
    raise_error: Callable[[], None]


@contextmanager
def new_large_file(
    path: Path, *, check: Callable[[Path], object] = lambda _: None
) -> Iterator[LargeFile]:
    """As `new_file`, for writers of hours."""
    with whole_file(path) as partial:
        with _Disk(partial) as disk, _filled(disk) as file:
            yield LargeFile(file, disk.raise_error)
        seal(partial, disk.blocks)
        check(partial)


@contextmanager
def _filled(disk: _Disk) -> Iterator[h5py.File]:
    """The HDF5 file on a new disk, complete at the end."""
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


class _Disk(io.FileIO):
    """A new file for h5py to write to, which keeps an error to itself until it is asked.

    HDF5 does not survive an error of the disk: it tries again for every object it closes, complains
    of each, and may crash when the program ends.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+b")
        self.blocks = BlockHashes()
        self._path = path
        self._error: OSError | None = None
        self._sent = 0  # up to where the disk has been told to take what was written

    def raise_error(self) -> None:
        """The first error there was, if any."""
        if self._error:
            raise OSError(self._error.errno, self._error.strerror, str(self._path)) from None

    def write(self, block: Any) -> int:
        left = memoryview(block).cast("B")
        self.blocks.wrote(self.tell(), left)
        try:
            while left and not self._error:
                left = left[super().write(left[:CALL_BYTES]) :]
            self._send()
        except OSError as error:
            self._error = error
        return len(block)

    def _send(self) -> None:
        """Has the disk work beside us: a machine with much memory would keep gigabytes to the end.

        What was just written is not dropped: it is on its way, and read again from memory.
        """
        written = self.tell() - self._sent
        if written >= _TO_DISK_BYTES:
            leave_cache(self.fileno(), self._sent, written)
            self._sent += written

    def truncate(self, size: int | None = None) -> int:
        self.blocks.cut(self.tell() if size is None else size)
        try:
            return super().truncate(size)
        except OSError as error:
            self._error = self._error or error
        return size or 0


def leave_cache(descriptor: int, offset: int, num_bytes: int) -> None:
    """Tells the system that some bytes of a file need not stay in memory. It sends those that are
    not on disk yet there, without waiting, and forgets the others. No more than advice: some
    systems (macOS) and file systems do not take it."""
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError):
            os.posix_fadvise(descriptor, offset, num_bytes, os.POSIX_FADV_DONTNEED)


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
        raise unreadable(path, error, kind, remedy) from None
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
    sealed = SealedFile(path, kind=kind, remedy=remedy)
    with sealed.opened() as raw:
        sealed.prove(raw, 0, sealed.num_bytes)
    with open_complete(path, kind=kind, remedy=remedy, form=form) as file:
        yield file


@contextmanager
def open_proven(sealed: SealedFile, *, dataset: str, form: str) -> Iterator[tuple[h5py.File, int]]:
    """A finished file, all of it compared with its seal but what lies in one contiguous dataset:
    gigabytes that `sealed` is to read. And where these begin, in bytes.

    Args:
        form: as in `open_complete`.

    Raises:
        IncompleteError: as `open_complete`, or altered.
    """
    with sealed.opened() as raw:
        # where HDF5 begins and ends; what lies between has checksums of its own
        sealed.prove(raw, 0, 1)
        sealed.prove(raw, sealed.num_bytes - 1, sealed.num_bytes)
        with open_complete(sealed.path, kind=sealed.kind, remedy=sealed.remedy, form=form) as file:
            start, stop = _place_of(file, dataset)
            sealed.prove(raw, 0, start)
            sealed.prove(raw, stop, sealed.num_bytes)
            yield file, start


def _place_of(file: h5py.File, dataset: str) -> tuple[int, int]:
    """First byte of the values of a contiguous dataset, and the one after the last."""
    try:
        values = file[dataset].id
        start = values.get_offset() or 0  # without values there is no place for them
        return start, start + values.get_storage_size()
    except Exception:  # noqa: BLE001 - damage may come up as any error of h5py
        return 0, 0  # so that all of it is compared


def require_space(directory: Path, num_bytes: int) -> None:
    """
    Args:
        directory: where to write; it may have to be made yet.

    Raises:
        IncompleteError: there are fewer bytes free.
    """
    whole = directory.absolute()
    existing = next(path for path in (whole, *whole.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free < num_bytes:
        raise IncompleteError(
            f"{directory}: {num_bytes / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free",
            "Make room, or write elsewhere.",
        )


def format_of(path: Path) -> str | None:
    """What a file says it is; None for a result, and for a file that cannot be read."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            form: str | None = file.attrs.get("format")
            return form
    except Exception:  # noqa: BLE001 - damage may come up as any error of h5py
        return None


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
