"""`virembed split` against the plain implementation, row by row, from FASTA to manifest."""

import random

import pytest
from Bio.Data import CodonTable

from virembed.layout import DNABERTS, ESM2, Flag
from virembed.manifest import EMPTY, OK, TOO_SHORT

from .hostile import MAKERS, draw, fasta, make, written
from .naive import WINDOWS, NaiveRow, distinct, in_result_order, naive_rows
from .product import in_process, in_subprocess, read_result, split
from .test_naive import ORIGINAL

RULES = ("exact", "virnucpro")


@pytest.fixture
def split_records(tmp_path, capsys):
    """Splits records given as (id, sequence) and returns what was written."""

    def run(records, **options):
        path = written(tmp_path / "records.fa", fasta(records))
        done = in_process(split([path], tmp_path / "out", **options), capsys)
        assert (done.code, done.err) == (0, "")
        return read_result(tmp_path / "out")

    return run


def expected_rows(records, window_bp, rules, genetic_code=1) -> list[NaiveRow]:
    """Rows in input order."""
    return [
        row
        for record_id, sequence in records
        for row in naive_rows(
            record_id, sequence, window_bp=window_bp, rules=rules, genetic_code=genetic_code
        )
    ]


def assert_same_rows(rows, expected):
    for mine, plain in zip(rows, expected, strict=False):
        assert mine == plain
    assert len(rows) == len(expected)


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("window_bp", [3, 30, 61, 500])
@pytest.mark.parametrize("maker", MAKERS)
def test_every_row_of_hostile_records_is_the_plain_one(split_records, maker, window_bp, rules):
    records = make(maker, window_bp)
    expected = expected_rows(records, window_bp, rules)
    result = split_records(records, window=window_bp, rules=rules)
    assert_same_rows(result.rows, in_result_order(expected))
    assert result.num_protein_rows == sum(row.protein != "" for row in expected)
    assert result.texts(ESM2) == distinct([row.protein for row in expected if row.protein])
    assert result.texts(DNABERTS) == distinct([row.dna for row in expected])


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("genetic_code", sorted(CodonTable.unambiguous_dna_by_id))
def test_every_genetic_code_gives_the_plain_rows(split_records, genetic_code, rules):
    rng = random.Random(genetic_code)
    alphabet = "ACGT" * 8 + "RYSWKMBDHVN"
    records = [(f"r{i}", draw(rng, alphabet, rng.randint(1, 200))) for i in range(60)]
    records += [("codons", "".join(a + b + c for a in "TCAG" for b in "TCAG" for c in "TCAG"))]
    records += [(a + b + c, a + b + c) for a in "TCAGR" for b in "TCAGY" for c in "TCAGN"]
    result = split_records(records, window=45, rules=rules, genetic_code=genetic_code)
    assert_same_rows(result.rows, in_result_order(expected_rows(records, 45, rules, genetic_code)))


@pytest.mark.parametrize("case", ORIGINAL["cases"], ids=lambda case: f"{case['window_bp']}bp")
def test_virnucpro_rules_give_what_virnucpro_itself_writes(split_records, case):
    result = split_records(case["records"], window=case["window_bp"], rules="virnucpro")
    rows = [[row.row_id, row.dna, row.protein] for row in result.rows[: result.num_protein_rows]]
    assert rows == case["rows"]


@pytest.mark.parametrize("rules", RULES)
def test_records_windows_and_frames_are_all_accounted_for(split_records, rules):
    records = [*make("runs_of_n", 60), *make("every_border_length", 60), *make("rna", 60)]
    plain = {name: naive_rows(name, text, window_bp=60, rules=rules) for name, text in records}
    windows_of = {name: len(WINDOWS[rules](len(text), 60)) for name, text in records}
    result = split_records(records, window=60, rules=rules)
    assert result.records == [
        (
            name,
            len(text),
            windows_of[name],
            sum(row.protein != "" for row in plain[name]),
            sum(row.protein == "" for row in plain[name]),
        )
        for name, text in records
    ]
    assert result.statuses == [OK if text else EMPTY for _, text in records]

    counts = result.counts
    rows = [row for rows in plain.values() for row in rows]
    num_windows = sum(windows_of.values())
    open_windows = {row.row_id[:-2] for row in rows if row.frame != "none"}
    num_closed = num_windows - len(open_windows)
    assert counts["records_in"] == len(records)
    assert counts["records_ok"] + counts["records_empty"] == len(records)
    assert counts["bases_in"] == sum(len(text) for _, text in records)
    assert counts["windows"] == num_windows
    assert counts["windows_no_open_frame"] == num_closed
    assert counts.get("windows_dropped", 0) == (num_closed if rules == "virnucpro" else 0)
    assert counts["frames_open"] == sum(row.frame != "none" for row in rows)
    assert counts["codons_ambiguous"] == sum(map(num_uncertain_codons, rows))
    with_or_without = ("frames_open", "frames_with_stop", "frames_empty")
    assert sum(counts[name] for name in with_or_without) == 6 * num_windows


def num_uncertain_codons(row: NaiveRow) -> int:
    """Codons of an open frame that gave X, or no residue."""
    if row.frame == "none":
        return 0
    num_codons = (row.end - row.start - int(row.frame[1]) + 1) // 3
    has_stop = bool(row.flags & Flag.TERMINAL_STOP)
    return row.protein.count("X") + num_codons - has_stop - len(row.protein)


def test_records_that_give_no_rows_are_listed_as_lost(split_records):
    records = [("empty", ""), ("tiny", "ACGTA"), ("kept", "ACGTAC"), ("void", "")]
    result = split_records(records, min_record_bp=6)
    assert result.statuses == [EMPTY, TOO_SHORT, OK, EMPTY]
    assert result.lost["id"] == ["empty", "tiny", "void"]
    assert result.lost["reason"] == ["empty", "too_short", "empty"]
    assert {row.row_id.rpartition("_chunk_")[0] for row in result.rows} == {"kept"}


def test_files_of_a_sample_are_taken_one_after_the_other(tmp_path, capsys):
    lanes = [make("rna", 60), make("plain_random", 60), [], make("duplicates", 60)]
    paths = [written(tmp_path / f"{i}.fa", fasta(lane)) for i, lane in enumerate(lanes)]
    assert in_process(split(paths, tmp_path / "out", window=60), capsys).code == 0
    expected = expected_rows([record for lane in lanes for record in lane], 60, "exact")
    assert_same_rows(read_result(tmp_path / "out").rows, in_result_order(expected))


@pytest.mark.parametrize("batch_bp", [1, 700])
def test_batches_join_seamlessly_however_small(split_records, monkeypatch, batch_bp):
    monkeypatch.setattr("virembed.fasta.BATCH_BP", batch_bp)
    records = make("runs_of_n", 60) + make("duplicates", 60) + make("every_border_length", 60)
    expected = expected_rows(records, 60, "exact")
    result = split_records(records, window=60)
    assert_same_rows(result.rows, in_result_order(expected))
    assert result.texts(DNABERTS) == distinct([row.dna for row in expected])


def test_split_runs_as_a_program_and_twice_gives_the_same_bytes(tmp_path):
    path = written(tmp_path / "r.fa", fasta(make("iupac_letters", 60)))
    options = {"window": 60, "rules": "virnucpro", "genetic_code": 11}
    limits = {"esm2_chunk_residues": 100, "dnaberts_chunk_bp": 300}
    for name in ("one", "two"):
        arguments = split([path], tmp_path / name, **options, **limits)
        assert in_subprocess(arguments, tmp_path).code == 0
    one, two = (
        {p.name: p.read_bytes() for p in (tmp_path / name / "chunks").rglob("*.f*a")}
        for name in ("one", "two")
    )
    assert len(one) > 4
    assert one == two
    assert read_result(tmp_path / "one") == read_result(tmp_path / "two")
