"""The commands of docs/classify.md, imports.md, exports.md and residues.md, as they stand there."""

from __future__ import annotations

import csv
import gzip
import re
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import pytest

from tests.classifiers import make_classifier, publish
from tests.documents import DOCS, commands_of, run
from tests.result.test_import import IDS, merged_file
from tests.steps import DEMO, Sample, Weights, call
from virembed.commands.export import FORMATS


@pytest.fixture(scope="module")
def plasmid(tmp_path_factory, tiny_weights: Weights) -> Sample:
    sample = Sample(tmp_path_factory.mktemp("docs"), tiny_weights, name="S1")
    assert sample.split(DEMO / "NC_005816.fna.gz") == 0
    sample.embed()
    assert sample.collect() == 0
    return sample


def test_classify(plasmid: Sample):
    home = plasmid.home
    with h5py.File(plasmid.result) as file:
        dims = [file[f"obsm/X_{model}"].shape[1] for model in ("dnaberts", "esm2")]
        esm2 = file["uns/provenance/esm2/model_id"].asstr()[()]
        dnaberts = file["uns/provenance/dnaberts/model_id"].asstr()[()]
    publish(make_classifier(sum(dims)), home / "500_model.pth")
    convert, classify = commands_of((DOCS / "classify.md").read_text())
    # the page is about the real models, these vectors are tiny and random
    convert += f" --esm2 {esm2} --dnaberts {dnaberts} --dnaberts-dim {dims[0]}"
    assert "classifier virnucpro500 on" in run([convert], home)
    out = run([f"{classify} --allow-random"], home)
    assert out.startswith("S1.classified.h5: S1, ")
    assert call("verify", home / "S1.classified.h5") == 0
    text = Path(home, "S1_calls", "prediction_results.txt").read_text().splitlines()
    frames = list(csv.DictReader(text, delimiter="\t"))
    with h5py.File(home / "S1.classified.h5") as file:
        assert len(frames) == int(file["uns/accounting/n_protein_rows"][()]) > 0
        assert "p_virus_virnucpro500" in file["obs"]


def test_imports(tmp_path: Path):
    (tmp_path / "old_run" / "S1_merged").mkdir(parents=True)
    merged_file(tmp_path / "old_run" / "S1_merged" / "output_1_merged.pt", IDS)
    out = run(commands_of((DOCS / "imports.md").read_text()), tmp_path)
    assert out.startswith(f"S1.imported.h5: {len(IDS)} rows of 2 records")


def test_exports(plasmid: Sample):
    home = plasmid.home
    with h5py.File(plasmid.result) as file:
        ids = file["obs/row_id"].asstr()[:].tolist()
        n = int(file["uns/accounting/n_protein_rows"][()])
    (home / "ids.txt").write_text("\n".join([ids[1], ids[-1]]))
    (merge,) = [
        line
        for line in commands_of((DOCS / "exports.md").read_text())
        if line.startswith("virembed merge")
    ]
    lines = [line for line in commands_of((DOCS / "exports.md").read_text()) if line != merge]
    assert [line.split("--format ")[1].split()[0] for line in lines] == list(FORMATS)
    out = run(lines, home)
    assert f"S1.parquetbundle: {n:,} proteins" in out
    assert "chosen.faa: 1 proteins, 1 rows without one" in out
    page = (DOCS / "exports.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    code += f"assert (len(ids), vectors.shape[0], ids[0]) == ({n}, {n}, {ids[0]!r})"
    with h5py.File(shutil.copy(plasmid.result, home / "S2.h5"), "r+") as file:
        file.attrs["sample"] = "S2"
    assert run([merge], home) == f"ALL.h5: {2 * len(ids):,} rows of 2 samples\n"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=home, check=True)


def test_residues(tmp_path: Path, tiny_weights: Weights):
    with gzip.open(DEMO / "NC_005816.fna.gz") as source:
        (tmp_path / "contigs.fasta").write_bytes(source.read())
    for model, directory in tiny_weights.converted.items():
        shutil.copytree(directory, tmp_path / "weights" / model)
    page = (DOCS / "residues.md").read_text()
    (pipeline, info, verify, *by_hand) = commands_of(page)
    assert "--residues" in pipeline  # what it does is tested in tests/pipeline
    run(by_hand, tmp_path)
    out = run([info, verify], tmp_path)
    assert "S1.residues.h5: belongs to S1.h5" in out
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    code += "with h5py.File('S1.residues.h5') as file:\n"
    code += "    residues, D = file['esm2/residues'].shape\n"
    (mapped,) = re.findall(r"`(np\.memmap\(.*?\))` works", page)
    code += f"    assert np.array_equal({mapped}, file['esm2/residues'][:])\n"
    code += "assert np.abs(difference).max() < 2e-3\n"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
