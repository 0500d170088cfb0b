"""--weights_store: a site converts weights once, and a run knows them by what they are."""

import os
import shutil
from pathlib import Path

import pytest

from virembed.models.store import entries

from .conftest import virembed
from .launch import ENVIRONMENT, Launch

pytestmark = pytest.mark.pipeline

# A cluster, as far as WEIGHTS is concerned: a task of it that went to Slurm would fail here.
CONFIG = """
process {
    executor = 'slurm'
    withName: 'CHECK|SPLIT|PLAN|EMBED_ESM2|EMBED_DNABERTS|COLLECT|REPORT' { executor = 'local' }
}
// 25.04 with the strict parser looks for the profile in each file
profiles { test { } }
"""


@pytest.fixture
def two(tmp_path, engine, weights):
    """Two launch directories with the same source and the same store."""
    source = tmp_path / "esm2.pt"
    shutil.copy(weights / "esm2.pt", source)
    (tmp_path / "cluster.config").write_text(CONFIG)
    launches = []
    for name in ("one", "other"):
        launch = Launch(tmp_path / name, engine)
        launch.lay_out(weights)
        launch.write_sheet("plasmid,data/plasmid.fna.gz")
        launch.arguments = [
            *("-c", str(tmp_path / "cluster.config"), "--weights_store", "../store"),
            *launch.arguments,
            *("--esm2_weights", str(source)),
        ]
        launches.append(launch)
    yield launches
    for launch in launches:
        launch.stop()


def converted_by(launch):
    """Names of the tasks that did not find the weights in the store."""
    return [
        task.name
        for task in launch.trace()
        if task.process == "WEIGHTS"
        and "converting " in (launch.home / task.workdir / ".command.err").read_text()
    ]


def weights_of(run):
    """What the ESM-2 tasks of a run read."""
    tasks = [task for task in run.tasks if task.process == "EMBED_ESM2"]
    assert tasks
    return {os.readlink(f"{task.workdir}/weights") for task in tasks}


def test_runs_at_once_convert_once_and_the_weights_decide_what_is_embedded_anew(two, tmp_path):
    store = tmp_path / "store"
    processes = [launch.start(*launch.arguments) for launch in two]
    runs = [launch.finish(process) for launch, process in zip(two, processes, strict=True)]
    assert [run.returncode for run in runs] == [0, 0], [run.output for run in runs]
    (entry,) = entries(store)
    assert [weights_of(run) for run in runs] == [{str(entry)}, {str(entry)}]
    assert [name for launch in two for name in converted_by(launch)] == ["WEIGHTS (esm2)"]

    launch, source = two[0], tmp_path / "esm2.pt"
    os.utime(source)
    resumed = launch.run(*launch.arguments, "-resume")
    assert resumed.returncode == 0, resumed.output
    assert resumed.executed == ["WEIGHTS (esm2)"]
    assert launch.run(*launch.arguments, "-resume").executed == []

    virembed("weights", "random", "esm2", "--seed", "1", "--out", tmp_path / "random")
    shutil.copy(next((tmp_path / "random").glob("*.pt")), source)
    resumed = launch.run(*launch.arguments, "-resume")
    assert resumed.returncode == 0, resumed.output
    embeds = {task.name for task in resumed.tasks if task.process == "EMBED_ESM2"}
    assert (
        set(resumed.executed) == {"WEIGHTS (esm2)", "PLAN", "COLLECT (plasmid)", "REPORT"} | embeds
    )
    (other,) = set(entries(store)) - {entry}
    assert weights_of(resumed) == {str(other)}


# Stands in for the engine: leaves out everything up to the image, and runs the rest as it is.
CONTAINER_ENGINE = """#!/bin/sh
while [ "${1##*/}" != stand-in ]; do shift; done
shift
exec "$@"
"""


@pytest.mark.parametrize(
    ("container_engine", "option"), [("docker", "--volume"), ("apptainer", "--bind")]
)
def test_a_container_of_the_conversion_sees_the_store(
    prepared, monkeypatch, container_engine, option
):
    commands = prepared.home / "bin"
    commands.mkdir()
    (commands / container_engine).write_text(CONTAINER_ENGINE)
    (commands / container_engine).chmod(0o755)
    (commands / "stand-in").touch()  # an image that is there is not pulled
    monkeypatch.setitem(ENVIRONMENT, "PATH", f"{commands}{os.pathsep}{ENVIRONMENT['PATH']}")
    (prepared.home / "container.config").write_text(
        f"{container_engine}.enabled = true\nprofiles {{ test {{ }} }}\n"
    )
    images = ("--cpu_image", f"{commands}/stand-in", "--gpu_image", f"{commands}/stand-in")
    options = ("-c", "container.config", "--weights_store", "store", "-stub-run", *images)
    run = prepared.run(*prepared.arguments, *options)
    assert run.returncode == 0, run.output
    store = prepared.home / "store"
    seen = {
        task.process
        for task in run.tasks
        if f"{option} {store}:{store}" in (Path(task.workdir) / ".command.run").read_text()
    }
    assert seen == {"WEIGHTS"}
