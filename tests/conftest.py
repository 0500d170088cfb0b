from __future__ import annotations

import os

# Tests run side by side and their models are tiny: threads would only wait for each other. Before
# torch is imported anywhere, and for the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from .steps import Weights, make_weights


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    """Random models, made and converted once."""
    return make_weights(tmp_path_factory.mktemp("tiny_weights"))
