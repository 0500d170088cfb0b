"""The notebook of docs/notebook: what it computes, on results of the real commands."""

from __future__ import annotations

import json
import re
import struct
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest
from sklearn.manifold import trustworthiness

from tests.documents import DOCS
from tests.notebook.conftest import CONTIGS_EACH, INSTALLED, NotebookRun, run_notebook

NOTEBOOK = json.loads((DOCS / "notebook" / "explore.ipynb").read_text())
NEIGHBOURS = 5


def source_of(cell: dict) -> str:
    return "".join(cell["source"])


def proteins_of(path: Path) -> tuple[list[tuple[str, str]], np.ndarray, np.ndarray]:
    """(sample, id) of the rows with a protein, their vectors, and which are no copies."""
    with h5py.File(path) as file:
        n = int(file["uns/accounting/n_protein_rows"][()])
        ids = [(file.attrs["sample"], row_id) for row_id in file["obs/row_id"].asstr()[:n]]
        first = file["obs/esm2_source_row"][:n] == np.arange(n)
        return ids, file["obsm/X_esm2"][:n].astype(np.float64), first


def check_picture(path: Path) -> None:
    """A PNG of some size, with something in it and the warning on it."""
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", data[16:24])
    assert width > 600
    assert height > 300
    assert len(data) > 10_000
    assert b"Description\0Random weights: no biology" in data


def standardised(*paths: Path) -> tuple[list[tuple[str, str]], np.ndarray]:
    ids, vectors, _ = zip(*map(proteins_of, paths), strict=True)
    values = np.concatenate(vectors)
    return [key for some in ids for key in some], (values - values.mean(axis=0)) / values.std(
        axis=0, ddof=1
    )


def check_map(run: NotebookRun, ids: list[tuple[str, str]], values: np.ndarray) -> None:
    """Every protein has a place, and neighbours are near each other."""
    table = run.table("map")
    assert [(row["sample"], row["row_id"]) for row in table] == ids
    places = np.array([[float(row["umap_1"]), float(row["umap_2"])] for row in table])
    assert np.isfinite(places).all()
    some = np.random.default_rng(0).choice(len(ids), 1000, replace=False)
    # 0.5 is chance
    assert trustworthiness(values[some], places[some], n_neighbors=15) > 0.75


def check_neighbours(
    run: NotebookRun, searched: np.ndarray, ids: list[tuple[str, str]], values: np.ndarray
) -> None:
    """They are the nearest of the rows that are searched, and these are the first of all."""
    number = {key: i for i, key in enumerate(ids)}
    table = run.table("neighbours")
    assert len(table) == NEIGHBOURS * len(ids)
    scale = np.sqrt(values.shape[1])
    for own, rows in enumerate(np.array_split(np.array(table), len(ids))):
        assert {(row["sample"], row["row_id"]) for row in rows} == {ids[own]}
        distances = np.linalg.norm(values[searched] - values[own], axis=1) / scale
        nearest = np.sort(distances[searched != own])[:NEIGHBOURS]
        said = [float(row["distance"]) for row in rows]
        assert np.allclose(said, nearest, atol=2e-3)
        named = [number[ids[0][0], row["neighbour"]] for row in rows]
        assert set(named) <= set(searched) - {own}
        assert np.allclose(
            said, np.linalg.norm(values[named] - values[own], axis=1) / scale, atol=2e-3
        )


def test_two_files(genomes: Path, reads: Path, tmp_path: Path):
    run = run_notebook(tmp_path / "out", genomes, reads)
    assert run.done.returncode == 0, run.done.stderr
    ids, values = standardised(genomes, reads)
    check_map(run, ids, values)
    _, _, first = proteins_of(genomes)
    check_neighbours(run, np.flatnonzero(first), ids, values)
    # two contigs are too few to cluster, and the reads are shorter
    clusters = run.table("contig_clusters")
    assert [row["sample"] for row in clusters] == ["genomes", "genomes"]
    assert sorted(row["cluster"] for row in clusters) == ["0", "1"]
    assert "Too few to cluster" in run.page


def test_a_merged_file(merged: Path, tmp_path: Path):
    run = run_notebook(tmp_path / "out", merged)
    assert run.done.returncode == 0, run.done.stderr
    clusters = run.table("contig_clusters")
    kinds = [f"{kind}{n}" for kind in ("at", "gc") for n in range(CONTIGS_EACH)]
    wanted = [f"{sample}:{name}" for sample in ("S1", "S2") for name in kinds]
    assert sorted(row["record_id"] for row in clusters) == sorted(wanted)
    assert all(row["record_id"].startswith(f"{row['sample']}:") for row in clusters)
    # composition shows in random vectors too: no cluster has contigs of both kinds
    kinds_of = {(row["cluster"], row["record_id"][3:5]) for row in clusters}
    assert len(kinds_of) == len({row["cluster"] for row in clusters}) > 1
    for name in ("map", "neighbours", "contigs"):
        check_picture(run.out / f"{name}.png")
    assert run.page.count("<img ") == 3


def test_the_text_above_every_figure_says_that_there_is_no_biology():
    part = ""
    num_figures = 0
    for cell in NOTEBOOK["cells"]:
        part = source_of(cell) if source_of(cell).startswith("## ") else part
        if re.search(r"^ *save\(", source_of(cell), re.MULTILINE):
            num_figures += 1
            assert "there is no biology in this" in part
    assert num_figures == 3


def test_results_of_other_weights_are_refused(genomes, other_weights, tmp_path):
    run = run_notebook(tmp_path / "out", genomes, other_weights)
    assert run.done.returncode != 0
    assert "The esm2 vectors of these files are of different weights" in run.done.stderr
    assert str(genomes) in run.done.stderr
    assert str(other_weights) in run.done.stderr
    assert not (tmp_path / "out" / "map.png").exists()


def test_jupyter_is_there_to_open_it():
    if not INSTALLED.exists():
        pytest.skip("`make test` installs the environment of the notebook")
    lab = [INSTALLED.parent / "bin" / "jupyter", "lab", "--version"]
    subprocess.run(lab, check=True, capture_output=True)


def test_the_notebook_is_kept_without_outputs():
    code = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
    assert code
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
