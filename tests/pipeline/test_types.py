"""Samples of all types in one sheet."""

import h5py
import pytest

from .conftest import virembed
from .launch import SAMPLES, SHEET
from .test_classify import options_of_a_classifier

pytestmark = pytest.mark.pipeline


def test_samples_of_other_types_are_added_to_a_finished_run(finished, tmp_path):
    classifier = options_of_a_classifier(finished, tmp_path)
    (finished.home / "data/ours.faa").write_text(">p1\nMKLVVDE\n>p2\nMSTNPKPQRK*\n")
    others = ("whole,data/plasmid.fna.gz,contig", "ours,data/ours.faa,protein")
    rows = [*(f"{row}," for row in SHEET), *others]
    finished.write_sheet(*rows, header="sample,fasta,type")
    run = finished.run(*finished.arguments, *classifier, "-resume")
    assert run.returncode == 0, run.output
    assert "6 samples: 5 ok, 1 empty, 0 failed\n" in run.output
    expected = ["CHECK", "PLAN", "REPORT"]
    expected += [
        f"{name} ({sample})" for name in ("SPLIT", "COLLECT") for sample in ("ours", "whole")
    ]
    expected += ["EMBED_DNABERTS (whole:00000)", "EMBED_ESM2 (ours:00000)"]
    # what has no pairs of vectors is not classified
    expected += [f"CLASSIFY ({name})" for name in SAMPLES]
    assert run.executed == sorted(expected)
    for sample, ids in (("ours", ["p1", "p2"]), ("whole", ["NC_005816.1"])):
        path = finished.home / "out" / sample / f"{sample}.h5"
        virembed("verify", path)
        with h5py.File(path) as file:
            assert file["obs/row_id"].asstr()[:].tolist() == ids
    assert finished.run(*finished.arguments, *classifier, "-resume").executed == []
