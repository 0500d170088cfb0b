"""tools/nextflow: which engine is taken, and what is said when there is none."""

import os
import subprocess
import sys

import pytest

from .launch import ENVIRONMENT, ROOT


def nextflow(*arguments, **environment):
    return subprocess.run(
        [sys.executable, ROOT / "tools" / "nextflow", *arguments],
        env=ENVIRONMENT | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def path_with(tmp_path):
    """A PATH that begins with a nextflow of some version."""

    def make(version):
        script = tmp_path / "nextflow"
        script.write_text(f"#!/bin/sh\necho nextflow version {version}.5935\n")
        script.chmod(0o755)
        return f"{tmp_path}{os.pathsep}{ENVIRONMENT['PATH']}"

    return make


def test_a_nextflow_on_the_path_is_taken_if_it_is_new_enough(path_with):
    done = nextflow("run", PATH=path_with("24.10.5"), VIREMBED_ENGINE="")
    assert done.stdout == "nextflow version 24.10.5.5935\n"


@pytest.mark.pipeline
def test_an_older_nextflow_on_the_path_is_passed_over(path_with):
    done = nextflow("-v", PATH=path_with("24.10.4"), VIREMBED_ENGINE="")
    assert done.stdout == "nextflow version 24.10.5.5935\n"


def test_an_older_nextflow_on_the_path_is_not_taken_even_when_asked_for(path_with):
    done = nextflow("run", PATH=path_with("23.4.1"), VIREMBED_ENGINE="path")
    assert done.returncode == 1
    assert done.stderr.startswith("ERROR nextflow: none on the PATH, or older than 24.10.5. ")


def test_an_unknown_engine_is_answered_with_the_known_ones():
    done = nextflow("run", VIREMBED_ENGINE="1.0")
    assert done.stderr.startswith("ERROR nextflow: VIREMBED_ENGINE=1.0 is unknown. ")
    assert "24.10.5, 25.04.0" in done.stderr


def test_a_python_without_jgo_is_one_line_with_the_remedy():
    done = nextflow("run", VIREMBED_ENGINE="24.10.5", VIREMBED_PYTHON="/nonexistent/python")
    assert done.stderr.count("\n") == 1
    assert "Install the extra `engine` of this package, or Nextflow." in done.stderr
