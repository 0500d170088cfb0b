#!/usr/bin/env python3
"""Checks, before any task exists, that the machine has what the profiles of a run rely on.

    check_site.py JSON

JSON: {"profiles": [...], "engine": name or null, "images": [cpu, gpu], "partition": ...,
"gpu_partition": ..., "gpu_type": ..., "account": ..., "options": ...}, null for what is not given.
Prints one line for each thing that is missing and exits with 2. Runs on the machine Nextflow runs
on: nothing but the standard library.
"""

from __future__ import annotations

import importlib.util
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

Run = dict[str, Any]

ENGINES = ("docker", "podman", "apptainer", "singularity")
# what says whether an image is here; the name of the image comes last
INSPECT = {"docker": ("docker", "image", "inspect"), "podman": ("podman", "image", "exists")}
TIMEOUT_S = 20


def answer(*command: str) -> tuple[int, str, str]:
    """Status, output and errors of a command; a status of 124 if it takes too long."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        return 124, "", ""
    return done.returncode, done.stdout, done.stderr


def problems_of(run: Run) -> list[str]:
    problems = []
    if "slurm" in run["profiles"]:
        problems += slurm_problems(run)
    if run["engine"] is None:
        problems += package_problems(run)
    elif run["engine"] in INSPECT:
        # a submit host may lack the engine that the nodes have
        if shutil.which(run["engine"]) or "slurm" not in run["profiles"]:
            problems += image_problems(run["engine"], run["images"])
    else:
        problems += file_problems(run["engine"], run["images"])
    return problems


def package_problems(run: Run) -> list[str]:
    """Without a container the tasks take `python3` from the PATH of the run."""
    lacking = [name for name in ("virembed", "torch") if importlib.util.find_spec(name) is None]
    if not lacking:
        return []
    gpu = "-profile gpu" if "gpu" in run["profiles"] else "-profile"
    return [
        f"ERROR {gpu}: no container engine is named, and {sys.executable} has no {lacking[0]}. "
        f"Add one of {', '.join(ENGINES)} to -profile, or activate the environment virembed is "
        "installed in."
    ]


def image_problems(engine: str, images: list[str]) -> list[str]:
    if not shutil.which(engine):
        return [f"ERROR -profile {engine}: there is no {engine} on the PATH. Install or load it."]
    if answer(engine, "info")[0] != 0:
        return [
            f"ERROR -profile {engine}: {engine} does not answer. Start it, or ask for the right "
            f"to use it: `{engine} info` shows the cause."
        ]
    return [
        f"ERROR --{option}: {engine} has no image {image}. Build it: {engine} build -f "
        f"containers/Dockerfile --target {option.split('_')[0]} -t {image} ."
        for option, image in zip(("cpu_image", "gpu_image"), images, strict=True)
        if is_local(image) and answer(*INSPECT[engine], image)[0] != 0
    ]


def is_local(image: str) -> bool:
    """A name without a registry, which nobody can pull."""
    return "/" not in image or image.startswith("localhost/")


def file_problems(engine: str, images: list[str]) -> list[str]:
    """An image that is neither a file nor of a registry; relative to where the run is started."""
    problems = []
    for option, image in zip(("cpu_image", "gpu_image"), images, strict=True):
        path = image.removeprefix("file://")
        remedy = (
            f"Make it with {engine} build (docs/clusters.md) and give its path with --{option}."
        )
        if Path(path).exists():
            continue
        if path.startswith("/") or path.endswith(".sif"):
            problems.append(f"ERROR --{option}: {path}: there is no such file. {remedy}")
        elif is_local(image):
            problems.append(f"ERROR --{option}: {engine} needs a file, {image} is none. {remedy}")
    return problems


def slurm_problems(run: Run) -> list[str]:
    if not shutil.which("sbatch"):
        return [
            "ERROR -profile slurm: there is no sbatch on the PATH. Start the run on a machine that "
            "submits to Slurm, or leave slurm out."
        ]
    jobs = [("partition", ())]
    if "gpu" in run["profiles"]:
        kind = f"{run['gpu_type']}:" if run["gpu_type"] else ""
        jobs.append(("gpu_partition", (f"--gres=gpu:{kind}1",)))
    problems = []
    for option, gres in jobs:
        partition = run[option] or run["partition"]
        asked = [
            *([f"--partition={partition}"] if partition else []),
            *gres,
            *([f"--account={run['account']}"] if run["account"] else []),
            *shlex.split(run["options"] or ""),
        ]
        refusal = refused(asked)
        if refusal:
            problems.append(
                f"ERROR --slurm_{option}: Slurm refuses a job with '{' '.join(asked)}': {refusal}. "
                f"{offers()}--slurm_partition, --slurm_gpu_partition, --slurm_gpu_type, "
                "--slurm_account and --slurm_options say what to ask for."
            )
    return problems


def refused(options: list[str]) -> str | None:
    """Why Slurm would not take a job with these options, in its own words."""
    status, _, error = answer("sbatch", "--test-only", *options, "--wrap", "true")
    if status == 0:
        return None
    lines = error.strip().splitlines() or ["no answer"]
    return lines[-1].split("error: ")[-1].removeprefix("allocation failure: ")


def offers() -> str:
    """Partitions and their GPUs, as a sentence."""
    status, lines, _ = answer("sinfo", "--noheader", "--format", "%R %G")
    partitions = sorted(set(lines.splitlines())) if status == 0 else []
    return f"Partitions here: {', '.join(partitions)}. " if partitions else ""


def main() -> None:
    problems = problems_of(json.loads(sys.argv[1]))
    if problems:
        print("\n".join(problems), file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
