"""Samples of the types contig and protein: a row per record, under its own id."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.models.reference_dnaberts import reference_embedding as original_dnaberts
from tests.steps import Sample, Weights, call
from virembed.layout import Flag
from virembed.report.data import report_data

from .conftest import plasmid
from .test_classify import convert
from .test_vectors import assert_stored, original_esm2

MAX_CONTIG = 6000
REAL = plasmid()
CONTIGS = {
    "whole": REAL[:MAX_CONTIG],
    "short": "ACG",
    "part|1 with a description": REAL[2000:3100],
    "again": REAL[2000:3100].lower(),
    "signs": "ACGUNNRYacgu" * 9,
    "long": REAL[: MAX_CONTIG + 1],
    "nothing": "",
}
PROTEINS = {
    "lambda_cI": "MSTKKKPLTQEQLEDARRLKAIYEKKKNELGLSQESVADKMGMGQSGVGALFNGINALNAYNAALLAKILK",
    "stopped": "MKRISTTITTTITITTGNGAG*",
    "same_without_stop": "MKRISTTITTTITITTGNGAG",
    "small": "m",
    "signs|2": "MXBZUOmkw",
    "only_stop": "*",
    "nothing": "",
}
KEPT_CONTIGS = ["whole", "short", "part|1", "again", "signs"]
KEPT_PROTEINS = ["lambda_cI", "stopped", "same_without_stop", "small", "signs|2"]


def fasta(records: dict[str, str]) -> str:
    return "".join(f">{name}\n{text}\n" for name, text in records.items())


def finished(home: Path, weights: Weights, text: str, name: str, **options: object) -> Sample:
    home.mkdir(parents=True, exist_ok=True)
    (home / "in.fa").write_text(text)
    sample = Sample(home, weights, name)
    assert sample.split(home / "in.fa", **options) == 0
    sample.embed()
    assert sample.collect() == 0
    return sample


@pytest.fixture(scope="module")
def contigs(tmp_path_factory, tiny_weights: Weights) -> Sample:
    home = tmp_path_factory.mktemp("contigs")
    options = {"type": "contig", "max-contig-bp": MAX_CONTIG, "min-record-bp": 3}
    return finished(home, tiny_weights, fasta(CONTIGS), "C", **options)


@pytest.fixture(scope="module")
def proteins(tmp_path_factory, tiny_weights: Weights) -> Sample:
    home = tmp_path_factory.mktemp("proteins")
    return finished(home, tiny_weights, fasta(PROTEINS), "P", type="protein")


def obs(file: h5py.File, name: str) -> list:
    return file[f"obs/{name}"][:].tolist()


def counts(file: h5py.File) -> dict[str, int]:
    return {name: int(value[()]) for name, value in file["uns/accounting"].items()}


def test_a_contig_is_a_row_with_the_vector_of_its_whole_dna(contigs: Sample):
    with h5py.File(contigs.result) as file:
        assert file["obs/row_id"].asstr()[:].tolist() == KEPT_CONTIGS
        texts = list(CONTIGS.values())[:5]
        for row, text in enumerate(texts):
            dna = text.upper().replace("U", "T")
            reference = original_dnaberts(contigs.weights.originals["dnaberts"], dna)
            assert_stored(file["obsm/X_dnaberts"][row], reference, KEPT_CONTIGS[row])
        lengths = [len(text) for text in texts]
        assert obs(file, "window") == [-1] * 5
        assert obs(file, "start") == obs(file, "dna_start") == [0] * 5
        assert obs(file, "end") == obs(file, "dna_end") == lengths
        assert obs(file, "dnaberts_source_row") == [0, 1, 2, 2, 4]
        assert obs(file, "n_ambiguous") == [0, 0, 0, 0, 36]
        marks = [0, 0, 0, int(Flag.DNABERTS_COPIED), int(Flag.AMBIGUOUS_DNA)]
        assert obs(file, "flags") == marks
        assert np.isnan(file["obsm/X_esm2"][:]).all()
        assert obs(file, "has_esm2") == [False] * 5


@pytest.mark.filterwarnings("ignore:Regression weights not found")
def test_a_protein_is_a_row_with_its_own_vector(proteins: Sample):
    with h5py.File(proteins.result) as file:
        assert file["obs/row_id"].asstr()[:].tolist() == KEPT_PROTEINS
        embed = original_esm2(proteins.weights.originals["esm2"])
        texts = [text.removesuffix("*").upper() for text in list(PROTEINS.values())[:5]]
        for row, text in enumerate(texts):
            assert_stored(file["obsm/X_esm2"][row], embed(text), KEPT_PROTEINS[row])
        assert obs(file, "protein_len") == [len(text) for text in texts]
        assert obs(file, "esm2_source_row") == [0, 1, 1, 3, 4]
        assert obs(file, "flags") == [0, int(Flag.TERMINAL_STOP), int(Flag.ESM2_COPIED), 0, 0]
        for column in ("window", "start", "end", "dna_start", "dna_end", "dnaberts_source_row"):
            assert obs(file, column) == [-1] * 5
        assert np.isnan(file["obsm/X_dnaberts"][:]).all()
        assert int(file["uns/accounting/n_protein_rows"][()]) == 5
    with gzip.open(proteins.home / "P.proteins.faa.gz", "rt") as published:
        assert published.read() == fasta(dict(zip(KEPT_PROTEINS, texts, strict=True)))


def test_what_gave_no_row_is_listed_and_counted(contigs: Sample, proteins: Sample):
    with h5py.File(contigs.result) as file:
        found = counts(file)
        assert found["records_in"] == 7
        assert (found["records_too_long"], found["records_empty"]) == (1, 1)
        assert (found["contigs"], found["proteins"], found["windows"]) == (5, 0, 0)
        assert found["bases_in"] == sum(map(len, CONTIGS.values()))
        lost = file["uns/lost"]
        assert list(lost["id"].asstr()[:]) == ["long", "nothing"]
        assert lost["detail"].asstr()[0] == "6001 bp, more than 6000"
        codes = file["uns/records/status/codes"][:]
        names = file["uns/records/status/categories"].asstr()[:][codes].tolist()
        assert names == ["ok"] * 5 + ["too_long", "empty"]
    with h5py.File(proteins.result) as file:
        found = counts(file)
        assert (found["records_in"], found["records_empty"], found["proteins"]) == (7, 2, 5)
        assert (found["bases_in"], found["frames_open"]) == (0, 0)
        assert found["residues_in"] == sum(map(len, PROTEINS.values()))
        assert list(file["uns/lost/id"].asstr()[:]) == ["only_stop", "nothing"]


@pytest.mark.parametrize("name", ["contigs", "proteins"])
def test_verify_info_and_export_know_the_types(name, request, capsys, tmp_path):
    sample = request.getfixturevalue(name)
    assert call("verify", sample.result) == 0
    capsys.readouterr()
    assert call("info", sample.result) == 0
    shown = capsys.readouterr().out
    assert f"rows       5: each {name.removesuffix('s')} whole" in shown
    out = tmp_path / "npy"
    assert call("export", sample.result, "--format", "npy", "--out", out) == 0
    kept = KEPT_CONTIGS if sample.name == "C" else KEPT_PROTEINS
    exported = [path.read_text().split() for path in sorted(out.glob("*.txt"))]
    assert kept in exported
    assert sum(map(len, exported)) == len(kept)


@pytest.mark.parametrize("name", ["contigs", "proteins"])
def test_the_mean_of_a_whole_record_is_its_vector(name, request, tmp_path):
    sample = request.getfixturevalue(name)
    out = tmp_path / "means.h5"
    assert call("export", sample.result, "--format", "records", "--out", out) == 0
    assert call("verify", out) == 0
    with h5py.File(out) as means, h5py.File(sample.result) as file:
        for model in ("X_esm2", "X_dnaberts"):
            assert np.array_equal(means[f"obsm/{model}"], file[f"obsm/{model}"], equal_nan=True)
        assert means["obs/record_id"].asstr()[:].tolist() == file["obs/row_id"].asstr()[:].tolist()


def test_samples_of_one_type_can_be_merged_and_others_not(
    contigs: Sample, proteins: Sample, tmp_path, capsys
):
    for one, options in (
        (contigs, {"type": "contig", "max-contig-bp": MAX_CONTIG}),
        (proteins, {"type": "protein"}),
    ):
        text = fasta(PROTEINS if one is proteins else CONTIGS)
        other = finished(tmp_path / one.name, one.weights, text, "other", **options)
        out = tmp_path / f"{one.name}.merged.h5"
        assert call("merge", one.result, other.result, "--out", out) == 0
        with h5py.File(out) as file, h5py.File(one.result) as alone:
            ids = file["obs/row_id"].asstr()[:]
            for model in ("X_esm2", "X_dnaberts"):
                merged, own = file[f"obsm/{model}"], alone[f"obsm/{model}"]
                assert np.array_equal(merged[:5], own[:], equal_nan=True)
                assert np.array_equal(merged[5:], own[:], equal_nan=True)
            assert ids[0] == f"{one.name}:{alone['obs/row_id'].asstr()[0]}"
        assert call("verify", out) == 0
    capsys.readouterr()
    out = tmp_path / "both.h5"
    assert call("merge", contigs.result, proteins.result, "--out", out) == 2
    assert "type is contig and protein" in capsys.readouterr().err
    assert not out.exists()


def test_the_report_of_all_types_has_their_numbers(
    contigs: Sample, proteins: Sample, pieces: Sample, tmp_path
):
    results = [contigs.result, proteins.result, pieces.result]
    data = report_data(results)
    assert data["totals"]["records_whole"] == 10
    points = {name: np.array(values) for name, values in data["map"]["points"].items()}
    with h5py.File(pieces.result) as file:
        num_rows = len(file["obs/row_id"])
    assert (points["window"] < 0).sum() == 10
    assert len(points["window"]) == 10 + num_rows
    esm2, dnaberts = (set(panel["points"]) for panel in data["map"]["panels"])
    assert len(esm2 - dnaberts) == len(KEPT_PROTEINS)
    assert len(dnaberts) == len(KEPT_CONTIGS) + num_rows
    assert call("report", *results, "--out", tmp_path / "report.html") == 0
    page = (tmp_path / "report.html").read_text()
    assert 'data-total="records_whole">10</b>' in page
    assert call("report", pieces.result, "--out", tmp_path / "report.html") == 0
    assert "records_whole" not in (tmp_path / "report.html").read_text().split("<script")[0]


@pytest.mark.parametrize(
    ("text", "fragments"),
    [
        (">a\nMKL\n>b\nMK*LV\n", ["line 4", "record 'b'", "letter '*'", "at the end only"]),
        (">a\nMK-L\n", ["line 2", "letter '-'", "remove gaps"]),
        (">a\nMKJL\n", ["line 2", "letter 'J' is no amino acid"]),
        (f">a\n{REAL[:90]}\n>b\n{REAL[90:180]}\n", ["looks like DNA", "windows or contig"]),
    ],
)
def test_a_file_of_no_proteins_is_a_located_error(tmp_path, capsys, text, fragments):
    (tmp_path / "in.fa").write_text(text)
    (tmp_path / "sheet.csv").write_text("sample,fasta,type\nP,in.fa,protein\n")
    for command in (
        ("split", tmp_path / "in.fa", "--sample", "P", "--type", "protein", "--out-dir", tmp_path),
        ("check", tmp_path / "sheet.csv", "--out", tmp_path / "out.csv"),
    ):
        assert call(*command) == 3
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        for fragment in ["in.fa", *fragments]:
            assert fragment in error
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["in.fa", "sheet.csv"]


def test_short_peptides_of_letters_of_dna_are_proteins(tmp_path, tiny_weights, capsys):
    sample = finished(tmp_path, tiny_weights, ">a\nGATTACA\n>b\nCAGTN\n", "P", type="protein")
    with h5py.File(sample.result) as file:
        assert obs(file, "protein_len") == [7, 5]


def test_proteins_without_a_type_are_told_of_it(tmp_path, capsys):
    (tmp_path / "in.fa").write_text(">a\nMKLVE\n")
    assert call("split", tmp_path / "in.fa", "--sample", "P", "--out-dir", tmp_path) == 3
    assert "proteins of your own need the type protein" in capsys.readouterr().err


def test_a_large_file_of_the_wrong_letters_is_refused_at_once(tmp_path, capsys):
    """The place of a problem is looked up for the first ones only, each by reading from the top."""
    draw = random.Random(0)
    letters = "ACDEFGHIKLMNPQRSTVWY"
    records = (f">p{i}\n{''.join(draw.choices(letters, k=60))}\n" for i in range(60_000))
    (tmp_path / "in.fa").write_text("".join(records))
    assert call("split", tmp_path / "in.fa", "--sample", "P", "--out-dir", tmp_path) == 3
    capsys.readouterr()
    (tmp_path / "sheet.csv").write_text("sample,fasta\nP,in.fa\n")
    assert call("check", tmp_path / "sheet.csv") == 3
    error = capsys.readouterr().err
    assert error.count("looks like a protein") == 20
    assert "and 59980 more problems like these" in error


def test_a_classifier_is_refused_for_whole_records(
    proteins: Sample, pieces: Sample, tmp_path, capsys
):
    classifier = convert(pieces, tmp_path)
    out = tmp_path / "out.h5"
    arguments = ("--classifier", classifier, "--out", out, "--allow-random")
    assert call("classify", proteins.result, *arguments) == 2
    assert "is of type protein" in capsys.readouterr().err
    assert not out.exists()
