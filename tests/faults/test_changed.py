"""Somebody changes files while a program runs: the old content, or a located error."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.conftest import FASTA
from tests.faults.program import Point, assert_one_line, embed_arguments, run_until, split_arguments
from tests.steps import Sample, Weights, assert_same_datasets, make_weights
from virembed.shards import open_shard

CHUNK, SHARD = "S.dnaberts.00000.fna", "S.dnaberts.00000.shard.h5"
SECOND_PACK = Point("virembed.engine.embed.mean_pool", 2, "before")
HAS_READ = Point("virembed.cut.find_frames", 1, "after")


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> Path:
    """Weights of other numbers, of the same size."""
    return make_weights(tmp_path_factory.mktemp("other"), seed=3).converted["dnaberts"]


@pytest.fixture
def with_own_weights(copy: Sample, tmp_path: Path) -> Sample:
    """A sample whose weights may be spoiled."""
    own = tmp_path / "own"
    shutil.copytree(copy.weights.converted["dnaberts"], own)
    converted = copy.weights.converted | {"dnaberts": own}
    return replace(copy, weights=Weights(copy.weights.originals, converted))


def overwrite(own: Path, other: Path) -> str:
    """Into the same file, as `cp` does: a reader that mapped it would see the new numbers."""
    return f"cat '{other}/model.safetensors' > '{own}/model.safetensors'"


def exchange(own: Path, other: Path) -> str:
    """A new file under the name, as `mv` does."""
    return f"cp '{other}/model.safetensors' '{own}/x' && mv '{own}/x' '{own}/model.safetensors'"


@pytest.mark.parametrize("change", [overwrite, exchange])
def test_weights_changed_while_packs_are_computed(
    with_own_weights: Sample, reference: Sample, tmp_path: Path, other: Path, change
):
    action = "sleep 1; " + change(with_own_weights.weights.converted["dnaberts"], other)
    arguments = embed_arguments(with_own_weights, CHUNK, tmp_path / SHARD)
    done = run_until(SECOND_PACK, action, *arguments)
    assert done.returncode == 0, done  # the checksums were compared before
    assert_same_datasets(tmp_path / SHARD, reference.shards / SHARD)


@pytest.mark.parametrize("change", [overwrite, exchange])
@pytest.mark.parametrize("when", ["before", "after"])
def test_weights_changed_while_they_are_loaded(
    with_own_weights: Sample, tmp_path: Path, other: Path, change, when: str
):
    action = change(with_own_weights.weights.converted["dnaberts"], other)
    point = Point("virembed.models.registry.read_tensors", 1, when)
    arguments = embed_arguments(with_own_weights, CHUNK, tmp_path / SHARD)
    done = run_until(point, action, *arguments)
    assert_one_line(done, code=4, says="own/model.safetensors: damaged: sha256 is")
    assert not (tmp_path / SHARD).exists()


@pytest.mark.parametrize("action", ["echo ACGT >> '{}'", "cp '{0}' '{0}.x'; mv '{0}.x' '{0}'"])
def test_fasta_changed_while_it_is_split(tmp_path: Path, tiny_weights: Weights, action: str):
    fasta, out = tmp_path / "in.fa", tmp_path / "out"
    fasta.write_text(">a\n" + "ATGGCCAAA" * 300 + "\n")
    arguments = split_arguments(Sample(out, tiny_weights), fasta)
    done = run_until(HAS_READ, action.format(fasta), *arguments)
    assert_one_line(done, code=3, says=f"{fasta}: was changed while it was read")
    assert not [path for path in out.rglob("*") if path.is_file()]


def test_two_programs_that_write_the_same_file(copy: Sample, tmp_path: Path):
    """One writes all of it while the other is about to give it its name."""
    out = tmp_path / SHARD
    first = embed_arguments(copy, CHUNK, out)
    second = [sys.executable, "-m", "virembed", *embed_arguments(copy, CHUNK, out)]
    action = " ".join(f"'{word}'" for word in second)
    done = run_until(Point("os.replace", 1, "before"), action, *first)
    assert done.returncode == 0, done
    assert_same_datasets(out, copy.shards / SHARD)
    with open_shard(out):
        pass
    assert not list(tmp_path.glob("*.partial"))


def test_a_killed_check_leaves_no_workers(tmp_path: Path):
    fasta = tmp_path / "in.fa"
    fasta.write_text("".join(f">{number}\n{'ACGT' * 2500}\n" for number in range(2000)))
    rows = "".join(f"s{number},in.fa\n" for number in range(200))
    (tmp_path / "samples.csv").write_text(f"sample,fasta\n{rows}")
    command = [sys.executable, "-m", "virembed", "check", "samples.csv", "--threads", "2"]
    check = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
    wait_for(lambda: len(workers(tmp_path)) >= 2, "workers")
    check.send_signal(signal.SIGKILL)
    check.wait()
    wait_for(lambda: not workers(tmp_path), "end of the workers")


def workers(directory: Path) -> list[int]:
    """Processes that a CHECK in this directory has started to read files."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            here = entry.name.isdigit() and os.readlink(entry / "cwd") == str(directory)
            if here and b"spawn_main" in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:  # gone, or not ours to look at
            continue
    return found


def wait_for(look, what: str) -> None:
    end = time.monotonic() + 60
    while not look():
        assert time.monotonic() < end, f"no {what}"
        time.sleep(0.05)


def test_fasta_with_a_name_that_vanishes(tmp_path: Path, tiny_weights: Weights):
    shutil.copy(FASTA, tmp_path / "in.fa.gz")
    arguments = split_arguments(Sample(tmp_path / "out", tiny_weights), tmp_path / "in.fa.gz")
    done = run_until(HAS_READ, f"rm '{tmp_path}/in.fa.gz'", *arguments)
    assert_one_line(done, code=1, says=f"{tmp_path}/in.fa.gz: No such file")
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
