"""A program killed at any moment: every file under its own name is whole, the next run is right."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.faults.conftest import FASTA
from tests.faults.program import (
    KILL,
    Point,
    collect_arguments,
    embed_arguments,
    residues_of,
    run_until,
    split_arguments,
)
from tests.steps import Sample, Weights, assert_same_datasets, call
from virembed.shards import open_shard

CHUNK, SHARD = "S.esm2.00000.faa", "S.esm2.00000.shard.h5"
NUM_PACKS = 6
NUM_OUTPUTS = 7  # of SPLIT: three chunks of proteins, two of DNA, the manifest, its workload
RENAME = "os.replace"

SPLIT = {
    "SPLIT reads": Point("virembed.cut.find_frames", 1, "before"),
    "SPLIT, before the first chunk has its name": Point(RENAME, 1, "before"),
    "SPLIT, after the first chunk has its name": Point(RENAME, 1, "after"),
    "SPLIT, before the manifest has its name": Point(RENAME, NUM_OUTPUTS - 1, "before"),
    "SPLIT, after the manifest has its name": Point(RENAME, NUM_OUTPUTS - 1, "after"),
}
EMBED = {
    "EMBED reads the chunk": Point("virembed.items.item_key", 3, "before"),
    "EMBED loads the weights": Point("virembed.models.registry.read_tensors", 1, "after"),
    "EMBED, first pack": Point("virembed.engine.embed.mean_pool", 1, "before"),
    "EMBED, half-way": Point("virembed.engine.embed.mean_pool", NUM_PACKS // 2, "before"),
    "EMBED, last pack": Point("virembed.engine.embed.mean_pool", NUM_PACKS, "after"),
    "EMBED opens the shard": Point("h5py.File", 1, "after"),
    "EMBED writes the vectors": Point("h5py.Group.create_dataset", 4, "after"),
    "EMBED, before fsync": Point("virembed.atomic.fsync", 1, "before"),
    "EMBED, before the shard has its name": Point(RENAME, 1, "before"),
    "EMBED, after the shard has its name": Point(RENAME, 1, "after"),
    "EMBED, before the program ends": Point("virembed.embed.EmbedReport", 1, "before"),
}
RESIDUES = {
    "EMBED hands residues to the disk": Point(
        "virembed.residue_shards.ResidueWriter.put", 2, "after"
    ),
    "EMBED, before the residues have their name": Point(RENAME, 1, "before"),
    "EMBED, after the residues have their name": Point(RENAME, 1, "after"),
}
COLLECT_RESIDUES = {
    "COLLECT joins residues": Point("virembed.residues.open_residue_shard", 2, "before"),
    "COLLECT, after the residues have their name": Point(RENAME, 1, "after"),
}
COLLECT = {
    "COLLECT writes rows": Point("virembed.result.ResultWriter.write_obs", 1, "after"),
    "COLLECT proves the result": Point("virembed.verify._problems", 1, "before"),
    "COLLECT, before the result has its name": Point(RENAME, 1, "before"),
    "COLLECT, after the result has its name": Point(RENAME, 1, "after"),
    "COLLECT, after the proteins have their name": Point(RENAME, 2, "after"),
    "COLLECT, after the summary has its name": Point(RENAME, 3, "after"),
}
CONVERT = {
    "weights convert writes": Point("virembed.models.convert.save_file", 1, "after"),
    "weights convert, before the directory has its name": Point("pathlib.Path.rename", 1, "before"),
    "weights convert, after the directory has its name": Point("pathlib.Path.rename", 1, "after"),
}
SIGNALS = {"SIGTERM": -15, "SIGINT": 130}


def points(table: dict[str, Point]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("point", table.values(), ids=table.keys())


def named_files(home: Path) -> set[Path]:
    """Files under their own names, relative to a directory."""
    paths = (path for path in home.rglob("*") if path.is_file())
    return {path.relative_to(home) for path in paths if ".partial" not in str(path)}


def assert_whole(home: Path, reference: Path) -> None:
    """Every file under its own name is the one that a run without a fault writes."""
    for name in named_files(home):
        if name.suffix == ".h5":
            assert_same_datasets(home / name, reference / name)
        elif name.suffix != ".json":  # a summary has times in it
            assert (home / name).read_bytes() == (reference / name).read_bytes(), name


@points(SPLIT)
def test_a_killed_split(reference: Sample, tmp_path: Path, point: Point):
    sample = Sample(tmp_path, reference.weights)
    arguments = split_arguments(sample, FASTA)
    assert run_until(point, KILL, *arguments).returncode == -9
    assert_whole(tmp_path, reference.home)
    if Path("S.split.json") in named_files(tmp_path):  # it comes last: it speaks of the others
        assert len(named_files(tmp_path)) == NUM_OUTPUTS

    assert call(*arguments) == 0
    assert len(named_files(tmp_path)) == NUM_OUTPUTS
    assert_whole(tmp_path, reference.home)


@points(EMBED)
def test_a_killed_embed(reference: Sample, tmp_path: Path, point: Point):
    with open_shard(reference.shards / SHARD) as shard:
        assert shard.origin.num_packs == NUM_PACKS
    arguments = embed_arguments(reference, CHUNK, tmp_path / SHARD)
    assert run_until(point, KILL, *arguments).returncode == -9
    assert_whole(tmp_path, reference.shards)

    assert call(*arguments) == 0
    assert_same_datasets(tmp_path / SHARD, reference.shards / SHARD)


@points(RESIDUES)
def test_a_killed_embed_with_residues(reference: Sample, tmp_path: Path, point: Point):
    arguments = embed_arguments(reference, CHUNK, tmp_path / SHARD)
    residues = residues_of(tmp_path / SHARD)
    arguments += ["--residues", residues]
    assert run_until(point, KILL, *arguments).returncode == -9
    assert not (tmp_path / SHARD).exists()  # it comes last
    assert_whole(tmp_path, reference.shards)

    assert call(*arguments) == 0
    assert {str(name) for name in named_files(tmp_path)} == {SHARD, residues.name}
    assert_whole(tmp_path, reference.shards)


@points(COLLECT_RESIDUES)
def test_a_killed_collect_with_residues(reference: Sample, tmp_path: Path, point: Point):
    residues = tmp_path / "S.residues.h5"
    arguments = [*collect_arguments(reference, tmp_path), "--residues", residues]
    assert run_until(point, KILL, *arguments).returncode == -9
    assert not (tmp_path / "S.h5").exists()
    assert_whole(tmp_path, reference.home)

    assert call(*arguments) == 0
    assert call("verify", residues, tmp_path / "S.h5") == 0
    assert_whole(tmp_path, reference.home)


@points(COLLECT)
def test_a_killed_collect(reference: Sample, tmp_path: Path, point: Point):
    arguments = collect_arguments(reference, tmp_path)
    assert run_until(point, KILL, *arguments).returncode == -9
    assert_whole(tmp_path, reference.home)

    assert call(*arguments) == 0
    assert {str(name) for name in named_files(tmp_path)} == {"S.h5", "S.json", "S.faa.gz"}
    assert_whole(tmp_path, reference.home)


@points(CONVERT)
def test_a_killed_conversion(tiny_weights: Weights, tmp_path: Path, point: Point):
    source, out = tiny_weights.originals["dnaberts"], tmp_path / "dnaberts"
    arguments = ("weights", "convert", source, "--model", "dnaberts", "--out", out)
    assert run_until(point, KILL, *arguments).returncode == -9
    if not out.exists():
        assert call(*arguments) == 0
    assert_whole(out, tiny_weights.converted["dnaberts"])
    assert call("weights", "list", out) == 0


@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize("moment", ["EMBED, half-way", "EMBED, before the shard has its name"])
def test_an_embed_that_is_told_to_end(reference: Sample, tmp_path: Path, moment: str, signal: str):
    out = tmp_path / "out" / SHARD
    arguments = embed_arguments(reference, CHUNK, out)
    done = run_until(EMBED[moment], f"kill -{signal.removeprefix('SIG')} $PPID", *arguments)
    assert done.returncode == SIGNALS[signal]
    assert "Traceback" not in done.stderr
    assert not out.exists()
    if signal == "SIGINT":  # not even a partial file
        assert not list(tmp_path.rglob("*.partial"))
    shutil.rmtree(tmp_path)
