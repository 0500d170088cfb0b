"""The whole pipeline in containers built from the Dockerfile, with docker's own daemon."""

import pytest

import virembed
from tests.pipeline.launch import Launch, assert_same_results

from .conftest import OLDEST, STRICT
from .in_containers import CPU_IMAGE, GPU_IMAGE, NOBODY, ContainerRun, call

pytestmark = pytest.mark.site

# Triton compiles C of this kind when a kernel is used for the first time
COMPILE = """
import subprocess, sysconfig
include = "-I" + sysconfig.get_path("include")
command = ["gcc", "-shared", "-fPIC", "-x", "c", include, "-", "-o", "/tmp/module.so"]
subprocess.run(command, input=b"#include <Python.h>", check=True)
"""


def inside(docker, image, *command):
    """Run a command in a container that may write nowhere, as a user that nobody knows."""
    options = ("--rm", "--read-only", "--tmpfs=/tmp", f"--user={NOBODY}:{NOBODY}")
    return call(docker, "docker", "run", *options, image, *command)


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
    compiled = inside(docker, GPU_IMAGE, "python3", "-c", COMPILE)
    assert compiled.returncode == 0, compiled.stderr


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
    started = ContainerRun(tmp_path / "run", engine, profiles, docker, weights)
    run = started()
    assert run.returncode == 0, run.output
    assert_same_results(started.launch, undisturbed)
    started.assert_right_images(run, " docker run ", CPU_IMAGE, GPU_IMAGE, "--gpus all")
    if "gpu" in profiles:
        started.assert_what_a_gpu_needs_arrives(run)
    assert started("-resume").executed == []


def test_an_image_that_was_not_built_is_named_before_the_first_task(docker, weights, tmp_path):
    launch = Launch(tmp_path / "launch", OLDEST, docker)
    launch.lay_out(weights, "test,docker")
    run = launch.run(*launch.arguments, "--cpu_image", "virembed:none")
    assert run.returncode == 1
    assert "ERROR --cpu_image: docker has no image virembed:none. Build it: docker build" in (
        run.output
    )
    assert run.tasks == []
