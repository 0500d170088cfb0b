"""Samples of all types in one sheet, with everything a run can be asked for."""

import h5py
import pytest

from .conftest import virembed
from .launch import SAMPLES, SHEET
from .test_classify import options_of_a_classifier

pytestmark = pytest.mark.pipeline

OTHERS = {"whole": ["NC_005816.1:1-4000"], "ours": ["p1", "p2"]}  # sample: its rows


def test_samples_of_other_types_are_added_to_a_finished_run(finished, tmp_path):
    options = (*options_of_a_classifier(finished, tmp_path), "--residues", "--record_means")
    (finished.home / "data/ours.faa").write_text(">p1\nMKLVVDE\n>p2\nMSTNPKPQRK*\n")
    others = ("whole,data/plasmid.fna.gz,contig", "ours,data/ours.faa,protein")
    rows = [*(f"{row}," for row in SHEET), *others]
    finished.write_sheet(*rows, header="sample,fasta,type")
    run = finished.run(*finished.arguments, *options, "-resume")
    assert run.returncode == 0, run.output
    assert "6 samples: 5 ok, 1 empty, 0 failed\n" in run.output

    expected = ["CHECK", "PLAN", "REPORT", "EMBED_DNABERTS (whole:00000)"]
    expected += [f"SPLIT ({sample})" for sample in OTHERS]
    # what asks for residues embeds proteins again
    expected += [task.name for task in finished.first.tasks if task.process == "EMBED_ESM2"]
    expected += ["EMBED_ESM2 (ours:00000)"]
    everyone = (*SAMPLES, *OTHERS)
    expected += [
        f"{name} ({sample})" for name in ("COLLECT", "RECORD_MEANS") for sample in everyone
    ]
    # what has no pairs of vectors is not classified
    expected += [f"CLASSIFY ({sample})" for sample in SAMPLES]
    assert run.executed == sorted(expected)

    for sample in everyone:
        directory = finished.home / "out" / sample
        files = [directory / f"{sample}{end}" for end in (".h5", ".residues.h5", ".records.h5")]
        virembed("verify", *files)
        with h5py.File(files[0]) as file:
            assert ("p_virus_mlp" in file["obs"]) == (sample in SAMPLES)
            if sample in OTHERS:
                assert file["obs/row_id"].asstr()[:].tolist() == OTHERS[sample]
    assert finished.run(*finished.arguments, *options, "-resume").executed == []
