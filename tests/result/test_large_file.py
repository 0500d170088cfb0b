"""The seal of a large file: made while it is written, the same as by reading it."""

from __future__ import annotations

import random
from pathlib import Path

import h5py
import numpy as np
import pytest

from virembed import h5
from virembed.h5 import new_file, new_large_file, seal_problem
from virembed.layout import MODELS
from virembed.result import ResultWriter


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(h5, "_BLOCK_BYTES", 1 << 12)


def test_what_is_written_in_order_is_hashed_without_reading_it(tmp_path: Path, monkeypatch):
    read: list[int] = []
    known = h5._Blocks.digest

    def counting(self, file, num_bytes):
        total = -(-num_bytes // h5._BLOCK_BYTES)
        read.append(total - len(self._hashes))
        return known(self, file, num_bytes)

    monkeypatch.setattr(h5._Blocks, "digest", counting)
    values = np.random.default_rng(0).standard_normal((4000, 64)).astype("f2")
    with new_large_file(tmp_path / "x.h5") as large:
        data = large.file.create_dataset("x", values.shape, "<f2")
        for first in range(0, 4000, 333):
            data[first : first + 333] = values[first : first + 333]
        large.file.create_dataset("later", data=np.arange(100))
    assert read[0] <= 4 < 100 < (tmp_path / "x.h5").stat().st_size // h5._BLOCK_BYTES
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
        assert disk.blocks.digest(file, end) == h5._Blocks().digest(file, end)


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
