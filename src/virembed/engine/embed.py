"""The loop: plan, prefetch, forward, pool, hand over.

Knows tokenizer and encoder as protocols; knows no model by name, no file format.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from virembed.contracts import Encoder, Pack, PackedTokens, Tokenizer
from virembed.engine.planner import plan_packs
from virembed.engine.pooling import mean_pool
from virembed.errors import IncompleteError

PACKS_AHEAD = 4
FILL_LENGTH = 128  # throw-away sequences are short, their attention costs next to nothing

Progress = Callable[[int, int], None]  # items done, tokens done


@dataclass(frozen=True, slots=True)
class Embeddings:
    """What the loop hands over, in the order of the items given.

    vectors:     float16 [items, D]
    num_tokens:  int64 [items], special tokens included
    num_packs:   forward passes
    fill_tokens: throw-away tokens among them
    tokenize_s, loop_s: seconds spent before the first and in all forward passes
    """

    vectors: npt.NDArray[np.float16]
    num_tokens: npt.NDArray[np.int64]
    num_packs: int
    fill_tokens: int
    tokenize_s: float
    loop_s: float


def embed_items(
    texts: Sequence[str],
    *,
    encoder: Encoder,
    tokenizer: Tokenizer,
    device: torch.device,
    tokens_per_pack: int,
    progress: Progress | None = None,
) -> Embeddings:
    """The mean vector of every text.

    Raises:
        IncompleteError: a vector is not finite, or too large for float16.
    """
    begin = time.perf_counter()
    token_ids = tokenizer.encode(texts)
    num_tokens = np.fromiter(map(len, token_ids), dtype=np.int64, count=len(token_ids))
    packs = plan_packs(num_tokens, tokens_per_pack=tokens_per_pack)
    vectors = np.zeros((len(texts), encoder.dim), dtype=np.float16)

    tokenized = time.perf_counter()
    items_done = tokens_done = 0
    with torch.inference_mode():
        for pack, tokens in _prefetch(packs, token_ids, tokenizer.fill_id, device):
            hidden = encoder(tokens)
            pooled = mean_pool(hidden, tokens, skip=encoder.pool_skip)[: len(pack.items)]
            vectors[pack.items] = _finite(pooled).numpy()
            items_done += len(pack.items)
            tokens_done += int(pack.lengths.sum())
            if progress:
                progress(items_done, tokens_done)
    done = time.perf_counter()
    return Embeddings(
        vectors,
        num_tokens,
        num_packs=len(packs),
        fill_tokens=sum(pack.num_tokens for pack in packs) - tokens_done,
        tokenize_s=tokenized - begin,
        loop_s=done - tokenized,
    )


def pack_tokens(
    pack: Pack, token_ids: Sequence[npt.NDArray[np.int64]], fill_id: int
) -> PackedTokens:
    """Joins the items of a pack and fills it up to its size; fill comes after all items."""
    free = pack.num_tokens - int(pack.lengths.sum())
    fill = [FILL_LENGTH] * (free // FILL_LENGTH) + [free % FILL_LENGTH] * (free % FILL_LENGTH > 0)
    lengths = [*pack.lengths.tolist(), *fill]
    ids = np.full(pack.num_tokens, fill_id, dtype=np.int64)
    np.concatenate([token_ids[i] for i in pack.items], out=ids[: pack.num_tokens - free])
    cu_seqlens = np.zeros(len(lengths) + 1, dtype=np.int32)
    np.cumsum(lengths, out=cu_seqlens[1:])
    return PackedTokens(torch.from_numpy(ids), torch.from_numpy(cu_seqlens), tuple(lengths))


def _prefetch(
    packs: list[Pack],
    token_ids: Sequence[npt.NDArray[np.int64]],
    fill_id: int,
    device: torch.device,
) -> Iterator[tuple[Pack, PackedTokens]]:
    """Packs and their tokens on the device; the next few are made while one is computed."""

    def make(pack: Pack) -> PackedTokens:
        tokens = pack_tokens(pack, token_ids, fill_id)
        return PackedTokens(tokens.ids.to(device), tokens.cu_seqlens.to(device), tokens.lengths)

    with ThreadPoolExecutor(1) as pool:
        ahead = [pool.submit(make, pack) for pack in packs[:PACKS_AHEAD]]
        for number, pack in enumerate(packs):
            tokens = ahead.pop(0).result()
            if number + PACKS_AHEAD < len(packs):
                ahead.append(pool.submit(make, packs[number + PACKS_AHEAD]))
            yield pack, tokens


def _finite(pooled: torch.Tensor) -> torch.Tensor:
    """float16 on the CPU, proven finite."""
    stored = pooled.to(torch.float16)
    if not bool(stored.isfinite().all()):
        raise IncompleteError(
            "the model gave a vector that is not finite, or too large for float16",
            "Check the weights with `virembed weights list`.",
        )
    return stored.cpu()
