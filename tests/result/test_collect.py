"""COLLECT takes the shards of a sample and nothing else; each way to be wrong is named."""

from __future__ import annotations

import errno
import gzip
import json
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.steps import DEMO, Sample, Weights, assert_same_datasets, make_weights
from virembed import collect, h5, shards
from virembed.items import item_key
from virembed.layout import Flag
from virembed.seal import seal

CHUNKS = {"esm2-chunk-residues": 500, "dnaberts-chunk-bp": 20000}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_weights: Weights) -> Sample:
    """A plasmid in several chunks of each model, embedded and collected."""
    sample = Sample(tmp_path_factory.mktemp("finished"), tiny_weights)
    assert sample.split(DEMO / "NC_005816.fna.gz", window=300, **CHUNKS) == 0
    sample.embed()
    assert sample.collect() == 0
    assert len(list(sample.shards.iterdir())) >= 4
    return sample


@pytest.fixture
def copy(finished: Sample, tmp_path: Path) -> Sample:
    """The same, not yet collected."""
    home = tmp_path / "copy"
    shutil.copytree(
        finished.home, home, ignore=shutil.ignore_patterns("S.h5", "S.summary*", "S.pro*")
    )
    return Sample(home, finished.weights)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def flip_a_bit(path: Path) -> None:
    with h5py.File(path) as file:
        offset = file["vector"].id.get_offset() + 5
    content = bytearray(path.read_bytes())
    content[offset] ^= 4
    path.write_bytes(content)


@contextmanager
def rewritten(path: Path) -> Iterator[h5py.File]:
    """A shard as a program with an error would have written it: its seal is right."""
    with h5py.File(path, "r+") as file:
        yield file
    seal(path)


def change(path: Path, **attributes: object) -> None:
    """Rewrites fields of a shard's identity, as a run with other settings would have them."""
    with rewritten(path) as file:
        file.attrs["identity"] = json.dumps(json.loads(file.attrs["identity"]) | attributes)


def put_nan(path: Path) -> None:
    with rewritten(path) as file:
        file["vector"][0, 0] = np.nan


def unfinished(path: Path) -> None:
    with rewritten(path) as file:
        file.attrs["complete"] = np.uint8(0)


def swap_keys(path: Path) -> None:
    with rewritten(path) as file:
        file["key"][:2] = file["key"][:2][::-1]


FIRST = "S.esm2.00000.shard.h5"
SECOND = "S.esm2.00001.shard.h5"


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        (Path.unlink, "S.esm2.00001 is missing"),
        (lambda p: shutil.copy(p, p.with_name("twice.shard.h5")), "S.esm2.00001 is there 2 times"),
        (lambda p: shutil.copy(p.with_name(FIRST), p), "S.esm2.00001 is missing"),
        (truncate, "no whole shard: cut short"),
        (lambda p: p.write_bytes(b""), "no whole shard: cut short"),
        (flip_a_bit, "no whole shard: altered since it was written"),
        (unfinished, "never finished"),
        (put_nan, "a vector is not finite"),
        (swap_keys, "its keys are not those of the manifest"),
        (lambda p: change(p, weights_sha256="0" * 64), "other weights"),
        (lambda p: change(p, precision="fp16"), "precision: fp16, not fp32"),
        (lambda p: change(p, pooling="max"), "pooling: max, not"),
        (lambda p: change(p, virembed="0.0.1"), "virembed: 0.0.1, not"),
    ],
)  # fmt: skip
def test_a_wrong_shard_stops_the_collection_and_is_named(
    copy: Sample, capsys, damage: Callable[[Path], object], cause: str
):
    damage(copy.shards / SECOND)
    before = sorted(copy.home.iterdir())
    capsys.readouterr()
    assert copy.collect() == 7
    error = capsys.readouterr().err
    assert cause in error
    assert "esm2.00001" in error
    assert error.count("\n") == 1
    assert sorted(copy.home.iterdir()) == before


def test_a_shard_altered_among_its_vectors_is_found_while_they_are_read(
    copy: Sample, capsys, monkeypatch
):
    """Shards of one block are compared as a whole: with small blocks, joining reads no vector."""
    monkeypatch.setattr("virembed.seal.BLOCK_BYTES", 256)
    for path in [copy.home / "S.manifest.h5", *copy.shards.iterdir()]:
        with rewritten(path):
            pass
    damaged = copy.shards / SECOND
    content = bytearray(damaged.read_bytes())
    with h5py.File(damaged) as file:
        vectors = file["vector"]
        content[vectors.id.get_offset() + vectors.id.get_storage_size() // 2] ^= 1
    damaged.write_bytes(content)
    joined = []
    join = collect.join_shards
    monkeypatch.setattr(
        collect, "join_shards", lambda *given: joined.append(join(*given)) or joined[0]
    )
    before = sorted(copy.home.iterdir())
    capsys.readouterr()
    assert copy.collect() == 7
    assert joined
    error = capsys.readouterr().err
    assert f"{damaged}: no whole shard: altered since it was written" in error
    assert error.count("\n") == 1
    assert sorted(copy.home.iterdir()) == before


def test_all_wrong_shards_are_named_at_once(copy: Sample, capsys):
    (copy.shards / FIRST).unlink()
    (copy.shards / "S.dnaberts.00000.shard.h5").unlink()
    change(copy.shards / SECOND, weights_sha256="0" * 64)
    assert copy.collect() == 7
    error = capsys.readouterr().err
    assert all(name in error for name in ("S.esm2.00000", "S.dnaberts.00000", SECOND))


def test_a_shard_of_another_sample_is_refused(copy: Sample, tmp_path: Path, capsys):
    other = Sample(tmp_path / "other", copy.weights, name="T")
    assert other.split(DEMO / "NC_005816.fna.gz", window=300, **CHUNKS) == 0
    other.embed(only="esm2.00000")
    shutil.copy(other.shards / "T.esm2.00000.shard.h5", copy.shards)
    assert copy.collect() == 7
    assert "T.esm2.00000: belongs to another sample" in capsys.readouterr().err


def test_shards_of_other_weights_are_refused(copy: Sample, tmp_path: Path, capsys):
    copy.embed(only="esm2.00001", weights=make_weights(tmp_path / "other", seed=5))
    assert copy.collect() == 7
    assert "made with other weights" in capsys.readouterr().err


def test_a_shard_replaced_after_it_was_verified_is_not_read(copy: Sample, capsys, monkeypatch):
    def replace(*_: object, **__: object) -> None:
        another = shutil.copy(copy.shards / SECOND, copy.home / "another")
        Path(another).replace(copy.shards / SECOND)

    monkeypatch.setattr("virembed.collect._Collector.require_space", replace)
    assert copy.collect() == 7
    assert f"{SECOND}: replaced while it was read" in capsys.readouterr().err
    assert not list(copy.home.glob("S.h5*"))


@pytest.fixture
def few_files() -> Iterator[int]:
    """How many files may be open at once beside those that are open now."""
    allowed = 20
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1 + allowed, limits[1]))
    yield allowed
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_there_may_be_more_shards_than_files_a_process_may_open(
    finished: Sample, tmp_path: Path, few_files: int
):
    other = Sample(tmp_path, finished.weights)
    small = {"esm2-chunk-residues": 100, "dnaberts-chunk-bp": 200}
    assert other.split(DEMO / "NC_005816.fna.gz", window=300, **small) == 0
    other.embed()
    assert len(list(other.shards.iterdir())) > 2 * few_files
    assert other.collect() == 0
    assert_same_datasets(finished.result, other.result)


def test_collecting_again_gives_the_same_datasets(finished: Sample, copy: Sample):
    assert copy.collect() == 0
    assert_same_datasets(finished.result, copy.result)
    proteins = [sample.home / "S.proteins.faa.gz" for sample in (finished, copy)]
    assert proteins[0].read_bytes() == proteins[1].read_bytes()


@pytest.mark.parametrize("forget", ["all", "refused", "unknown"])
def test_what_the_system_keeps_in_memory_does_not_matter(
    forget: str, finished: Sample, copy: Sample, monkeypatch
):
    """Bytes of shards that were read, and of the result that were written, need not stay there."""
    monkeypatch.setattr(shards, "LEAVING_BYTES", 1)
    monkeypatch.setattr(h5, "_TO_DISK_BYTES", 1)
    left: list[int] = []

    def advise(descriptor: int, offset: int, num_bytes: int, advice: int) -> None:
        left.append(num_bytes)
        if forget == "refused":
            raise OSError(errno.ENOSYS, "not here")
        known(descriptor, offset, num_bytes, advice)

    known = os.posix_fadvise
    if forget == "unknown":
        monkeypatch.delattr(os, "posix_fadvise")
    else:
        monkeypatch.setattr(os, "posix_fadvise", advise)
    assert copy.collect() == 0
    assert_same_datasets(finished.result, copy.result)
    assert (forget == "unknown") == (not left)


def test_embedding_again_in_other_chunks_gives_the_same_vectors(finished: Sample, tmp_path: Path):
    other = Sample(tmp_path, finished.weights)
    assert other.split(DEMO / "NC_005816.fna.gz", window=300) == 0
    other.embed()
    assert other.collect() == 0
    assert_same_datasets(finished.result, other.result)


def test_the_proteins_file_has_the_ids_and_lengths_of_the_rows(finished: Sample):
    with gzip.open(finished.home / "S.proteins.faa.gz", "rt") as file:
        lines = file.read().split("\n")
    with h5py.File(finished.result) as result:
        number = int(result["uns/accounting/n_protein_rows"][()])
        ids = result["obs/row_id"].asstr()[:number].tolist()
        lengths = result["obs/protein_len"][:number].tolist()
    assert [line[1:] for line in lines[:-1:2]] == ids
    assert [len(line) for line in lines[1::2]] == lengths


def test_a_summary_tells_the_counts(finished: Sample):
    summary = json.loads((finished.home / "S.summary.json").read_text())
    with h5py.File(finished.result) as result:
        stored = {name: int(value[()]) for name, value in result["uns/accounting"].items()}
    assert summary["accounting"] == stored
    assert summary["status"] == "ok"
    assert summary["models"]["esm2"]["random_weights"] is True


def test_not_enough_room_is_said_before_anything_is_written(copy: Sample, capsys, monkeypatch):
    usage = shutil.disk_usage(copy.home)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    assert copy.collect() == 7
    assert "GB needed" in capsys.readouterr().err
    assert not list(copy.home.glob("S.h5*"))


def test_a_vector_of_wider_products_is_marked_in_its_rows(copy: Sample):
    with rewritten(copy.shards / FIRST) as file:
        file["flags"][1] = 2
        key = file["key"][1].tobytes().hex()
    assert copy.collect() == 0
    with h5py.File(copy.result) as result:
        flags = result["obs/flags"][:]
        ids = result["obs/row_id"].asstr()[:]
    marked = ids[(flags & Flag.ESM2_WIDER) > 0].tolist()
    with gzip.open(copy.home / "S.proteins.faa.gz", "rt") as file:
        lines = file.read().split("\n")
    texts = dict(zip(lines[:-1:2], lines[1::2], strict=True))
    assert marked
    assert {item_key(texts[f">{row}"].encode()).hex() for row in marked} == {key}
