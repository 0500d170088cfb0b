"""The distinct sequences to embed: each once, in order, cut into chunks by letters."""

import random

import pytest
import xxhash

from virembed.layout import DNABERTS, ESM2

from .hostile import draw, fasta, make, written
from .naive import cut_chunks, distinct, naive_rows
from .product import chunk_files, files_below, in_process, read_chunks, split

MODELS = pytest.mark.parametrize("model", [ESM2, DNABERTS], ids=lambda model: model.name)


def split_to(directory, records, capsys, **options):
    path = written(directory.with_suffix(".fa"), fasta(records))
    run = in_process(split([path], directory, window=60, **options), capsys)
    assert (run.code, run.err) == (0, "")


def texts_of(model, records):
    rows = [
        r for name, text in records for r in naive_rows(name, text, window_bp=60, rules="exact")
    ]
    return distinct(
        [r.dna for r in rows] if model is DNABERTS else [r.protein for r in rows if r.protein]
    )


@MODELS
@pytest.mark.parametrize("limit", [1, 37, 1000, 10**9])
def test_an_item_is_in_the_chunk_of_the_letters_before_it(tmp_path, capsys, model, limit):
    records = [*make("duplicates", 60), *make("plain_random", 60)]
    split_to(tmp_path / "out", records, capsys, esm2_chunk_residues=limit, dnaberts_chunk_bp=limit)
    expected = cut_chunks(texts_of(model, records), limit)
    chunks = [[item.text for item in chunk] for chunk in read_chunks(tmp_path / "out", model)]
    assert chunks == expected


@MODELS
def test_an_item_is_named_by_the_hash_of_its_text_and_stands_once(tmp_path, capsys, model):
    split_to(tmp_path / "out", make("duplicates", 60) + make("odd_case", 60), capsys)
    items = [item for chunk in read_chunks(tmp_path / "out", model) for item in chunk]
    assert [item.key for item in items] == [
        xxhash.xxh3_128_hexdigest(item.text.encode()) for item in items
    ]
    assert len({item.key for item in items}) == len(items)


def test_records_that_repeat_others_add_no_item(tmp_path, capsys):
    records = make("plain_random", 60)
    # the same letters in the other case, as RNA, and in another order
    repeats = [(f"again_{name}", text.lower()) for name, text in reversed(records)]
    repeats += [(f"rna_{name}", text.replace("T", "u")) for name, text in records]
    split_to(tmp_path / "once", records, capsys)
    split_to(tmp_path / "again", records + repeats, capsys)
    for model in (ESM2, DNABERTS):
        assert read_chunks(tmp_path / "once", model) == read_chunks(tmp_path / "again", model)


@MODELS
@pytest.mark.parametrize("num_records", [5, 16, 24])
def test_appended_records_leave_all_chunks_but_the_last_as_they_were(
    tmp_path, capsys, model, num_records
):
    rng = random.Random(3)
    records = [(f"r{i}", draw(rng, "ACGT", 400)) for i in range(25)]
    limits = {"esm2_chunk_residues": 150, "dnaberts_chunk_bp": 800}
    split_to(tmp_path / "some", records[:num_records], capsys, **limits)
    split_to(tmp_path / "all", records, capsys, **limits)
    some, everything = (
        [path.read_bytes() for path in chunk_files(tmp_path / name, model)]
        for name in ("some", "all")
    )
    assert 3 < len(some) <= len(everything)
    assert everything[: len(some) - 1] == some[:-1]
    assert everything[len(some) - 1].startswith(some[-1])


def test_an_item_longer_than_the_limit_leaves_no_gap_in_the_numbers(tmp_path, capsys):
    records = [("a", "GCC" * 20), ("b", "GCA" * 20), ("c", "GCG" * 20)]
    split_to(tmp_path / "out", records, capsys, esm2_chunk_residues=3, dnaberts_chunk_bp=7)
    numbers = [path.name.split(".")[2] for path in chunk_files(tmp_path / "out", DNABERTS)]
    assert numbers == [f"{i:05d}" for i in range(len(numbers))]
    assert len(numbers) > 3


def test_a_sample_without_a_protein_has_no_protein_chunk(tmp_path, capsys):
    split_to(tmp_path / "out", [("a", "AC"), ("b", "TAACTAACTAACTTAGTTAGTTAG")], capsys)
    assert files_below(tmp_path / "out") == [
        "S.manifest.h5",
        "S.split.json",
        "chunks/dnaberts/S.dnaberts.00000.fna",
    ]
