"""Commands of the documents, taken out of the text and run as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PROGRAMS = ("virembed ", "tools/", "tar ", "(echo ")


def commands_of(document: str, heading: str = "") -> list[str]:
    """Indented lines of a section, or of the whole text, that begin with a program, continuation
    lines joined."""
    section = document
    if heading:
        section = document.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = re.findall(r"^ {4,}(.*)$", section.replace("\\\n", " "), re.MULTILINE)
    return [line.strip() for line in lines if line.strip().startswith(PROGRAMS)]


def run(lines: list[str], directory: Path, **environment: str) -> str:
    """Runs commands in a directory that is not the repository; returns what they printed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    printed = ""
    for line in lines:
        here = line.replace("tools/", f"{ROOT}/tools/").replace("main.nf", f"{ROOT}/main.nf")
        done = subprocess.run(
            ["bash", "-c", here],
            cwd=directory,
            env=os.environ | {"PATH": path} | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        printed += done.stdout
    return printed
