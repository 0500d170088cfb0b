"""Results of threads, in order, made ahead of who uses them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from typing import TypeVar

Item = TypeVar("Item")


def ahead(futures: Iterable[Future[Item]], number: int) -> Iterator[Item]:
    """Results in order, `number` of them under way while one is used."""
    waiting: deque[Future[Item]] = deque()
    for future in futures:
        waiting.append(future)
        if len(waiting) > number:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
