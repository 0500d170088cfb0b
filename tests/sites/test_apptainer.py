"""The whole pipeline with Apptainer, in files made from the images as users make them."""

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

import virembed
from tests.pipeline.launch import assert_same_results

from .conftest import HERE, OLDEST, STRICT
from .in_containers import CPU_IMAGE, GPU_IMAGE, NOBODY, ContainerRun, call, environment_of

pytestmark = pytest.mark.site

NOT_TO_BE_HAD = 75


@pytest.fixture(scope="session")
def apptainer():
    """The environment in which `apptainer` is found, where other users find it too."""
    with tempfile.TemporaryDirectory() as made:
        home = Path(os.environ.get("VIREMBED_APPTAINER") or made)
        home.chmod(0o755)
        up = call({}, HERE / "apptainer_up.sh", home)
        if up.returncode == NOT_TO_BE_HAD:
            pytest.skip(f"no package of Apptainer to be had: {up.stderr.strip()}")
        assert up.returncode == 0, up.stderr
        path = f"{Path(up.stdout.strip()).parent}{os.pathsep}{os.environ['PATH']}"
        yield {"PATH": path, "APPTAINER_CACHEDIR": str(home / "cache")}


@pytest.fixture(scope="session")
def images(docker, apptainer, tmp_path_factory):
    """(cpu, gpu): a file, and a directory. To pack gigabytes into a file takes minutes.

    The directory is docker's own layers, mounted, and with them what Apptainer adds to an image,
    the variables that the image sets. These are the same in both images.
    """
    home = tmp_path_factory.mktemp("images")
    archive, cpu, added, gpu = (home / name for name in ("cpu.tar", "cpu.sif", "added", "gpu"))
    environment = os.environ | docker | apptainer

    def done(*command):
        return subprocess.run(
            list(map(str, command)), env=environment, check=True, stdout=subprocess.PIPE, text=True
        ).stdout

    done("docker", "save", CPU_IMAGE, "-o", archive)
    fast = ("--mksquashfs-args", "-comp zstd -Xcompression-level 1")
    done("apptainer", "build", "--disable-cache", *fast, cpu, f"docker-archive:{archive}")
    archive.unlink()
    for directory in (added, gpu):
        directory.mkdir()
    done("apptainer", "exec", "--bind", f"{added}:/mnt", cpu, "cp", "-a", "/.singularity.d", "/mnt")
    layers = "{{.GraphDriver.Data.UpperDir}}:{{.GraphDriver.Data.LowerDir}}"
    layers = done("docker", "inspect", "--format", layers, GPU_IMAGE).strip()
    done("mount", "-t", "overlay", "-o", f"ro,lowerdir={added}:{layers}", "overlay", gpu)
    yield cpu, gpu
    done("umount", gpu)


def as_nextflow_does(apptainer, image, *command, user=NOBODY):
    """Run a command as Nextflow does, with almost no variables and no home, as another user."""
    become = ("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups")
    variables = ("env", "-", f"PATH={apptainer['PATH']}", "APPTAINERENV_TMPDIR=/not/in/the/image")
    options = ("--no-home", "--pid", "--nv", "--pwd", "/tmp")
    return call({}, *become, *variables, "apptainer", "exec", *options, image, *command)


def test_a_user_without_a_home_on_a_read_only_system_computes(apptainer, images):
    _, gpu = images
    # the path to the image is pytest's, which only root may walk
    with tempfile.TemporaryDirectory() as public:
        Path(public).chmod(0o755)
        image = Path(public, "image")
        image.mkdir()
        subprocess.run(["mount", "--bind", gpu, image], check=True)
        try:
            doctor = as_nextflow_does(apptainer, image, "virembed", "doctor", "--device", "cpu")
            written = as_nextflow_does(apptainer, image, "touch", "/written")
        finally:
            subprocess.run(["umount", image], check=True)
    assert doctor.returncode == 0, doctor.stderr
    assert doctor.stdout.startswith(f"virembed   {virembed.__version__}\n")
    assert "products are right" in doctor.stdout
    assert "Read-only file system" in written.stderr


@pytest.mark.parametrize(
    ("engine", "profiles"), [(OLDEST, "test,apptainer"), (STRICT, "test,apptainer,gpu")]
)
def test_the_pipeline_with_apptainer_gives_what_it_gives_without(
    apptainer, images, weights, undisturbed, tmp_path, engine, profiles
):
    cpu, gpu = images
    # Slurm gives a job a directory of its own, which is none inside a container
    with tempfile.TemporaryDirectory(dir="/var/lib") as scratch:
        environment = apptainer | {"TMPDIR": scratch}
        started = ContainerRun(tmp_path / "run", engine, profiles, environment, weights)
        run = started("--cpu_image", cpu, "--gpu_image", gpu)
    assert run.returncode == 0, run.output
    assert_same_results(started.launch, undisturbed)
    started.assert_right_images(run, " apptainer exec ", cpu, gpu, "--nv")
    for task in run.tasks:
        seen = environment_of(task)
        assert seen["APPTAINER_NAME"] in (cpu.name, gpu.name)
        assert seen["USER"] == "root"
        assert seen["TMPDIR"] == scratch
        assert seen["PYTHONNOUSERSITE"] == "1"
    if "gpu" in profiles:
        started.assert_what_a_gpu_needs_arrives(run)
