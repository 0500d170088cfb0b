from __future__ import annotations

import subprocess
import sys
import time

import pytest

from virembed.engine import gpu_lock
from virembed.engine.gpu_lock import lock_directory, lock_first_free

HOLDER = """
import sys, time
from pathlib import Path
from virembed.engine.gpu_lock import lock_first_free
with lock_first_free(["GPU-a", "GPU-b"], directory=Path(sys.argv[1])) as position:
    print(position, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def hold(tmp_path):
    """Starts a process that takes a GPU; says which."""
    holders = []

    def start():
        command = [sys.executable, "-c", HOLDER, str(tmp_path)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        holders.append(process)
        return process, int(process.stdout.readline())

    yield start
    for process in holders:
        process.kill()
        process.communicate()


def test_tasks_get_different_gpus_and_a_killed_one_gives_its_own_back(hold, tmp_path):
    (first, one), (_, other) = hold(), hold()
    assert {one, other} == {0, 1}
    first.kill()
    first.wait()
    with lock_first_free(["GPU-a", "GPU-b"], directory=tmp_path) as position:
        assert position == one


def test_a_task_waits_until_a_gpu_is_free_and_says_so_once(hold, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_lock, "POLL_S", 0.01)
    first, _ = hold()
    hold()
    said = []

    def waiting():
        said.append(time.monotonic())
        first.kill()

    with lock_first_free(["GPU-a", "GPU-b"], directory=tmp_path, waiting=waiting) as position:
        assert position == 0
    assert len(said) == 1


def test_a_lock_is_of_the_device_and_not_of_its_number(hold, tmp_path):
    hold()  # has GPU-a
    with lock_first_free(["GPU-b", "GPU-a"], directory=tmp_path) as position:
        assert position == 0


def test_the_directory_can_be_set_for_a_site(monkeypatch, tmp_path):
    monkeypatch.setenv("VIREMBED_GPU_LOCKS", str(tmp_path))
    assert lock_directory() == tmp_path
    monkeypatch.delenv("VIREMBED_GPU_LOCKS")
    assert lock_directory().name.startswith("virembed-gpus-")
