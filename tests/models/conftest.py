from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from .packs import CASES, Case, open_case


@pytest.fixture(scope="session")
def case_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Case]:
    """A tiny model by the name of its golden directory, converted once."""
    tmp = tmp_path_factory.mktemp("weights")
    return cache(lambda name: open_case(name, tmp=tmp))


@pytest.fixture
def esm2_tiny(case_of: Callable[[str], Case]) -> Case:
    return case_of("esm2-tiny")


@pytest.fixture(params=["dnaberts-tiny", "dnaberts-tiny-h12"])
def dnaberts_tiny(request: pytest.FixtureRequest, case_of: Callable[[str], Case]) -> Case:
    return case_of(request.param)


@pytest.fixture(params=sorted(CASES))
def any_tiny(request: pytest.FixtureRequest, case_of: Callable[[str], Case]) -> Case:
    return case_of(request.param)
