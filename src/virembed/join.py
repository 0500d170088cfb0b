"""Which shard holds which item: manifest and shards proven to belong together, joined by key."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from virembed.errors import IncompleteError
from virembed.layout import MODELS, ModelSlot, chunk_name
from virembed.manifest import Manifest
from virembed.shards import Shard, differing_fields
from virembed.weights_info import WeightsInfo


@dataclass(frozen=True, slots=True)
class ItemVectors:
    """The vectors of all items of a model, over its shards.

    starts: int64 [chunks + 1], first item of each chunk
    wider:  bool [items], which took products of a wider range than the rest
    """

    starts: npt.NDArray[np.int64]
    wider: npt.NDArray[np.bool_]
    shards: list[Shard]
    dim: int

    def gather(self, items: npt.NDArray[np.int64]) -> npt.NDArray[np.float16]:
        """float16 [items, D], in the order asked for."""
        out = np.empty((len(items), self.dim), dtype=np.float16)
        chunk = np.searchsorted(self.starts, items, side="right") - 1
        for number in np.unique(chunk).tolist():
            here = chunk == number
            out[here] = self.shards[number].vectors.take(items[here] - self.starts[number])
        return out


def join_shards(
    manifest: Manifest, shards: Sequence[Shard], cards: Mapping[str, WeightsInfo]
) -> dict[str, ItemVectors]:
    """The vectors of each model.

    Raises:
        IncompleteError: names every shard that is missing, doubled, foreign, altered, not finite,
            or made with other weights, precision or pooling than the rest.
    """
    problems: list[str] = []
    by_chunk: defaultdict[str, list[Shard]] = defaultdict(list)
    for shard in shards:
        by_chunk[shard.origin.chunk].append(shard)
    vectors: dict[str, ItemVectors] = {}
    for model in MODELS:
        starts = manifest.chunk_starts(model.name)
        ordered: list[Shard] = []
        for number, items in enumerate(pairwise(starts.tolist())):
            name = chunk_name(manifest.sample, model.name, number)
            candidates = by_chunk.pop(name, [])
            if len(candidates) == 1:
                ordered += candidates
                problems += _content_problems(candidates[0], manifest, model, items)
            else:
                problems.append(_count_problem(name, candidates))
        problems += _identity_problems(ordered, cards[model.name])
        flags = np.concatenate([np.empty(0, np.uint8), *(shard.flags for shard in ordered)])
        vectors[model.name] = ItemVectors(starts, flags > 0, ordered, cards[model.name].dim)
    problems += [f"{name}: belongs to another sample or run" for name in by_chunk]
    if problems:
        raise IncompleteError(
            f"sample '{manifest.sample}', shards: {'; '.join(problems)}",
            "Embed what is named here again, then collect.",
        )
    return vectors


def _count_problem(name: str, candidates: list[Shard]) -> str:
    if not candidates:
        return f"{name} is missing"
    return f"{name} is there {len(candidates)} times ({', '.join(c.path.name for c in candidates)})"


def _content_problems(
    shard: Shard, manifest: Manifest, model: ModelSlot, items: tuple[int, int]
) -> Iterator[str]:
    if not np.array_equal(shard.keys, manifest.item_keys(model.name, *items)):
        yield f"{shard.path.name}: its keys are not those of the manifest"
    elif shard.vectors.shape != (len(shard.keys), shard.identity.dim):
        yield f"{shard.path.name}: {len(shard.vectors)} vectors for {len(shard.keys)} keys"
    if not all(np.isfinite(block).all() for block in shard.vectors.blocks()):
        yield f"{shard.path.name}: a vector is not finite"


def _identity_problems(shards: list[Shard], card: WeightsInfo) -> Iterator[str]:
    for shard in shards:
        if shard.identity.model != card.model:
            yield f"{shard.path.name}: made with {shard.identity.model}, not {card.model}"
        elif shard.identity.weights_sha256 != card.sha256 or shard.identity.dim != card.dim:
            yield f"{shard.path.name}: made with other weights than {card.name}"
        elif differences := differing_fields(shard.identity, shards[0].identity):
            yield f"{shard.path.name} differs from {shards[0].path.name}: {', '.join(differences)}"
