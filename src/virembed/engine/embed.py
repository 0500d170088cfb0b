"""The loop: plan, prefetch, forward, pool, hand over.

Knows tokenizer and encoder as protocols; knows no model by name, no file format.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from virembed.contracts import Encoder, Pack, PackedTokens, Tokenizer
from virembed.engine.pooling import mean_pool, residue_states
from virembed.engine.results import Fetched, Fetcher, Pooled
from virembed.engine.stream import halved, stream_packs
from virembed.errors import IncompleteError, MemoryLimitError

Progress = Callable[[int, int], None]  # items done, tokens done
# Some items (int64 [B]), how many residues each has (int64 [B]), those residues (float16 [R, D])
TakeResidues = Callable[
    [npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float16]], None
]


@dataclass(frozen=True, slots=True)
class Embeddings:
    """What the loop hands over, in the order of the items given.

    vectors:      float16 [items, D]
    num_tokens:   int64 [items], special tokens included
    flags:        uint8 [items]: 0, or the number of the retry (from 1) whose precision it took
    num_packs:    forward passes
    num_halvings: how often a pack did not fit into the memory
    fill_tokens:  throw-away tokens among them
    first_s, loop_s: seconds until the first pack was ready, and from there to the last vector
    """

    vectors: npt.NDArray[np.float16]
    num_tokens: npt.NDArray[np.int64]
    flags: npt.NDArray[np.uint8]
    num_packs: int
    num_halvings: int
    fill_tokens: int
    first_s: float
    loop_s: float


def embed_items(  # noqa: PLR0913  its options are given by name
    texts: Sequence[str],
    *,
    encoder: Encoder,
    tokenizer: Tokenizer,
    device: torch.device,
    tokens_per_pack: int,
    progress: Progress | None = None,
    retries: Sequence[Callable[[], Encoder]] = (),
    name_of: Callable[[int], str] | None = None,
    residues: TakeResidues | None = None,
) -> Embeddings:
    """The mean vector of every text.

    name_of:  what a message calls the text at a position; "number 3 of 7" by default
    residues: takes the hidden states that a mean is over, each item once, in the order they are
              computed; the loop waits where it does

    What comes out not finite (half precision ends at 65504) is embedded again by the encoders of
    `retries`, one after the other: the same model with products of a wider range, made only when
    they are needed. Other items keep their vectors, so no vector depends on its neighbours.

    Raises:
        IncompleteError: a vector is not finite with the last encoder either, or too large for
            float16.
        MemoryLimitError: an item does not fit into the memory of the device even alone.
    """
    name_of = name_of or (lambda item: f"number {item + 1} of {len(texts)}")
    tell = progress or (lambda *_: None)
    loop = Loop(len(texts), encoder.dim, tokenizer, device, tell, name_of, residues)
    items = np.arange(len(texts))
    for number, make in enumerate([lambda: encoder, *retries]):
        if items.size == 0:
            break
        loop.flags[items] = number
        loop.run(texts, items, encoder=make(), tokens_per_pack=tokens_per_pack)
        items = np.flatnonzero(~loop.finite)
    if items.size:
        raise IncompleteError(
            f"the model gave a vector that is not finite, or too large for float16, for "
            f"{items.size} sequences, the first is {name_of(int(items[0]))}",
            "Check the weights with `virembed weights list`.",
        )
    return loop.embeddings()


def current(device: torch.device) -> AbstractContextManager[object]:
    """Triton launches its kernels on the current device, wherever their tensors are."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def says_out_of_memory(error: RuntimeError) -> bool:
    """torch's own, or that of a library below it that found nothing left to start with."""
    words = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError) or any(word in str(error) for word in words)


@dataclass
class Loop:
    """One pass over items after another, into the same arrays."""

    num_items: int
    dim: int
    tokenizer: Tokenizer
    device: torch.device
    progress: Progress
    name_of: Callable[[int], str]
    residues: TakeResidues | None = None
    num_packs: int = 0
    num_halvings: int = 0
    tokens_computed: int = 0
    tokens_used: int = 0
    items_done: int = 0
    first_s: float = 0.0
    loop_s: float = 0.0
    fitting: float = float("inf")  # tokens of a pack that may fit, as far as is known
    vectors: npt.NDArray[np.float16] = field(init=False)

    def __post_init__(self) -> None:
        self.vectors = np.zeros((self.num_items, self.dim), np.float16)
        self.num_tokens = np.zeros(self.num_items, np.int64)
        self.flags = np.zeros(self.num_items, np.uint8)
        self.finite = np.zeros(self.num_items, np.bool_)

    def run(
        self,
        texts: Sequence[str],
        items: npt.NDArray[np.int64],
        *,
        encoder: Encoder,
        tokens_per_pack: int,
    ) -> None:
        begin = ready = time.perf_counter()
        fetcher, skip = Fetcher(), encoder.pool_skip
        packs = stream_packs(
            texts,
            items=items,
            tokenizer=self.tokenizer,
            tokens_per_pack=tokens_per_pack,
            device=self.device,
        )
        with torch.inference_mode(), current(self.device):
            for number, (pack, tokens) in enumerate(packs):
                if number == 0:
                    ready = time.perf_counter()
                for part, pooled in self._forward(pack, tokens, encoder):
                    self._store(fetcher.add(part, pooled), skip)
            self._store(fetcher.rest(), skip)
        self.first_s += ready - begin
        self.loop_s += time.perf_counter() - ready

    def _forward(
        self, pack: Pack, tokens: PackedTokens, encoder: Encoder
    ) -> Iterator[tuple[Pack, Pooled]]:
        """What comes of the pack; of its halves where it does not fit."""
        too_large = pack.num_tokens > max(self.fitting, int(pack.lengths.max()))
        pooled = None if too_large else self._try(pack, tokens, encoder)
        if pooled is not None:
            self.num_packs += 1
            self.tokens_computed += pack.num_tokens
            yield pack, pooled
            return
        parts = halved(pack, tokens, fill_id=self.tokenizer.fill_id)
        if not parts:
            raise self._too_long(pack, encoder)
        for part, part_tokens in parts:
            yield from self._forward(part, part_tokens, encoder)

    def _try(self, pack: Pack, tokens: PackedTokens, encoder: Encoder) -> Pooled | None:
        """None if the memory does not suffice."""
        pooled = self._pooled(tokens, encoder, len(pack.items))
        if pooled is not None:
            return pooled
        self.num_halvings += 1
        if len(pack.items) > 1:  # says little about packs of many where one item is too long
            self.fitting = min(self.fitting, pack.num_tokens // 2)
        return None

    def _pooled(self, tokens: PackedTokens, encoder: Encoder, num_items: int) -> Pooled | None:
        try:
            return self._outcome(tokens, encoder, num_items)
        except RuntimeError as error:
            if not says_out_of_memory(error):
                raise
        # outside of the handler: the error keeps the tensors of the forward pass alive
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _outcome(self, tokens: PackedTokens, encoder: Encoder, num_items: int) -> Pooled:
        """Of the first sequences; the others are fill."""
        hidden, skip = encoder(tokens), encoder.pool_skip
        vectors = mean_pool(hidden, tokens, skip=skip)[:num_items]
        if self.residues is None:
            return Pooled(vectors)
        return Pooled(vectors, residue_states(hidden, tokens, skip=skip, num_sequences=num_items))

    def _too_long(self, pack: Pack, encoder: Encoder) -> MemoryLimitError:
        length = int(pack.lengths[0])
        return MemoryLimitError(
            f"sequence {self.name_of(int(pack.items[0]))} with its {length:,} tokens does not fit "
            f"into the memory of {self.device}, not even alone; "
            f"one of {self._longest_fitting(encoder, length):,} does",
            "Use a device with more memory, or cut the sequence into windows.",
        )

    def _longest_fitting(self, encoder: Encoder, too_long: int) -> int:
        """Tokens of a sequence that fits alone, within an eighth of one that does not: tried."""
        fits = 0
        while too_long - fits > too_long // 8 + 1:
            length = (fits + too_long) // 2
            ids = torch.full((length,), self.tokenizer.fill_id, device=self.device)
            bounds = torch.tensor([0, length], dtype=torch.int32, device=self.device)
            if self._pooled(PackedTokens(ids, bounds, (length,)), encoder, 1) is None:
                too_long = length
            else:
                fits = length
        return fits

    def _store(self, fetched: Iterator[Fetched], skip: tuple[int, int]) -> None:
        for part in fetched:
            pack = part.pack
            self.vectors[pack.items] = part.vectors
            self.finite[pack.items] = part.finite
            self.num_tokens[pack.items] = pack.lengths
            self.tokens_used += int(pack.lengths.sum())
            self.items_done += int(part.finite.sum())
            if self.residues and part.residues is not None:
                numbers = np.maximum(pack.lengths - sum(skip), 0)
                # those of an item that is embedded again come with the retry
                whole = part.finite.all()
                rows = part.residues if whole else part.residues[np.repeat(part.finite, numbers)]
                self.residues(pack.items[part.finite], numbers[part.finite], rows)
            self.progress(self.items_done, self.tokens_used)

    def embeddings(self) -> Embeddings:
        return Embeddings(
            self.vectors,
            self.num_tokens,
            self.flags,
            num_packs=self.num_packs,
            num_halvings=self.num_halvings,
            fill_tokens=self.tokens_computed - self.tokens_used,
            first_s=self.first_s,
            loop_s=self.loop_s,
        )
