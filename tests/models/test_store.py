"""A store of weights: each source is converted once, whoever asks, however it ends."""

from __future__ import annotations

import argparse
import errno
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from tests.steps import call
from virembed.errors import UsageError, WeightsError
from virembed.models import store as store_module
from virembed.models.convert import convert, plan_conversion, write_converted
from virembed.models.store import convert_into_store, entries, entry
from virembed.models.weights import verify_checksums
from virembed.weights_info import WeightsInfo, read_info

from .packs import GOLDEN

ESM2 = GOLDEN / "esm2-tiny" / "esm2_t4_tiny.pt"
DNABERTS = GOLDEN / "dnaberts-tiny"
WAIT_S = 120


def into(store: Path, source: Path = ESM2, **options: str) -> tuple[Path, WeightsInfo]:
    said: list[str] = []
    return convert_into_store(source, model="auto", store=store, say=said.append, **options)


def start(store: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "virembed", "weights", "convert", ESM2, "--store", store]
    return subprocess.Popen(
        [*command, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def inodes(directory: Path) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in directory.iterdir()}


def test_the_name_tells_the_source_files_and_can_be_calculated_with_sha256sum(
    tmp_path: Path,
) -> None:
    path, info = into(tmp_path)
    line = f"{hashlib.sha256(ESM2.read_bytes()).hexdigest()}  esm2_t4_tiny.pt\n"
    digest = hashlib.sha256(f"virembed.weights/1\n{line}".encode()).hexdigest()
    assert path == tmp_path / f"esm2_t4_tiny-{digest[:12]}"
    assert read_info(path) == info
    assert info.files == convert(ESM2, model="auto", out=tmp_path / "out").files
    verify_checksums(path, info)


def test_the_same_source_from_elsewhere_is_taken_as_it_is(tmp_path: Path) -> None:
    path, info = into(tmp_path / "store", DNABERTS, name="DNABERT-S")
    before = inodes(path)
    copy = tmp_path / "copy"
    shutil.copytree(DNABERTS, copy)
    assert into(tmp_path / "store", copy, name="DNABERT-S") == (path, info)
    assert inodes(path) == before


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "model.safetensors"])
def test_any_change_of_a_source_file_is_another_entry(tmp_path: Path, file: str) -> None:
    path, _ = into(tmp_path / "store", DNABERTS, name="x")
    source = tmp_path / "source"
    shutil.copytree(DNABERTS, source)
    with (source / file).open("ab") as changed:
        changed.write(b"\n" if file.endswith(".json") else b"")
    if file == "model.safetensors":
        content = bytearray((source / file).read_bytes())
        content[-1] ^= 1
        (source / file).write_bytes(content)
    other, _ = into(tmp_path / "store", source, name="x")
    assert other != path
    assert entries(tmp_path / "store") == sorted([path, other])


@pytest.mark.parametrize("name", ["../../x", "a b/c", "..", "---", "ü"])
def test_no_name_leaves_the_store(tmp_path: Path, name: str) -> None:
    path = entry(tmp_path, name, {})
    assert path.parent == tmp_path
    assert path.name[0] not in ".-"
    assert path.name.isascii()


def test_of_many_processes_one_converts_and_all_get_the_same(tmp_path: Path) -> None:
    processes = [start(tmp_path) for _ in range(6)]
    with ThreadPoolExecutor(len(processes)) as pool:
        outputs = list(pool.map(lambda process: process.communicate(timeout=WAIT_S), processes))
    assert [process.returncode for process in processes] == [0] * 6, outputs
    assert {out for out, _ in outputs} == {f"{entries(tmp_path)[0]}\n"}
    assert sum("converting " in err for _, err in outputs) == 1
    assert not list(tmp_path.glob(".*.partial"))


def test_who_waits_says_so_and_goes_on_when_the_first_is_killed(tmp_path: Path) -> None:
    conversion = plan_conversion(ESM2, model="auto")
    path = entry(tmp_path, conversion.info.name, conversion.info.source)
    lock = tmp_path / f".{path.name}.lock"
    holder = subprocess.Popen(["flock", lock, "sleep", str(WAIT_S)], start_new_session=True)
    try:
        while not lock.exists() or is_free(lock):
            time.sleep(0.02)
        waiting = start(tmp_path)
        assert waiting.stderr
        assert waiting.stderr.readline() == f"waiting for another process that holds {lock}\n"
        assert entries(tmp_path) == []
    finally:
        os.killpg(holder.pid, signal.SIGKILL)
        holder.wait()
    out, _ = waiting.communicate(timeout=WAIT_S)
    assert out == f"{path}\n"
    verify_checksums(path, read_info(path))


def is_free(lock: Path) -> bool:
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_where_there_are_no_locks_it_is_said_and_the_result_is_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    said: list[str] = []
    path, info = convert_into_store(ESM2, model="auto", store=tmp_path, say=said.append)
    assert f"cannot be locked ({os.strerror(number)})" in said[0]
    verify_checksums(path, info)


def test_without_locks_the_first_to_finish_is_what_all_get(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first: list[Path] = []

    def overtaken(conversion, *, out):
        if not first:
            first.append(out)
            write_converted(conversion, out=out)
            first_inodes.update(inodes(out))
        return write_converted(conversion, out=out)

    first_inodes: dict[str, int] = {}
    monkeypatch.setattr(store_module, "write_converted", overtaken)
    path, info = into(tmp_path)
    assert [path] == first
    assert inodes(path) == first_inodes
    assert info == read_info(path)
    assert not list(tmp_path.glob(".*.partial"))


def test_what_killed_processes_left_is_removed_after_a_day_and_not_before(tmp_path: Path) -> None:
    for name, age_s in (("old", 25 * 3600), ("young", 3600)):
        partial = tmp_path / f".{name}.partial"
        partial.mkdir()
        (partial / "model.safetensors").touch()
        for path in (partial / "model.safetensors", partial):
            os.utime(path, times=(time.time() - age_s,) * 2)
    path, _ = into(tmp_path)
    assert [p.name for p in tmp_path.glob(".*.partial")] == [".young.partial"]
    assert entries(tmp_path) == [path]


def test_a_directory_that_is_not_whole_or_not_its_own_is_refused(tmp_path: Path) -> None:
    path, _ = into(tmp_path)
    (path / "model.safetensors").rename(tmp_path / "kept")
    with pytest.raises(WeightsError, match=r"incomplete, model\.safetensors is missing. Remove"):
        into(tmp_path)
    (tmp_path / "kept").rename(path / "model.safetensors")
    other, _ = into(tmp_path, DNABERTS)
    shutil.copy(other / "weights.json", path)
    shutil.copy(other / "tokenizer.json", path)
    with pytest.raises(WeightsError, match=f"its card belongs to {other.name}"):
        into(tmp_path)
    (path / "weights.json").write_text("{")
    with pytest.raises(WeightsError, match="cannot be read"):
        into(tmp_path)


def test_a_damaged_source_leaves_nothing(tmp_path: Path) -> None:
    damaged = tmp_path / "esm2_t4_tiny.pt"
    with torch.serialization.safe_globals([argparse.Namespace]):
        content = torch.load(ESM2, weights_only=True)
    content["model"].pop("encoder.sentence_encoder.layers.2.fc1.bias")
    torch.save(content, damaged)
    with pytest.raises(WeightsError, match=r"missing: layers\.2\.fc1\.bias"):
        into(tmp_path / "store", damaged)
    assert entries(tmp_path / "store") == []
    assert not list((tmp_path / "store").glob(".*.partial"))


def test_a_store_that_may_not_be_written_to_serves_what_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = into(tmp_path)

    def refuse(name: Path, *arguments: object, **options: object) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(name))

    # the tests may run as root, who may write anywhere
    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(Path, "mkdir", refuse)
    assert into(tmp_path)[0] == path
    with pytest.raises(WeightsError, match="may not be written to \\(Permission denied\\)"):
        into(tmp_path, DNABERTS)


def test_the_command_prints_the_path_and_links_to_it(tmp_path: Path, capsys) -> None:
    store, link = tmp_path / "store", tmp_path / "link"
    assert call("weights", "convert", ESM2, "--store", store, "--out", link) == 0
    (path,) = entries(store)
    assert capsys.readouterr().out == f"{path}\n"
    assert link.readlink() == path
    assert call("weights", "convert", ESM2, "--store", store, "--out", link) == 2
    assert "exists already" in capsys.readouterr().err
    assert call("weights", "convert", ESM2) == 2
    assert "Give --store or --out" in capsys.readouterr().err


def test_list_shows_all_of_a_store_and_finds_the_damaged_one(tmp_path: Path, capsys) -> None:
    paths = [into(tmp_path)[0], into(tmp_path, DNABERTS)[0]]
    (tmp_path / ".x.partial").mkdir()
    assert call("weights", "list", "--store", tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert sorted(line.split()[-1] for line in lines) == sorted(map(str, paths))
    assert all(" ok " in line for line in lines)
    with (paths[0] / "model.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\1")
    assert call("weights", "list", "--store", tmp_path) == 4
    assert "DAMAGED" in capsys.readouterr().out
    assert call("weights", "list") == 2
    assert call("weights", "list", "--store", tmp_path / "none") == 4


def test_a_directory_made_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    conversion = plan_conversion(ESM2, model="auto")
    convert(DNABERTS, model="auto", out=tmp_path / "out")
    before = inodes(tmp_path / "out")
    with pytest.raises(UsageError, match="exists already"):
        write_converted(conversion, out=tmp_path / "out")
    assert inodes(tmp_path / "out") == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
