"""The seal of a large file: made while it is written, and compared where it is read."""

from __future__ import annotations

import random
from pathlib import Path

import h5py
import numpy as np
import pytest

from virembed import h5, seal
from virembed.errors import IncompleteError
from virembed.h5 import new_file, new_large_file
from virembed.layout import MODELS
from virembed.result import ResultWriter
from virembed.seal import BlockHashes, SealedFile, seal_problem

BLOCK = 1 << 12


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(seal, "BLOCK_BYTES", BLOCK)


def test_what_is_written_in_order_is_hashed_without_reading_it(tmp_path: Path, monkeypatch):
    read: list[int] = []
    known = BlockHashes.of

    def counting(self, file, num_bytes):
        total = -(-num_bytes // BLOCK)
        read.append(total - len(self._hashes))
        return known(self, file, num_bytes)

    monkeypatch.setattr(BlockHashes, "of", counting)
    values = np.random.default_rng(0).standard_normal((4000, 64)).astype("f2")
    with new_large_file(tmp_path / "x.h5") as large:
        data = large.file.create_dataset("x", values.shape, "<f2")
        for first in range(0, 4000, 333):
            data[first : first + 333] = values[first : first + 333]
        large.file.create_dataset("later", data=np.arange(100))
    assert read[0] <= 4 < 100 < (tmp_path / "x.h5").stat().st_size // BLOCK
    assert seal_problem(tmp_path / "x.h5") is None
    with h5py.File(tmp_path / "x.h5") as file:
        assert np.array_equal(file["x"][:], values)


@pytest.mark.parametrize("seed", range(20))
def test_writes_and_cuts_in_any_order_give_the_seal_of_what_is_there(tmp_path: Path, seed: int):
    rng = random.Random(seed)
    path = tmp_path / "x"
    with h5._Disk(path) as disk:
        end = 0
        for _ in range(rng.randint(1, 40)):
            size = rng.choice([1, 100, 4096, 5000, 20000])
            kind = rng.random()
            if kind < 0.6:
                disk.seek(end)  # in order
            elif kind < 0.9:
                disk.seek(rng.choice([0, rng.randrange(end + 1), end // 4096 * 4096]))
            else:
                end = rng.randrange(end + 3000)
                disk.truncate(end)
                continue
            disk.write(rng.randbytes(size))
            end = max(end, disk.tell())
    with path.open("rb") as file:
        assert path.stat().st_size == end
        assert disk.blocks.of(file, end) == BlockHashes().of(file, end)


def sealed_file(path: Path, content: bytes, *, flipped: int | None = None) -> SealedFile:
    """A file with the seal of the content, and a bit of it flipped thereafter."""
    path.write_bytes(content)
    seal.seal(path)
    if flipped is not None:
        with path.open("r+b") as file:
            file.seek(flipped)
            file.write(bytes([content[flipped] ^ 16]))
    return SealedFile(path, kind="file", remedy="Get another.")


SIZES = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 10 * BLOCK + 77]


@pytest.mark.parametrize("size", SIZES)
def test_pieces_of_a_sealed_file_are_what_was_written(tmp_path: Path, size: int):
    rng = random.Random(size)
    content = rng.randbytes(size)
    sealed = sealed_file(tmp_path / "x", content)
    with sealed.opened() as file:
        for _ in range(50):
            start, stop = sorted((rng.randint(0, size), rng.randint(0, size)))
            piece = bytearray(stop - start)
            sealed.read(file, start, memoryview(piece))
            assert piece == content[start:stop]
    assert seal_problem(tmp_path / "x") is None


@pytest.mark.parametrize("seed", range(20))
def test_a_flipped_bit_is_found_when_its_block_is_first_read(tmp_path: Path, seed: int):
    rng = random.Random(seed)
    content = rng.randbytes(rng.choice(SIZES[1:]))
    flipped = rng.randrange(len(content))
    sealed = sealed_file(tmp_path / "x", content, flipped=flipped)
    with sealed.opened() as file:
        for _ in range(50):
            start, stop = sorted((rng.randint(0, len(content)), rng.randint(0, len(content))))
            piece = memoryview(bytearray(stop - start))
            if stop > start and start // BLOCK <= flipped // BLOCK <= (stop - 1) // BLOCK:
                with pytest.raises(IncompleteError, match="no whole file: altered since"):
                    sealed.read(file, start, piece)
            else:
                sealed.read(file, start, piece)
                assert piece == content[start:stop]
        with pytest.raises(IncompleteError, match="altered since"):
            sealed.prove(file, 0, len(content))


def test_a_sealed_file_that_was_replaced_is_not_read_on(tmp_path: Path):
    sealed = sealed_file(tmp_path / "x", b"one")
    (tmp_path / "y").write_bytes((tmp_path / "x").read_bytes())
    (tmp_path / "y").rename(tmp_path / "x")
    with pytest.raises(IncompleteError, match="replaced while it was read"), sealed.opened():
        pass


def test_nothing_is_read_beyond_what_was_sealed(tmp_path: Path):
    sealed = sealed_file(tmp_path / "x", b"one")
    with sealed.opened() as file, pytest.raises(IncompleteError, match="cut short"):
        sealed.read(file, 1, memoryview(bytearray(3)))


def test_no_row_of_a_result_is_written_twice(tmp_path: Path, monkeypatch):
    """HDF5 fills a large chunk with NaN first, unless it is written whole."""
    written: list[int] = []
    write = h5._Disk.write

    def counting(disk, block):
        written.append(len(block))
        return write(disk, block)

    monkeypatch.setattr(h5._Disk, "write", counting)
    dims = {"esm2": 2560, "dnaberts": 768}
    num_rows = 3 * 8192  # whole chunks of both
    with new_file(tmp_path / "x.h5") as file:
        writer = ResultWriter(file, num_rows=num_rows, num_records=1, dims=dims)
        for model in MODELS:
            size = writer.piece_rows(model.obsm)
            piece = np.ones((size, dims[model.name]), dtype=np.float16)
            for start in range(0, num_rows, size):
                writer.write_vectors(model.obsm, start, piece)
    assert 2 * num_rows * sum(dims.values()) < sum(written) < 2.01 * num_rows * sum(dims.values())
