"""The cutting of records into windows: formulas, and what must hold whatever the formula."""

import functools

import numpy as np
import pytest

from virembed.windows import cut_windows

from .naive import WINDOWS

BOTH_SIZES = pytest.mark.parametrize("window_bp", [300, 500])
BOTH_RULES = pytest.mark.parametrize("rules", ["virnucpro", "exact"])


def cut(lengths, window_bp, rules):
    return cut_windows(np.asarray(lengths, dtype=np.int64), window_bp=window_bp, rules=rules)


@functools.cache
def cut_all(window_bp, rules):
    """Windows of records of length 0, 1, ... 20 C: record i has length i."""
    return cut(np.arange(20 * window_bp + 1), window_bp, rules)


def last_of_each_record(windows):
    return np.append(windows.record[1:] != windows.record[:-1], True)


@BOTH_SIZES
@BOTH_RULES
def test_windows_follow_the_formula_for_every_length(window_bp, rules):
    windows = cut_all(window_bp, rules)
    expected = [
        (length, k, start, end)
        for length in range(20 * window_bp + 1)
        for k, (start, end) in enumerate(WINDOWS[rules](length, window_bp))
    ]
    columns = (windows.record, windows.index, windows.start, windows.end)
    assert [column.dtype for column in columns] == [np.int64] * 4
    np.testing.assert_array_equal(np.stack(columns, axis=1), expected)


@BOTH_SIZES
@BOTH_RULES
def test_windows_cover_every_base_and_nothing_else(window_bp, rules):
    windows = cut_all(window_bp, rules)
    first, last = windows.index == 0, last_of_each_record(windows)
    assert np.array_equal(windows.record[first], np.arange(1, 20 * window_bp + 1))
    assert (windows.start[first] == 0).all()
    assert np.array_equal(windows.end[last], windows.record[last])  # length i of record i
    inner = ~last[:-1]
    assert (windows.start[1:][inner] <= windows.end[:-1][inner]).all(), "a gap between two windows"
    assert (windows.start[1:][inner] > windows.start[:-1][inner]).all(), "windows do not advance"


@BOTH_SIZES
def test_exact_windows_of_longer_records_all_have_full_length(window_bp):
    windows = cut_all(window_bp, "exact")
    expected = np.minimum(windows.record, window_bp)
    assert np.array_equal(windows.end - windows.start, expected)


@BOTH_SIZES
def test_exact_overlaps_differ_by_at_most_one_base_and_the_larger_come_first(window_bp):
    windows = cut_all(window_bp, "exact")
    inner = windows.record[1:] == windows.record[:-1]
    overlap = windows.end[:-1] - windows.start[1:]
    pairs = inner[1:] & inner[:-1]
    assert set(np.unique((overlap[:-1] - overlap[1:])[pairs])) <= {0, 1}


@pytest.mark.parametrize(("window_bp", "percent", "shortest"), [(500, 84, 251), (300, 73, 151)])
def test_virnucpro_windows_are_short_as_often_as_the_specification_counts(
    window_bp, percent, shortest
):
    windows = cut_all(window_bp, "virnucpro")
    longer = windows.record > window_bp
    lengths = (windows.end - windows.start)[longer]
    short = lengths < window_bp
    assert last_of_each_record(windows)[longer][short].all(), "only a last window may be short"
    assert round(100 * short.sum() / (19 * window_bp)) == percent
    assert lengths.min() == shortest


@BOTH_RULES
@pytest.mark.parametrize("lengths", [[], [0], [0, 0, 0], [0, 7, 0, 1200, 0]])
def test_empty_records_have_no_windows(rules, lengths):
    windows = cut(lengths, 500, rules)
    assert set(windows.record.tolist()) == {i for i, length in enumerate(lengths) if length}
    assert len(windows.index) == len(windows.start) == len(windows.end) == len(windows.record)


@BOTH_RULES
@pytest.mark.parametrize("length", [250_000_000, 250_000_001, 249_999_873])
def test_windows_of_a_chromosome_cover_it(rules, length):
    windows = cut([length], 500, rules)
    assert windows.start[0] == 0
    assert windows.end[-1] == length
    assert (windows.start[1:] <= windows.end[:-1]).all()
    assert np.array_equal(windows.index, np.arange(-(-length // 500)))
    if rules == "exact":
        assert (windows.end - windows.start == 500).all()


@BOTH_RULES
def test_windows_of_a_record_do_not_depend_on_the_records_around_it(rules):
    lengths = [733, 0, 12, 500, 501, 9999]
    together = cut(lengths, 500, rules)
    for i, length in enumerate(lengths):
        alone, mine = cut([length], 500, rules), together.record == i
        assert np.array_equal(alone.start, together.start[mine])
        assert np.array_equal(alone.end, together.end[mine])
