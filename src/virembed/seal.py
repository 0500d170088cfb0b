"""The seal behind the last byte of a file: an xxh3-128 hash of each of its blocks.

    block hashes     16 bytes each
    the last line    "virembed seal ", number of bytes and hash of the block hashes, in hexadecimal

HDF5 has checksums for most of its metadata, none for text and numbers, and may stumble over damage
in any way; it does not look behind the last byte it knows of. Hashes of blocks and not one of all
bytes, so that what is written from the first byte to the last is not read again for the seal, and
whoever needs some bytes of a file (`SealedFile`) reads these once, with the blocks they are in.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import xxhash

from virembed.errors import IncompleteError

BLOCK_BYTES = 1 << 20
# To or from the system at a time: what stays in the cache of a core is copied much faster.
CALL_BYTES = 1 << 18
_HASH_BYTES = 16
_LINE = b"virembed seal %016x %s\n"
_LINE_BYTES = len(_LINE % (0, bytes(2 * _HASH_BYTES)))
_NOT_OURS = "cut short, of another release, or written again by other software"
_ALTERED = "altered since it was written"


class BlockHashes:
    """Hashes of the blocks of a file, made of what is written; the others are read."""

    def __init__(self) -> None:
        self._hashes: dict[int, bytes] = {}
        self._begun = xxhash.xxh3_128()
        self._end = -1  # up to where the begun block is hashed, -1 for none

    def wrote(self, position: int, content: memoryview) -> None:
        while content:
            number, offset = divmod(position, BLOCK_BYTES)
            part = content[: BLOCK_BYTES - offset]
            self._hashes.pop(number, None)
            if offset == 0:
                self._begun, self._end = xxhash.xxh3_128(), position
            if position == self._end:
                self._begun.update(part)
                self._end += len(part)
                if self._end % BLOCK_BYTES == 0:
                    self._hashes[number], self._end = self._begun.digest(), -1
            elif number == self._end // BLOCK_BYTES:  # not in order
                self._end = -1
            position, content = position + len(part), content[len(part) :]

    def cut(self, size: int) -> None:
        """The file ends at `size` now."""
        kept = size // BLOCK_BYTES
        self._hashes = {number: value for number, value in self._hashes.items() if number < kept}
        self._end = -1

    def of(self, file: BinaryIO, num_bytes: int) -> bytes:
        """Those of the first bytes of a file, one after the other."""
        buffer = memoryview(bytearray(CALL_BYTES))
        found = []
        for number, start in enumerate(range(0, num_bytes, BLOCK_BYTES)):
            size = min(BLOCK_BYTES, num_bytes - start)
            known = self._hashes.get(number) if size == BLOCK_BYTES else None
            found.append(known or _hash_of(file, start, size, buffer))
        return b"".join(found)


def _hash_of(file: BinaryIO, start: int, num_bytes: int, buffer: memoryview) -> bytes:
    """The hash of some bytes of a file, or of those that are left of it."""
    digest = xxhash.xxh3_128()
    while num_bytes:
        size = os.preadv(file.fileno(), [buffer[: min(num_bytes, len(buffer))]], start)
        if not size:
            break
        digest.update(buffer[:size])
        start, num_bytes = start + size, num_bytes - size
    return digest.digest()


def seal(path: Path, blocks: BlockHashes | None = None) -> None:
    """Seals a file; opening it for writing with HDF5 removes the seal.

    Args:
        blocks: those whose hashes are known.
    """
    with path.open("r+b") as file:
        num_bytes = path.stat().st_size
        hashes = (blocks or BlockHashes()).of(file, num_bytes)
        file.seek(num_bytes)
        file.write(hashes + _line(num_bytes, hashes))


def seal_problem(path: Path) -> str | None:
    """What the seal says is wrong with a file, if anything. Reads every byte.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        try:
            num_bytes, hashes = _read_seal(file)
        except ValueError as error:
            return str(error)
        return None if BlockHashes().of(file, num_bytes) == hashes else _ALTERED


def _line(num_bytes: int, hashes: bytes) -> bytes:
    return _LINE % (num_bytes, xxhash.xxh3_128_hexdigest(hashes).encode())


def _read_seal(file: BinaryIO) -> tuple[int, bytes]:
    """The number of sealed bytes, and the hashes of their blocks.

    Raises:
        ValueError: what is wrong with the seal.
    """
    size = os.fstat(file.fileno()).st_size
    line = os.pread(file.fileno(), _LINE_BYTES, max(size - _LINE_BYTES, 0))
    prefix = _LINE.split(b"%")[0]
    try:
        num_bytes = int(line[len(prefix) :].split()[0], 16) if line.startswith(prefix) else -1
    except (ValueError, IndexError):
        raise ValueError(_ALTERED) from None
    hash_bytes = size - _LINE_BYTES - num_bytes
    if num_bytes < 0 or hash_bytes < 0:
        raise ValueError(_NOT_OURS)
    if hash_bytes != -(-num_bytes // BLOCK_BYTES) * _HASH_BYTES:
        raise ValueError(_ALTERED)
    hashes = os.pread(file.fileno(), hash_bytes, num_bytes)
    if line != _line(num_bytes, hashes):
        raise ValueError(_ALTERED)
    return num_bytes, hashes


class SealedFile:
    """A file that is read by pieces, each compared with the seal when it is first read.

    Between two reads it is not open: a sample may have more shards than a process may have files.
    Threads may read at once.

    Args:
        kind: for messages.

    Raises:
        IncompleteError: there is no such file, or it has no whole seal.
    """

    def __init__(self, path: Path, *, kind: str, remedy: str) -> None:
        self.path, self.kind, self.remedy = path, kind, remedy
        try:
            with path.open("rb") as file:
                self._state = _state(os.fstat(file.fileno()))
                self.num_bytes, self._hashes = _read_seal(file)
        except OSError as error:
            raise unreadable(path, error, kind, remedy) from None
        except ValueError as error:
            raise self._damaged(str(error)) from None
        self._is_proven = bytearray(len(self._hashes) // _HASH_BYTES)  # by block

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """
        Raises:
            IncompleteError: it is another file than before, or somebody wrote to it.
        """
        try:
            file = self.path.open("rb", buffering=0)
        except OSError as error:
            raise unreadable(self.path, error, self.kind, self.remedy) from None
        with file:
            if _state(os.fstat(file.fileno())) != self._state:
                raise IncompleteError(f"{self.path}: replaced while it was read", self.remedy)
            yield cast("BinaryIO", file)

    def read(self, file: BinaryIO, position: int, out: memoryview) -> None:
        """Some bytes of the opened file.

        Raises:
            IncompleteError: altered since they were written.
        """
        stop = position + len(out)
        if stop > self.num_bytes:
            raise self._damaged(_NOT_OURS)
        for number in range(position // BLOCK_BYTES, -(-stop // BLOCK_BYTES) if len(out) else 0):
            begin, end = self._block(number)
            first, last = max(position, begin), min(stop, end)
            part = out[first - position : last - position]
            if self._is_proven[number]:
                self._read(file, first, part)
            elif (first, last) == (begin, end):
                self._read_new(file, number, part)
            else:
                block = memoryview(bytearray(end - begin))
                self._read_new(file, number, block)
                part[:] = block[first - begin : last - begin]

    def prove(self, file: BinaryIO, start: int, stop: int) -> None:
        """Compares all blocks of some bytes that were not compared yet.

        Raises:
            IncompleteError: altered since they were written.
        """
        room = memoryview(bytearray(min(BLOCK_BYTES, self.num_bytes)))
        past = -(-min(stop, self.num_bytes) // BLOCK_BYTES)
        for number in range(max(start, 0) // BLOCK_BYTES, past):
            if not self._is_proven[number]:
                begin, end = self._block(number)
                self._read_new(file, number, room[: end - begin])

    def _block(self, number: int) -> tuple[int, int]:
        begin = number * BLOCK_BYTES
        return begin, min(begin + BLOCK_BYTES, self.num_bytes)

    def _read_new(self, file: BinaryIO, number: int, block: memoryview) -> None:
        """Reads a whole block and compares it."""
        self._read(file, self._block(number)[0], block)
        expected = self._hashes[number * _HASH_BYTES : (number + 1) * _HASH_BYTES]
        if xxhash.xxh3_128_digest(block) != expected:
            raise self._damaged(_ALTERED)
        self._is_proven[number] = True

    def _read(self, file: BinaryIO, position: int, out: memoryview) -> None:
        try:
            num_read = os.preadv(file.fileno(), [out], position)
        except OSError as error:  # which does not say of which file
            raise unreadable(self.path, error, self.kind, self.remedy) from None
        if num_read != len(out):
            raise self._damaged(_NOT_OURS)

    def _damaged(self, problem: str) -> IncompleteError:
        return IncompleteError(f"{self.path}: no whole {self.kind}: {problem}", self.remedy)


def _state(found: os.stat_result) -> tuple[int, ...]:
    """What tells a file from another one, or from what it was before somebody wrote to it."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def unreadable(path: Path, error: Exception, kind: str, remedy: str) -> IncompleteError:
    """What to raise where a file cannot be opened."""
    if isinstance(error, FileNotFoundError):
        return IncompleteError(f"{path}: there is no such {kind}", remedy)
    cause = " ".join(str(error).split())
    return IncompleteError(f"{path}: no readable {kind} ({cause})", remedy)
