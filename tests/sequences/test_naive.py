"""The plain implementation against VirNucPro's own output and against rows worked out by hand."""

import json
from pathlib import Path

import pytest

from virembed.layout import Flag

from .naive import naive_rows, windows_virnucpro

ORIGINAL = json.loads(
    (Path(__file__).parents[1] / "data/sequences/virnucpro_original.json").read_text()
)

S, D, R, T = (
    Flag.SHORT_LAST_WINDOW,
    Flag.AMBIGUOUS_DNA,
    Flag.AMBIGUOUS_RESIDUES,
    Flag.TERMINAL_STOP,
)


@pytest.mark.parametrize("case", ORIGINAL["cases"], ids=lambda case: f"{case['window_bp']}bp")
def test_rows_with_a_protein_are_those_that_virnucpro_itself_writes(case):
    rows = [
        [row.row_id, row.dna, row.protein]
        for record_id, sequence in case["records"]
        for row in naive_rows(record_id, sequence, window_bp=case["window_bp"], rules="virnucpro")
        if row.protein
    ]
    assert rows == case["rows"]


@pytest.mark.parametrize(
    ("length", "window_bp", "windows"),
    [
        (20, 500, [(0, 20)]),
        (500, 500, [(0, 500)]),
        (501, 500, [(0, 500), (250, 501)]),
        (600, 500, [(0, 500), (299, 600)]),
        (1000, 500, [(0, 500), (500, 1000)]),
    ],
)
def test_windows_that_the_specification_spells_out(length, window_bp, windows):
    assert windows_virnucpro(length, window_bp) == windows


# rules, sequence: {frame: (dna_start, dna_end, dna, protein, flags)} of one window
BY_HAND = [
    ("exact", "ATGGCCTAA", {"F1": (0, 6, "ATGGCC", "MA", T), "F2": (1, 7, "TGGCCT", "WP", 0)}),
    ("virnucpro", "ATGGCCTAA", {"F1": None, "F2": (1, 8, "TGGCCTA", "WP", 0)}),
    ("exact", "atgnccgg", {"F1": (0, 6, "ATGNCC", "MX", R | D)}),
    ("virnucpro", "atgnccgg", {"F1": (0, 4, "ATGN", "M", R | D), "R3": (2, 6, "GGNC", "H", R | D)}),
    ("exact", "ATGAARCC", {"F1": (0, 6, "ATGAAR", "MK", D), "R1": (2, 8, "GGYTTC", "GF", D)}),
    ("exact", "ATGAARCC", {"R2": (1, 7, "GYTTCA", "XS", R | D)}),
    ("virnucpro", "ATGAARCC", {"F1": (0, 4, "ATGA", "M", R), "R3": (2, 6, "RTTC", "H", R | D)}),
    ("exact", "AUGUUU", {"F1": (0, 6, "ATGTTT", "MF", 0), "R1": (0, 6, "AAACAT", "KH", 0)}),
    ("virnucpro", "AUGUUU", {"F1": None, "R1": None, "none": None}),
    ("exact", "TAR", {"F1": None, "R1": (0, 3, "YTA", "L", D), "none": None}),
    ("exact", "TAATAA", {"F1": None, "F2": (1, 4, "AAT", "N", 0), "R1": (0, 6, "TTATTA", "LL", 0)}),
    ("exact", "AC", {"none": (0, 2, "AC", "", 0)}),
]


@pytest.mark.parametrize(("rules", "sequence", "frames"), BY_HAND)
def test_rows_worked_out_by_hand(rules, sequence, frames):
    rows = {
        row.frame: (row.dna_start, row.dna_end, row.dna, row.protein, row.flags)
        for row in naive_rows("r", sequence, window_bp=500, rules=rules)
    }
    assert {frame: rows.get(frame) for frame in frames} == frames


def test_short_last_window_is_marked_only_where_a_record_has_several_windows():
    def marks(length, rules):
        return {
            row.window: row.flags & S
            for row in naive_rows("r", "A" * length, window_bp=10, rules=rules)
        }

    assert marks(11, "virnucpro") == {0: 0, 1: S}
    assert marks(9, "virnucpro") == {0: 0}
    assert marks(11, "exact") == {0: 0, 1: 0}
