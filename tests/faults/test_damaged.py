"""Files that changed between the steps: a located error, never a wrong result."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import pytest

from tests.faults.conftest import FASTA
from tests.faults.program import collect_arguments, embed_arguments, split_arguments
from tests.steps import Sample, call
from virembed.errors import IncompleteError
from virembed.manifest import open_manifest
from virembed.residue_shards import open_residue_shard
from virembed.residues import verify_residues
from virembed.seal import seal
from virembed.shards import open_shard
from virembed.verify import verify_result

SHARD = "shards/S.esm2.00001.shard.h5"
DNA_SHARD = "shards/S.dnaberts.00000.shard.h5"
MANIFEST = "S.manifest.h5"
RESULT = "S.h5"
RESIDUE_SHARD = "shards/S.esm2.00001.residues.h5"
RESIDUES = "S.residues.h5"
NUM_FLIPS = 150


def open_and_close(opened: Callable[[Path], object]) -> Callable[[Path], None]:
    def read(path: Path) -> None:
        with opened(path):  # type: ignore[attr-defined]
            pass

    return read


def read_shard(path: Path) -> None:
    with open_shard(path) as shard:
        shard.vectors.all()


def read_residue_shard(path: Path) -> None:
    with open_residue_shard(path) as (_, residues):
        for _ in residues.blocks():
            pass


READERS = {
    SHARD: read_shard,
    MANIFEST: open_and_close(open_manifest),
    RESULT: verify_result,
    RESIDUE_SHARD: read_residue_shard,
    RESIDUES: verify_residues,
}


@contextmanager
def rewritten(path: Path) -> Iterator[h5py.File]:
    """A file as another release would have written it: its seal is right."""
    with h5py.File(path, "r+") as file:
        yield file
    seal(path)


def flip(content: bytes, position: int, bit: int = 2) -> bytes:
    return content[:position] + bytes([content[position] ^ 1 << bit]) + content[position + 1 :]


@pytest.mark.parametrize("name", READERS)
def test_a_single_bit_flipped_anywhere_is_found(reference: Sample, tmp_path: Path, name: str):
    whole = (reference.home / name).read_bytes()
    path = tmp_path / Path(name).name
    rng = random.Random(5)
    # the beginning, the end, the places between
    positions = [*range(0, 100, 5), *range(-50, 0, 5)]
    positions += rng.sample(range(len(whole)), NUM_FLIPS - len(positions))
    for position in positions:
        path.write_bytes(flip(whole, position % len(whole), rng.randrange(8)))
        with pytest.raises(IncompleteError) as caught:
            READERS[name](path)
        assert str(path) in str(caught.value), position
    path.write_bytes(whole)
    READERS[name](path)


@pytest.mark.parametrize("name", READERS)
def test_a_file_cut_short_anywhere_is_found(reference: Sample, tmp_path: Path, name: str):
    whole = (reference.home / name).read_bytes()
    path = tmp_path / Path(name).name
    for kept in (0, 1, 7, 8, 50, 512, len(whole) // 2, len(whole) - 200, len(whole) - 1):
        path.write_bytes(whole[:kept])
        with pytest.raises(IncompleteError, match=path.name):
            READERS[name](path)


def test_info_on_a_damaged_result_is_lines_or_one_error(reference: Sample, tmp_path: Path, capsys):
    whole = (reference.home / RESULT).read_bytes()
    path = tmp_path / RESULT
    rng = random.Random(6)
    codes = set()
    for _ in range(NUM_FLIPS):
        damaged = bytearray(whole)
        for position in rng.sample(range(len(whole)), 200):
            damaged[position] = rng.randrange(256)
        path.write_bytes(damaged)
        codes.add(call("info", path))
        error = capsys.readouterr().err
        assert error.count("\n") <= 1
        assert not error or error.startswith(f"ERROR {path}: ")
    assert 7 in codes
    assert codes <= {0, 7}


def edit(name: str, change: Callable[[bytes], bytes]) -> Callable[[Sample], object]:
    """Changes the bytes of a file of the sample."""

    def damage(sample: Sample) -> None:
        path = sample.home / name
        path.write_bytes(change(path.read_bytes()))

    return damage


def copy_over(name: str, other: str) -> Callable[[Sample], object]:
    return lambda sample: shutil.copy(sample.home / name, sample.home / other)


def of_format(name: str, text: str) -> Callable[[Sample], object]:
    def damage(sample: Sample) -> None:
        with rewritten(sample.home / name) as file:
            file.attrs["format"] = text

    return damage


def from_other_sample(name: str) -> Callable[[Sample], object]:
    """Puts a file of a sample cut from the same sequence with another name in place of ours."""

    def damage(sample: Sample) -> None:
        other = Sample(sample.home / "other", sample.weights, name="T")
        assert call(*split_arguments(other, FASTA)) == 0
        theirs = other.home / name.replace("S.", "T.")
        if name == SHARD:
            assert call(*embed_arguments(other, "T.esm2.00001.faa", theirs)) == 0
        shutil.copy(theirs, sample.home / name)
        shutil.rmtree(other.home)

    return damage


WRONG_FILES = {
    "shard: bit flipped in its header": (edit(SHARD, lambda b: flip(b, 20)), "S.esm2.00001"),
    "shard: bit flipped in its vectors": (
        edit(SHARD, lambda b: flip(b, len(b) - 500)),
        "altered since it was written",
    ),
    "shard: truncated": (edit(SHARD, lambda b: b[: len(b) // 2]), "cut short"),
    "shard: empty": (edit(SHARD, lambda b: b""), "cut short"),
    "shard: missing": (lambda s: (s.home / SHARD).unlink(), "S.esm2.00001 is missing"),
    "shard: there twice": (
        copy_over(SHARD, "shards/again.shard.h5"),
        "S.esm2.00001 is there 2 times",
    ),
    "shard: swapped between samples": (
        from_other_sample(SHARD),
        "T.esm2.00001: belongs to another sample",
    ),
    "shard: swapped between models": (
        copy_over(DNA_SHARD, SHARD),
        "S.dnaberts.00000 is there 2 times",
    ),
    "shard: of an older format": (
        of_format(SHARD, "virembed.shard/1"),
        "not a shard of format virembed.shard/2",
    ),
    "manifest: bit flipped": (
        edit(MANIFEST, lambda b: flip(b, len(b) // 2)),
        "S.manifest.h5: no whole manifest: altered",
    ),
    "manifest: truncated": (edit(MANIFEST, lambda b: b[:-9]), "S.manifest.h5: no whole manifest"),
    "manifest: of another sample": (from_other_sample(MANIFEST), "sample 'T', shards: "),
    "manifest: of an older format": (
        of_format(MANIFEST, "virembed.manifest/1"),
        "not a manifest of format virembed.manifest/3",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "says"), WRONG_FILES.values(), ids=WRONG_FILES.keys())
def test_collect_refuses_a_wrong_file(
    copy: Sample, capsys, damage: Callable[[Sample], object], says: str
):
    damage(copy)
    before = sorted(copy.home.iterdir())
    capsys.readouterr()
    assert call(*collect_arguments(copy, copy.home)) == 7
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert sorted(copy.home.iterdir()) == before


CHANGED_CHUNKS: dict[str, Callable[[bytes], bytes]] = {
    "chunk: a letter changed": lambda b: (
        b.replace(b"\nM", b"\nL", 1) if b"\nM" in b else flip(b, 40, 0)
    ),
    "chunk: an id changed": lambda b: flip(b, 3, 0),
    "chunk: cut within a sequence": lambda b: b[:-20],
    "chunk: a header without a sequence": lambda b: b[: b.rindex(b">") + 34],
    "chunk: a blank line more": lambda b: b + b"\n",
}
CHANGED_RECORDS: dict[str, Callable[[bytes], bytes]] = {
    "chunk: a record less": lambda b: b[: b.rindex(b">")],
    "chunk: a record twice": lambda b: b + b[b.rindex(b">") :],
    "chunk: two records swapped": lambda b: b">".join(
        [b"", *(parts := b.split(b">")[1:])[1::-1], *parts[2:]]
    ),
}


@pytest.mark.parametrize("change", CHANGED_CHUNKS.values(), ids=CHANGED_CHUNKS.keys())
def test_embed_refuses_a_changed_chunk(copy: Sample, capsys, change: Callable[[bytes], bytes]):
    edit("chunks/esm2/S.esm2.00001.faa", change)(copy)
    (copy.home / SHARD).unlink()
    assert call(*embed_arguments(copy, "S.esm2.00001.faa", copy.home / SHARD)) == 3
    assert "S.esm2.00001.faa line " in capsys.readouterr().err
    assert not (copy.home / SHARD).exists()


@pytest.mark.parametrize("change", CHANGED_RECORDS.values(), ids=CHANGED_RECORDS.keys())
def test_collect_refuses_the_shard_of_a_changed_chunk(
    copy: Sample, capsys, change: Callable[[bytes], bytes]
):
    edit("chunks/esm2/S.esm2.00001.faa", change)(copy)
    assert call(*embed_arguments(copy, "S.esm2.00001.faa", copy.home / SHARD)) == 0
    assert call(*collect_arguments(copy, copy.home)) == 7
    assert "S.esm2.00001.shard.h5: its keys are not those of" in capsys.readouterr().err


def test_a_result_changed_in_text_is_found_too(reference: Sample, tmp_path: Path, capsys):
    path = tmp_path / "S.h5"
    whole = (reference.home / RESULT).read_bytes()
    name = FASTA.name.encode()  # in uns/provenance, which no checksum of columns covers
    assert whole.count(name) == 1
    path.write_bytes(whole.replace(name, name[::-1]))
    assert call("verify", path) == 7
    assert f"{path}: altered since it was written" in capsys.readouterr().err
