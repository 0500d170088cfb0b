"""A directory of converted weights that all runs of a site share: each source is converted once.

STORE/NAME-HASH/         a weights directory; HASH tells the source files, see `entry`
STORE/.NAME-HASH.lock    held by the process that converts; stays
STORE/.*.partial         being written, or left behind by a process that was killed
"""

from __future__ import annotations

import errno
import hashlib
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from virembed.atomic import PARTIAL
from virembed.errors import UsageError, WeightsError
from virembed.lock import exclusive
from virembed.models.convert import plan_conversion, write_converted
from virembed.weights_info import CARD, FORMAT, WeightsInfo, read_info

HASH_LETTERS = 12
ABANDONED_S = 24 * 3600  # no conversion goes that long without writing

Say = Callable[[str], None]  # takes one line for the user


def entry(store: Path, name: str, source: Mapping[str, str]) -> Path:
    """Where the weights of these source files belong, whether they are there or not.

    HASH is the beginning of the sha256 of a text: our format on its first line, then what
    `sha256sum` writes of the source files, by name.

    source: sha256 of each file by name, as on the card
    """
    lines = [FORMAT, *(f"{sha256}  {file}" for file, sha256 in sorted(source.items()))]
    digest = hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
    safe_name = re.sub(r"[^A-Za-z0-9._-]+", "_", name).lstrip(".-") or "weights"
    return store / f"{safe_name}-{digest[:HASH_LETTERS]}"


def entries(store: Path) -> list[Path]:
    """The weights directories of a store, by name.

    Raises:
        WeightsError: there is no such directory.
    """
    if not store.is_dir():
        raise WeightsError(f"{store}: there is no such directory", "Correct --store.")
    cards = store.glob(f"*/{CARD}")
    return sorted(card.parent for card in cards if not card.parent.name.startswith("."))


def stored(path: Path) -> WeightsInfo | None:
    """The card of an `entry`, None if there is nothing. Looks at names, not at every byte.

    Raises:
        WeightsError: what is there is incomplete or was converted from other files.
    """
    if not path.exists():
        return None
    info = read_info(path)
    missing = [file for file in info.files if not (path / file).is_file()]
    remedy = f"Remove {path} and repeat the command."
    if missing:
        raise WeightsError(f"{path}: incomplete, {', '.join(missing)} is missing", remedy)
    expected = entry(path.parent, info.name, info.source).name
    if expected != path.name:
        raise WeightsError(f"{path}: its card belongs to {expected}", remedy)
    return info


def convert_into_store(
    source: Path,
    *,
    model: str,
    store: Path,
    say: Say,
    name: str | None = None,
    origin: str = "",
) -> tuple[Path, WeightsInfo]:
    """The converted directory of `source`, made now or by anybody before.

    However many processes ask at once, one converts and the others wait for it. Where the file
    system has no locks several may convert, and the first to finish is what all of them get.

    source, model, name, origin: as `plan_conversion` takes them

    Raises:
        WeightsError: the source cannot be read or is not a model we know; or it has to be
            converted and the store may not be written to.
    """
    conversion = plan_conversion(source, model=model, name=name, origin=origin)
    path = entry(store, conversion.info.name, conversion.info.source)
    info = stored(path)
    if info is not None:
        return path, info
    try:
        store.mkdir(parents=True, exist_ok=True)
        with exclusive(path.with_name(f".{path.name}.lock"), say=say):
            info = stored(path)  # of the process we waited for
            if info is None:
                _remove_abandoned(store)
                say(f"converting {conversion.checkpoint.path} into {path}")
                with suppress(UsageError):  # without a lock another process may be faster
                    info = write_converted(conversion, out=path)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        raise WeightsError(
            f"{path}: is not there yet, and {store} may not be written to ({error.strerror})",
            "Somebody who may has to run `virembed weights convert` or `virembed weights fetch`.",
        ) from None
    return path, info or read_info(path)


def _remove_abandoned(store: Path) -> None:
    for partial in _partials(store):
        with suppress(OSError):  # somebody else's, or just removed by another process
            if time.time() - _last_written(partial) > ABANDONED_S:
                shutil.rmtree(partial, ignore_errors=True)


def _partials(store: Path) -> Iterator[Path]:
    return (path for path in store.glob(f".*{PARTIAL}") if path.is_dir())


def _last_written(directory: Path) -> float:
    return max(path.stat().st_mtime for path in (directory, *directory.iterdir()))
