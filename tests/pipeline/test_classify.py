"""CLASSIFY, the optional step: scores in the published file, and nothing embedded again."""

import h5py
import pytest

from tests.classifiers import make_classifier, publish

from .conftest import virembed
from .launch import SAMPLES

pytestmark = pytest.mark.pipeline


def options_of_a_classifier(finished, tmp_path):
    """Options for a run with a classifier of random numbers for the vectors of a finished run."""
    with h5py.File(finished.home / "out/lambda/lambda.h5") as file:
        dims = {name: file[f"obsm/X_{name}"].shape[1] for name in ("esm2", "dnaberts")}
        made = {
            name: file[f"uns/provenance/{name}/model_id"].asstr()[()]
            for name in ("esm2", "dnaberts")
        }
    published = publish(make_classifier(sum(dims.values())), tmp_path / "500.pth", random=True)
    virembed(
        *("weights", "classifier", published, "--window", 500, "--name", "mlp"),
        *("--esm2", made["esm2"], "--dnaberts", made["dnaberts"]),
        *("--dnaberts-dim", dims["dnaberts"], "--out", tmp_path / "mlp"),
    )
    return "--classifier", str(tmp_path / "mlp"), "--allow_random"


def test_a_classifier_scores_the_results_of_a_finished_run(finished, tmp_path):
    given = options_of_a_classifier(finished, tmp_path)
    run = finished.run(*finished.arguments, *given, "-resume")
    assert run.returncode == 0, run.output
    assert run.executed == sorted([*(f"CLASSIFY ({name})" for name in SAMPLES), "REPORT"])
    for sample in SAMPLES:
        path = finished.home / "out" / sample / f"{sample}.h5"
        virembed("verify", path)
        with h5py.File(path) as file:
            assert len(file["obs/p_virus_mlp"]) == len(file["obs/row_id"])
    assert (finished.home / "out/lambda/calls/prediction_results.txt").exists()
    assert finished.run(*finished.arguments, *given, "-resume").executed == []
