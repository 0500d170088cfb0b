"""A launch directory of the real Nextflow, and what became of a run in it."""

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.steps import assert_same_datasets

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(__file__).parent / "data"
WAIT_S = 300
CACHE_DELAY_S = 3

# The oldest engine with its own parser, the strict parser, and the nextflow on the PATH as it is.
ENGINES = {
    "24.10.5": {"VIREMBED_ENGINE": "24.10.5", "NXF_SYNTAX_PARSER": "v1"},
    "25.04.0-strict": {"VIREMBED_ENGINE": "25.04.0", "NXF_SYNTAX_PARSER": "v2"},
    "path": {"VIREMBED_ENGINE": "path"},
}
ENGINES_VARIABLE = "VIREMBED_TEST_ENGINES"

# Two chunks of each model for lambda.
CHUNKS = ("--esm2_chunk_residues", "1000", "--dnaberts_chunk_bp", "4500")

SHEET = (
    "lambda,data/lambda_1.fna",
    "lambda,data/lambda_2.fna",
    "plasmid,data/plasmid.fna.gz",
    "empty,data/empty.fna",
    "stops,data/stops.fna",
)
SAMPLES = ("empty", "lambda", "plasmid", "stops")

# `python3` of the tasks is the Python of the tests.
ENVIRONMENT = os.environ | {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "VIREMBED_PYTHON": os.environ.get("VIREMBED_PYTHON", sys.executable),
    "NXF_JVM_ARGS": "-Xmx400m",
}


def engines_to_test():
    """The two that tools/nextflow can make, or those that VIREMBED_TEST_ENGINES names."""
    given = os.environ.get(ENGINES_VARIABLE, "24.10.5,25.04.0-strict").split(",")
    unknown = [name for name in given if name not in ENGINES]
    if unknown:
        known = ", ".join(ENGINES)
        raise pytest.UsageError(f"{ENGINES_VARIABLE}: {unknown[0]!r} is none of {known}.")
    return given


@dataclass
class Task:
    """A line of Nextflow's trace."""

    process: str
    tag: str
    status: str
    exit: str
    attempt: str
    time: str
    workdir: str

    @property
    def name(self):
        return f"{self.process} ({self.tag})" if self.tag != "-" else self.process

    def is_kept(self, moment):
        """Whether a run killed at this moment and resumed may not repeat the task.

        Nextflow writes its trace and its cache side by side: what ended just before may be in the
        first alone.
        """
        if self.status != "COMPLETED":
            return False
        return (Path(self.workdir) / ".exitcode").stat().st_mtime < moment - CACHE_DELAY_S


@dataclass
class Run:
    returncode: int
    output: str
    tasks: list

    @property
    def executed(self):
        """Names of the tasks that ran, not those taken from an earlier run."""
        return sorted(task.name for task in self.tasks if task.status != "CACHED")


def complaints(program, *arguments, cwd):
    """What a program of bin/ finds wrong, a line each; its exit code says whether there is any."""
    done = subprocess.run(
        [sys.executable, ROOT / "bin" / program, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == (2 if done.stderr else 0)
    return done.stderr.splitlines()


class Launch:
    """A directory that the pipeline is started in, again and again.

    environment: more variables, such as where a test cluster is
    config:      a file of settings beside those of the project
    """

    def __init__(self, home, engine, environment=None, config=None):
        self.home = home
        self.engine = engine
        self.environment = environment or {}
        self.config = ["-c", str(config)] if config else []
        self.process = None
        home.mkdir(parents=True, exist_ok=True)

    def start(self, *arguments):
        """Start Nextflow; the pid of the process is that of its JVM."""
        trace = self.home / "trace.txt"
        trace.unlink(missing_ok=True)
        options = ["-ansi-log", "false", "-with-trace", str(trace)]
        own = {"NXF_HOME": str(self.home / ".nextflow-home")}  # no settings of the user
        self.process = subprocess.Popen(
            [ROOT / "tools/nextflow", *self.config, "run", ROOT / "main.nf", *options, *arguments],
            cwd=self.home,
            env=ENVIRONMENT | ENGINES[self.engine] | own | self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return self.process

    def stop(self):
        """End what a failed test has left behind, held tasks too."""
        if self.process and self.process.poll() is None:
            kill(self.process.pid)
            self.process.communicate()
            while task := self._find_process("", None):
                kill(task)
                time.sleep(0.1)

    def finish(self, process):
        output = process.communicate(timeout=2 * WAIT_S)[0]
        return Run(process.returncode, output, self.trace())

    def kill(self, process):
        """SIGKILL of Nextflow; the run, and the names of the tasks that are not to be repeated."""
        moment = time.time()
        kill(process.pid)
        run = self.finish(process)
        assert run.returncode == -signal.SIGKILL
        return run, {task.name for task in run.tasks if task.is_kept(moment)}

    def run(self, *arguments):
        return self.finish(self.start(*arguments))

    def trace(self):
        path = self.home / "trace.txt"
        if not path.exists():
            return []
        with path.open() as lines:
            rows = list(csv.DictReader(lines, delimiter="\t"))
        return [
            Task(
                process=row["process"].rpartition(":")[2],
                tag=row["tag"],
                status=row["status"],
                exit=row["exit"],
                attempt=row["attempt"],
                time=row["time"],
                workdir=row["workdir"],
            )
            for row in rows
        ]

    def lay_out(self, weights, profiles="test"):
        """Two samples of real sequences, one without a record and one without an open frame."""
        data = self.home / "data"
        shutil.copytree(DATA, data)
        shutil.copytree(weights / "dnaberts", self.home / "dnaberts")
        (data / "empty.fna").write_text("")
        # every frame of both strands has a stop codon
        (data / "stops.fna").write_text(">stops\n" + "TAACTAACTAACTTAGTTAGTTAG" * 25 + "\n")
        self.write_sheet(*SHEET)
        self.arguments = [
            *("-profile", profiles, "--input", "samples.csv", "--outdir", "out", *CHUNKS),
            *("--esm2_weights", str(weights / "esm2.pt"), "--dnaberts_weights", "dnaberts"),
        ]

    def write_sheet(self, *rows, header="sample,fasta"):
        text = "".join(f"{row}\n" for row in (header, *rows))
        (self.home / "samples.csv").write_text(text)

    def task_process(self, command, *, besides=None, program="python"):
        """Wait for a task whose command line has these words; the pid of its program."""
        return wait_for(
            lambda: self._find_process(command, besides, program), f"process of `{command}`"
        )

    def _find_process(self, command, besides, program="python"):
        work = f"{self.home / 'work'}{os.sep}"
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or entry.name == str(besides):
                continue
            try:
                ours = os.readlink(entry / "cwd").startswith(work)
                words = (entry / "cmdline").read_bytes().decode().split("\0")
            except OSError:  # not ours to look at, or gone
                continue
            if ours and program in words[0] and command in " ".join(words):
                return int(entry.name)
        return None


def wait_for(look, what):
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.02)
    raise TimeoutError(f"no {what} within {WAIT_S} s")


def kill(pid):
    os.kill(pid, signal.SIGKILL)


def assert_same_results(launch, reference):
    """The result files of two runs hold the same datasets, bit for bit."""
    for sample in SAMPLES:
        name = f"out/{sample}/{sample}.h5"
        assert_same_datasets(launch.home / name, reference.home / name)
