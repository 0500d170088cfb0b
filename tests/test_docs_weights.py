"""The commands of docs/weights.md, run as they stand there."""

from __future__ import annotations

import gzip
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.documents import ROOT, commands_of, run
from tests.hub_server import Hub, serve
from tests.models.packs import GOLDEN
from tests.steps import DEMO, Weights
from virembed.models.store import entries
from virembed.weights_info import PUBLISHED

DOCUMENT = (ROOT / "docs/weights.md").read_text()
ESM2, DNABERTS = "esm2_t33_650M_UR50D", "DNABERT-S"


@pytest.fixture
def published(tmp_path: Path, tiny_weights: Weights) -> dict[str, Path]:
    """The two models as their directories are published."""
    shutil.copytree(GOLDEN / "esm2-tiny/hf", tmp_path / "published" / ESM2)
    shutil.copytree(tiny_weights.originals["dnaberts"], tmp_path / "published" / DNABERTS)
    return {name: tmp_path / "published" / name for name in (ESM2, DNABERTS)}


@pytest.fixture
def hub(published: dict[str, Path]) -> Iterator[Hub]:
    with serve(**{PUBLISHED[name][1]: path for name, path in published.items()}) as started:
        yield started


@pytest.fixture
def connected(tmp_path: Path) -> Path:
    directory = tmp_path / "connected"
    directory.mkdir()
    return directory


@pytest.fixture
def site(tmp_path: Path, published: dict[str, Path]) -> Path:
    """A place without a connection, with a sheet and the published files."""
    directory = tmp_path / "site"
    directory.mkdir()
    for name, path in published.items():
        shutil.copytree(path, directory / name)
    with gzip.open(DEMO / "NC_005816.fna.gz") as source:
        (directory / "contigs.fasta").write_bytes(source.read())
    (directory / "samples.csv").write_text("sample,fasta\nS1,contigs.fasta\n")
    return directory


OFFLINE = {"HF_HUB_OFFLINE": "1"}


def names(store: Path) -> list[str]:
    return [path.name for path in entries(store)]


def fetch(hub: Hub, directory: Path) -> list[str]:
    lines = [line for line in commands_of(DOCUMENT, "With a connection") if "fetch" in line]
    assert len(lines) == 2
    printed = run(lines, directory, HF_ENDPOINT=hub.url, HF_HOME=str(directory / "hf"))
    return printed.splitlines()


def test_fetch_and_both_ways_without_a_connection_end_in_the_same_store(
    hub: Hub, connected: Path, site: Path
) -> None:
    made = fetch(hub, connected)
    assert sorted(made) == [f"weights/{name}" for name in names(connected / "weights")]

    heading = "Without a connection: copy the store"
    look, pack, unpack, look_again = commands_of(DOCUMENT, heading)
    before = run([look, pack], connected)
    (connected / "weights.tar").rename(site / "weights.tar")
    assert run([unpack, look_again], site, **OFFLINE) == before
    assert before.count(" ok ") == 2

    shutil.rmtree(site / "weights")
    convert = commands_of(DOCUMENT, "Without a connection: copy the published files")
    assert sorted(run(convert, site, **OFFLINE).splitlines()) == sorted(made)


def test_the_hash_can_be_calculated_as_described(site: Path) -> None:
    (line,) = commands_of(DOCUMENT, "How a store works")
    run([f"virembed weights convert {ESM2} --store weights"], site)
    assert names(site / "weights") == [f"{ESM2}-{run([line], site).strip()}"]


def test_the_table_names_every_model_that_can_be_fetched() -> None:
    assert re.findall(r"^\| `([\w-]+)` \|", DOCUMENT, re.MULTILINE) == list(PUBLISHED)


@pytest.mark.pipeline
def test_the_pipeline_runs_on_a_store_and_fills_one(hub: Hub, site: Path) -> None:
    made = fetch(hub, site)
    (from_store,) = [line for line in commands_of(DOCUMENT, "With a connection") if "run" in line]
    (with_store,) = commands_of(DOCUMENT, "The pipeline and the store")
    run([from_store, with_store.replace("run main.nf", "run main.nf -resume")], site, **OFFLINE)
    assert (site / "results/S1/S1.h5").exists()
    assert sorted(made) == [f"weights/{name}" for name in names(site / "weights")]
    # the second run knew the weights by what they are, although they were given otherwise
    *_, last = sorted((site / "results/pipeline_info").glob("trace_*.txt"))
    embeds = [line for line in last.read_text().splitlines() if "EMBED_" in line]
    assert embeds
    assert all("CACHED" in line for line in embeds)
