"""Files that have their name only when they are whole and on disk."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PARTIAL = ".partial"


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path to write to, which becomes `path` at the end; nothing is left on error.

    Directories that are missing are made. A killed writer leaves `path.*.partial`, which nobody
    reads: the name is its own, so that two writers of one file do not write into each other's.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}{PARTIAL}")
    try:
        yield partial
        fsync(partial)
        os.replace(partial, path)
        fsync(path.absolute().parent)
    finally:
        partial.unlink(missing_ok=True)


def fsync(path: Path) -> None:
    """Waits until a file, or the names in a directory, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
