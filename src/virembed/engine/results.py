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


@dataclass(frozen=True, slots=True)
class Fetched:
    """vectors: float16 [B, D]; finite: bool [B], of each vector."""

    pack: Pack
    vectors: npt.NDArray[np.float16]
    finite: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _InFlight:
    pack: Pack
    vectors: torch.Tensor
    finite: torch.Tensor
    arrived: torch.cuda.Event | None


class Fetcher:
    """Takes pooled vectors on the device, hands them out on the host, in the same order.

    Rounds to float16 and looks for what is not finite on the device; copies into pinned memory.
    """

    def __init__(self) -> None:
        self._in_flight: deque[_InFlight] = deque()

    def add(self, pack: Pack, pooled: torch.Tensor) -> Iterator[Fetched]:
        """pooled: fp32 [B, D]. Yields what has arrived; waits only when too much is under way."""
        vectors = pooled.to(torch.float16)
        finite = vectors.isfinite().all(dim=1)
        if vectors.is_cuda:
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            vectors, finite = _to_pinned(vectors), _to_pinned(finite)
            event.record()
            self._in_flight.append(_InFlight(pack, vectors, finite, event))
        else:
            self._in_flight.append(_InFlight(pack, vectors, finite, None))
        while self._in_flight and (self._has_arrived() or len(self._in_flight) > PACKS_IN_FLIGHT):
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
        return Fetched(oldest.pack, oldest.vectors.numpy(), oldest.finite.numpy())


def _to_pinned(tensor: torch.Tensor) -> torch.Tensor:
    pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return pinned.copy_(tensor, non_blocking=True)
