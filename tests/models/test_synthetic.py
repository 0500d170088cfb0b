"""The real sizes (head sizes 16, 24, 32 and 64, 12 heads with ALiBi) with weights from a formula.

VIREMBED_TEST_650M=1 adds ESM-2 650M: half a minute and 6 GB.
"""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from virembed.engine.pooling import mean_pool
from virembed.models.tokenizers import Esm2Tokenizer

from .packs import pack, split, worst
from .synthetic import Synthetic, synthetic_dnaberts, synthetic_esm2

MEAN, HIDDEN = 3e-5, 3e-5


def check(case: Synthetic, sequences: list[torch.Tensor], *, skip: tuple[int, int]) -> None:
    hidden = case.encoder(pack(sequences))
    mean = mean_pool(hidden, pack(sequences), skip=skip)
    assert worst(mean, case.golden["mean"]) < MEAN
    (name,) = (name for name in case.golden if name.startswith("rows_of_sequence"))
    number = int(name.rsplit("_", 1)[1])
    length = len(sequences[number])
    offset = sum(len(ids) for ids in sequences[:number])
    rows = hidden[[offset, offset + length // 2, offset + length - 1]]
    assert worst(rows, case.golden[name]) < HIDDEN


def test_dnaberts_at_its_real_size() -> None:
    case = synthetic_dnaberts()
    assert np.array_equal(case.check, case.golden["weights_check"].numpy())
    check(case, split(case.golden["ids"], case.golden["offsets"]), skip=(0, 0))


@pytest.mark.parametrize(
    "size",
    [
        "8M",
        "35M",
        "150M",
        pytest.param(
            "650M",
            marks=pytest.mark.skipif(
                "VIREMBED_TEST_650M" not in os.environ, reason="set VIREMBED_TEST_650M=1"
            ),
        ),
    ],
)
def test_esm2_at_its_real_sizes(size: str) -> None:
    case = synthetic_esm2(size)
    assert np.array_equal(case.check, case.golden["weights_check"].numpy())
    encoded = Esm2Tokenizer().encode(case.facts["sequences"])
    check(case, [torch.from_numpy(ids) for ids in encoded], skip=(1, 1))
