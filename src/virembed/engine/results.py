"""Vectors on their way from the device to the result, without stalling the device."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from virembed.contracts import Pack

PACKS_IN_FLIGHT = 8  # the host runs at most this far ahead of the device
LARGE_PACKS_IN_FLIGHT = 3  # the same with residues, which take megabytes of pinned memory each


@dataclass(frozen=True, slots=True)
class Pooled:
    """What the device made of a pack.

    vectors:  fp32 [B, D]
    residues: float16 [R, D] of all items, and bool [B], whether those of an item are finite; None
              where nobody asked for them
    """

    vectors: torch.Tensor
    residues: tuple[torch.Tensor, torch.Tensor] | None = None


@dataclass(frozen=True, slots=True)
class Fetched:
    """vectors: float16 [B, D]; finite: bool [B], of each item; residues: float16 [R, D], if any."""

    pack: Pack
    vectors: npt.NDArray[np.float16]
    finite: npt.NDArray[np.bool_]
    residues: npt.NDArray[np.float16] | None


@dataclass(frozen=True, slots=True)
class _InFlight:
    pack: Pack
    vectors: torch.Tensor
    finite: torch.Tensor
    residues: torch.Tensor | None
    arrived: torch.cuda.Event | None


class Fetcher:
    """Takes pooled vectors on the device, hands them out on the host, in the same order.

    Rounds to float16 and looks for what is not finite on the device; copies into pinned memory.
    """

    def __init__(self) -> None:
        self._in_flight: deque[_InFlight] = deque()

    def add(self, pack: Pack, pooled: Pooled) -> Iterator[Fetched]:
        """Yields what has arrived; waits only when too much is under way."""
        vectors, residues = pooled.vectors.to(torch.float16), None
        finite = vectors.isfinite().all(dim=1)
        if pooled.residues:
            residues = pooled.residues[0]
            finite &= pooled.residues[1]
        event = None
        if vectors.is_cuda:
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            vectors, finite = _to_pinned(vectors), _to_pinned(finite)
            residues = None if residues is None else _to_pinned(residues)
            event.record()
        self._in_flight.append(_InFlight(pack, vectors, finite, residues, event))
        most = PACKS_IN_FLIGHT if residues is None else LARGE_PACKS_IN_FLIGHT
        while self._in_flight and (self._has_arrived() or len(self._in_flight) > most):
            yield self._take()

    def rest(self) -> Iterator[Fetched]:
        """Waits for all that is under way."""
        while self._in_flight:
            yield self._take()

    def _has_arrived(self) -> bool:
        arrived = self._in_flight[0].arrived
        return arrived is None or bool(arrived.query())  # type: ignore[no-untyped-call]

    def _take(self) -> Fetched:
        oldest = self._in_flight.popleft()
        if oldest.arrived is not None:
            oldest.arrived.synchronize()
        residues = None if oldest.residues is None else oldest.residues.numpy()
        return Fetched(oldest.pack, oldest.vectors.numpy(), oldest.finite.numpy(), residues)


def _to_pinned(tensor: torch.Tensor) -> torch.Tensor:
    pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return pinned.copy_(tensor, non_blocking=True)
