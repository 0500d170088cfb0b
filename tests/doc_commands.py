"""The commands of a documentation page, run as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def commands(page: str) -> list[str]:
    """Indented commands of a page, continuation lines joined, in their order."""
    text = (DOCS / page).read_text().replace("\\\n", " ")
    return re.findall(r"^ {4}(virembed .*)$", text, re.MULTILINE)


def run(lines: list[str], directory: Path) -> str:
    """Output of the commands; each has to succeed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path}
    outputs = []
    for line in lines:
        done = subprocess.run(
            line,
            shell=True,
            cwd=directory,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        outputs.append(done.stdout)
    return "".join(outputs)
