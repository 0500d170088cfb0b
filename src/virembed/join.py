"""Which shard holds which item: manifest and shards proven to belong together, joined by key."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from virembed.ahead import ahead
from virembed.errors import IncompleteError
from virembed.layout import MODELS, chunk_name
from virembed.manifest import Manifest
from virembed.shards import Shard, differing_fields, open_shard
from virembed.weights_info import WeightsInfo

SHARDS_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class ItemVectors:
    """The vectors of all items of a model, over its shards.

    starts:     int64 [chunks + 1], first item of each chunk
    wider:      bool [items], which took products of a wider range than the rest
    num_tokens: of all items
    """

    starts: npt.NDArray[np.int64]
    wider: npt.NDArray[np.bool_]
    num_tokens: int
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

    def path_of(self, item: int) -> Path:
        """The shard that holds an item."""
        return self.shards[int(np.searchsorted(self.starts, item, side="right")) - 1].path


def join_shards(
    manifest: Manifest, paths: Iterable[Path], cards: Mapping[str, WeightsInfo]
) -> dict[str, ItemVectors]:
    """The vectors of each model. A few shards are open at a time.

    Raises:
        IncompleteError: a shard is damaged; otherwise names every shard that is missing, doubled,
            foreign, or made with other weights, precision or pooling than the rest. The vectors
            themselves are compared with their seals when they are gathered.
    """
    chunks = _chunks(manifest)
    found: defaultdict[str, list[Shard]] = defaultdict(list)
    wider = {model.name: np.zeros(manifest.num_items(model.name), bool) for model in MODELS}
    num_tokens: Counter[str] = Counter()
    problems: list[str] = []
    with ThreadPoolExecutor(SHARDS_AT_ONCE) as pool:
        reading = (pool.submit(_read, path, manifest, chunks) for path in paths)
        for read in ahead(reading, SHARDS_AT_ONCE):
            found[read.shard.origin.chunk].append(read.shard)
            problems += read.problems
            if chunk := read.chunk:
                wider[chunk.model][chunk.first : chunk.stop] = read.wider
                num_tokens[chunk.model] += read.num_tokens
    vectors: dict[str, ItemVectors] = {}
    for model in MODELS:
        names = [name for name, chunk in chunks.items() if chunk.model == model.name]
        problems += [_count_problem(name, found[name]) for name in names if len(found[name]) != 1]
        ordered = [shard for name in names for shard in found[name]]
        card = cards[model.name]
        problems += _identity_problems(ordered, card)
        starts = manifest.chunk_starts(model.name)
        vectors[model.name] = ItemVectors(
            starts, wider[model.name], num_tokens[model.name], ordered, card.dim
        )
    if problems:
        raise wrong_shards(manifest, problems)
    return vectors


def wrong_shards(manifest: Manifest, problems: list[str]) -> IncompleteError:
    """What to raise for shards that cannot be collected; each problem names one."""
    return IncompleteError(
        f"sample '{manifest.sample}', shards: {'; '.join(problems)}",
        "Embed what is named here again, then collect.",
    )


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Some items of a model, from `first` to before `stop`."""

    model: str
    first: int
    stop: int


@dataclass(frozen=True, slots=True)
class _Read:
    """A shard and what is wrong with it; if nothing is, its chunk, and of its items what
    `ItemVectors` says of all."""

    shard: Shard
    problems: list[str]
    chunk: _Chunk | None = None
    wider: npt.NDArray[np.bool_] | None = None
    num_tokens: int = 0


def _read(path: Path, manifest: Manifest, chunks: Mapping[str, _Chunk]) -> _Read:
    with open_shard(path) as shard:
        chunk = chunks.get(shard.origin.chunk)
        if not chunk:
            return _Read(shard, [f"{shard.origin.chunk}: belongs to another sample or run"])
        if problems := list(_content_problems(shard, manifest, chunk)):
            return _Read(shard, problems)
        return _Read(shard, [], chunk, shard.flags > 0, int(shard.num_tokens.sum()))


def _chunks(manifest: Manifest) -> dict[str, _Chunk]:
    """The chunks a sample was cut into, by name, in order."""
    return {
        chunk_name(manifest.sample, model.name, number): _Chunk(model.name, *items)
        for model in MODELS
        for number, items in enumerate(pairwise(manifest.chunk_starts(model.name).tolist()))
    }


def _count_problem(name: str, candidates: list[Shard]) -> str:
    if not candidates:
        return f"{name} is missing"
    return f"{name} is there {len(candidates)} times ({', '.join(c.path.name for c in candidates)})"


def _content_problems(shard: Shard, manifest: Manifest, chunk: _Chunk) -> Iterator[str]:
    num_items = chunk.stop - chunk.first
    if not np.array_equal(shard.keys, manifest.item_keys(chunk.model, chunk.first, chunk.stop)):
        yield f"{shard.path.name}: its keys are not those of the manifest"
    elif shard.vectors.shape != (num_items, shard.identity.dim):
        yield f"{shard.path.name}: {len(shard.vectors)} vectors for {num_items} keys"


def _identity_problems(shards: list[Shard], card: WeightsInfo) -> Iterator[str]:
    for shard in shards:
        if shard.identity.model != card.model:
            yield f"{shard.path.name}: made with {shard.identity.model}, not {card.model}"
        elif shard.identity.weights_sha256 != card.sha256 or shard.identity.dim != card.dim:
            yield f"{shard.path.name}: made with other weights than {card.name}"
        elif differences := differing_fields(shard.identity, shards[0].identity):
            yield f"{shard.path.name} differs from {shards[0].path.name}: {', '.join(differences)}"
