"""Packs in the order they are computed, made ahead of the loop that computes them.

texts → blocks → token ids → packs → tokens on the device

Token counts are known only after the tokenizer has run, so packs are planned block by block; what
does not fill the last pack of a block goes into the next. A tokenizer may use all cores: it runs
in a thread of its own, and so does the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch

from virembed.ahead import ahead
from virembed.contracts import Pack, PackedTokens, Tokenizer
from virembed.engine.planner import plan_packs

BLOCK_LETTERS = 4 * 2**20  # dozens of packs
FIRST_BLOCK_LETTERS = 2**18  # the device waits for the first block; later ones are twice as large
BLOCKS_AHEAD = 2
PACKS_AHEAD = 4
FILL_LENGTH = 128  # throw-away sequences are short, their attention costs next to nothing

IdArray = npt.NDArray[np.int64]


def stream_packs(
    texts: Sequence[str],
    *,
    items: IdArray,
    tokenizer: Tokenizer,
    tokens_per_pack: int,
    device: torch.device,
) -> Iterator[tuple[Pack, PackedTokens]]:
    """Every text of `items` (positions in `texts`) in one pack; on the device without waiting."""

    def encode(block: IdArray) -> tuple[IdArray, list[IdArray]]:
        return block, tokenizer.encode([texts[i] for i in block])

    def pack_up(pack: Pack, token_ids: list[IdArray]) -> tuple[Pack, PackedTokens]:
        return pack, to_device(pack_tokens(pack, token_ids, tokenizer.fill_id), device)

    with ThreadPoolExecutor(1) as encoding, ThreadPoolExecutor(1) as packing:
        blocks = (encoding.submit(encode, block) for block in blocks_of(texts, items))
        plan = plan_blocks(ahead(blocks, BLOCKS_AHEAD), tokens_per_pack=tokens_per_pack)
        made = (packing.submit(pack_up, pack, token_ids) for pack, token_ids in plan)
        yield from ahead(made, PACKS_AHEAD)


def blocks_of(texts: Sequence[str], items: IdArray) -> Iterator[IdArray]:
    """Cuts `items` into runs of at most `BLOCK_LETTERS` letters, at first less, or one item."""
    first = letters = 0
    limit = min(FIRST_BLOCK_LETTERS, BLOCK_LETTERS)
    for number, item in enumerate(items):
        letters += len(texts[item])
        if letters > limit and number > first:
            yield items[first:number]
            first, letters = number, len(texts[item])
            limit = min(2 * limit, BLOCK_LETTERS)
    if first < len(items):
        yield items[first:]


def plan_blocks(
    blocks: Iterator[tuple[IdArray, list[IdArray]]], *, tokens_per_pack: int
) -> Iterator[tuple[Pack, list[IdArray]]]:
    """Packs with the token ids of their items. What is left over joins the next block."""
    over_items: IdArray = np.empty(0, np.int64)
    over_ids: list[IdArray] = []
    for block, encoded in blocks:
        items, ids = np.concatenate([over_items, block]), over_ids + encoded
        packs = _plan(ids, tokens_per_pack)
        last = packs.pop()
        for pack in packs:
            yield _renamed(pack, items), [ids[i] for i in pack.items]
        over_items, over_ids = items[last.items], [ids[i] for i in last.items]
    if over_ids:
        for pack in _plan(over_ids, tokens_per_pack):
            yield _renamed(pack, over_items), [over_ids[i] for i in pack.items]


def _plan(token_ids: list[IdArray], tokens_per_pack: int) -> list[Pack]:
    lengths = np.fromiter(map(len, token_ids), dtype=np.int64, count=len(token_ids))
    return plan_packs(lengths, tokens_per_pack=tokens_per_pack)


def _renamed(pack: Pack, items: IdArray) -> Pack:
    return Pack(items[pack.items], pack.lengths, pack.num_tokens)


def pack_tokens(pack: Pack, token_ids: Sequence[IdArray], fill_id: int) -> PackedTokens:
    """Joins the items of a pack and fills it up to its size; fill comes after all items.

    token_ids: of the items of the pack, in its order
    """
    free = pack.num_tokens - int(pack.lengths.sum())
    fill = [FILL_LENGTH] * (free // FILL_LENGTH) + [free % FILL_LENGTH] * (free % FILL_LENGTH > 0)
    lengths = [*pack.lengths.tolist(), *fill]
    ids = np.full(pack.num_tokens, fill_id, dtype=np.int64)
    np.concatenate(token_ids, out=ids[: pack.num_tokens - free])
    cu_seqlens = np.zeros(len(lengths) + 1, dtype=np.int32)
    np.cumsum(lengths, out=cu_seqlens[1:])
    return PackedTokens(torch.from_numpy(ids), torch.from_numpy(cu_seqlens), tuple(lengths))


def to_device(tokens: PackedTokens, device: torch.device) -> PackedTokens:
    """Through pinned memory, so that the copy waits for nothing and nothing waits for it."""
    if device.type != "cuda":
        return tokens

    def copy(tensor: torch.Tensor) -> torch.Tensor:
        # torch keeps the pinned block until the copy is done
        return tensor.pin_memory().to(device, non_blocking=True)

    with torch.cuda.device(device):
        return PackedTokens(copy(tokens.ids), copy(tokens.cu_seqlens), tokens.lengths)


def halved(pack: Pack, tokens: PackedTokens, *, fill_id: int) -> list[tuple[Pack, PackedTokens]]:
    """The items of a pack in packs of half the size, or that of its longest item; [] if it cannot
    get smaller.

    Reads the tokens back from the device: for emergencies.
    """
    ids = np.split(tokens.ids.cpu().numpy(), np.cumsum(pack.lengths))[: len(pack.items)]
    num_tokens = max(pack.num_tokens // 2, int(pack.lengths.max()))
    if num_tokens >= pack.num_tokens:
        return []
    smaller = plan_packs(pack.lengths, tokens_per_pack=num_tokens)
    device = tokens.ids.device
    return [
        (
            _renamed(part, pack.items),
            to_device(pack_tokens(part, [ids[i] for i in part.items], fill_id), device),
        )
        for part in smaller
    ]
