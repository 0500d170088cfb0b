"""What a run leaves behind, undisturbed or not."""

import os
import signal
import time

import h5py
import numpy as np
import pytest

from .launch import SAMPLES, assert_same_results, kill, wait_for

pytestmark = pytest.mark.pipeline

HELD_COMMAND = "embed lambda.dnaberts.00000.fna"
HELD_TASK = "EMBED_DNABERTS (lambda:00000)"


def num_rows(launch, sample):
    with h5py.File(launch.home / "out" / sample / f"{sample}.h5") as file:
        return {model: len(file[f"obsm/X_{model}"]) for model in ("esm2", "dnaberts")}


def test_a_run_publishes_three_files_per_sample_and_how_it_went(finished):
    out = finished.home / "out"
    suffixes = ("h5", "summary.json", "proteins.faa.gz")
    of_the_run = {"report.html", "summary.tsv", "gpu.tsv", "multiqc"}
    assert {path.name for path in out.iterdir()} - {"pipeline_info"} == {*SAMPLES, *of_the_run}
    for sample in SAMPLES:
        names = {path.name for path in (out / sample).iterdir()}
        assert names == {f"{sample}.{suffix}" for suffix in suffixes}
    assert "4 samples are in " in finished.first.output
    assert {"plan.tsv", "plan.json"} <= {path.name for path in (out / "pipeline_info").iterdir()}
    assert "4 samples: 3 ok, 1 empty, 0 failed\n" in finished.first.output
    assert f"the report is {out}/report.html" in finished.first.output
    if finished.engine != "25.04.0-strict":  # this one puts them elsewhere: nextflow #6363
        info = {path.name.split("_")[0] for path in (out / "pipeline_info").iterdir()}
        assert info == {"report", "timeline", "dag", "plan.tsv", "plan.json"}


def test_a_run_gives_no_warning(finished):
    assert "WARN" not in finished.first.output


def test_every_row_has_a_vector_of_each_model(finished):
    for sample in ("lambda", "plasmid"):
        with h5py.File(finished.home / "out" / sample / f"{sample}.h5") as file:
            assert np.isfinite(file["obsm/X_dnaberts"][()]).all()
            rows = len(file["obsm/X_dnaberts"])
            assert rows > 0
            assert len(file["obsm/X_esm2"]) == rows


def test_a_sample_without_records_gives_a_valid_file_without_rows(finished):
    assert num_rows(finished, "empty") == {"esm2": 0, "dnaberts": 0}
    assert not [task for task in finished.first.tasks if task.tag.startswith("empty:")]


def test_a_sample_without_open_frames_has_rows_and_no_esm2_task(finished):
    assert num_rows(finished, "stops")["dnaberts"] > 0
    embeds = {task.process for task in finished.first.tasks if task.tag.startswith("stops:")}
    assert embeds == {"EMBED_DNABERTS"}


def test_the_tables_of_the_run_have_every_sample_and_every_task(finished):
    def column(name):
        lines = (finished.home / "out" / name).read_text().splitlines()[1:]
        return sorted(line.split("\t")[0] for line in lines)

    assert column("summary.tsv") == list(SAMPLES)
    embedded = [task for task in finished.first.tasks if task.process.startswith("EMBED_")]
    models = {"EMBED_ESM2": "esm2", "EMBED_DNABERTS": "dnaberts"}
    names = [task.tag.replace(":", f".{models[task.process]}.") for task in embedded]
    assert column("gpu.tsv") == sorted(names)


def test_published_weights_are_converted_and_converted_ones_are_used_as_they_are(finished):
    assert [t.tag for t in finished.first.tasks if t.process == "WEIGHTS"] == ["esm2"]


def test_a_held_chunk_holds_its_own_sample_only_and_killed_for_good_is_all_that_is_resumed(
    prepared, finished
):
    process = prepared.start(*prepared.arguments)
    held = prepared.task_process(HELD_COMMAND)
    os.kill(held, signal.SIGSTOP)
    others = [prepared.home / "out" / name / f"{name}.h5" for name in SAMPLES if name != "lambda"]
    wait_for(lambda: all(path.exists() for path in others), "result of the other samples")
    assert not (prepared.home / "out" / "lambda" / "lambda.h5").exists()

    kill(held)
    for _retry in range(2):
        held = prepared.task_process(HELD_COMMAND, besides=held)
        kill(held)
    failed = prepared.finish(process)
    assert failed.returncode == 1
    assert "3 samples were finished before. A report of them:" in failed.output
    attempts = [(task.attempt, task.exit) for task in failed.tasks if task.name == HELD_TASK]
    assert attempts == [("1", "137"), ("2", "137"), ("3", "137")]

    resumed = prepared.run(*prepared.arguments, "-resume")
    assert resumed.returncode == 0, resumed.output
    assert resumed.executed == ["COLLECT (lambda)", HELD_TASK, "REPORT"]
    assert_same_results(prepared, finished)


def test_a_killed_run_goes_on_where_it_was_and_ends_in_the_same_files(prepared, finished):
    process = prepared.start(*prepared.arguments)
    held = prepared.task_process(HELD_COMMAND)
    os.kill(held, signal.SIGSTOP)

    def finished_chunks():
        embeds = [task for task in prepared.trace() if "EMBED" in task.process]
        return [task.name for task in embeds if task.is_kept(time.time())]

    wait_for(finished_chunks, "finished chunk")
    _killed, kept = prepared.kill(process)
    kill(held)
    assert any(name.startswith("EMBED") for name in kept)
    resumed = prepared.run(*prepared.arguments, "-resume")
    assert resumed.returncode == 0, resumed.output
    assert not kept & set(resumed.executed)
    assert_same_results(prepared, finished)


def test_a_result_that_was_copied_in_half_is_copied_again_by_a_resumed_run(finished):
    published = finished.home / "out" / "lambda" / "lambda.h5"
    whole = published.read_bytes()
    published.write_bytes(whole[: len(whole) // 2])
    run = finished.run(*finished.arguments, "-resume")
    assert run.executed == []
    assert published.read_bytes() == whole
