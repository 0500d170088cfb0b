"""FASTA and FASTQ in every wrapping and compression: the same records give the same rows."""

import pytest

from .hostile import COMPRESSIONS, fasta, fastq, make, written
from .naive import in_result_order, naive_rows
from .product import Run, in_process, read_result, split

RECORDS = [*make("plain_random", 60), *make("odd_case", 60), *make("runs_of_n", 60)]
ROWS = in_result_order(
    [row for name, text in RECORDS for row in naive_rows(name, text, window_bp=60, rules="exact")]
)
NAMES = ("reads", "reads.fa", "reads.fq", "reads.gz", "reads.bz2", "reads.xz", "reads.zst")


@pytest.fixture
def rows_of(tmp_path, capsys):
    def run(content, name="reads.fa", code=0):
        path = written(tmp_path / name, content)
        done = in_process(split([path], tmp_path / "out", window=60), capsys)
        assert done == Run(code, "")
        return read_result(tmp_path / "out").rows

    return run


FASTA_STYLES = {
    "one_line": {"width": 0},
    "width_1": {"width": 1},
    "width_7": {"width": 7},
    "width_60": {"width": 60},
    "crlf": {"newline": "\r\n"},
    "crlf_no_final": {"newline": "\r\n", "final_newline": False},
    "no_final_newline": {"final_newline": False},
    "blank_lines": {"blank_lines": True},
    "blank_lines_crlf": {"blank_lines": True, "newline": "\r\n"},
    "described": {"description": " Some virus, complete genome >x @y +z"},
    "tab_described": {"description": "\tlength=1"},
    "carriage_returns_only": {"newline": "\r"},
}


@pytest.mark.parametrize("style", FASTA_STYLES)
def test_fasta_of_any_style_gives_the_same_rows(rows_of, style):
    assert rows_of(fasta(RECORDS, **FASTA_STYLES[style])) == ROWS


@pytest.mark.parametrize("before", ["\n\n", "# made by a program\n", "\r\n \n"])
def test_what_stands_before_the_first_record_does_not_matter(rows_of, before):
    assert rows_of(before.encode() + fasta(RECORDS)) == ROWS


def test_blanks_inside_and_behind_a_sequence_are_not_letters(rows_of):
    assert rows_of(fasta(RECORDS, newline=" \n").replace(b"AC", b"A C").replace(b"GT", b"G\tT"))
    assert rows_of(fasta(RECORDS, width=9, newline=" \n")) == ROWS


@pytest.mark.parametrize(
    "style", [{}, {"newline": "\r\n"}, {"repeat_id": True}], ids=["plain", "crlf", "repeated_id"]
)
def test_fastq_gives_the_rows_of_fasta(rows_of, style):
    assert rows_of(fastq(RECORDS, **style), "reads.fq") == ROWS


def test_fastq_without_a_final_newline_loses_nothing(rows_of):
    assert rows_of(fastq(RECORDS)[:-1], "reads.fq") == ROWS


def test_fastq_qualities_that_look_like_headers_are_qualities(rows_of):
    content = b"@a\nATGGCC\n+\n@@@@@@\n@b\nATGGCA\n+\n>>>>++\n"
    assert {row.row_id[0] for row in rows_of(content)} == {"a", "b"}


@pytest.mark.parametrize("write", [fasta, fastq])
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_any_compression_gives_the_same_rows(rows_of, compression, write):
    assert rows_of(COMPRESSIONS[compression](write(RECORDS)), f"reads.{compression}") == ROWS


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_content_decides_whatever_the_name_says(rows_of, compression, name):
    assert rows_of(COMPRESSIONS[compression](fasta(RECORDS)), name) == ROWS


@pytest.mark.parametrize("compression", [name for name in COMPRESSIONS if name != "plain"])
def test_compressed_files_joined_by_cat_are_read_to_the_end(rows_of, compression):
    compress = COMPRESSIONS[compression]
    assert rows_of(compress(fasta(RECORDS[:9])) + compress(fasta(RECORDS[9:]))) == ROWS


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_no_bytes_is_an_empty_sample_whatever_its_name(tmp_path, capsys, name):
    assert_empty(tmp_path, capsys, written(tmp_path / name, b""))


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("content", [b"", b"\n \r\n\n"], ids=["nothing", "blank_lines"])
def test_a_file_without_records_is_an_empty_sample(tmp_path, capsys, compression, content):
    path = tmp_path / f"reads.fa.{compression}"
    assert_empty(tmp_path, capsys, written(path, COMPRESSIONS[compression](content)))


def assert_empty(tmp_path, capsys, path):
    run = in_process(split([path], tmp_path / "out"), capsys)
    assert run.code == 0
    assert run.err.startswith("WARNING")
    assert run.err.count("\n") == 1
    assert "'S' has no records" in run.err
    result = read_result(tmp_path / "out")
    assert (result.rows, result.records) == ([], [])
    assert result.chunks == {"esm2": [], "dnaberts": []}
