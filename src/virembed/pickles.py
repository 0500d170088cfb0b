"""Reads pickles of torch without running anything of them."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from virembed.errors import VirembedError


@contextmanager
def _no_warnings() -> Iterator[None]:
    """torch warns of pickle protocols that it reads all the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def load_restricted(
    path: Path,
    *,
    classes: Sequence[type] = (),
    what: str,
    error: type[VirembedError],
) -> Any:
    """The content of a file that may name tensors, plain values and `classes`, nothing else.

    Args:
        what: the file should be, for messages.
        error: class of the error raised.

    Raises:
        VirembedError: missing, damaged, or something else is in it; of the class `error`.
    """
    remedy = "Take the file from where it was published or made."
    try:
        # `set` is in every pickled module
        with (
            torch.serialization.safe_globals([*classes, set]),
            _no_warnings(),
        ):
            return torch.load(
                path,
                map_location="cpu",
                weights_only=True,
                mmap=zipfile.is_zipfile(path),  # the tensors stay on disk until they are read
            )
    except FileNotFoundError:
        raise error(f"{path}: there is no such file") from None
    except pickle.UnpicklingError as refused:
        found = re.search(r"GLOBAL (\S+)", str(refused))
        reason = f"it names {found[1]}" if found else "no readable pickle"
        raise error(f"{path}: no {what}, not opened ({reason})", remedy) from None
    except Exception as damage:  # noqa: BLE001 - a damaged pickle may come up as any error
        reason = str(damage).splitlines()[0] if str(damage) else type(damage).__name__
        raise error(f"{path}: damaged ({reason})", remedy) from None
