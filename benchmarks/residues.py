"""What writing every residue costs the embedding loop: pairs of runs with and without, in turn.

    python benchmarks/residues.py [--size 8M] [--device cpu] [--residues 200000] [--pairs 5]
        [--directory DIR] [--out results.json]

ESM-2 of a real size with random weights over random open frames of 500 bp windows. A run with
residues writes them to DIR (a temporary one by default). Time without over time with: of the loop;
of the whole, with all that follows the loop (the last blocks, the seal, waiting for the disk); and
the processor time of the whole, which on a CPU that others use as well is the one to look at. On a
CPU also what residues add, alone: picking them out of a pack and writing them, in processor time
per residue. The last line is the result as JSON, with the ratios of each pair.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from embed import texts_of

from virembed import __version__
from virembed.contracts import Encoder, Pack
from virembed.engine import settings
from virembed.engine.embed import embed_items
from virembed.engine.pooling import residue_states
from virembed.engine.stream import pack_tokens
from virembed.models.convert import convert
from virembed.models.random_weights import write_random_esm2
from virembed.models.registry import LoadedEncoder, load_encoder
from virembed.residue_shards import ResidueWriter, new_residue_shard
from virembed.shards import ShardIdentity


@dataclass(frozen=True, slots=True)
class Seconds:
    """Of a run: its loop, the whole, and its processor time, that of all threads."""

    loop: float
    whole: float
    cpu: float


class Runs:
    """A loaded model and what it embeds."""

    def __init__(self, home: Path, options: argparse.Namespace) -> None:
        weights = home / "weights"
        convert(
            write_random_esm2(home / "published", size=options.size, seed=0),
            model="esm2",
            out=weights,
        )
        self.device = torch.device(options.device)
        self.precision = settings.choose_precision(settings.AUTO, options.device).value
        self.loaded: LoadedEncoder = load_encoder(
            weights,
            model="esm2",
            device=self.device,
            dtype=settings.PRECISIONS[self.precision],
            attention=settings.AUTO,
        )
        encoder: Encoder = self.loaded.encoder
        chosen = settings.choose_tokens_per_pack(
            options.tokens_per_pack, options.device, bytes_per_token=encoder.bytes_per_token
        )
        self.tokens_per_pack = int(chosen.value)
        mean = sum(map(len, texts_of("orf", 1000))) / 1000
        self.texts = texts_of("orf", round(options.residues / mean))
        self.num_residues = sum(map(len, self.texts))
        self.path = (options.directory or home) / "benchmark.residues.h5"

    def _loop_s(self, **more: Any) -> float:
        return embed_items(
            self.texts,
            encoder=self.loaded.encoder,
            tokenizer=self.loaded.tokenizer,
            device=self.device,
            tokens_per_pack=self.tokens_per_pack,
            **more,
        ).loop_s

    def without(self) -> Seconds:
        begin, cpu = time.perf_counter(), time.process_time()
        loop_s = self._loop_s()
        return Seconds(loop_s, time.perf_counter() - begin, time.process_time() - cpu)

    def with_residues(self) -> Seconds:
        """Until the file has its name."""
        dim = self.loaded.info.dim
        begin, cpu = time.perf_counter(), time.process_time()
        with new_residue_shard(
            self.path, num_items=len(self.texts), num_residues=self.num_residues, dim=dim
        ) as writer:
            loop_s = self._loop_s(residues=writer.put)
            self._finish(writer, len(self.texts))
        seconds = Seconds(loop_s, time.perf_counter() - begin, time.process_time() - cpu)
        self.path.unlink()
        return seconds

    def added_s(self, packs: int = 20, repeats: int = 5) -> float:
        """Processor seconds per residue of what comes on top; the least of several measurements."""
        hidden = torch.randn(self.tokens_per_pack, self.loaded.info.dim)
        ids = self.loaded.tokenizer.encode(self.texts[:1000])
        taken = int(np.searchsorted(np.cumsum([len(one) for one in ids]), self.tokens_per_pack))
        lengths = np.array([len(one) for one in ids[:taken]])
        pack = Pack(np.arange(taken), lengths, self.tokens_per_pack)
        tokens = pack_tokens(pack, ids[:taken], self.loaded.tokenizer.fill_id)
        skip = self.loaded.encoder.pool_skip
        kept = lengths - sum(skip)
        size = packs * int(kept.sum())
        found = []
        for _ in range(repeats):
            begin = time.process_time()
            with new_residue_shard(
                self.path, num_items=packs * taken, num_residues=size, dim=hidden.shape[1]
            ) as writer:
                for number in range(packs):
                    states, _ = residue_states(hidden, tokens, skip=skip, num_sequences=taken)
                    writer.put(pack.items + number * taken, kept, states.numpy())
                self._finish(writer, packs * taken)
            found.append((time.process_time() - begin) / size)
        self.path.unlink()
        return min(found)

    def _finish(self, writer: ResidueWriter, num_items: int) -> None:
        pooling, dim = self.loaded.encoder.pooling, self.loaded.info.dim
        identity = ShardIdentity("esm2", "0" * 64, dim, self.precision, pooling, __version__)
        writer.finish(identity=identity, chunk="benchmark", keys=[bytes(16)] * num_items)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as home:
        runs = Runs(Path(home), options)
        runs.without()  # compiles, warms up
        plain: list[Seconds] = []
        ratios: list[dict[str, float]] = []
        for number in range(options.pairs):
            order = (runs.without, runs.with_residues)
            done = [run() for run in (order if number % 2 else order[::-1])]
            without, written = done if number % 2 else done[::-1]
            plain.append(without)
            ratios.append(
                {name: value / getattr(written, name) for name, value in asdict(without).items()}
            )
            told = ", ".join(f"{name} {value:.3f}" for name, value in ratios[-1].items())
            print(f"pair {number + 1}: {told}", flush=True)
        added_s = runs.added_s() if options.device == "cpu" else None
        return {
            "size": options.size,
            "device": settings.device_name(options.device),
            "precision": runs.precision,
            "threads": torch.get_num_threads(),
            "residues": runs.num_residues,
            "bytes": 2 * runs.num_residues * runs.loaded.info.dim,
            "residues_per_s_without": statistics.median(runs.num_residues / s.loop for s in plain),
            "cpu_us_per_residue_without": 1e6
            * min(seconds.cpu for seconds in plain)
            / runs.num_residues,
            "added_cpu_us_per_residue": None if added_s is None else 1e6 * added_s,
            "ratio": {name: statistics.median(pair[name] for pair in ratios) for name in ratios[0]},
            "ratios": ratios,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="8M")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--residues", type=int, default=200_000)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--tokens-per-pack", type=int, default=0)
    parser.add_argument("--directory", type=Path, help="where residues are written")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    settings.set_up_products()
    text = json.dumps(measure(options))
    if options.out:
        options.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
