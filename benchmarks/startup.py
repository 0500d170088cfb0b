"""Seconds from the start of the command to the first vector, weights in the page cache.

    python benchmarks/startup.py --size 3B [--precision fp16] [--out results.json]

A chunk of one short protein through `virembed embed`, several times, random weights of the real
size written for it. Reported, in seconds: until the model is on the device, the one forward pass,
the checksums of the weights that a longer task compares beside its loop, and the whole command.
The last line is the result as JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from embed import draw
from safetensors.torch import save_file

from virembed.checksum import sha256_of
from virembed.items import item_key
from virembed.models import esm2
from virembed.models.random_weights import ESM2_SIZES
from virembed.weights_info import TENSORS, WeightsInfo, write_info

PROTEIN = "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQAPILSRVGDGTQDNLSGAEKAVQVKVKALPDAQFEVV"


def write_weights(directory: Path, size_name: str) -> None:
    """A weights directory of ESM-2 in fp16, drawn on the GPU: 3B in seconds."""
    size = ESM2_SIZES[size_name]
    info = WeightsInfo(
        model="esm2",
        name=f"random {size_name}",
        dim=size.dim,
        num_layers=size.num_layers,
        num_heads=size.num_heads,
        ffn_dim=size.ffn_dim,
        vocab_size=size.vocab_size,
        config={"token_dropout": True, "layer_norm_eps": 1e-5},
        random=True,
        files={},
        source={},
    )
    torch.manual_seed(0)
    shapes = esm2.tensor_shapes(info)
    tensors = {name: draw(name, shape).half().cpu() for name, shape in shapes.items()}
    save_file(tensors, directory / TENSORS)
    info.files[TENSORS] = sha256_of(directory / TENSORS)
    write_info(directory, info)


def run_once(home: Path, precision: str) -> dict[str, Any]:
    stats = home / "stats.json"
    command = [sys.executable, "-m", "virembed", "embed", str(home / "one.faa"), "--model=esm2"]
    begin = time.perf_counter()
    subprocess.run(
        [*command, f"--weights={home}", f"--out={home}/one.h5", f"--stats={stats}",
         "--device=cuda", f"--precision={precision}"], check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    whole = time.perf_counter() - begin
    told = json.loads(stats.read_text())
    seconds: dict[str, float] = told["seconds"]
    after = seconds["checksums"] + told["write_s"]
    return {**seconds, "write": told["write_s"], "whole": whole, "to_first_vector": whole - after}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="3B", choices=ESM2_SIZES)
    parser.add_argument("--precision", default="fp16")
    parser.add_argument("--runs", type=int, default=3, help="the first compiles the kernels")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        write_weights(home, arguments.size)
        (home / "one.faa").write_text(f">{item_key(PROTEIN.encode()).hex()}\n{PROTEIN}\n")
        runs = []
        for _ in range(arguments.runs):
            runs.append(run_once(home, arguments.precision))
            print(json.dumps(runs[-1]), flush=True)
    result = {"size": arguments.size, "device": torch.cuda.get_device_name(), "runs": runs}
    if arguments.out:
        arguments.out.write_text(json.dumps(result) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
