"""A file system that fills up: one line, exit code 1, no file that could be taken for a result."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.steps import DEMO, Sample, Weights


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 600 kB; needs the right to mount one."""
    directory = tmp_path / "small"
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(directory)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("may not mount a file system")
    yield directory
    subprocess.run(["umount", str(directory)], check=True)


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "virembed", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def assert_refused(done: subprocess.CompletedProcess[str], disk: Path) -> None:
    assert done.returncode == 1, done
    assert done.stderr.count("\n") == 1
    assert "No space left on device" in done.stderr
    finished = (".h5", ".gz", ".json")
    assert not [path for path in disk.rglob("*") if path.name.endswith(finished)]


def test_split_and_embed_on_a_full_disk(small_disk: Path, tmp_path: Path, tiny_weights: Weights):
    reads = DEMO / "lambda_reads.fastq.gz"
    assert_refused(run("split", reads, "--sample", "S", "--out-dir", small_disk), small_disk)

    sample = Sample(tmp_path / "sample", tiny_weights)
    assert sample.split(reads) == 0
    chunk = sample.home / "chunks/esm2/S.esm2.00000.faa"
    options = ("--model", "esm2", "--weights", tiny_weights.converted["esm2"], "--device", "cpu")
    assert_refused(run("embed", chunk, *options, "--out", small_disk / "x.shard.h5"), small_disk)
