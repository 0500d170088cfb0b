"""What is written in two places says the same: version, defaults, names."""

import json
import re
import subprocess

import pytest

import virembed

from .launch import ENVIRONMENT, ROOT

SCHEMA = json.loads((ROOT / "nextflow_schema.json").read_text())
PARAMETERS = {
    name: rule for group in SCHEMA["$defs"].values() for name, rule in group["properties"].items()
}
MODULES = sorted((ROOT / "modules").glob("*/main.nf"))


def test_launcher_pipeline_and_package_are_of_one_release():
    launcher = re.search(r'^RELEASE = "(.+)"', (ROOT / "bin/virembed").read_text(), re.MULTILINE)
    manifest = re.search(r"^    version = '(.+)'", (ROOT / "nextflow.config").read_text(), re.M)
    assert launcher[1] == manifest[1] == virembed.__version__


@pytest.mark.pipeline
def test_schema_and_configuration_have_the_same_parameters_and_defaults():
    command = [ROOT / "tools" / "nextflow", "config", ROOT, "-flat"]
    config = subprocess.run(
        command, env=ENVIRONMENT, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    configured = {
        name: value.strip("'")
        for name, value in re.findall(r"^params\.(\w+) = (.+)$", config, re.M)
    }
    # as Nextflow writes them
    written = {None: "null", True: "true", False: "false"}
    defaults = {name: rule.get("default") for name, rule in PARAMETERS.items()}
    # of the user, and so nothing that a schema could say
    assert configured.pop("gpu_cache").startswith("/tmp/virembed-")
    assert defaults.pop("gpu_cache") is None
    assert re.fullmatch(r"[\d_-]+", configured.pop("trace_suffix"))  # the time of the start
    assert defaults.pop("trace_suffix") is None
    assert configured == {
        name: str(value) if type(value) in (str, int) else written[value]
        for name, value in defaults.items()
    }


def test_every_parameter_is_described_and_every_group_is_part_of_the_schema():
    assert all(rule["description"] for rule in PARAMETERS.values())
    assert [f"#/$defs/{name}" for name in SCHEMA["$defs"]] == [
        part["$ref"] for part in SCHEMA["allOf"]
    ]


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.parent.name)
def test_a_process_is_short_has_a_stub_and_knows_neither_parameters_nor_publishing(module):
    text = module.read_text()
    (name,) = re.findall(r"^process (\w+) \{", text, re.MULTILINE)
    assert name == module.parent.name.upper()
    assert len(text.splitlines()) <= 45
    assert "stub:" in text
    assert not re.search(r"\bparams\b|publishDir|projectDir", text)
    assert text.count("virembed ") == 1
    stub = text.split("stub:")[1]
    assert "virembed" not in stub
    assert "python" not in stub


def test_every_label_but_gpu_has_its_resources_in_the_base_configuration():
    used = {label for path in MODULES for label in re.findall(r"label '(\w+)'", path.read_text())}
    base = (ROOT / "conf/base.config").read_text()
    assert used - {"gpu"} == set(re.findall(r"withLabel: (\w+)", base))
