"""The program as a process of its own: plain, with a fault injected, under limits."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.steps import Sample

INJECT = Path(__file__).with_name("inject.py")
KILL = "kill -KILL $PPID"

Done = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class Point:
    """A moment of a program: before or after a call of a function."""

    name: str
    call: int
    when: str


def run(
    *arguments: object,
    env: Mapping[str, str] | None = None,
    limit: Callable[[], object] | None = None,
    within: Sequence[str] = (),
    **options: object,
) -> Done:
    """`virembed` with these arguments.

    Args:
        within: a command that starts it.
        env: all of its environment; the paths of Python are added.
        limit: called in the process before the program starts.
    """
    command = [*within, sys.executable, "-m", "virembed", *map(str, arguments)]
    return _run(command, env=env, preexec_fn=limit, **options)


def run_until(point: Point, action: str, *arguments: object) -> Done:
    """`virembed` with these arguments; at the point a command of the shell runs."""
    fault = (point.name, str(point.call), point.when, action)
    return _run([sys.executable, str(INJECT), *fault, *map(str, arguments)])


def _run(command: list[str], *, env: Mapping[str, str] | None = None, **options: object) -> Done:
    paths = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    environment = dict(os.environ) if env is None else paths | dict(env)
    given = {"capture_output": True} | options
    return subprocess.run(command, env=environment, text=True, check=False, **given)  # type: ignore[call-overload]


def assert_one_line(done: Done, *, code: int, says: str) -> None:
    """It ended with this exit code and one line that says this."""
    assert done.returncode == code, done
    assert says in done.stderr, done
    assert done.stderr.count("\n") == 1, done
    assert done.stderr.startswith("ERROR "), done


def split_arguments(sample: Sample, fasta: Path) -> list[object]:
    size = ("--window", 300, "--esm2-chunk-residues", 500, "--dnaberts-chunk-bp", 5000)
    return ["split", fasta, "--sample", sample.name, "--out-dir", sample.home, *size]


def embed_arguments(sample: Sample, chunk: str, out: Path) -> list[object]:
    """Of a chunk by its name, such as `S.esm2.00000.faa`; in many small packs."""
    model = chunk.split(".")[1]
    weights = ("--weights", sample.weights.converted[model], "--device", "cpu", "--threads", 1)
    packs = ("--tokens-per-pack", 128)
    path = sample.home / "chunks" / model / chunk
    return ["embed", path, "--model", model, *weights, *packs, "--out", out]


def residues_of(out: Path) -> Path:
    """Where the residues of a shard go, as a test has them written."""
    return out.with_name(out.name.replace(".shard.", ".residues."))


def collect_arguments(sample: Sample, out: Path) -> list[object]:
    cards = [f"--weights={card}" for card in sample.weights.cards]
    outputs = ("--out", out / "S.h5", "--summary", out / "S.json", "--proteins", out / "S.faa.gz")
    manifest = ("--manifest", sample.home / f"{sample.name}.manifest.h5")
    return ["collect", *manifest, "--shards", sample.shards, *cards, *outputs]
