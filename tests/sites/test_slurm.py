"""The pipeline on a real Slurm with fake GPUs: who gets which GPU, and what survives."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.pipeline.launch import Launch, assert_same_results, wait_for
from virembed.workload import read_workloads

from .conftest import HERE, OLDEST, STRICT, script

pytestmark = pytest.mark.site

PROFILES = "test,gpu,slurm"
NUM_GPUS = 2


@dataclass(frozen=True)
class Slurm:
    """A cluster, asked through its own commands."""

    environment: dict

    def __call__(self, *command):
        return subprocess.run(
            command, env=os.environ | self.environment, capture_output=True, text=True, check=True
        ).stdout

    def running(self, name):
        """Number of a running job whose name has this in it."""
        lines = self("squeue", "--noheader", "--states=RUNNING", "--format=%i %j").splitlines()
        return next((line.split()[0] for line in lines if name in line), None)


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    # short: the path of a socket has at most 108 characters
    home = tmp_path_factory.mktemp("slurm")
    configuration = script("slurm_up.sh", home, GPUS=str(NUM_GPUS)).split()[-1]
    yield Slurm({"SLURM_CONF": configuration})
    script("slurm_down.sh", home)


@pytest.fixture
def launch(slurm, weights, tmp_path):
    """Laid out on the cluster; more settings go into more.config before it is started."""
    started = []

    def make(engine=OLDEST, settings=""):
        config = tmp_path / "site.config"
        config.write_text((HERE / "slurm.config").read_text() + settings)
        launch = Launch(tmp_path / "launch", engine, slurm.environment, config)
        launch.lay_out(weights, PROFILES)
        started.append(launch)
        return launch

    yield make
    for launch in started:
        launch.stop()


def job(task):
    """(number, CUDA_VISIBLE_DEVICES) of the job that a task was."""
    return (Path(task.workdir) / ".job").read_text().split()


def most_at_once(tasks):
    """How many of these tasks ran at the same time, by what their jobs wrote first and last."""
    moments = []
    for task in tasks:
        directory = Path(task.workdir)
        moments.append(((directory / ".command.begin").stat().st_mtime, 1))
        moments.append(((directory / ".exitcode").stat().st_mtime, -1))
    level = highest = 0
    for _moment, step in sorted(moments):
        level += step
        highest = max(highest, level)
    return highest


@pytest.mark.parametrize("engine", [OLDEST, STRICT])
def test_every_embedding_has_a_gpu_of_its_own_and_the_results_are_those_of_no_cluster(
    launch, undisturbed, engine
):
    cluster = launch(engine)
    run = cluster.run(*cluster.arguments)
    assert run.returncode == 0, run.output
    assert_same_results(cluster, undisturbed)

    embeds = [task for task in run.tasks if task.process.startswith("EMBED_")]
    assert len(embeds) > NUM_GPUS
    assert 1 <= most_at_once(embeds) <= NUM_GPUS
    assert {job(task)[1] for task in embeds} <= {"0", "1"}
    by_gpu = {gpu: [t for t in embeds if job(t)[1] == gpu] for gpu in ("0", "1")}
    assert all(most_at_once(tasks) <= 1 for tasks in by_gpu.values())

    (doctor,) = (task for task in run.tasks if task.process == "DOCTOR")
    assert job(doctor)[1] in ("0", "1")
    (weights,) = (task for task in run.tasks if task.process == "WEIGHTS")
    assert job(weights)[0] == "none"  # on the machine of the run
    others = [task for task in run.tasks if task not in (*embeds, doctor, weights)]
    assert {job(task)[1] for task in others} == {"none"}


def test_a_cancelled_job_one_out_of_memory_and_one_out_of_time_are_run_again(
    launch, slurm, undisturbed
):
    hold = 'python3 -c "import time; held = bytes(1) * (200 << 20); time.sleep(20)"'
    cluster = launch(
        settings="""
        process {
            withName: SPLIT {
                memory = { task.attempt == 1 ? 20.MB : 2.GB }
                // longer than Slurm needs to look at the memory of a job once
                beforeScript = { task.attempt == 1 && task.tag == 'stops' ? 'HOLD' : 'true' }
            }
            withName: COLLECT {
                time = { task.attempt == 1 ? 1.m : 3.m }
                beforeScript = { task.attempt == 1 && task.tag == 'stops' ? 'sleep 300' : 'true' }
            }
            withName: EMBED_DNABERTS {
                beforeScript = {
                    task.attempt == 1 && task.tag.startsWith('plasmid') ? 'sleep 60' : 'true'
                }
            }
        }
        """.replace("HOLD", hold)
    )
    process = cluster.start(*cluster.arguments)
    # before that its wrapper is a program of Nextflow's that may end with any code
    cluster.task_process("sleep 60", program="sleep")
    slurm("scancel", slurm.running("EMBED_DNABERTS_(plasmid"))
    run = cluster.finish(process)
    assert run.returncode == 0, run.output
    ends = {}
    for task in run.tasks:
        if task.status == "FAILED":
            ends.setdefault(task.process, set()).add(task.exit)
    # Slurm kills the whole job, and its wrapper may or may not live to write an exit code
    assert ends["SPLIT"] <= {"-", "137"}
    assert ends["EMBED_DNABERTS"] <= {"-", "143"}
    assert ends["COLLECT"] <= {"-", "140", "143"}
    assert_same_results(cluster, undisturbed)


def test_a_head_process_killed_for_good_leaves_jobs_that_are_cancelled_and_then_resumed(
    launch, slurm, undisturbed
):
    cluster = launch(
        settings="""
        process {
            withName: EMBED_ESM2 { beforeScript = { workflow.resume ? 'true' : 'sleep 60' } }
        }
        """
    )
    process = cluster.start(*cluster.arguments)
    wait_for(lambda: slurm.running("EMBED_ESM2"), "held job")
    wait_for(lambda: list((cluster.home / "out").glob("stops/stops.h5")), "first result")
    _killed, kept = cluster.kill(process)
    # as docs/clusters.md advises
    orphans = [
        line.split(maxsplit=1)[0]
        for line in slurm("squeue", "--noheader", "--format=%i %Z").splitlines()
        if f"{cluster.home}/work/" in line
    ]
    assert orphans
    slurm("scancel", *orphans)
    wait_for(lambda: not slurm("squeue", "--noheader").strip(), "empty queue")

    resumed = cluster.run(*cluster.arguments, "-resume")
    assert resumed.returncode == 0, resumed.output
    assert kept
    assert not kept & set(resumed.executed)
    assert_same_results(cluster, undisturbed)


def test_what_slurm_would_refuse_is_said_before_the_first_task(launch):
    cluster = launch()
    for option, fragment in (
        ("--slurm_partition", "'--partition=nowhere': "),
        ("--slurm_gpu_type", "'--gres=gpu:nowhere:1': "),
    ):
        run = cluster.run(*cluster.arguments, option, "nowhere")
        assert run.returncode == 1
        assert fragment in run.output
        assert "main gpu:a100:2" in run.output
        assert run.tasks == []


def test_time_limits_follow_the_chunk_and_the_model(launch):
    # `auto` is a device that is no plain CPU and runs here
    cluster = launch(settings="process { ext.device = 'auto'; ext.gpu_tflops = 1e-6d }\n")
    cluster.write_sheet("stops,data/stops.fna", "plasmid,data/plasmid.fna.gz")
    run = cluster.run(*cluster.arguments)
    assert run.returncode == 0, run.output
    limits = {t.tag: minutes(t.time) for t in run.tasks if t.process == "EMBED_DNABERTS"}
    for sample in ("stops", "plasmid"):
        (task,) = (t for t in run.tasks if t.process == "SPLIT" and t.tag == sample)
        (work,) = read_workloads(Path(task.workdir) / f"{sample}.split.json")
        counted = work.models["dnaberts"]
        # tiny DNABERT-S: 3 layers, D = 64, F = 128
        flops = counted.tokens * 2 * 3 * 64 * (4 * 64 + 3 * 128)
        flops += counted.chunk_pairs[0] * 20 * 3 * 64
        seconds = 3 * flops / 1e6
        assert limits[f"{sample}:00000"] == pytest.approx(10 + seconds / 60, abs=0.1)
    assert limits["plasmid:00000"] > limits["stops:00000"] > 10


def minutes(text):
    """Of a duration as Nextflow writes it: 1h 3m 20s."""
    units = {"h": 60, "m": 1, "s": 1 / 60}
    return sum(float(part[:-1]) * units[part[-1]] for part in text.split())


def test_job_arrays_are_a_file_of_settings_away(launch, undisturbed):
    cluster = launch(settings=f"includeConfig '{HERE.parents[1]}/conf/arrays.config'\n")
    run = cluster.run(*cluster.arguments)
    assert run.returncode == 0, run.output
    assert_same_results(cluster, undisturbed)
