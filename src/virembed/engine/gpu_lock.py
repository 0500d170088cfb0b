"""One task, one GPU: the first free one, by an advisory lock.

Nextflow before 26.05 ignores `accelerator` on the local executor and would start as many tasks on
device 0 as there are cores for, on a machine with one GPU too. The lock is held by the open file,
so it is gone with the process, however that ends. Under a scheduler that gives each task a device
of its own, the lock of that device is always free.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from virembed.contracts import Choice
from virembed.engine.settings import choose_device
from virembed.errors import DeviceError

POLL_S = 0.1
LOCK_DIR_VARIABLE = "VIREMBED_GPU_LOCKS"


def lock_directory() -> Path:
    """The directory all tasks of a machine share; another one by VIREMBED_GPU_LOCKS.

    Per user: a lock file of somebody else could not be opened for writing.
    """
    given = os.environ.get(LOCK_DIR_VARIABLE)
    return Path(given) if given else Path(tempfile.gettempdir()) / f"virembed-gpus-{os.getuid()}"


@contextmanager
def lock_first_free(
    uuids: Sequence[str], *, directory: Path, waiting: Callable[[], None] = lambda: None
) -> Iterator[int]:
    """Position of a GPU that no other task of ours has; waits until there is one.

    Args:
        uuids: of the visible GPUs, in torch's order; the name of a lock must not depend on what a
            task sees.
        waiting: called once if all are taken.

    Raises:
        DeviceError: the file system of `directory` knows no locks.
    """
    directory.mkdir(parents=True, exist_ok=True)
    said = False
    while True:
        for position, uuid in enumerate(uuids):
            descriptor = os.open(directory / f"{uuid}.lock", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                if not _lock(descriptor, directory):
                    continue
                yield position
            finally:
                os.close(descriptor)
            return
        if not said:
            waiting()
            said = True
        time.sleep(POLL_S)


def _lock(descriptor: int, directory: Path) -> bool:
    """False if another task has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise DeviceError(
            f"{directory}: files cannot be locked there ({error.strerror}), so tasks could not "
            "share out the GPUs",
            f"Set {LOCK_DIR_VARIABLE} to a directory on a local disk.",
        ) from None
    return True


@contextmanager
def take_device(requested: str, *, waiting: Callable[[], None] = lambda: None) -> Iterator[Choice]:
    """The device of a task, its own as long as the context lasts.

    One that is named by number is taken as it is, to share it on purpose; else the first that is
    free.

    Raises:
        DeviceError: there is no such device.
    """
    choice = choose_device(requested)
    if not choice.value.startswith("cuda") or ":" in requested:
        yield choice
        return
    num_gpus = torch.cuda.device_count()
    uuids = [str(gpu_uuid(f"cuda:{number}")) for number in range(num_gpus)]
    with lock_first_free(uuids, directory=lock_directory(), waiting=waiting) as position:
        among = f", the first free of {num_gpus} GPUs" if num_gpus > 1 else ""
        yield Choice(f"cuda:{position}", f"{choice.reason}{among}")


def gpu_uuid(device: str) -> str | None:
    """Name of a GPU that does not depend on what a task sees, as the driver writes it."""
    if not device.startswith("cuda"):
        return None
    return f"GPU-{torch.cuda.get_device_properties(device).uuid}"
