"""Tests of what runs on GPUs only. TRITON_INTERPRET=1 runs the kernels, slowly, without one."""

from __future__ import annotations

import os

import pytest
import torch

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1" and not torch.cuda.is_available()


@pytest.fixture(scope="session")
def device() -> torch.device:
    """Where Triton kernels run."""
    if torch.cuda.is_available():
        return torch.device("cuda:0")
    if INTERPRETED:
        return torch.device("cpu")
    pytest.skip("needs a GPU")


@pytest.fixture(scope="session")
def cuda() -> torch.device:
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    return torch.device("cuda:0")
