"""--residues: switched on by a resumed run, it costs what it has to and gives what it says."""

import h5py
import pytest

from tests.residues import assert_means
from tests.steps import assert_same_datasets, call

from .launch import SAMPLES

pytestmark = pytest.mark.pipeline


def test_switched_on_only_proteins_are_embedded_again(finished, capsys):
    first = finished.first
    for sample in SAMPLES:
        assert not (finished.home / f"out/{sample}/{sample}.residues.h5").exists()
    run = finished.run(*finished.arguments, "--residues", "-resume")
    assert run.returncode == 0, run.output
    again = [
        task.name
        for task in first.tasks
        if task.process in ("EMBED_ESM2", "COLLECT", "PLAN", "REPORT")
    ]
    assert run.executed == sorted(again)
    assert "residues   " in run.output  # in the table of the estimate
    num_proteins = 0
    for sample in SAMPLES:
        directory = finished.home / "out" / sample
        result, residues = (directory / f"{sample}{end}" for end in (".h5", ".residues.h5"))
        assert_same_datasets(result, finished.copy / "out" / sample / f"{sample}.h5")
        assert call("verify", result, residues) == 0
        assert f"{residues}: belongs to {result}" in capsys.readouterr().out
        with h5py.File(result) as one, h5py.File(residues) as other:
            offsets, rows = other["esm2/offsets"][:], other["esm2/row"][:]
            for k, row in enumerate(rows.tolist()):
                own = other["esm2/residues"][offsets[k] : offsets[k + 1]]
                assert_means(own, one["obsm/X_esm2"][row])
            num_proteins += len(rows)
    assert num_proteins > 10
    # and nothing is left to do, with it or without
    assert finished.run(*finished.arguments, "--residues", "-resume").executed == []
    assert finished.run(*finished.arguments, "-resume").executed == []
