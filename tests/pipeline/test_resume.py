"""What runs again after a change, and what does not: `-resume` costs what changed."""

import gzip
import os
import shutil

import pytest

from .launch import DATA, SHEET

pytestmark = pytest.mark.pipeline

RUN_WIDE = ("CHECK", "PLAN", "REPORT")  # tasks that see all samples


def resume(launch, *more):
    run = launch.run(*launch.arguments, *more, "-resume")
    assert run.returncode == 0, run.output
    return run.executed


def of(run, process):
    return sorted(task.name for task in run.tasks if task.process == process)


def test_nothing_runs_again_when_nothing_changed(finished):
    assert resume(finished) == []


def test_a_new_row_runs_its_own_tasks_and_the_check(finished):
    shutil.copy(DATA / "lambda_1.fna", finished.home / "data" / "new.fna")
    finished.write_sheet(*SHEET, "new,data/new.fna")
    executed = resume(finished)
    assert "CHECK" in executed
    assert "COLLECT (new)" in executed
    assert all("(new" in name for name in executed if name not in RUN_WIDE)


def test_rows_in_another_order_run_the_check_only(finished):
    finished.write_sheet(*reversed(SHEET))
    assert resume(finished) == ["CHECK"]


def test_a_row_less_runs_what_concerns_the_whole_run_only(finished):
    finished.write_sheet(*SHEET[:-1])
    assert resume(finished) == ["CHECK", "PLAN", "REPORT"]


def test_a_touched_file_is_split_and_collected_again_but_not_embedded(finished):
    os.utime(finished.home / "data" / "plasmid.fna.gz")
    assert resume(finished) == ["CHECK", "COLLECT (plasmid)", "REPORT", "SPLIT (plasmid)"]


def test_an_appended_record_runs_the_last_chunks_of_its_sample(finished):
    with gzip.open(DATA / "plasmid.fna.gz", "rt") as lines:
        more = lines.read()[:700]
    with (finished.home / "data" / "lambda_2.fna").open("a") as file:
        file.write(more)
    executed = resume(finished)
    assert "SPLIT (lambda)" in executed
    assert "COLLECT (lambda)" in executed
    assert all("(lambda" in name for name in executed if name not in RUN_WIDE)
    for process in ("EMBED_ESM2", "EMBED_DNABERTS"):
        before = [n for n in of(finished.first, process) if "(lambda" in n]
        assert len(before) > 1
        # the last chunk of before is filled up, and what does not fit makes new ones
        assert not set(before[:-1]) & set(executed)
        assert [name for name in executed if name.startswith(process)]


def test_other_weights_in_the_same_directory_embed_again_with_that_model_only(finished, weights):
    shutil.copytree(weights / "dnaberts_other", finished.home / "dnaberts", dirs_exist_ok=True)
    first = finished.first
    again = [*of(first, "COLLECT"), *of(first, "EMBED_DNABERTS"), "PLAN", "REPORT"]
    assert resume(finished) == sorted(again)


def test_another_chunk_size_and_back_again_costs_nothing_on_the_way_back(finished):
    executed = resume(finished, "--esm2_chunk_residues", "100000")
    assert [name for name in executed if name.startswith("EMBED_ESM2")]
    assert not [name for name in executed if name.startswith("EMBED_DNABERTS")]
    assert resume(finished) == []
