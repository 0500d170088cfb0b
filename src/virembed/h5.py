"""HDF5 as every file of ours is written: a temporary name until it is complete and on disk.

    with new_file(path) as file: ...     path.partial → flush, complete = 1, fsync, check, rename
    with open_complete(path) as file:    refuses what was not finished

The superblock of HDF5 1.10 makes the library itself refuse a file whose writer was killed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from virembed.atomic import whole_file
from virembed.errors import IncompleteError

STRING = h5py.string_dtype("utf-8")
COMPLETE = "complete"


@contextmanager
def new_file(
    path: Path, *, check: Callable[[Path], object] = lambda _: None
) -> Iterator[h5py.File]:
    """A new file that gets its name only once it is whole; nothing is left after an error.

    Args:
        check: proves the written file by reading it again, raises if it is not as it should be.
    """
    with whole_file(path) as partial:
        with h5py.File(partial, "w", libver=("v110", "v110")) as file:
            # R cannot read boolean attributes
            file.attrs[COMPLETE] = np.uint8(0)
            yield file
            file.flush()
            file.attrs[COMPLETE] = np.uint8(1)
        check(partial)


@contextmanager
def open_complete(path: Path, *, kind: str, remedy: str) -> Iterator[h5py.File]:
    """A finished file for reading.

    Raises:
        IncompleteError: missing, truncated, damaged, never finished, or not a file of this kind.
    """
    try:
        file = h5py.File(path, "r", locking="best-effort")
    except FileNotFoundError:
        raise IncompleteError(f"{path}: there is no such {kind}", remedy) from None
    except OSError as error:
        cause = " ".join(str(error).split())
        raise IncompleteError(f"{path}: no readable {kind} ({cause})", remedy) from None
    with file:
        if COMPLETE not in file.attrs:
            raise IncompleteError(
                f"{path}: no {kind} of virembed, or one that was written again by other software",
                "Give the original.",
            )
        if not file.attrs[COMPLETE]:
            raise IncompleteError(f"{path}: the {kind} was never finished", remedy)
        yield file


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
