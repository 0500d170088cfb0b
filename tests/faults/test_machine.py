"""What machines do to programs: no locks, no memory, no rights, closed outputs, odd names."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.conftest import FASTA
from tests.faults.program import (
    assert_one_line,
    collect_arguments,
    embed_arguments,
    run,
    split_arguments,
)
from tests.steps import Sample, assert_same_datasets, call
from virembed.engine.gpu_lock import lock_first_free
from virembed.errors import DeviceError

CHUNK, SHARD = "S.esm2.00000.faa", "S.esm2.00000.shard.h5"
NOBODY = 65534


@pytest.fixture(scope="module")
def no_locks(tmp_path_factory) -> dict[str, str]:
    """An environment whose programs cannot lock a file."""
    compiler = shutil.which("cc")
    if not compiler:
        pytest.skip("no C compiler")
    library = tmp_path_factory.mktemp("nolocks") / "nolocks.so"
    source = Path(__file__).with_name("nolocks.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
    return {**os.environ, "LD_PRELOAD": str(library)}


@pytest.mark.parametrize("cause", [errno.ENOLCK, errno.EOPNOTSUPP], ids=errno.errorcode.get)
def test_steps_on_a_file_system_without_locks(
    reference: Sample, tmp_path: Path, no_locks: dict[str, str], cause: int
):
    env = {**no_locks, "NOLOCKS_ERRNO": str(cause)}
    sample = Sample(tmp_path, reference.weights)
    assert run(*split_arguments(sample, FASTA), env=env).returncode == 0
    sample.shards.mkdir()
    for shard in reference.shards.iterdir():
        shutil.copy(shard, sample.shards)
    if cause == errno.ENOLCK:  # starting torch takes seconds
        embed = embed_arguments(sample, CHUNK, sample.shards / SHARD)
        assert run(*embed, env=env).returncode == 0
    assert run(*collect_arguments(sample, tmp_path), env=env).returncode == 0
    assert_same_datasets(tmp_path / "S.h5", reference.home / "S.h5")
    assert run("verify", tmp_path / "S.h5", env=env).returncode == 0


def test_gpus_are_not_shared_out_where_nothing_can_be_locked(tmp_path: Path, monkeypatch):
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    with (
        pytest.raises(DeviceError, match="VIREMBED_GPU_LOCKS to a directory on a local") as caught,
        lock_first_free(["GPU-0"], directory=tmp_path),
    ):
        pass
    assert f"{tmp_path}: files cannot be locked there (No locks available)" in str(caught.value)


def memory_up_to(num_bytes: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_AS, (num_bytes, num_bytes))


def test_no_memory_is_one_line_and_tried_again_with_more(tmp_path: Path):
    reads = tmp_path / "long.fa"
    reads.write_text(">long\n" + "ACGTTGCA" * 2_000_000 + "\n")
    arguments = ("split", reads, "--sample", "S", "--out-dir", tmp_path / "out")
    done = run(*arguments, limit=memory_up_to(250 << 20))
    assert_one_line(done, code=75, says="out of memory")
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_a_library_that_does_not_fit_into_the_memory_is_one_line(reference: Sample, tmp_path: Path):
    arguments = embed_arguments(reference, CHUNK, tmp_path / SHARD)
    done = run(*arguments, limit=memory_up_to(512 << 20))
    assert_one_line(done, code=1, says="cannot be loaded")
    assert not (tmp_path / SHARD).exists()


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("output", ["closed pipe", "full device"])
def test_nobody_reads_what_is_said(reference: Sample, tmp_path: Path, output: str, unbuffered: str):
    if output == "closed pipe":
        reader, writer = os.pipe()
        os.close(reader)
    else:
        writer = os.open("/dev/full", os.O_WRONLY)
    try:
        arguments = collect_arguments(reference, tmp_path)
        env = os.environ | {"PYTHONUNBUFFERED": unbuffered}
        done = run(*arguments, capture_output=False, stdout=writer, stderr=subprocess.PIPE, env=env)
    finally:
        os.close(writer)
    assert done.returncode == 1
    # who closes a pipe, such as `head`, wants to hear nothing
    said = "ERROR No space left on device" if output == "full device" else ""
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == bool(said)
    # the result was whole before the last line was to be said
    assert_same_datasets(tmp_path / "S.h5", reference.home / "S.h5")


def test_an_environment_without_home_user_and_temporary_directory(
    reference: Sample, tmp_path: Path
):
    env = {"TMPDIR": str(tmp_path / "nowhere"), "LC_ALL": "C"}
    done = run(*embed_arguments(reference, CHUNK, tmp_path / SHARD), env=env)
    assert done.returncode == 0, done
    assert_same_datasets(tmp_path / SHARD, reference.shards / SHARD)


ODD_NAMES = {
    "blanks and quotes": b"my 'first' \"one\" $(x).fa.gz",
    "UTF-8": "höhle é.fa.gz".encode(),
    "not UTF-8": b"caf\xe9.fa.gz",
}


@pytest.mark.parametrize("name", ODD_NAMES.values(), ids=ODD_NAMES.keys())
def test_files_of_odd_names(copy: Sample, tmp_path: Path, name: bytes):
    odd = tmp_path / os.fsdecode(name)
    shutil.copy(FASTA, odd)
    assert call(*split_arguments(copy, odd)) == 0
    assert call(*collect_arguments(copy, copy.home)) == 0
    assert call("verify", copy.home / "S.h5") == 0


def test_a_sheet_with_odd_names_in_the_language_of_machines(tmp_path: Path):
    home = tmp_path / "our 'first' ünï \"run\""
    home.mkdir()
    shutil.copy(FASTA, home / "höhle, é.fa.gz")
    (home / "samples.csv").write_text('sample,fasta\nS.1-a_B,"höhle, é.fa.gz"\n', encoding="utf-8")
    sheet, out = home / "samples.csv", home / "checked.csv"
    done = run("check", sheet, "--out", out, env={"LC_ALL": "C"})
    assert done.returncode == 0, done
    assert "höhle, é.fa.gz" in out.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def without_rights() -> list[str]:
    """A command that starts programs which may do no more than the owner of a file."""
    if os.geteuid():
        return []
    command = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
    if not shutil.which("setpriv") or subprocess.run([*command, "true"], check=False).returncode:
        pytest.skip("root cannot give up its rights here")
    return command


def test_a_directory_that_may_not_be_written_to(
    reference: Sample, tmp_path: Path, without_rights: list[str]
):
    tmp_path.chmod(0o555)
    done = run(*collect_arguments(reference, tmp_path), within=without_rights)
    assert_one_line(done, code=1, says=f"{tmp_path}/S.h5.")
    sample = Sample(tmp_path, reference.weights)
    done = run(*split_arguments(sample, FASTA), within=without_rights)
    assert_one_line(done, code=1, says=f"{tmp_path}/")
    assert not list(tmp_path.iterdir())


def test_files_that_may_not_be_read(copy: Sample, tmp_path: Path, without_rights: list[str]):
    fasta, shard = tmp_path / "in.fa.gz", copy.shards / SHARD
    shutil.copy(FASTA, fasta)
    fasta.chmod(0)
    shard.chmod(0)
    done = run(*split_arguments(Sample(tmp_path, copy.weights), fasta), within=without_rights)
    assert done.returncode == 2
    assert f"Path '{fasta}' is not readable" in done.stderr
    done = run(*collect_arguments(copy, tmp_path), within=without_rights)
    assert_one_line(done, code=7, says=f"{shard}: no readable shard")
