"""Results made ahead come in order, and only so many of them."""

from concurrent.futures import Future

import pytest

from virembed.ahead import ahead


def finished(value: object) -> Future[object]:
    future: Future[object] = Future()
    if isinstance(value, Exception):
        future.set_exception(value)
    else:
        future.set_result(value)
    return future


@pytest.mark.parametrize(
    ("number", "begun"), [(0, [1, 2, 3, 4]), (1, [2, 3, 4, 4]), (2, [3, 4, 4, 4])]
)
def test_so_many_are_under_way_while_one_is_used(number: int, begun: list[int]):
    started: list[int] = []

    def start():
        for value in range(4):
            started.append(value)
            yield finished(value)

    seen = [(value, len(started)) for value in ahead(start(), number)]
    assert seen == list(enumerate(begun))


def test_an_error_comes_where_its_result_would_have_been():
    results = ahead(iter([finished(1), finished(ValueError("second")), finished(3)]), 2)
    assert next(results) == 1
    with pytest.raises(ValueError, match="second"):
        next(results)
