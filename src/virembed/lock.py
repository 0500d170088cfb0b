"""Advisory locks on a directory that several processes, of one machine or of many, write to.

A lock saves double work and is never what makes a result right: there are file systems without
locks, and some on which they hold on one machine only.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def exclusive(path: Path, *, say: Callable[[str], None]) -> Iterator[None]:
    """Waits for the lock file `path` and holds it as long as the context lasts.

    The file stays: removed, it could be locked twice under one name. The lock is gone with the
    process, however that ends. Where there can be no lock, the context is entered without.

    Args:
        say: told in one line that there is somebody to wait for, or no lock.
    """
    descriptor = None
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        _take(descriptor, path, say)
    except OSError as error:
        # the file system, a lock file of somebody else, a directory that may not be written to
        say(
            f"{path}: cannot be locked ({error.strerror}); "
            "let no other process fetch or convert the same weights meanwhile"
        )
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _take(descriptor: int, path: Path, say: Callable[[str], None]) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(f"waiting for another process that holds {path}")
        fcntl.flock(descriptor, fcntl.LOCK_EX)
