"""Input that cannot be used: one located line per problem, exit code 3, and nothing left behind."""

import gzip
import os
import re

import pytest

from .hostile import COMPRESSIONS, fasta, fastq, make, written
from .product import Run, files_below, in_process, in_subprocess, read_result, split

GOOD = fasta([("ok1", "ACGTACGTAC"), ("ok2", "ACGGGTAC")])
LONG = fasta(make("plain_random", 60))


def assert_errors(run: Run, *fragments: str, num_errors: int = 1) -> None:
    """Each line of stderr is an error, and each fragment stands in one of them."""
    lines = run.err.splitlines()
    assert run.code == 3, run
    assert len(lines) == num_errors, run.err
    assert all(line.startswith("ERROR ") and line.isprintable() for line in lines), run.err
    for fragment in fragments:
        assert any(fragment in line for line in lines), f"{fragment!r} is not in: {run.err}"


# what: (content, what the message must say)
BAD_FILES = {
    "gap": (b">r1 x\nACGT\nAC-T\n>r2\nAC\n", ["line 3", "'r1'", "'-'", "gap"]),
    "gap_in_record_2": (b">r1\nACGT\n\n>r2\nACGT\nAC\nA.C\n", ["line 7", "'r2'", "'.'"]),
    "digit": (b">r1\n 1 ACGT\n", ["line 2", "'r1'", "'1'", "digits"]),
    "crlf": (b">r1\r\nACGT\r\n>r2\r\nAC?\r\n", ["line 4", "'r2'", "'?'"]),
    "after_blank_lines": (b"\n\n>r1\n\nACGT\n\n#\n!\n", ["line 8", "'r1'", "'!'"]),
    "lower_case": (b">r1\nacgt\nacjt\n", ["line 3", "'r1'", "'j'"]),
    "control_character": (b">r1\nAC\0GT\n", ["line 2", "'r1'"]),
    "end_of_dos_file": (b">r1\nACGT\n\x1a", ["line 3", "'r1'"]),
    "letter_beyond_ascii": (">r1\nAC\nACéGT\n>r2\nAC\n".encode(), ["line 3"]),
    "latin_1": (b">r1\nAC\nAC\xe9GT\n>r2\nAC\n", ["line 3"]),
    "name_beyond_ascii": (">r1\nAC\n>r2 é\nACGT\n>r3\nAC\n".encode(), ["line 3"]),
    "in_fastq": (b"@r1\nACGT\n+\nIIII\n@r2\nAC.T\n+\nIIII\n", ["line 6", "'r2'", "'.'"]),
    "in_fastq_crlf": (b"@r1\r\nA\r\n+\r\nI\r\n@r2\r\n-C\r\n+\r\nII\r\n", ["line 6", "'r2'", "'-'"]),
    "fastq_after_fasta": (b">r1\nACGT\n@r2\nAC\n+\nII\n", ["line 3", "'@'"]),
    "protein": (b">p1\nMKVLAAGFFEPQ\n", ["line 2", "'p1'", "protein"]),
    "protein_with_stop": (b">p1\nMKVSTA*\n", ["line 2", "'p1'", "protein"]),
    "no_id": (b">r1\nACGT\n>\nACGT\n", ["line 3", "without an id"]),
    "no_id_but_description": (b"> words\nACGT\n", ["line 1", "without an id"]),
    "no_id_in_fastq": (b"@r1\nA\n+\nI\n@\nACGT\n+\nIIII\n", ["line 5", "without an id"]),
    "neither": (b"ACGT\nACGT\n", ["neither FASTA nor FASTQ", "'A'"]),
    "genbank": (b"LOCUS       X 12 bp\n", ["neither FASTA nor FASTQ", "'L'"]),
    "html": (b"<!DOCTYPE html>\n", ["neither FASTA nor FASTQ", "'<'"]),
    "binary": (bytes(range(1, 256)), ["neither FASTA nor FASTQ"]),
    "short_quality": (b"@r1\nA\n+\nI\n@r2\nACGT\n+\nIII\n", ["line 8", "qualit", "differ"]),
    "long_quality": (b"@r1\nACGT\n+\nIIIII\n", ["line 4", "qualit", "differ"]),
    "cut_fastq": (b"@r1\nACGT\n+\nIIII\n@r2\nACGT\n", ["line 7"]),
    "wrapped_fastq": (b"@r1\nAC\nGT\n+\nII\nII\n", ["line 3", "'+'"]),
    "fastq_without_plus": (b"@r1\nAC\n-\nII\n", ["line 3", "'+'"]),
    "fastq_other_name": (b"@r1\nAC\n+r2\nII\n", ["line 3", "'r2'"]),
    "fasta_after_fastq": (b"@r1\nAC\n+\nII\n>r2\nACGT\n>r3\nA\n", ["line 5", "'@'"]),
    "same_id": (b">r1 a\nAC\n>r2\nAC\n>r1 b\nGG\n", ["line 1", "line 5", "'r1'", "suffix"]),
    "same_id_in_fastq": (fastq([("x", "AC"), ("x", "GT")]), ["line 1", "line 5", "'x'"]),
    "truncated_gz": (gzip.compress(LONG)[:-12], ["truncated"]),
    "gz_head_only": (gzip.compress(LONG)[:8], ["truncated"]),
    **{
        f"truncated_{name}": (compress(LONG)[:-100], ["truncated"])
        for name, compress in COMPRESSIONS.items()
        if name not in ("plain", "gz")
    },
    **{
        f"damaged_{name}": (compress(LONG)[:200] + b"damaged" + compress(LONG)[207:], ["damaged"])
        for name, compress in COMPRESSIONS.items()
        if name != "plain"
    },
    "gz_of_an_illegal_letter": (gzip.compress(b">r1\nACGT\n>r2\nA-C\n"), ["line 4", "'r2'", "'-'"]),
    "gz_of_gz": (gzip.compress(gzip.compress(GOOD)), ["neither FASTA nor FASTQ"]),
}


@pytest.mark.parametrize("what", BAD_FILES)
def test_a_bad_file_is_one_located_error_and_leaves_nothing(tmp_path, capsys, what):
    content, fragments = BAD_FILES[what]
    path = written(tmp_path / "reads.fa", content)
    run = in_process(split([path], tmp_path / "out", esm2_chunk_residues=2), capsys)
    assert_errors(run, str(path), *fragments)
    assert files_below(tmp_path) == ["reads.fa"]


@pytest.mark.parametrize("what", ["gap", "protein", "truncated_gz", "damaged_zst", "same_id"])
def test_the_program_too_ends_with_3_and_one_line(tmp_path, what):
    content, fragments = BAD_FILES[what]
    written(tmp_path / "reads.fa", content)
    run = in_subprocess(["split", "reads.fa", "--sample", "S"], tmp_path)
    assert_errors(run, "reads.fa", *fragments)
    assert files_below(tmp_path) == ["reads.fa"]


def test_an_error_late_in_a_large_file_leaves_nothing_either(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("virembed.fasta.BATCH_BP", 500)
    path = written(tmp_path / "reads.fa", LONG + b">last\nAC-T\n")
    run = in_process(split([path], tmp_path / "out", dnaberts_chunk_bp=1000), capsys)
    assert_errors(run, f"line {LONG.count(10) + 2}", "'last'")
    assert files_below(tmp_path) == ["reads.fa"]


def test_an_error_leaves_the_results_of_other_samples_alone(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("virembed.fasta.BATCH_BP", 1)
    good, bad = written(tmp_path / "good.fa", GOOD), written(tmp_path / "bad.fa", GOOD + b">x\n-\n")
    assert in_process(split([good], tmp_path / "out"), capsys) == Run(0, "")
    before = files_below(tmp_path)
    assert_errors(in_process(split([bad], tmp_path / "out", sample="T"), capsys), "bad.fa", "'x'")
    assert files_below(tmp_path) == before
    assert len(read_result(tmp_path / "out").records) == 2


def test_a_second_run_leaves_no_chunk_of_the_first(tmp_path, capsys):
    many, few = written(tmp_path / "many.fa", LONG), written(tmp_path / "few.fa", GOOD)
    assert in_process(split([many], tmp_path / "out", dnaberts_chunk_bp=50), capsys).code == 0
    assert in_process(split([few], tmp_path / "out"), capsys).code == 0
    assert files_below(tmp_path / "out") == [
        "S.manifest.h5",
        "S.split.json",
        "chunks/dnaberts/S.dnaberts.00000.fna",
        "chunks/esm2/S.esm2.00000.faa",
    ]


@pytest.mark.parametrize(
    ("make_path", "fragment"),
    [
        (lambda path: path, "no such file"),
        (lambda path: path.mkdir(), "directory"),
        (lambda path: path.symlink_to("nowhere"), "no such file"),
    ],
    ids=["missing", "directory", "broken_link"],
)
def test_what_is_no_file_is_an_error(tmp_path, capsys, make_path, fragment):
    make_path(tmp_path / "reads.fa")
    run = in_process(split([tmp_path / "reads.fa"], tmp_path / "out"), capsys)
    assert_errors(run, "reads.fa", fragment)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_is_an_error(tmp_path, capsys):
    written(tmp_path / "reads.fa", GOOD).chmod(0)
    run = in_process(split([tmp_path / "reads.fa"], tmp_path / "out"), capsys)
    assert_errors(run, "reads.fa", "ermission")


@pytest.mark.parametrize("sample", ["a/b", "../up", "a b", "-x", ".x", "", "a\nb", "é"])
def test_split_refuses_a_sample_name_that_is_no_file_name(tmp_path, capsys, sample):
    path = written(tmp_path / "reads.fa", GOOD)
    arguments = ["split", str(path), "--out-dir", str(tmp_path / "out"), f"--sample={sample}"]
    (tmp_path / "out").mkdir()
    run = in_process(arguments, capsys)
    assert run.code in (2, 3)
    assert files_below(tmp_path) == ["reads.fa"]


def test_the_output_directory_is_made_where_it_is_missing(tmp_path, capsys):
    path = written(tmp_path / "reads.fa", GOOD)
    run = in_process(
        ["split", str(path), "--sample", "S", "--out-dir", str(tmp_path / "a/b")], capsys
    )
    assert run == Run(0, "")
    assert len(read_result(tmp_path / "a/b").records) == 2


# ------------------------------------------------------------------------------- repeated ids


def ids_after_suffix(tmp_path, capsys, *contents: bytes) -> list[str]:
    paths = [written(tmp_path / f"{i}.fa", content) for i, content in enumerate(contents)]
    run = in_process(split(paths, tmp_path / "out", duplicate_ids="suffix"), capsys)
    assert run == Run(0, "")
    return [record[0] for record in read_result(tmp_path / "out").records]


@pytest.mark.parametrize(
    ("ids", "renamed"),
    [
        (["a", "b", "a"], ["a", "b", "a~2"]),
        (["a", "a", "a", "a"], ["a", "a~2", "a~3", "a~4"]),
        (["a", "a", "a~2"], ["a", "a~3", "a~2"]),
        (["a~2", "a", "a", "a"], ["a~2", "a", "a~3", "a~4"]),
        (["a", "a", "a~2", "a~2"], ["a", "a~3", "a~2", "a~2~2"]),
        (["a", "b", "c"], ["a", "b", "c"]),
    ],
)
def test_suffixes_make_repeated_ids_unique_and_keep_those_that_exist(
    tmp_path, capsys, ids, renamed
):
    content = fasta([(name, "ACGTACGT") for name in ids])
    assert ids_after_suffix(tmp_path, capsys, content) == renamed


def test_ids_repeated_in_another_file_are_renamed_as_well(tmp_path, capsys):
    one, two = fasta([("a", "ACGT"), ("b", "ACGT")]), fasta([("b", "ACGG"), ("a", "GGTC")])
    assert ids_after_suffix(tmp_path, capsys, one, two) == ["a", "b", "b~2", "a~2"]


def test_renamed_records_keep_their_own_rows(tmp_path, capsys):
    content = fasta([("a", "ATGGCCGGC"), ("a", "ATGTTTTTT")])
    ids_after_suffix(tmp_path, capsys, content)
    rows = {row.row_id: row.protein for row in read_result(tmp_path / "out").rows}
    assert rows["a_chunk_1F1"] == "MAG"
    assert rows["a~2_chunk_1F1"] == "MFF"


def test_a_renamed_record_is_listed_as_lost_under_its_new_name(tmp_path, capsys):
    ids_after_suffix(tmp_path, capsys, fasta([("a", "ACGT"), ("a", "")]))
    lost = read_result(tmp_path / "out").lost
    assert [i for i, why in zip(lost["id"], lost["reason"], strict=True) if why == "empty"] == [
        "a~2"
    ]


def test_ids_repeated_in_two_files_are_an_error_that_names_both(tmp_path, capsys):
    one, two = fasta([("x", "AC"), ("a", "ACGT")], width=2), fastq([("y", "AC"), ("a", "GT")])
    paths = [written(tmp_path / "one.fa", one), written(tmp_path / "two.fq", two)]
    run = in_process(split(paths, tmp_path / "out"), capsys)
    assert_errors(run, f"{paths[0]} line 3", f"{paths[1]} line 5", "'a'")


def test_every_repeated_id_is_reported(tmp_path, capsys):
    content = fasta([(name, "ACGT") for name in "abcabca"])
    path = written(tmp_path / "reads.fa", content)
    run = in_process(split([path], tmp_path / "out"), capsys)
    assert_errors(run, "'a' stands 3 times", "'b' stands 2", "'c' stands 2", num_errors=3)
    assert files_below(tmp_path) == ["reads.fa"]


# ------------------------------------------------------------------------------- sample sheet

# what: (sheet, what the message must say); files one.fa and two.fa exist
BAD_SHEETS = {
    "missing_file": ("sample,fasta\nA,one.fa\nB,three.fa\n", ["line 3", "'B'", "three.fa"]),
    "directory": ("sample,fasta\nA,.\n", ["line 2", "'A'"]),
    "empty": ("", ["sheet.csv", "empty"]),
    "blank": ("\n\n", ["sheet.csv"]),
    "no_rows": ("sample,fasta\n", ["sheet.csv", "no samples"]),
    "missing_column": ("sample,path\nA,one.fa\n", ["line 1", "'fasta'"]),
    "no_header": ("A,one.fa\n", ["line 1", "'sample'"]),
    "unknown_column": ("sample,fasta,group\nA,one.fa,1\n", ["line 1", "'group'"]),
    "column_twice": ("sample,fasta,fasta\nA,one.fa,two.fa\n", ["line 1"]),
    "too_many_values": ("sample,fasta\nA,one.fa,two.fa\n", ["line 2", "3", "2"]),
    "too_few_values": ("sample,fasta\nA\n", ["line 2"]),
    "semicolons": ("sample;fasta\nA;one.fa\n", ["line 1"]),
    "no_file": ("sample,fasta\nA,\n", ["line 2", "'A'"]),
    "no_name": ("sample,fasta\n,one.fa\n", ["line 2"]),
    "row_twice": ("sample,fasta\nA,one.fa\nB,two.fa\nA,one.fa\n", ["line 4", "line 2", "'A'"]),
    "row_twice_otherwise": ("sample,fasta\nA,one.fa\nA,./one.fa\n", ["line 3", "line 2", "'A'"]),
    "differs_in_case": ("sample,fasta\na,one.fa\nA,two.fa\n", ["line 3", "'A'", "'a'"]),
    **{
        f"name_{number}": (f'sample,fasta\n"{name}",one.fa\n', ["line 2", name])
        for number, name in enumerate(["a b", "a/b", "../a", ".a", "-a", "a,b", "é", "a$b", "~a"])
    },
    "bad_record": (
        "sample,fasta\nA,one.fa\nB,bad.fa\n",
        ["bad.fa", "line 4", "'B'", "'r2'", "'-'"],
    ),
}


@pytest.fixture
def check_sheet(tmp_path, capsys):
    """Checks a sheet beside one.fa, two.fa (good) and bad.fa (two problems)."""
    base = tmp_path / "base"
    base.mkdir()
    written(base / "one.fa", GOOD)
    written(base / "two.fa", GOOD.replace(b"ok", b"fine"))
    written(base / "bad.fa", b">r1\nACGT\n>r2\nAC-T\n")

    def run(sheet: str | bytes, *options: str) -> Run:
        content = sheet if isinstance(sheet, bytes) else sheet.encode()
        path = written(tmp_path / "sheet.csv", content)
        out = tmp_path / "out.csv"
        arguments = ["check", str(path), "--base", str(base), "--out", str(out), *options]
        return in_process(arguments, capsys)

    return run


@pytest.mark.parametrize("what", BAD_SHEETS)
def test_a_bad_sheet_is_a_located_error_and_writes_nothing(check_sheet, tmp_path, what):
    sheet, fragments = BAD_SHEETS[what]
    run = check_sheet(sheet)
    assert_errors(run, *fragments, num_errors=run.err.count("ERROR "))
    assert not (tmp_path / "out.csv").exists()


def test_a_sheet_that_is_missing_or_no_text_is_one_error(check_sheet, tmp_path, capsys):
    assert_errors(check_sheet(b"\xff\xfes\0a\0"), "sheet.csv")
    missing = in_process(["check", str(tmp_path / "none.csv"), "--base", str(tmp_path)], capsys)
    assert_errors(missing, "none.csv")
    directory = in_process(["check", str(tmp_path), "--base", str(tmp_path)], capsys)
    assert_errors(directory, tmp_path.name)


def test_all_problems_of_a_run_are_reported_at_once(check_sheet, tmp_path):
    written(tmp_path / "base/worse.fa", b">x\nAC\n>y\nA!\n>y\nA?C\n")
    written(tmp_path / "base/cut.gz", gzip.compress(LONG)[:-12])
    rows = ["A,one.fa", "B b,two.fa", "C,none.fa", "D,bad.fa", "D,worse.fa", "E,cut.gz", "A,one.fa"]
    run = check_sheet("sample,fasta\n" + "\n".join(rows) + "\n")
    expected = ["'B b'", "none.fa", "bad.fa line 4", "worse.fa line 4", "worse.fa line 6"]
    expected += ["'y' stands 2 times", "cut.gz", "line 8"]
    assert_errors(run, *expected, num_errors=8)
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("what", BAD_FILES)
def test_check_finds_the_error_that_split_finds(check_sheet, tmp_path, what):
    content, fragments = BAD_FILES[what]
    written(tmp_path / "base/reads.fa", content)
    assert_errors(check_sheet("sample,fasta\nA,reads.fa\n"), "sample 'A'", "reads.fa", *fragments)


def test_a_good_sheet_is_written_with_absolute_paths_in_a_fixed_order(check_sheet, tmp_path):
    base = tmp_path / "base"
    absolute = base / "one.fa"
    sheet = f"\ufefffasta , sample\r\ntwo.fa,B.1\r\n\r\n{absolute},B.1\r\n one.fa ,A-2_x\r\n"
    assert check_sheet(sheet) == Run(0, "")
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines == [
        "sample,fasta,type",
        f"A-2_x,{absolute},windows",
        f"B.1,{absolute},windows",
        f"B.1,{base / 'two.fa'},windows",
    ]


def test_the_checked_sheet_does_not_depend_on_the_order_of_rows_and_columns(check_sheet, tmp_path):
    texts = set()
    for sheet in ("sample,fasta\nA,one.fa\nB,two.fa\n", "fasta,sample\ntwo.fa,B\none.fa,A\n"):
        assert check_sheet(sheet).code == 0
        texts.add((tmp_path / "out.csv").read_text())
    assert len(texts) == 1


def test_an_empty_file_in_a_sheet_is_a_valid_empty_sample(check_sheet, tmp_path):
    written(tmp_path / "base/void.fa", b"")
    run = check_sheet("sample,fasta\nA,one.fa\nB,void.fa\n")
    assert run.code == 0
    assert re.fullmatch(r"WARNING sample 'B' has no records[^\n]*\n", run.err)


def test_check_lets_repeated_ids_pass_where_they_will_be_renamed(check_sheet, tmp_path):
    written(tmp_path / "base/copy.fa", GOOD)
    sheet = "sample,fasta\nA,one.fa\nA,copy.fa\n"
    assert_errors(check_sheet(sheet), "'ok1'", "'ok2'", num_errors=2)
    assert check_sheet(sheet, "--duplicate-ids", "suffix") == Run(0, "")
    assert check_sheet(sheet.replace("A,copy", "B,copy")) == Run(0, "")


@pytest.mark.parametrize("threads", ["1", "2"])
def test_threads_do_not_change_the_report(check_sheet, tmp_path, threads):
    rows = "".join(f"S{i},bad.fa\n" for i in range(4))
    run = check_sheet("sample,fasta\n" + rows, "--threads", threads)
    assert_errors(run, *(f"'S{i}'" for i in range(4)), num_errors=4)
