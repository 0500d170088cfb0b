"""Parameters stand in three places: nextflow.config, the schema, the README made from it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.documents import ROOT

SCHEMA = json.loads((ROOT / "nextflow_schema.json").read_text())
PROPERTIES = {n: p for group in SCHEMA["$defs"].values() for n, p in group["properties"].items()}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A directory with the tool and what it reads."""
    for name in ("README.md", "nextflow_schema.json", "tools/parameters"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def parameters(root: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, root / "tools/parameters", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def rows(root: Path) -> dict[str, list[str]]:
    """Cells of the lines of the README's table, by parameter."""
    lines = re.findall(r"^\| `--(\w+)` \|(.*)\|$", (root / "README.md").read_text(), re.MULTILINE)
    return {name: [cell.strip() for cell in line.split("|")] for name, line in lines}


def test_the_readme_has_the_parameters_of_the_schema():
    assert parameters(ROOT, "--check").returncode == 0
    shown = rows(ROOT)
    assert list(shown) == [name for name, about in PROPERTIES.items() if not about.get("hidden")]
    assert shown["window"] == ["`500`", "Window length in bp"]
    assert shown["input"][0] == "needed"
    assert shown["duplicate_ids"][1].endswith("(`refuse`, `suffix`)")


def test_defaults_of_the_schema_are_those_of_the_config():
    config = (ROOT / "nextflow.config").read_text()
    (block,) = re.findall(r"^params \{\n(.*?)^\}", config, re.MULTILINE | re.DOTALL)
    found = dict(re.findall(r"^ +(\w+) = (.*)$", block, re.MULTILINE))
    assert found.keys() == PROPERTIES.keys()
    for name, value in found.items():
        # a value with a call in it is that of the machine; the schema describes it
        if "(" not in value:
            default = PROPERTIES[name].get("default")
            assert value == ("null" if default is None else repr(default).lower()), name


def test_a_stale_readme_is_named_and_made_anew(copy: Path):
    before = (copy / "README.md").read_text()
    schema = json.loads(json.dumps(SCHEMA))
    schema["$defs"]["sequences"]["properties"] |= {
        "step": {"type": "integer", "default": 7, "description": "Bases | between windows"},
        "secret": {"type": "integer", "hidden": True, "description": "Nothing"},
    }
    (copy / "nextflow_schema.json").write_text(json.dumps(schema))
    stale = parameters(copy, "--check")
    assert stale.returncode == 1
    assert stale.stderr.endswith("Run `make docs`.\n")
    assert (copy / "README.md").read_text() == before
    assert parameters(copy).returncode == 0
    assert parameters(copy, "--check").returncode == 0
    after = (copy / "README.md").read_text()
    assert set(after.splitlines()) - set(before.splitlines()) == {
        "| `--step` | `7` | Bases \\| between windows |"
    }
    assert set(before.splitlines()) <= set(after.splitlines())


def test_a_readme_without_its_markers_is_left_alone(copy: Path):
    (copy / "README.md").write_text("# virembed\n")
    assert "the markers are not there" in parameters(copy).stderr
    assert (copy / "README.md").read_text() == "# virembed\n"
    assert parameters(copy, "--chekc").returncode == 1
