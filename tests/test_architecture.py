"""Ratchets: what keeps the code base readable is held by tests, not by good intentions."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from virembed.cli import COMMANDS, GROUPS, main
from virembed.errors import VirembedError

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "src").rglob("*.py"))
MAX_FILE_LINES = 350
MAX_FUNCTION_LINES = 60


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_files_and_functions_stay_short_and_files_say_what_they_are(path: Path):
    text = path.read_text()
    assert text.count("\n") <= MAX_FILE_LINES
    tree = ast.parse(text)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    lengths = {f.name: (f.end_lineno or 0) - f.lineno + 1 for f in functions}
    # the options of a command are part of its function, its text is not logic
    too_long = {name: n for name, n in lengths.items() if n > MAX_FUNCTION_LINES}
    assert not too_long or path.parent.name == "commands", too_long
    assert ast.get_docstring(tree) or path.name in ("__init__.py", "__main__.py")


def test_help_does_not_wait_for_torch():
    program = "import sys; from virembed.cli import cli; cli(['--help'], standalone_mode=False)\n"
    program += "assert not {'torch', 'h5py', 'tokenizers'} & set(sys.modules), sys.modules"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def test_help_fits_a_screen_and_is_grouped(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 100
    for title, commands in GROUPS.items():
        start = lines.index(f"{title}:") + 1
        here = [line.split()[0] for line in lines[start : start + len(commands)]]
        assert here == list(commands)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys):
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert "Usage: virembed " + command in out
    assert len(out.split("Options:")[0].split()) > 10


@pytest.mark.parametrize(
    ("arguments", "code", "fragment"),
    [
        (["spllit"], 2, "No such command"),
        (["split"], 2, "FASTA"),
        (["split", "--windw", "3", "x"], 2, "--window"),
        (["verify", "nowhere.h5"], 7, "there is no such"),
        (["info", "nowhere.h5"], 7, "there is no such"),
        (["embed", "x.faa", "--model", "esm2", "--weights", "w", "--out", "o"], 3, "x.faa"),
    ],
)
def test_mistakes_on_the_command_line_are_named(arguments, code, fragment, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == code
    error = capsys.readouterr().err
    assert fragment in error
    assert "Traceback" not in error


def test_exit_codes_are_those_of_the_readme():
    readme = (ROOT / "README.md").read_text()
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", readme, re.MULTILINE)}
    found, todo = set(), [*VirembedError.__subclasses__()]
    while todo:
        error = todo.pop()
        found.add(error.exit_code)
        todo += error.__subclasses__()
    assert documented == found


def test_no_pins_name_an_address():
    for path in (ROOT / "constraints.txt", *ROOT.glob("tools/engines/*")):
        assert "://" not in path.read_text()
