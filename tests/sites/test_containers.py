"""The whole pipeline in containers built from the Dockerfile, with docker's own daemon."""

import os
import re
import subprocess
from pathlib import Path

import pytest

import virembed
from tests.pipeline.launch import Launch, assert_same_results

from .conftest import OLDEST, STRICT, script

pytestmark = pytest.mark.site

CPU_IMAGE, GPU_IMAGE = (f"virembed:{virembed.__version__}-{target}" for target in ("cpu", "gpu"))
NOBODY = 65534


@pytest.fixture(scope="session")
def docker(tmp_path_factory):
    """The environment in which `docker` finds the daemon."""
    home = Path(os.environ.get("VIREMBED_CONTAINERS") or tmp_path_factory.mktemp("containers"))
    host = script("containers_up.sh", home, virembed.__version__).split()[-1]
    yield {"DOCKER_HOST": host}
    script("containers_down.sh", home)


def inside(docker, image, *command):
    """Run a command in a container that may write nowhere, as a user that nobody knows."""
    options = ("--rm", "--read-only", "--tmpfs=/tmp", f"--user={NOBODY}:{NOBODY}")
    return subprocess.run(
        ["docker", "run", *options, image, *command],
        env=os.environ | docker,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("image", [CPU_IMAGE, GPU_IMAGE])
def test_an_image_runs_read_only_as_any_user_and_has_what_nextflow_needs(docker, image):
    done = inside(docker, image, "virembed", "--version")
    assert done.stdout == f"virembed {virembed.__version__}\n", done.stderr
    assert inside(docker, image, "ps").returncode == 0
    assert inside(docker, image, "bash", "-c", "test -z \"$(find / -name '*.safetensors')\"")


def test_the_small_image_has_no_torch_and_the_large_one_computes(docker):
    assert inside(docker, CPU_IMAGE, "python3", "-c", "import torch").returncode == 1
    doctor = inside(docker, GPU_IMAGE, "virembed", "doctor", "--device", "cpu")
    assert doctor.returncode == 0, doctor.stderr
    assert "products are right" in doctor.stdout
    # Triton compiles with these
    assert inside(docker, GPU_IMAGE, "sh", "-c", "command -v gcc").returncode == 0


def test_a_gpu_that_the_container_does_not_show_is_an_error_that_names_the_option(docker):
    done = inside(docker, GPU_IMAGE, "virembed", "doctor", "--device", "cuda")
    assert done.returncode == 5
    assert "--gpus" in done.stderr


@pytest.mark.parametrize(
    ("engine", "profiles"), [(OLDEST, "test,docker"), (STRICT, "test,docker,gpu")]
)
def test_the_pipeline_in_containers_gives_what_it_gives_without(
    docker, weights, undisturbed, tmp_path, engine, profiles
):
    config = tmp_path / "site.config"
    # the daemon accepts --gpus and has none to give
    named = " ".join(f"{name} {{ }};" for name in profiles.split(","))
    config.write_text(f"profiles {{ {named} }}\nprocess.ext.device = 'cpu'\n")
    launch = Launch(tmp_path / "launch", engine, docker, config)
    launch.lay_out(weights, profiles)
    cache = ("--gpu_cache", str(tmp_path / "gpu_cache"))
    run = launch.run(*launch.arguments, *cache)
    assert run.returncode == 0, run.output
    assert_same_results(launch, undisturbed)
    for task in run.tasks:
        started = (Path(task.workdir) / ".command.run").read_text()
        image = re.search(r"virembed:[\w.-]+", started)[0]
        embeds = task.process.startswith("EMBED_")
        assert image == (GPU_IMAGE if embeds or task.process == "WEIGHTS" else CPU_IMAGE)
        assert ("--gpus all" in started) == (embeds and "gpu" in profiles)
    resumed = launch.run(*launch.arguments, *cache, "-resume")
    assert resumed.executed == []


def test_an_image_that_was_not_built_is_named_before_the_first_task(docker, weights, tmp_path):
    launch = Launch(tmp_path / "launch", OLDEST, docker)
    launch.lay_out(weights, "test,docker")
    run = launch.run(*launch.arguments, "--cpu_image", "virembed:none")
    assert run.returncode == 1
    assert "ERROR --cpu_image: docker has no image virembed:none. Build it: docker build" in (
        run.output
    )
    assert run.tasks == []
