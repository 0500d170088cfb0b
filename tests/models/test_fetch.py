"""`weights fetch` against a server that speaks as Hugging Face does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests import hub_server
from tests.hub_server import COMMIT, Hub, serve
from virembed.models import random_weights
from virembed.models.convert import convert
from virembed.models.store import entry
from virembed.models.weights import verify_checksums
from virembed.weights_info import PUBLISHED, read_info

from .packs import GOLDEN
from .published import hugging_face

ESM2 = "esm2_t6_8M_UR50D"
SHARDED = "esm2_t36_3B_UR50D"
DNABERTS = "DNABERT-S"
CHUNK_BYTES = 10 << 20  # huggingface_hub writes in pieces of this size
WAIT_S = 120


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Directories as their repositories hold them, with things in them that nobody needs."""
    home = tmp_path_factory.mktemp("published")
    tensors = load_file(GOLDEN / "esm2-tiny/hf/model.safetensors")
    single = hugging_face(GOLDEN / "esm2-tiny/hf", home / ESM2, tensors=tensors)
    hugging_face(GOLDEN / "esm2-tiny/hf", home / SHARDED, tensors=tensors, form="sharded bin")
    with pytest.MonkeyPatch.context() as patch:
        # 17 MB, so that there are pieces of it
        size = random_weights.Size(3, 256, 4, 1024, 4096)
        patch.setitem(random_weights.DNABERTS_SIZES, "pieces", size)
        random_weights.write_random_dnaberts(home / DNABERTS, size="pieces", seed=0)
    shutil.copy(single / "model.safetensors", single / "pytorch_model.bin")
    (single / "tf_model.h5").write_bytes(b"\0" * 1000)
    (home / DNABERTS / "bert_layers.py").write_text("raise SystemExit('executed')\n")
    return {PUBLISHED[name][1]: home / name for name in (ESM2, SHARDED, DNABERTS)}


@pytest.fixture
def hub(published: dict[str, Path]) -> Iterator[Hub]:
    with serve(**published) as started:
        yield started


Fetch = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(hub: Hub, tmp_path: Path) -> Iterator[Fetch]:
    processes = []

    def start(name: str, *options: str, **environment: str) -> subprocess.Popen[str]:
        arguments = ["weights", "fetch", name, "--store", tmp_path / "store", *options]
        own = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf")}
        own["HF_HUB_DOWNLOAD_TIMEOUT"] = str(WAIT_S)  # longer than the server holds anything
        process = subprocess.Popen(
            [sys.executable, "-m", "virembed", *arguments],
            env=os.environ | own | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def finish(process: subprocess.Popen[str]) -> Path:
    out, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, err
    return Path(out.rstrip("\n"))


def refused(process: subprocess.Popen[str], *, code: int = 4) -> str:
    out, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == code, err
    assert out == ""
    *progress, line = err.splitlines()
    assert line.startswith("ERROR ")
    assert not any("ERROR" in said or "Traceback" in said for said in progress)
    return line


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def visible(store: Path) -> list[str]:
    return sorted(path.name for path in store.iterdir() if not path.name.startswith("."))


@pytest.mark.parametrize(
    ("name", "downloaded"),
    [
        (ESM2, ["model.safetensors"]),
        (SHARDED, [f"pytorch_model-0000{n}-of-00003.bin" for n in (1, 2, 3)]),
        (DNABERTS, ["pytorch_model.bin"]),
    ],
)
def test_a_fetched_model_is_what_a_conversion_of_its_files_gives(
    hub: Hub, start: Fetch, tmp_path: Path, name: str, downloaded: list[str]
) -> None:
    path = finish(start(name))
    info = read_info(path)
    source = hub.repositories[PUBLISHED[name][1]]
    by_hand = convert(source, model="auto", out=tmp_path / "by-hand", name=name)
    assert (info.name, info.files) == (name, by_hand.files)
    assert info.source == by_hand.source
    assert info.origin == f"{PUBLISHED[name][1]}@{COMMIT}"
    assert path == entry(tmp_path / "store", name, by_hand.source)
    verify_checksums(path, info)
    assert sorted(file for file, _ in hub.downloads) == downloaded
    assert not [asked for asked, _ in hub.requests if asked.endswith((".py", ".h5"))]
    assert visible(tmp_path / "store") == [path.name]
    assert not list((tmp_path / "store").glob(".*.download"))

    hub.requests.clear()
    assert finish(start(name)) == path
    assert hub.downloads == []


def test_a_connection_that_breaks_is_taken_up_where_it_broke(
    hub: Hub, start: Fetch, published: dict[str, Path]
) -> None:
    hub.cut_at = [CHUNK_BYTES + 5]
    path = finish(start(DNABERTS))
    assert hub.downloads == [
        ("pytorch_model.bin", None),
        ("pytorch_model.bin", f"bytes={CHUNK_BYTES}-"),
    ]
    verify_checksums(path, read_info(path))


def test_a_killed_download_is_gone_on_with_by_the_next(
    hub: Hub, start: Fetch, tmp_path: Path
) -> None:
    hub.held_at = CHUNK_BYTES + 5
    process = start(DNABERTS)
    partial = tmp_path / f"store/.{DNABERTS}-{COMMIT[:12]}.download/pytorch_model.bin.partial"
    wait_for(lambda: partial.exists() and partial.stat().st_size == CHUNK_BYTES)
    process.kill()
    process.communicate()
    assert visible(tmp_path / "store") == []
    hub.held_at = None
    path = finish(start(DNABERTS))
    assert hub.downloads[-1] == ("pytorch_model.bin", f"bytes={CHUNK_BYTES}-")
    verify_checksums(path, read_info(path))


@pytest.mark.parametrize(("num_bytes", "is_kept"), [(1000, True), (1 << 30, False)])
def test_what_was_left_is_proven_like_all_else(
    hub: Hub, start: Fetch, tmp_path: Path, num_bytes: int, is_kept: bool
) -> None:
    downloads = tmp_path / f"store/.{ESM2}-{COMMIT[:12]}.download"
    downloads.mkdir(parents=True)
    with (downloads / "model.safetensors.partial").open("wb") as partial:
        partial.truncate(num_bytes)  # zeros: no beginning of the file
    if is_kept:
        assert "model.safetensors arrived damaged" in refused(start(ESM2))
    finish(start(ESM2))
    assert hub.downloads[-1] == ("model.safetensors", None)


def test_a_server_cannot_choose_where_files_go(
    hub: Hub, start: Fetch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_server, "COMMIT", "../../../out")
    assert "the answer names no commit" in refused(start(ESM2))
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == [f".{ESM2}.lock"]


def test_of_two_at_once_one_downloads_and_the_other_waits(
    hub: Hub, start: Fetch, tmp_path: Path
) -> None:
    hub.held_at = 5
    first = start(DNABERTS)
    wait_for(lambda: hub.downloads)
    second = start(DNABERTS)
    assert second.stderr
    assert second.stderr.readline().startswith("waiting for another process that holds ")
    hub.release.set()
    assert finish(first) == finish(second)
    assert len(hub.downloads) == 1


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_a_file_that_is_not_what_was_announced_is_removed(
    hub: Hub, start: Fetch, tmp_path: Path, file: str
) -> None:
    hub.changed = {file}
    message = refused(start(ESM2))
    assert f"repository facebook/{ESM2}: {file} arrived damaged: its checksum is " in message
    assert visible(tmp_path / "store") == []
    assert not list((tmp_path / "store").rglob(f"{file}*"))
    hub.changed = set()
    finish(start(ESM2))


def by_hand(name: str, store: Path) -> str:
    return f"into a directory {name}, then run `virembed weights convert {name} --store {store}`."


def test_a_place_without_a_connection_is_told_what_to_copy_where(
    start: Fetch, tmp_path: Path
) -> None:
    message = refused(start(DNABERTS, HF_ENDPOINT="http://127.0.0.1:9"))
    assert message.startswith(
        "ERROR Hugging Face repository zhihan1996/DNABERT-S: cannot be reached, "
    )
    assert "Copy config.json, tokenizer.json and model.safetensors (where there is none " in message
    assert message.endswith(by_hand(DNABERTS, tmp_path / "store"))
    message = refused(start(ESM2, HF_HUB_OFFLINE="1"))
    assert "HF_HUB_OFFLINE is set" in message
    assert message.endswith(by_hand(ESM2, tmp_path / "store"))


@pytest.mark.parametrize(
    ("refusal", "fragment"),
    [
        ((404, "RepoNotFound"), "answer 404"),
        ((503, ""), "answer 503"),
        ((401, "GatedRepo"), "(answer 401). Set HF_TOKEN to a token of an account that may"),
        ((403, "GatedRepo"), "(answer 403). Set HF_TOKEN to a token of an account that may"),
    ],
)
def test_refusals_name_the_repository_and_the_way_round(
    hub: Hub, start: Fetch, tmp_path: Path, refusal: tuple[int, str], fragment: str
) -> None:
    hub.refusals[f"facebook/{ESM2}"] = refusal
    message = refused(start(ESM2))
    assert message.startswith(f"ERROR Hugging Face repository facebook/{ESM2}: ")
    assert fragment in message
    assert message.endswith(by_hand(ESM2, tmp_path / "store"))


def test_an_unknown_revision_and_one_without_weights(
    hub: Hub, start: Fetch, tmp_path: Path
) -> None:
    assert "has no revision 'v9'" in refused(start(ESM2, "--revision", "v9"))
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "config.json").write_text(json.dumps({"model_type": "esm"}))
    hub.repositories[f"facebook/{ESM2}"] = bare
    assert f"at {COMMIT} has none of model.safetensors, " in refused(start(ESM2))


def test_an_index_that_points_elsewhere_is_refused(
    hub: Hub, start: Fetch, published: dict[str, Path], tmp_path: Path
) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(published[f"facebook/{SHARDED}"], changed)
    index = changed / "pytorch_model.bin.index.json"
    index.write_text(index.read_text().replace('"pytorch_model-00001', '"../pytorch_model-00001'))
    hub.repositories[f"facebook/{SHARDED}"] = changed
    assert "lists files outside its directory" in refused(start(SHARDED))
    assert hub.downloads == []


def test_without_the_extra_the_error_names_it(start: Fetch, tmp_path: Path) -> None:
    (tmp_path / "without").mkdir()
    (tmp_path / "without/huggingface_hub.py").write_text(
        "raise ModuleNotFoundError(name='huggingface_hub')\n"
    )
    path = f"{tmp_path / 'without'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    message = refused(start(ESM2, PYTHONPATH=path), code=2)
    assert "Install it: pip install 'virembed[hub]'." in message
