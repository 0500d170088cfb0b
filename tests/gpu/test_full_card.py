"""A card that another program has filled: packs are halved, and what is too long is named.

Takes all memory of the GPU, so nothing else may run on it: only where VIREMBED_TEST_FULL_CARD is 1.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.steps import Weights
from virembed.items import item_key
from virembed.shards import open_shard

LEFT = 1400 * 2**20  # with a CUDA context and its kernels inside
pytestmark = pytest.mark.skipif(
    os.environ.get("VIREMBED_TEST_FULL_CARD") != "1", reason="set VIREMBED_TEST_FULL_CARD=1"
)


def write_chunk(path: Path, lengths: list[int]) -> list[str]:
    """Proteins of random residues; returns their keys."""
    letters = np.frombuffer(b"ACDEFGHIKLMNPQRSTVWY", np.uint8)
    generator = np.random.default_rng(0)
    texts = [generator.choice(letters, length).tobytes() for length in lengths]
    keys = [item_key(text).hex() for text in texts]
    records = (f">{key}\n{text.decode()}\n" for key, text in zip(keys, texts, strict=True))
    path.write_text("".join(records))
    return keys


def embed(chunk: Path, weights: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "virembed", "embed", str(chunk), "--model=esm2"]
    rest = [f"--weights={weights}", f"--out={chunk}.shard.h5", "--device=cuda", *options]
    return subprocess.run([*command, *rest], capture_output=True, text=True, check=False)


def vectors_of(chunk: Path) -> np.ndarray:
    with open_shard(Path(f"{chunk}.shard.h5")) as shard:
        return shard.vectors.all().astype("f4")


@pytest.fixture
def full_card(cuda: torch.device) -> Iterator[None]:
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info(cuda)
    hog = torch.empty(free - LEFT, dtype=torch.uint8, device=cuda)
    yield
    del hog
    torch.cuda.empty_cache()


@pytest.fixture
def many(tmp_path: Path, cuda: torch.device, tiny_weights: Weights) -> tuple[Path, np.ndarray]:
    """A chunk that fills large packs, and its vectors on the card as it was."""
    chunk = tmp_path / "many.faa"
    write_chunk(chunk, [200 + number % 300 for number in range(6000)])
    done = embed(chunk, tiny_weights.converted["esm2"])
    assert done.returncode == 0, done.stderr
    return chunk, vectors_of(chunk)


def test_packs_are_halved(many, full_card, tiny_weights) -> None:
    chunk, expected = many
    pack = "--tokens-per-pack=2097152"
    done = embed(chunk, tiny_weights.converted["esm2"], pack)
    assert done.returncode == 0, done.stderr
    with open_shard(Path(f"{chunk}.shard.h5")) as shard:
        assert shard.origin.num_halvings > 0
    assert np.abs(vectors_of(chunk) - expected).max() < 4e-3


def test_a_sequence_that_is_too_long_is_named(tmp_path, full_card, tiny_weights) -> None:
    chunk = tmp_path / "long.faa"
    *_, key = write_chunk(chunk, [100, 2_500_000])
    done = embed(chunk, tiny_weights.converted["esm2"])
    assert done.returncode == 6
    assert f"sequence {key} with its 2,500,002 tokens" in done.stderr
    fits = int(done.stderr.split("one of ")[1].split()[0].replace(",", ""))
    assert 10_000 < fits < 2_500_002
    assert not Path(f"{chunk}.shard.h5").exists()
    print(done.stderr)
