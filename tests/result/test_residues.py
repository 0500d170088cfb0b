"""`SAMPLE.residues.h5`: the means of its proteins are the vectors of the result, whatever packs,
chunks and retries they came from; nothing else gets into it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from tests.residues import assert_as_the_original, assert_every_row_is_a_mean
from tests.result.conftest import plasmid
from tests.steps import DEMO, Sample, Weights, assert_same_datasets, call, make_weights
from virembed import residue_shards
from virembed.models.esm2 import Esm2
from virembed.seal import seal

CHUNKS = {"window": 300, "esm2-chunk-residues": 500, "dnaberts-chunk-bp": 20000}
PLASMID = DEMO / "NC_005816.fna.gz"


def made(home: Path, weights: Weights, fasta: Path, *, packs: int = 0, **options: object) -> Sample:
    sample = Sample(home, weights)
    assert sample.split(fasta, **options) == 0
    sample.embed(residues=True, **{"tokens-per-pack": packs})
    assert sample.collect(residues=True) == 0
    return sample


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_weights: Weights) -> Sample:
    """A plasmid in several chunks, with residues."""
    sample = made(tmp_path_factory.mktemp("residues"), tiny_weights, PLASMID, **CHUNKS)
    assert len(list(sample.shards.glob("*.residues.h5"))) >= 3
    return sample


@pytest.fixture
def copy(finished: Sample, tmp_path: Path) -> Sample:
    """The same, not yet collected."""
    leave = shutil.ignore_patterns("S.h5", "S.residues.h5", "S.summary*", "S.pro*")
    shutil.copytree(finished.home, tmp_path / "copy", ignore=leave)
    return Sample(tmp_path / "copy", finished.weights)


@pytest.mark.parametrize("rules", ["exact", "virnucpro"])
def test_the_mean_of_its_residues_is_the_vector_of_every_row(
    tmp_path: Path, tiny_weights: Weights, rules: str
):
    text = plasmid()[:1500]
    (tmp_path / "in.fa").write_text(f">a\n{text}\n>again\n{text}\n>other\n{plasmid()[4000:5200]}\n")
    sample = made(tmp_path, tiny_weights, tmp_path / "in.fa", rules=rules, window=200)
    assert assert_every_row_is_a_mean(sample) > 10
    counts = json.loads((tmp_path / "S.summary.json").read_text())["accounting"]
    assert counts["esm2_copied"] > 0
    with h5py.File(sample.residues) as file:
        assert len(file["esm2/row"]) == counts["esm2_unique"]


def test_residues_are_those_of_the_original_model(finished: Sample):
    assert_as_the_original(finished, finished.weights.originals["esm2"], limit=1e-4)


def test_other_packs_and_chunks_give_the_same_file(finished: Sample, tmp_path: Path):
    options = CHUNKS | {"esm2-chunk-residues": 100_000}
    other = made(tmp_path, finished.weights, PLASMID, packs=128, **options)
    with h5py.File(finished.residues) as one, h5py.File(other.residues) as two:
        for name in ("offsets", "row"):
            assert np.array_equal(one[f"esm2/{name}"][:], two[f"esm2/{name}"][:])
        ours, theirs = one["esm2/residues"][:], two["esm2/residues"][:]
    # products of other shapes: an ulp of float16
    assert np.abs(ours.astype("f4") - theirs.astype("f4")).max() < 4e-3
    again = made(tmp_path / "again", finished.weights, PLASMID, packs=4096, **options)
    assert_same_datasets(finished.residues, again.residues)


def test_retries_and_halved_packs_change_nothing_of_it(finished: Sample, tmp_path, monkeypatch):
    forward, full = Esm2.forward, set()

    def failing(self, tokens):
        if len(tokens.ids) > 256:
            full.add(len(tokens.ids))
            raise torch.OutOfMemoryError("injected")
        hidden = forward(self, tokens)
        if self.dtype == torch.bfloat16:  # some proteins overflow, until the retry in fp32
            parts = zip(tokens.ids.split(tokens.lengths), hidden.split(tokens.lengths), strict=True)
            for ids, states in parts:
                states.mul_(float("inf") if ids[2] % 2 else 1)
        return hidden

    monkeypatch.setattr(Esm2, "forward", failing)
    sample = Sample(tmp_path, finished.weights)
    assert sample.split(PLASMID, **CHUNKS) == 0
    sample.embed(residues=True, precision="bf16", **{"tokens-per-pack": 1024})
    assert sample.collect(residues=True) == 0
    assert full
    assert_every_row_is_a_mean(sample)
    with h5py.File(sample.shards / "S.esm2.00000.shard.h5") as shard:
        assert 0 < np.count_nonzero(shard["flags"][:]) < len(shard["flags"])


def test_shards_and_results_are_the_same_without(finished: Sample, tmp_path: Path):
    plain = Sample(tmp_path, finished.weights)
    assert plain.split(PLASMID, **CHUNKS) == 0
    plain.embed()
    assert plain.collect() == 0
    assert not plain.residues.exists()
    assert_same_datasets(finished.result, plain.result)
    for shard in plain.shards.iterdir():
        assert_same_datasets(shard, finished.shards / shard.name)


def test_a_block_may_end_anywhere(finished: Sample, copy: Sample, monkeypatch):
    monkeypatch.setattr(residue_shards, "READ_BYTES", 2 * 64 * 7)  # seven residues
    assert copy.collect(residues=True) == 0
    assert_same_datasets(finished.residues, copy.residues)


def test_a_sample_without_a_protein_has_an_empty_file(tmp_path: Path, tiny_weights: Weights):
    (tmp_path / "stops.fna").write_text(">a\n" + "TAACTAACTAACTTAGTTAGTTAG" * 25 + "\n")
    sample = made(tmp_path, tiny_weights, tmp_path / "stops.fna")
    assert call("verify", sample.result, sample.residues) == 0
    with h5py.File(sample.residues) as file:
        assert file["esm2/residues"].shape == (0, 64)
        assert file["esm2/offsets"][:].tolist() == [0]


def test_verify_and_info_know_it(finished: Sample, capsys):
    assert call("verify", finished.residues, finished.result) == 0
    out = capsys.readouterr().out
    with h5py.File(finished.residues) as file:
        proteins, residues = len(file["esm2/row"]), len(file["esm2/residues"])
    assert f"S.residues.h5: ok, {residues:,} residues of {proteins} proteins\n" in out
    assert f"S.residues.h5: belongs to {finished.result}\n" in out
    assert call("info", finished.residues) == 0
    out = capsys.readouterr().out
    assert f"{residues:,} x 64 float16 of {proteins} distinct proteins, esm2_t4_tiny_random" in out
    assert "random weights" in out


def test_verify_tells_the_residues_of_another_result(finished: Sample, tmp_path: Path, capsys):
    other = make_weights(tmp_path / "w", seed=3)
    sample = made(tmp_path / "other", other, PLASMID, **CHUNKS)
    assert call("verify", finished.result, sample.residues) == 7
    error = capsys.readouterr().err
    assert (
        f"{sample.residues}: its residues are not those of the rows of {finished.result}" in error
    )


def test_it_is_not_taken_for_a_result(finished: Sample, tmp_path: Path, capsys):
    path, out = finished.residues, tmp_path / "out"
    commands = [
        ("compare", finished.result, path),
        ("export", path, "--format", "npy", "--out", out),
        ("merge", finished.result, path, "--out", out),
        ("report", path, "--out", out),
    ]
    for command in commands:
        assert call(*command) == 7
        assert (
            f"{path}: not a result file, its format is virembed.residues/1"
            in capsys.readouterr().err
        )
    results = tmp_path / "results"
    for source in (finished.result, path, finished.home / "S.summary.json"):
        results.mkdir(exist_ok=True)
        shutil.copy(source, results)
    assert call("report", results, "--out", out) == 0
    assert "1 sample: 1 ok" in capsys.readouterr().out


def test_dnaberts_has_none(finished: Sample, tmp_path: Path, capsys):
    chunk = finished.home / "chunks/dnaberts/S.dnaberts.00000.fna"
    weights = ("--weights", finished.weights.converted["dnaberts"], "--out", tmp_path / "s.h5")
    arguments = ("--model", "dnaberts", *weights, "--residues", tmp_path / "r.h5")
    assert call("embed", chunk, *arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("ERROR --residues: dnaberts has none")
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


FIRST, SECOND = "S.esm2.00000.residues.h5", "S.esm2.00001.residues.h5"


@contextmanager
def rewritten(path: Path) -> Iterator[h5py.File]:
    """A file as a program with an error would have written it: its seal is right."""
    with h5py.File(path, "r+") as file:
        yield file
    seal(path)


def flip_a_bit(path: Path) -> None:
    with h5py.File(path) as file:
        offset = file["residues"].id.get_offset() + 1001
    content = bytearray(path.read_bytes())
    content[offset] ^= 4
    path.write_bytes(content)


def put_infinity(path: Path) -> None:
    with rewritten(path) as file:
        file["residues"][5, 3] = np.inf


def change(path: Path, **fields: object) -> None:
    with rewritten(path) as file:
        file.attrs["identity"] = json.dumps(json.loads(file.attrs["identity"]) | fields)


def swap_items(path: Path) -> None:
    with rewritten(path) as file:
        file["key"][:2] = file["key"][:2][::-1]


def lengthen(path: Path) -> None:
    with rewritten(path) as file:
        file["length"][0] += 1


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        (Path.unlink, "S.esm2.00001 is missing"),
        (lambda p: shutil.copy(p, p.with_name("twice.residues.h5")), "is there 2 times"),
        (lambda p: shutil.copy(p.with_name(FIRST), p), "S.esm2.00001 is missing"),
        (lambda p: shutil.copy(p.with_name("S.esm2.00001.shard.h5"), p), "not a file of residues"),
        (lambda p: p.write_bytes(p.read_bytes()[:-200]), "no readable file of residues"),
        (lambda p: p.write_bytes(p.read_bytes()[:-10]), "cut short"),
        (lambda p: p.write_bytes(p.read_bytes()[:1000]), "no readable file of residues"),
        (lambda p: p.write_bytes(b""), "no readable file of residues"),
        (flip_a_bit, "altered since it was written"),
        (put_infinity, "a residue is not finite"),
        (swap_items, "its keys are not those of the manifest"),
        (lengthen, "its lengths are not those of the proteins"),
        (lambda p: change(p, weights_sha256="0" * 64), "weights_sha256: 000"),
        (lambda p: change(p, precision="fp16"), "precision: fp16, not fp32"),
    ],
)  # fmt: skip
def test_a_wrong_file_stops_the_collection_and_is_named(
    copy: Sample, capsys, damage: Callable[[Path], object], cause: str
):
    damage(copy.shards / SECOND)
    before = sorted(copy.home.iterdir())
    assert copy.collect(residues=True) == 7
    error = capsys.readouterr().err
    assert cause in error
    assert "esm2.00001" in error
    assert error.count("\n") == 1
    assert sorted(copy.home.iterdir()) == before
    assert copy.collect() == 0  # nobody asked for them


def test_residues_of_another_sample_are_refused(copy: Sample, tmp_path: Path, capsys):
    other = Sample(tmp_path / "other", copy.weights, name="T")
    assert other.split(PLASMID, **CHUNKS) == 0
    other.embed(residues=True, only="esm2.00000")
    shutil.copy(other.shards / "T.esm2.00000.residues.h5", copy.shards)
    assert copy.collect(residues=True) == 7
    assert "T.esm2.00000: belongs to another sample" in capsys.readouterr().err


def test_no_room_is_said_before_anything_is_computed(finished: Sample, copy, capsys, monkeypatch):
    usage = shutil.disk_usage(copy.home)
    needed = finished.result.stat().st_size + finished.residues.stat().st_size // 2
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=needed))
    assert copy.collect(residues=True) == 7
    assert "GB needed" in capsys.readouterr().err
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    chunk = copy.home / "chunks/esm2/S.esm2.00000.faa"
    given = ("--weights", copy.weights.converted["esm2"], "--device", "cpu", "--model", "esm2")
    out = ("--out", copy.home / "x.shard.h5", "--residues", copy.home / "x.residues.h5")
    assert call("embed", chunk, *given, *out) == 7
    assert "GB needed" in capsys.readouterr().err
    assert not list(copy.home.glob("x.*"))
