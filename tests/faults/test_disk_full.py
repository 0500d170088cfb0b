"""A file system that fills up: one line, exit code 1, no file that could be taken for a result."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.program import (
    Done,
    assert_one_line,
    collect_arguments,
    embed_arguments,
    residues_of,
    run,
    split_arguments,
)
from tests.steps import DEMO, Sample

READS = DEMO / "lambda_reads.fastq.gz"
FULL = "No space left on device"
TOO_LARGE = "File too large"  # what a limit on the size of files says


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


def files_up_to(num_bytes: int) -> Callable[[], None]:
    """A limit that anybody can set, for where a file system cannot be mounted."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, num_bytes))


def assert_refused(done: Done, directory: Path, says: str) -> None:
    assert_one_line(done, code=1, says=says)
    left = [path for path in directory.rglob("*") if path.is_file() and path.name != "filling"]
    assert not left


def fill(disk: Path, *, leave: int) -> None:
    """Takes all room of a file system but some bytes."""
    usage = os.statvfs(disk)
    (disk / "filling").write_bytes(bytes(usage.f_bavail * usage.f_frsize - leave))


def test_split_on_a_full_disk(small_disk: Path):
    done = run("split", READS, "--sample", "S", "--out-dir", small_disk)
    assert_refused(done, small_disk, FULL)


def test_embed_on_a_full_disk(small_disk: Path, reference: Sample):
    fill(small_disk, leave=5000)
    arguments = embed_arguments(reference, "S.dnaberts.00000.fna", small_disk / "x.shard.h5")
    assert_refused(run(*arguments), small_disk, FULL)


def test_collect_says_beforehand_what_does_not_fit(small_disk: Path, reference: Sample):
    filler = small_disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(small_disk).free - 20_000))
    done = run(*collect_arguments(reference, small_disk))
    assert_one_line(done, code=7, says=f"{small_disk}: 0.0 GB needed")
    assert list(small_disk.iterdir()) == [filler]


def test_weights_convert_on_a_full_disk(small_disk: Path, reference: Sample):
    source = reference.weights.originals["dnaberts"]
    done = run("weights", "convert", source, "--out", small_disk / "w")
    assert_refused(done, small_disk, FULL)


@pytest.mark.parametrize("kilobytes", [16, 256])
def test_split_where_files_may_not_grow(reference: Sample, tmp_path: Path, kilobytes: int):
    sample = Sample(tmp_path, reference.weights)
    done = run(*split_arguments(sample, READS), limit=files_up_to(kilobytes << 10))
    assert_refused(done, tmp_path, TOO_LARGE)


def test_embed_where_files_may_not_grow(reference: Sample, tmp_path: Path):
    arguments = embed_arguments(reference, "S.dnaberts.00000.fna", tmp_path / "x.shard.h5")
    assert_refused(run(*arguments, limit=files_up_to(4096)), tmp_path, TOO_LARGE)


@pytest.mark.parametrize("num_bytes", [4096, 30_000])
def test_embed_where_residues_may_not_grow(reference: Sample, tmp_path: Path, num_bytes: int):
    out = tmp_path / "x.shard.h5"
    arguments = embed_arguments(reference, "S.esm2.00000.faa", out)
    residues = ("--residues", residues_of(out))
    assert residues_of(reference.shards / "S.esm2.00000.shard.h5").stat().st_size > num_bytes
    done = run(*arguments, *residues, limit=files_up_to(num_bytes))
    assert_refused(done, tmp_path, TOO_LARGE)


@pytest.mark.parametrize("kilobytes", [130, 150])
def test_collect_where_residues_may_not_grow(reference: Sample, tmp_path: Path, kilobytes: int):
    sizes = [path.stat().st_size >> 10 for path in (reference.result, reference.residues)]
    assert sizes[0] < kilobytes < sizes[1]
    arguments = (*collect_arguments(reference, tmp_path), "--residues", tmp_path / "S.residues.h5")
    done = run(*arguments, limit=files_up_to(kilobytes << 10))
    assert_refused(done, tmp_path, TOO_LARGE)


@pytest.mark.parametrize("kilobytes", [8, 24, 90])
def test_collect_where_files_may_not_grow(reference: Sample, tmp_path: Path, kilobytes: int):
    arguments = collect_arguments(reference, tmp_path)
    done = run(*arguments, limit=files_up_to(kilobytes << 10))
    assert_refused(done, tmp_path, TOO_LARGE)


def test_weights_convert_where_files_may_not_grow(reference: Sample, tmp_path: Path):
    source = reference.weights.originals["dnaberts"]
    arguments = ("weights", "convert", source, "--out", tmp_path / "w")
    assert_refused(run(*arguments, limit=files_up_to(100_000)), tmp_path, TOO_LARGE)
