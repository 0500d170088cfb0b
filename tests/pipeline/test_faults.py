"""Faults of whole runs: tasks and runs killed, clocks that jump, two runs at once, odd names.

On one engine: what is tested here is Nextflow's cache, retries and publishing.
"""

import os
import subprocess
import sys

import pytest

from .launch import SAMPLES, Launch, assert_same_results, kill, wait_for

ENGINE = "25.04.0-strict"

pytestmark = [
    pytest.mark.pipeline,
    pytest.mark.parametrize("engine", [ENGINE], indirect=True, scope="session"),
]

# words of the command line of one task of each step
STEPS = {
    "SPLIT (lambda)": "split input/1/lambda_1.fna",
    "EMBED_ESM2 (lambda:00001)": "embed lambda.esm2.00001.faa",
    "COLLECT (lambda)": "collect --manifest lambda.manifest.h5",
}


def kill_first(launch, command):
    """Kill the first task with this command as soon as it is there."""
    task = launch.task_process(command)
    kill(task)
    return task


def whole_results(launch):
    """Every published result is proven to be whole."""
    paths = [launch.home / "out" / sample / f"{sample}.h5" for sample in SAMPLES]
    subprocess.run([sys.executable, "-m", "virembed", "verify", *paths], check=True)


def test_a_task_of_each_step_killed_once_is_tried_again(prepared, finished):
    process = prepared.start(*prepared.arguments)
    for command in STEPS.values():
        kill_first(prepared, command)
    run = prepared.finish(process)
    assert run.returncode == 0, run.output
    attempts = {
        name: [(task.attempt, task.exit) for task in run.tasks if task.name == name]
        for name in STEPS
    }
    assert attempts == {name: [("1", "137"), ("2", "0")] for name in STEPS}
    assert_same_results(prepared, finished)


def test_a_run_killed_in_every_phase_and_resumed_is_as_if_nothing_had_been(prepared, finished):
    resume, done = [], set()
    published = prepared.home / "out" / "lambda" / "lambda.h5"
    phases = (
        lambda: prepared.task_process(STEPS["SPLIT (lambda)"]),
        lambda: prepared.task_process(STEPS["COLLECT (lambda)"]),
        lambda: wait_for(published.exists, "published result"),
    )
    for reached in phases:
        process = prepared.start(*prepared.arguments, *resume)
        reached()
        killed, kept = prepared.kill(process)
        assert not done & set(killed.executed)
        done |= kept
        resume = ["-resume"]
    run = prepared.run(*prepared.arguments, "-resume")
    assert run.returncode == 0, run.output
    assert done
    assert not done & set(run.executed)
    assert_same_results(prepared, finished)
    whole_results(prepared)


def test_times_of_files_that_jump_cost_no_embedding(finished):
    data = finished.home / "data"
    day = 24 * 3600
    now = (data / "lambda_1.fna").stat().st_mtime
    for name, moment in {
        "lambda_1.fna": 0,
        "lambda_2.fna": 2**32,
        "plasmid.fna.gz": now - day,
    }.items():
        os.utime(data / name, (moment, moment))
    for pattern, moment in {"*.faa": 0, "*.fna": 2**32, "*.shard.h5": now - day}.items():
        for path in (finished.home / "work").rglob(pattern):
            if not path.is_symlink():
                os.utime(path, (moment, moment))
    run = finished.run(*finished.arguments, "-resume")
    assert run.returncode == 0, run.output
    assert not [name for name in run.executed if name.startswith("EMBED")]
    assert {"SPLIT (lambda)", "SPLIT (plasmid)"} <= set(run.executed)
    whole_results(finished)


def test_content_changed_under_the_same_size_and_time_is_not_seen_by_resume(finished):
    """Nextflow knows a file by path, size and time. The result says which content it is of."""
    fasta = finished.home / "data" / "stops.fna"
    before = fasta.stat()
    fasta.write_text(fasta.read_text().replace("TAACTAAC", "TAACTAAG", 1))
    os.utime(fasta, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert fasta.stat().st_size == before.st_size
    run = finished.run(*finished.arguments, "-resume")
    assert run.executed == []
    whole_results(finished)


def test_two_runs_at_once_share_work_and_results_and_not_a_session(weights, finished, tmp_path):
    """In directories with blanks and quotes."""
    one, two = (Launch(tmp_path / name, ENGINE) for name in ("it's a run", 'it "is" another'))
    shared = ["-work-dir", str(tmp_path / "work")]
    try:
        for launch in (one, two):
            launch.lay_out(weights)
            launch.arguments[launch.arguments.index("--outdir") + 1] = str(tmp_path / "out")
        processes = [launch.start(*launch.arguments, *shared) for launch in (one, two)]
        wait_for((one.home / ".nextflow" / "cache").exists, "cache")
        intruder = Launch(one.home, ENGINE)
        refused = intruder.run(*one.arguments, *shared, "-resume")
        assert refused.returncode == 1
        assert "Unable to acquire lock on session" in refused.output
        runs = [
            launch.finish(process) for launch, process in zip((one, two), processes, strict=True)
        ]
    finally:
        one.stop()
        two.stop()
    assert [run.returncode for run in runs] == [0, 0], [run.output for run in runs]
    one.home = tmp_path
    assert_same_results(one, finished)
    whole_results(one)
