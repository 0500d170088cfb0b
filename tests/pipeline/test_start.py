"""What is said before any task exists: help, version, parameters; and the pipeline as stubs."""

import json
import re
import subprocess

import pytest

from .launch import ENVIRONMENT, ROOT

pytestmark = pytest.mark.pipeline

SCALE = (ROOT / "docs" / "scale.md").read_text()
HIDDEN = {"trace_suffix", "gpu_doctor"}


def assert_nothing_started(launch, run):
    assert run.tasks == []
    if launch.engine != "25.04.0-strict":  # its config does not see options: nextflow #6363
        assert not (launch.home / "results").exists()


def test_help_names_every_parameter_and_starts_nothing(launch):
    run = launch.run("--help")
    schema = json.loads((ROOT / "nextflow_schema.json").read_text())
    names = {name for group in schema["$defs"].values() for name in group["properties"]}
    assert run.returncode == 0
    assert {name for name in names if f"--{name} " in run.output} == names - HIDDEN
    assert_nothing_started(launch, run)


def test_version_names_the_release(launch):
    run = launch.run("--version")
    assert run.returncode == 0
    assert re.search(r"^virembed \d+\.\d+\.\d+", run.output, re.MULTILINE)
    assert_nothing_started(launch, run)


def test_wrong_parameters_stop_the_run_all_at_once_with_the_nearest_right_one(launch):
    run = launch.run(
        *("--inptu", "x.csv", "--esm2-weights", "w", "--rules", "exat", "--window", "wide"),
        *("--outdir", "out", "--resume"),
    )
    assert run.returncode == 1
    for message in (
        "ERROR --input: missing. ",
        "ERROR --inptu: there is no such parameter. Did you mean --input?",
        "ERROR --esm2Weights: there is no such parameter. Did you mean --esm2_weights?",
        "ERROR --rules: 'exat' is not possible. Did you mean exact?",
        "ERROR --window: 'wide' is not a whole number. ",
        "ERROR --resume: an option of Nextflow, not of the pipeline. Use one dash: -resume.",
    ):
        assert message in run.output
    assert run.tasks == []


def test_stubs_run_the_whole_flow_without_python_packages(prepared):
    run = prepared.run(*prepared.arguments, "-stub-run")
    assert run.returncode == 0, run.output
    assert {task.process for task in run.tasks} == {
        *("CHECK", "SPLIT", "PLAN", "WEIGHTS", "EMBED_ESM2", "EMBED_DNABERTS", "COLLECT"),
        "REPORT",
    }
    assert (prepared.home / "out" / "lambda" / "lambda.summary.json").exists()


def test_work_files_are_gone_after_a_run_that_was_told_to_clean_up(prepared):
    (advice,) = re.findall(r"```groovy\n(cleanup = .*?)```", SCALE, re.DOTALL)
    # the strict parser of 25.04 knows no profile that a file of settings does not name
    (prepared.home / "site.config").write_text(f"profiles {{ test {{ }} }}\n{advice}")
    run = prepared.run(*prepared.arguments, "-stub-run", "-c", "site.config")
    assert run.returncode == 0, run.output
    assert not list((prepared.home / "work").rglob(".command.sh"))
    assert (prepared.home / "out" / "lambda" / "lambda.h5").is_file()


def test_lint_finds_neither_errors_nor_warnings():
    files = ["main.nf", "nextflow.config", "conf", "modules", "workflows"]
    lint = subprocess.run(
        [ROOT / "tools" / "nextflow", "lint", "-o", "concise", *files],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    output = lint.stdout + lint.stderr
    assert lint.returncode == 0, output
    # only errors count for the exit code, and a warning too is shown as FILE:LINE:COLUMN
    assert not re.search(r":\d+:\d+: ", output), output
    assert "23 files had no errors" in output
