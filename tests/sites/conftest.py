"""A Slurm cluster with fake GPUs, a container engine, and a run on neither to compare with."""

import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

import virembed
from tests.pipeline.conftest import weights  # noqa: F401  # a fixture
from tests.pipeline.launch import Launch

HERE = Path(__file__).parent
OLDEST = "24.10.5"
STRICT = "25.04.0-strict"

can_install = os.geteuid() == 0 and shutil.which("apt-get") and platform.machine() == "x86_64"


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents and not can_install:
            item.add_marker(pytest.mark.skip(reason="needs root, apt-get and x86_64"))


def script(name, *arguments, **environment):
    """Run a script of this directory; what it printed."""
    done = subprocess.run(
        [HERE / name, *map(str, arguments)],
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def docker(tmp_path_factory):
    """The environment in which `docker` finds a daemon that has both images."""
    home = Path(os.environ.get("VIREMBED_CONTAINERS") or tmp_path_factory.mktemp("containers"))
    host = script("containers_up.sh", home, virembed.__version__).split()[-1]
    yield {"DOCKER_HOST": host}
    script("containers_down.sh", home)


@pytest.fixture(scope="session")
def undisturbed(weights, tmp_path_factory):  # noqa: F811
    """A run on this machine without a cluster or a container."""
    launch = Launch(tmp_path_factory.mktemp("undisturbed") / "launch", OLDEST)
    launch.lay_out(weights)
    run = launch.run(*launch.arguments)
    assert run.returncode == 0, run.output
    return launch
