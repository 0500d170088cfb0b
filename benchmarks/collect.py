"""How fast SPLIT and COLLECT are and how much memory they take, at several sizes of a sample.

    python benchmarks/collect.py [--records 80000 240000] [--dims 2560 768] [--out results.json]

Reads of 150 bp of real genomes with errors (`reads.py`), cut by SPLIT; shards of random vectors of
the width of the real models, so that no model has to run. Memory that grows with the sample shows
as a difference between the sizes, and is given per distinct sequence; narrow vectors (`--dims`)
show it at sizes whose result would not fit on the disk. Mapped pages of the shards are counted
where the kernel counts them. The last line is the result as JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from reads import write_reads

from virembed import __version__
from virembed.items import read_chunk
from virembed.layout import MODELS
from virembed.shards import SUFFIX, ShardIdentity, ShardOrigin, write_shard
from virembed.weights_info import WeightsInfo, write_info

# As the pipeline's, by default.
CHUNK_LETTERS = {"esm2": 20_000_000, "dnaberts": 500_000_000}


def timed(command: list[str]) -> dict[str, float]:
    """Seconds and bytes of a program, which must be larger than this one: the kernel counts the
    memory of who starts a program as its own."""
    begin = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - begin
    assert status == 0
    cpu_s = usage.ru_utime + usage.ru_stime
    return {"wall_s": wall_s, "cpu_s": cpu_s, "peak_bytes": usage.ru_maxrss * 1024}


def run_split(home: Path) -> dict[str, float]:
    """Seconds and bytes of one `virembed split`."""
    chunks = [
        f"--esm2-chunk-residues={CHUNK_LETTERS['esm2']}",
        f"--dnaberts-chunk-bp={CHUNK_LETTERS['dnaberts']}",
    ]
    command = [sys.executable, "-m", "virembed", "split", str(home / "reads.fa")]
    return timed([*command, "--sample=S", f"--out-dir={home}", *chunks])


def make_shards(home: Path, dims: dict[str, int]) -> None:
    """What EMBED would have left."""
    (home / "shards").mkdir()
    random = np.random.default_rng(1)
    for model in MODELS:
        card = WeightsInfo(
            model.name, "random", dims[model.name], 1, 1, 1, 1, {}, random=True,
            files={"model.safetensors": "0" * 64}, source={},
        )  # fmt: skip
        (home / model.name).mkdir()
        write_info(home / model.name, card)
        for chunk in sorted((home / "chunks" / model.name).iterdir()):
            keys = [key for key, _ in read_chunk(chunk)]
            write_shard(
                home / "shards" / f"{chunk.stem}{SUFFIX}",
                identity=ShardIdentity(
                    model.name, card.sha256, card.dim, "fp32", "mean", __version__
                ),
                origin=ShardOrigin(
                    chunk.stem, "none", "none", 1, {}, {"torch": "none"}, 1, 0, 0,
                    {"load": 0.0, "tokenize": 0.0, "loop": 1.0}, {},
                ),
                keys=keys,
                num_tokens=np.ones(len(keys), dtype=np.int64),
                flags=np.zeros(len(keys), dtype=np.uint8),
                vectors=random_vectors(random, len(keys), card.dim),
            )  # fmt: skip


def random_vectors(random: np.random.Generator, number: int, dim: int) -> npt.NDArray[np.float16]:
    vectors = np.empty((number, dim), dtype=np.float16)
    for first in range(0, number, 4096):  # half a shard is gigabytes
        part = vectors[first : first + 4096]
        part[:] = random.standard_normal(part.shape, dtype=np.float32)
    return vectors


def run_collect(home: Path) -> dict[str, Any]:
    """Seconds, bytes and rows of one `virembed collect`."""
    outputs = [f"--{name}={home / name}" for name in ("out", "summary", "proteins")]
    weights = [f"--weights={home / model.name}" for model in MODELS]
    arguments = ["--manifest", str(home / "S.manifest.h5"), "--shards", str(home / "shards")]
    found = timed([sys.executable, "-m", "virembed", "collect", *arguments, *weights, *outputs])
    counts = json.loads((home / "summary").read_text())["accounting"]
    return {
        **found,
        "rows": counts["rows"],
        "items": counts["esm2_unique"] + counts["dnaberts_unique"],
        "result_bytes": (home / "out").stat().st_size,
    }


def apart(function: Callable[..., None], *arguments: object) -> None:
    """Calls a function in a process of its own, so that its memory is not ours."""
    process = multiprocessing.get_context("spawn").Process(target=function, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == 0


def shown(found: dict[str, float]) -> str:
    return (
        f"{found['wall_s']:.1f} s ({found['cpu_s']:.1f} s of a processor), "
        f"peak {found['peak_bytes'] / 1e6:,.0f} MB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--records", type=int, nargs="+", default=[80_000, 240_000])
    parser.add_argument("--dims", type=int, nargs=2, default=[2560, 768], help="ESM-2, DNABERT-S")
    parser.add_argument("--out", type=Path, help="where to write the JSON")
    arguments = parser.parse_args()
    dims = {model.name: dim for model, dim in zip(MODELS, arguments.dims, strict=True)}
    results: list[dict[str, Any]] = []
    for num_records in arguments.records:
        with tempfile.TemporaryDirectory() as directory:
            home = Path(directory)
            apart(write_reads, home / "reads.fa", num_records)
            split = run_split(home)
            apart(make_shards, home, dims)
            result = run_collect(home)
        results.append({"records": num_records, **result, "split": split})
        print(
            f"{result['rows']:>9,.0f} rows, {result['items']:,.0f} items, "
            f"{result['result_bytes'] / 1e6:,.0f} MB; "
            f"SPLIT {shown(split)}; COLLECT {shown(result)}",
            flush=True,
        )
    growth = {}
    num_items = results[-1]["items"] - results[0]["items"]
    for name, peaks in {
        "split": [result["split"]["peak_bytes"] for result in results],
        "collect": [result["peak_bytes"] for result in results],
    }.items():
        growth[name] = (peaks[-1] - peaks[0]) / num_items if num_items else 0.0
        print(f"peak memory of {name} grows by {growth[name]:.0f} bytes per distinct sequence")
    text = json.dumps({"command": " ".join(sys.argv), "results": results, "growth_bytes": growth})
    if arguments.out:
        arguments.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
