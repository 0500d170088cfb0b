"""Fixtures that start the pipeline, on one engine after the other."""

import re
import shutil
import subprocess
import sys

import pytest

from .launch import Launch, engines_to_test


def virembed(*arguments):
    subprocess.run([sys.executable, "-m", "virembed", *map(str, arguments)], check=True)


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """esm2.pt as fair-esm publishes it, dnaberts converted, dnaberts_other of other numbers."""
    home = tmp_path_factory.mktemp("weights")
    virembed("weights", "random", "esm2", "--out", home / "esm2")
    shutil.move(next((home / "esm2").glob("*.pt")), home / "esm2.pt")
    for name, seed in (("dnaberts", 0), ("dnaberts_other", 1)):
        original = home / "original" / name
        virembed("weights", "random", "dnaberts", "--seed", seed, "--out", original)
        virembed("weights", "convert", original, "--model", "dnaberts", "--out", home / name)
    return home


@pytest.fixture(scope="session", params=engines_to_test())
def engine(request):
    return request.param


@pytest.fixture
def launch(tmp_path, engine):
    started = Launch(tmp_path / "launch", engine)
    yield started
    started.stop()


@pytest.fixture
def prepared(launch, weights):
    """A launch directory with sheet, sequences and weights; nothing has run in it."""
    launch.lay_out(weights)
    return launch


@pytest.fixture(scope="session")
def saved(engine, weights, tmp_path_factory):
    home = tmp_path_factory.mktemp(re.sub(r"\W", "_", engine))
    launch = Launch(home / "launch", engine)
    launch.lay_out(weights)
    launch.first = launch.run(*launch.arguments)
    assert launch.first.returncode == 0, launch.first.output
    launch.copy = home / "copy"
    shutil.copytree(launch.home, launch.copy, symlinks=True)
    return launch


@pytest.fixture
def finished(saved):
    """A finished run, to be resumed after a change.

    Put back where it was, with all times: paths and times are part of what Nextflow caches by.
    """
    shutil.rmtree(saved.home)
    shutil.copytree(saved.copy, saved.home, symlinks=True)
    return saved
