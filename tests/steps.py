"""The steps of the pipeline run by hand on a sample, for tests of what comes out at the end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from virembed.cli import main
from virembed.layout import MODELS

DEMO = Path(__file__).parents[1] / "assets" / "demo"


def call(*arguments: object) -> int:
    """Exit code of a command run in this process."""
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as end:
        return int(end.code or 0)
    raise AssertionError("main always exits")


@dataclass(frozen=True)
class Weights:
    """Random models: as published, and converted."""

    originals: dict[str, Path]
    converted: dict[str, Path]

    @property
    def cards(self) -> list[Path]:
        return [directory / "weights.json" for directory in self.converted.values()]


def make_weights(home: Path, *, seed: int = 0) -> Weights:
    originals = {"esm2": home / "esm2" / "esm2_t4_tiny_random.pt", "dnaberts": home / "dnaberts"}
    converted = {model: home / "converted" / model for model in originals}
    for model, source in originals.items():
        out = source.parent if source.suffix else source
        assert call("weights", "random", model, "--out", out, "--seed", seed) == 0
        assert call("weights", "convert", source, "--model", model, "--out", converted[model]) == 0
    return Weights(originals, converted)


@dataclass(frozen=True)
class Sample:
    """A sample in a directory of its own: what SPLIT and EMBED left, where COLLECT writes."""

    home: Path
    weights: Weights
    name: str = "S"

    @property
    def shards(self) -> Path:
        return self.home / "shards"

    @property
    def result(self) -> Path:
        return self.home / f"{self.name}.h5"

    def split(self, *files: Path, **options: object) -> int:
        arguments = [f"--{name}={value}" for name, value in options.items()]
        return call("split", *files, "--sample", self.name, "--out-dir", self.home, *arguments)

    @property
    def stats(self) -> Path:
        return self.home / "stats"

    @property
    def residues(self) -> Path:
        return self.home / f"{self.name}.residues.h5"

    def embed(
        self,
        *,
        only: str = "",
        weights: Weights | None = None,
        residues: bool = False,
        **options: object,
    ) -> None:
        self.shards.mkdir(exist_ok=True)
        converted = (weights or self.weights).converted
        arguments = [f"--{name}={value}" for name, value in options.items()]
        for model in MODELS:
            for chunk in sorted((self.home / "chunks" / model.name).glob(f"*{only}{model.suffix}")):
                out = self.shards / f"{chunk.stem}.shard.h5"
                command = ("embed", chunk, "--model", model.name, "--device", "cpu")
                given = ("--weights", converted[model.name], "--out", out)
                told = ("--stats", self.stats / f"{chunk.stem}.stats.json")
                more = ("--residues", out.with_name(f"{chunk.stem}.residues.h5"))
                asked = more if residues and model.item == "protein" else ()
                assert call(*command, *given, *told, *asked, *arguments) == 0

    def collect(self, *, residues: bool = False) -> int:
        cards = [f"--weights={card}" for card in self.weights.cards]
        outputs = ("--out", self.result, "--summary", self.home / f"{self.name}.summary.json")
        proteins = ("--proteins", self.home / f"{self.name}.proteins.faa.gz")
        manifest = ("--manifest", self.home / f"{self.name}.manifest.h5")
        asked = ("--residues", self.residues) if residues else ()
        given = (*manifest, "--shards", self.shards, *cards)
        return call("collect", *given, *outputs, *proteins, *asked)


def datasets(path: Path) -> dict[str, np.ndarray]:
    """Every dataset of a file, by its path."""

    def walk(group: h5py.Group) -> Iterator[tuple[str, np.ndarray]]:
        for item in group.values():
            if isinstance(item, h5py.Dataset):
                yield item.name, item[()]
            else:
                yield from walk(item)

    with h5py.File(path) as file:
        return dict(walk(file))


def assert_same_datasets(one: Path, other: Path) -> None:
    """The two files hold the same datasets, bit for bit."""
    ours, theirs = datasets(one), datasets(other)
    assert ours.keys() == theirs.keys()
    for name, values in ours.items():
        same = np.array_equal(values, theirs[name], equal_nan=np.asarray(values).dtype.kind == "f")
        assert same, name
