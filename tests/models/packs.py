"""Packs, goldens and encoders for the tests of the models."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from virembed.contracts import PackedTokens
from virembed.models.convert import convert
from virembed.models.registry import LoadedEncoder, load_encoder

GOLDEN = Path(__file__).parents[1] / "golden"
CPU = torch.device("cpu")

# golden directory: source of the weights, model, tensor that holds the token ids
CASES = {
    "esm2-tiny": ("esm2-tiny/esm2_t4_tiny.pt", "esm2", "tokens"),
    "dnaberts-tiny": ("dnaberts-tiny", "dnaberts", "ids"),
    "dnaberts-tiny-h12": ("dnaberts-tiny-h12", "dnaberts", "ids"),
}


def pack(sequences: Sequence[torch.Tensor]) -> PackedTokens:
    lengths = tuple(len(ids) for ids in sequences)
    cu_seqlens = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32)
    return PackedTokens(torch.cat(list(sequences)).long(), cu_seqlens, lengths)


def split(ragged: torch.Tensor, offsets: torch.Tensor) -> list[torch.Tensor]:
    return [ragged[start:end] for start, end in pairwise(offsets.tolist())]


def worst(ours: torch.Tensor, golden: torch.Tensor) -> float:
    """Largest difference. NaN, the mean of nothing, has to be at the same places."""
    assert ours.shape == golden.shape
    assert torch.equal(ours.isnan(), golden.isnan())
    return (ours.double() - golden.double()).nan_to_num().abs().max().item()


@dataclass(frozen=True)
class Case:
    """A converted model with its golden tensors and facts."""

    weights: Path
    loaded: LoadedEncoder
    tensors: dict[str, torch.Tensor]
    facts: dict[str, Any]
    sequences: list[torch.Tensor]

    def hidden(self, sequences: Sequence[torch.Tensor]) -> torch.Tensor:
        return self.loaded.encoder(pack(sequences))


def load(weights: Path, *, model: str, dtype: torch.dtype = torch.float32) -> LoadedEncoder:
    return load_encoder(weights, model=model, device=CPU, dtype=dtype, attention="auto")


def open_case(name: str, *, tmp: Path) -> Case:
    """Converts and loads the tiny model `name`, a key of `CASES`."""
    source, model, ids = CASES[name]
    convert(GOLDEN / source, model=model, out=tmp / name)
    tensors = load_file(GOLDEN / name / "golden.safetensors")
    facts = json.loads((GOLDEN / name / "golden.json").read_text())
    sequences = split(tensors[ids], tensors["offsets"])
    return Case(tmp / name, load(tmp / name, model=model), tensors, facts, sequences)
