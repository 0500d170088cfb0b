"""RECORD_MEANS, an optional step: a table per sample, and nothing else computed again."""

import anndata
import pytest

from .conftest import virembed
from .launch import SAMPLES

pytestmark = pytest.mark.pipeline


def test_means_of_records_of_a_finished_run(finished):
    run = finished.run(*finished.arguments, "--record_means", "-resume")
    assert run.returncode == 0, run.output
    assert run.executed == sorted(f"RECORD_MEANS ({name})" for name in SAMPLES)
    for sample in SAMPLES:
        path = finished.home / "out" / sample / f"{sample}.records.h5"
        virembed("verify", path)
        records = anndata.read_h5ad(finished.home / "out" / sample / f"{sample}.h5").uns["records"]
        assert anndata.read_h5ad(path).n_obs == (records["n_rows"] > 0).sum()
    # a report of the published directory takes the results only
    virembed("report", finished.home / "out", "--out", finished.home / "report.html")
