"""Several EMBED tasks at once on the GPUs of one machine, against one task alone.

    python benchmarks/tasks.py --size 650M --residues 20000000 [--out results.json]

Each task is a process of its own, as the pipeline starts it, with `--device cuda`: it takes the
first free GPU by itself. Weights are random numbers of the real size. Reported: residues per second
inside the loop and from start to end, the device of each task, how busy it was, and the ratio of
all GPUs at once to one. Checks that no two tasks shared a device and that equal chunks gave equal
vectors, bit for bit, on whichever GPU they ran. The last line is the result as JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from virembed.items import item_key
from virembed.shards import open_shard

RESIDUES = "ACDEFGHIKLMNPQRSTVWY"
LONGEST = 166  # open frames of 500 bp windows: half of them are open from end to end


def write_chunk(path: Path, num_residues: int, *, seed: int) -> int:
    """Distinct random proteins; returns how many residues they have."""
    rng = random.Random(seed)
    pool = "".join(rng.choices(RESIDUES, k=1 << 20))
    done = 0
    with path.open("w") as file:
        while done < num_residues:
            length = LONGEST if rng.random() < 0.5 else rng.randint(33, LONGEST)
            start = rng.randrange(len(pool) - length)
            text = pool[start : start + length]
            file.write(f">{item_key(text.encode()).hex()}\n{text}\n")
            done += length
    return done


def run_tasks(chunks: list[Path], weights: Path) -> tuple[float, list[dict[str, Any]]]:
    """Seconds until all are done, and what each task told of itself."""
    begin = time.perf_counter()
    processes = []
    for chunk in chunks:
        out = [f"--out={chunk}.shard.h5", f"--stats={chunk}.json", "--device=cuda"]
        command = [sys.executable, "-m", "virembed", "embed", str(chunk), "--model=esm2"]
        processes.append(subprocess.Popen([*command, f"--weights={weights}", *out]))
    assert all(process.wait() == 0 for process in processes)
    wall_s = time.perf_counter() - begin
    return wall_s, [json.loads(Path(f"{chunk}.json").read_text()) for chunk in chunks]


def same_vectors(one: Path, other: Path) -> bool:
    with open_shard(Path(f"{one}.shard.h5")) as a, open_shard(Path(f"{other}.shard.h5")) as b:
        return np.array_equal(a.vectors.all(), b.vectors.all())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--size", default="650M", help="size of the ESM-2 model")
    parser.add_argument("--residues", type=int, default=20_000_000, help="per task")
    parser.add_argument("--out", type=Path, help="where to write the JSON")
    arguments = parser.parse_args()
    num_gpus = torch.cuda.device_count()
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        make = [sys.executable, "-m", "virembed", "weights"]
        subprocess.run(
            [*make, "random", "esm2", "--size", arguments.size, "--out", home], check=True
        )
        source = next(home.glob("*.pt"))
        subprocess.run([*make, "convert", source, "--model=esm2", "--out", home / "w"], check=True)
        chunks = [home / f"chunk{number}.faa" for number in range(num_gpus)]
        residues = [write_chunk(chunk, arguments.residues, seed=1) for chunk in chunks]
        warm = home / "warm.faa"
        write_chunk(warm, 200_000, seed=2)
        run_tasks([warm], home / "w")  # compiles the kernels once

        alone_s, alone = run_tasks(chunks[:1], home / "w")
        together_s, together = run_tasks(chunks, home / "w")
        equal = all(same_vectors(chunks[0], chunk) for chunk in chunks[1:])

    def rate(tasks: list[dict[str, Any]]) -> float:
        pairs = zip(residues, tasks, strict=False)  # all chunks, or the first
        return float(sum(number / task["seconds"]["loop"] for number, task in pairs))

    result = {
        "command": " ".join(sys.argv),
        "device": alone[0]["device"],
        "torch": torch.__version__,
        "num_gpus": num_gpus,
        "alone": {"wall_s": alone_s, "residues_per_s": rate(alone), **alone[0]["monitor"]},
        "together": {
            "wall_s": together_s,
            "residues_per_s": rate(together),
            "tasks": [{**task["monitor"], **task["seconds"]} for task in together],
            "devices": [task["reasons"]["device"] for task in together],
        },
        "loop_ratio": rate(together) / rate(alone),
        "wall_ratio": num_gpus * alone_s / together_s,
        "equal_vectors": equal,
    }
    text = json.dumps(result)
    if arguments.out:
        arguments.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
