"""How fast COLLECT is and how much memory it takes, at two sizes of a sample.

    python benchmarks/collect.py [--records 80000 240000] [--out results.json]

Random reads of 150 bp, cut by SPLIT; shards of random vectors of the width of the real models
(2560 and 768), so that no model has to run. Memory that grows with the sample shows as a
difference between the sizes, and is given per distinct sequence. Mapped pages of the shards are
counted where the kernel counts them. The last line is the result as JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from virembed import __version__
from virembed.items import read_chunk
from virembed.layout import MODELS
from virembed.shards import SUFFIX, ShardIdentity, ShardOrigin, write_shard
from virembed.weights_info import WeightsInfo, write_info

DIMS = {"esm2": 2560, "dnaberts": 768}
CHUNK_LETTERS = {"esm2": 1_000_000, "dnaberts": 10_000_000}


def make_sample(home: Path, num_records: int) -> None:
    """Everything COLLECT reads."""
    rng = random.Random(1)
    with (home / "reads.fa").open("w") as file:
        for number in range(num_records):
            file.write(f">read{number}\n{''.join(rng.choices('ACGT', k=150))}\n")
    chunks = [
        f"--esm2-chunk-residues={CHUNK_LETTERS['esm2']}",
        f"--dnaberts-chunk-bp={CHUNK_LETTERS['dnaberts']}",
    ]
    command = [sys.executable, "-m", "virembed", "split", str(home / "reads.fa")]
    subprocess.run([*command, "--sample=S", f"--out-dir={home}", *chunks], check=True)
    (home / "shards").mkdir()
    vectors = np.random.default_rng(1)
    for model in MODELS:
        card = WeightsInfo(
            model.name, "random", DIMS[model.name], 1, 1, 1, 1, {}, random=True,
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
                vectors=vectors.standard_normal((len(keys), card.dim)).astype(np.float16),
            )  # fmt: skip


def run_collect(home: Path) -> dict[str, float]:
    """Seconds, bytes and rows of one `virembed collect`."""
    outputs = [f"--{name}={home / name}" for name in ("out", "summary", "proteins")]
    weights = [f"--weights={home / model.name}" for model in MODELS]
    arguments = ["--manifest", str(home / "S.manifest.h5"), "--shards", str(home / "shards")]
    begin = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "virembed", "collect", *arguments, *weights, *outputs]
    )
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - begin
    assert status == 0
    counts = json.loads((home / "summary").read_text())["accounting"]
    return {
        "wall_s": wall_s,
        "peak_bytes": usage.ru_maxrss * 1024,
        "rows": counts["rows"],
        "items": counts["esm2_unique"] + counts["dnaberts_unique"],
        "result_bytes": (home / "out").stat().st_size,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--records", type=int, nargs=2, default=[80_000, 240_000])
    parser.add_argument("--out", type=Path, help="where to write the JSON")
    arguments = parser.parse_args()
    results = []
    for num_records in arguments.records:
        with tempfile.TemporaryDirectory() as directory:
            # by another process: the kernel counts the memory of who starts a process as its own
            maker = multiprocessing.get_context("spawn").Process(
                target=make_sample, args=(Path(directory), num_records)
            )
            maker.start()
            maker.join()
            assert maker.exitcode == 0
            result = run_collect(Path(directory))
        results.append(result)
        print(
            f"{result['rows']:>9,.0f} rows {result['result_bytes'] / 1e6:9,.0f} MB in "
            f"{result['wall_s']:6.1f} s, peak {result['peak_bytes'] / 1e6:,.0f} MB"
        )
    small, large = results
    growth = (large["peak_bytes"] - small["peak_bytes"]) / (large["items"] - small["items"])
    print(f"peak memory grows by {growth:.0f} bytes per distinct sequence")
    text = json.dumps({"command": " ".join(sys.argv), "results": results, "growth_bytes": growth})
    if arguments.out:
        arguments.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
