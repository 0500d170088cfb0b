"""A run of the pipeline in containers, compared with one without, and what its tasks were given."""

import os
import subprocess
from pathlib import Path

import virembed
from tests.pipeline.launch import Launch

CPU_IMAGE, GPU_IMAGE = (f"virembed:{virembed.__version__}-{target}" for target in ("cpu", "gpu"))
NOBODY = 65534
SHOWN = "0,3"  # the devices a scheduler shows


class ContainerRun:
    """A launch that runs on the CPU whatever its profiles say, and notes the tasks' environment.

    The engines here accept the option for GPUs and have none to give.
    """

    def __init__(self, home, engine, profiles, environment, weights):
        home.mkdir()
        self.profiles = profiles.split(",")
        self.cache = home / "gpu_cache"
        # bash reads this before the script of a task; containers for a GPU see this folder
        self.cache.mkdir()
        note = self.cache / "note.sh"
        note.write_text("env -0 >.environment\n")
        config = home / "site.config"
        config.write_text(
            # the strict parser of 25.04 knows no profile that a file of settings does not name
            f"profiles {{ {' '.join(f'{name} {{ }};' for name in self.profiles)} }}\n"
            f"process.ext.device = 'cpu'\nenv.BASH_ENV = '{note}'\n"
        )
        environment = environment | {"CUDA_VISIBLE_DEVICES": SHOWN}
        self.launch = Launch(home / "launch", engine, environment, config)
        self.launch.lay_out(weights, profiles)

    def __call__(self, *arguments):
        return self.launch.run(
            *self.launch.arguments, "--gpu_cache", str(self.cache), *map(str, arguments)
        )

    def assert_right_images(self, run, started_with, cpu_image, gpu_image, gpu_option):
        """Every task in its image, those for a GPU with its option under -profile gpu."""
        assert run.tasks
        for task in run.tasks:
            started = (Path(task.workdir) / ".command.run").read_text()
            line = next(line for line in started.splitlines() if started_with in line)
            has_gpu = task.process.startswith("EMBED_") or task.process == "DOCTOR"
            has_torch = has_gpu or task.process == "WEIGHTS"
            assert f" {gpu_image if has_torch else cpu_image} " in line
            assert f" {cpu_image if has_torch else gpu_image} " not in line
            assert (gpu_option in line) == (has_gpu and "gpu" in self.profiles)

    def assert_what_a_gpu_needs_arrives(self, run):
        """The devices that are shown, where the locks are, and the caches of compiled kernels."""
        needed = {
            "CUDA_VISIBLE_DEVICES": SHOWN,
            "VIREMBED_GPU_LOCKS": f"{self.cache}/locks",
            "TRITON_CACHE_DIR": f"{self.cache}/triton",
            "CUDA_CACHE_PATH": f"{self.cache}/cuda",
        }
        embedding = [task for task in run.tasks if task.process.startswith("EMBED_")]
        assert embedding
        for task in embedding:
            assert needed.items() <= environment_of(task).items()


def environment_of(task):
    """The variables a task saw, by name."""
    noted = (Path(task.workdir) / ".environment").read_text().rstrip("\0").split("\0")
    return dict(line.split("=", 1) for line in noted)


def call(environment, *command):
    """Run a command; the exit code is for the caller to judge."""
    return subprocess.run(
        list(map(str, command)),
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
