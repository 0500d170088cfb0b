"""bin/check_site.py by itself: images that are files."""

import json

import pytest

from .launch import complaints


def check(directory, cpu_image, engine="apptainer"):
    (directory / "gpu.sif").touch()
    run = {"profiles": ["test", engine], "engine": engine, "images": [cpu_image, "gpu.sif"]}
    return complaints("check_site.py", json.dumps(run), cwd=directory)


@pytest.mark.parametrize("engine", ["apptainer", "singularity"])
def test_a_file_is_found_from_where_the_run_is_started(tmp_path, engine):
    (tmp_path / "images").mkdir()
    (tmp_path / "images/cpu.sif").touch()
    whole = tmp_path / "images/cpu.sif"
    for path in ("images/cpu.sif", str(whole), f"file://{whole}"):
        assert check(tmp_path, path, engine) == []


def test_an_image_of_a_registry_is_not_looked_for_on_this_machine(tmp_path):
    for image in ("docker://registry.example/virembed:1", "registry.example/virembed:1"):
        assert check(tmp_path, image) == []


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("virembed:0.1.0-cpu", "apptainer needs a file, virembed:0.1.0-cpu is none."),
        ("/none/cpu.sif", "/none/cpu.sif: there is no such file."),
        # would be looked for in a registry
        ("images/cpu.sif", "images/cpu.sif: there is no such file."),
    ],
)
def test_an_image_that_is_not_there_is_named_with_the_remedy(tmp_path, image, message):
    assert check(tmp_path, image) == [
        f"ERROR --cpu_image: {message} Make it with apptainer build (docs/clusters.md) and give "
        "its path with --cpu_image."
    ]
