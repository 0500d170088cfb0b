"""The estimate before the queue and the task that proves the device."""

import csv
import json

import pytest

from .launch import SAMPLES

pytestmark = pytest.mark.pipeline

# What a GPU profile says, of a device that is not there.
DEVICE = "process { withLabel: gpu { ext.device = 'cuda:99' } }\n"


def without_profile(launch):
    """25.04.0 with the strict parser does not find a profile beside a config of the launch
    directory."""
    arguments = list(launch.arguments)
    at = arguments.index("-profile")
    return arguments[:at] + arguments[at + 2 :]


def processes(run):
    return {task.process for task in run.tasks}


def plan_of(launch):
    info = launch.home / "out" / "pipeline_info"
    with (info / "plan.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return rows, json.loads((info / "plan.json").read_text())


def test_plan_only_shows_the_table_once_and_embeds_nothing(prepared):
    run = prepared.run(*prepared.arguments, "--plan_only", "--gpu", "L40S")
    assert run.returncode == 0, run.output
    assert processes(run) == {"CHECK", "SPLIT", "WEIGHTS", "PLAN"}
    assert run.output.count("records  windows  open frames") == 1
    assert "rests on   L40S" in run.output
    assert "RANDOM NUMBERS" in run.output
    for place in ("work", "out"):
        assert f"GB in {prepared.home / place}" in run.output
    rows, total = plan_of(prepared)
    assert [row["sample"] for row in rows] == sorted(SAMPLES)
    assert total["rate"]["device"] == "L40S"
    assert "samples are in" not in run.output


def test_the_estimate_counts_the_tokens_that_are_embedded(finished):
    rows, estimate = plan_of(finished)
    embedded = {"esm2": 0, "dnaberts": 0}
    for row in rows:
        path = finished.home / "out" / row["sample"] / f"{row['sample']}.summary.json"
        summary = json.loads(path.read_text())
        assert int(row["records"]) == summary["accounting"]["records_in"]
        for model in embedded:
            embedded[model] += summary["models"][model]["num_tokens"]
    assert estimate["total"]["esm2_tokens"] == embedded["esm2"]
    assert estimate["total"]["dnaberts_tokens"] == pytest.approx(embedded["dnaberts"], rel=0.5)
    assert estimate["rate"]["device"] == "A100"  # nothing was said of a device


def test_another_device_in_the_estimate_runs_the_estimate_only(finished):
    run = finished.run(*finished.arguments, "--gpu", "H200", "--gpu_tflops", "7", "-resume")
    assert run.executed == ["PLAN"]
    assert "measured on one" in run.output


def test_a_doctor_measures_for_the_estimate_and_no_chunk_is_embedded_again(finished):
    run = finished.run(*finished.arguments, "--gpu_doctor", "-resume")
    assert run.returncode == 0, run.output
    assert run.executed == ["DOCTOR (device)", "PLAN", "REPORT"]
    assert "measured by the doctor" in run.output
    assert finished.run(*finished.arguments, "--gpu_doctor", "-resume").executed == []


def test_a_device_that_is_not_there_is_the_only_error(prepared):
    (prepared.home / "nextflow.config").write_text(DEVICE)
    run = prepared.run(*without_profile(prepared), "--gpu_doctor")
    assert run.returncode == 1
    assert [(t.process, t.exit) for t in run.tasks if t.status == "FAILED"] == [("DOCTOR", "5")]
    assert run.output.count("ERROR --device cuda:99") == 1
    assert run.output.count("ERROR ~") == 1
    assert not processes(run) & {"EMBED_ESM2", "EMBED_DNABERTS", "PLAN"}
