"""Every number of the report, computed again from the files by other code."""

from __future__ import annotations

import csv
import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import anndata
import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from tests.report.conftest import MAP_POINTS, FinishedRun
from virembed.report import data as report_data
from virembed.report.projection import one_thread
from virembed.report.rows import quotas, stratified
from virembed.report.samples import failed_sample
from virembed.report.tables import write_multiqc

SAMPLES = ("empty", "genome", "one", "reads", "stops")
MODELS = ("esm2", "dnaberts")


@pytest.fixture(scope="module")
def tables(finished_run: FinishedRun) -> dict[str, anndata.AnnData]:
    """The result files, as anndata reads them."""
    return {name: anndata.read_h5ad(finished_run.result(name)) for name in SAMPLES}


def by_name(data: dict) -> dict[str, dict]:
    return {sample["name"]: sample for sample in data["samples"]}


def test_counts_are_those_of_the_rows_and_records(data, tables):
    for name, sample in by_name(data).items():
        table, counts = tables[name], sample["counts"]
        assert counts["rows"] == table.n_obs
        assert counts["frames_open"] == int((table.obs["frame"] != "none").sum())
        assert counts["records_in"] == len(table.uns["records"])
        assert counts["windows"] == int(table.uns["records"]["n_windows"].sum())
        for model in MODELS:
            source = table.obs[f"{model}_source_row"].to_numpy()
            copied = (source >= 0) & (source != np.arange(table.n_obs))
            assert counts[f"{model}_copied"] == int(copied.sum())
    for count, total in data["totals"].items():
        assert total == sum(sample["counts"][count] for sample in data["samples"])


def test_verdicts_name_every_loss(data):
    verdicts = {
        name: (sample["state"], sample["verdict"]) for name, sample in by_name(data).items()
    }
    rows = by_name(data)["reads"]["counts"]["rows"]
    assert verdicts["reads"] == (
        "losses",
        f"complete: {rows:,} rows from 172 records, with losses "
        "(records empty: 1, records too short: 1)",
    )
    assert verdicts["empty"] == ("empty", "empty: no row from 0 records")
    assert verdicts["one"] == ("ok", "complete: 1 row from 1 record, nothing lost")
    lost = by_name(data)["reads"]["losses"]
    assert sorted(each["examples"][0] for each in lost) == ["nothing", "short"]


def test_histograms_hold_every_value_once(data, tables):
    for histogram in data["histograms"]:
        for name, sample in by_name(data).items():
            table = tables[name]
            values = {
                "record_bp": table.uns["records"]["length"],
                "protein_len": table.obs["protein_len"],
                "dna_bp": table.obs["dna_end"] - table.obs["dna_start"],
                "esm2_norm": table.obs["esm2_norm"].dropna(),
                "dnaberts_norm": table.obs["dnaberts_norm"].dropna(),
            }[histogram["name"]].to_numpy()
            values = values[values > 0]
            edges, counts = histogram["edges"], sample["bins"][histogram["name"]]
            inside = [
                int(((values >= low) & (values < high)).sum()) for low, high in pairwise(edges[:-1])
            ]
            assert counts[:-1] == inside
            assert sum(counts) == len(values)


def test_frames_medians_and_norms(data, tables):
    for name, sample in by_name(data).items():
        obs = tables[name].obs
        assert sample["frames"] == {
            frame: int((obs["frame"] == frame).sum())
            for frame in ("F1", "F2", "F3", "R1", "R2", "R3", "none")
        }
        lengths = obs["protein_len"][obs["protein_len"] > 0]
        median = float(lengths.median()) if len(lengths) else None
        assert sample["medians"]["protein_len"] == median
        for model in MODELS:
            norms = obs[f"{model}_norm"].dropna().astype(float)
            facts = sample["norms"][model]
            if norms.empty:
                assert facts["median"] is None
                continue
            far = (norms - norms.median()).abs()
            sigma = 1.4826 * far.median()
            assert facts["median"] == pytest.approx(norms.median())
            assert facts["sigma"] == pytest.approx(sigma)
            outliers = norms[far > 6 * sigma] if sigma else norms[:0]
            assert facts["num_far"] == len(outliers)
            assert {each["row_id"] for each in facts["far"]} <= set(outliers.index)


def standardised(tables, model: str) -> dict[str, np.ndarray]:
    """z-scores of all rows with a vector, from the vectors themselves."""
    vectors = {n: t.obsm[f"X_{model}"].astype(float) for n, t in tables.items()}
    finite = {name: v[np.isfinite(v).all(axis=1)] for name, v in vectors.items()}
    together = np.concatenate(list(finite.values()))
    mean, spread = together.mean(axis=0), together.std(axis=0, ddof=1)
    return {name: (v - mean) / spread for name, v in finite.items()}


def test_points_of_the_map_are_rows_of_the_files(data, tables):
    points, records = data["map"]["points"], data["map"]["records"]
    assert data["map"]["num_points"] == len(points["row"]) <= MAP_POINTS
    names = [sample["name"] for sample in data["samples"]]
    for i, row in enumerate(points["row"]):
        obs = tables[names[points["sample"][i]]].obs.iloc[row]
        assert obs["record_id"] == records[points["record"][i]]
        assert (obs["window"], obs["protein_len"]) == (
            points["window"][i],
            points["protein_len"][i],
        )
        assert obs["dna_end"] - obs["dna_start"] == points["dna_bp"][i]


@pytest.mark.parametrize("model", MODELS)
def test_principal_components_are_those_of_the_standardised_rows(data, tables, model):
    points = data["map"]["points"]
    panel = next(each for each in data["map"]["panels"] if each["model"] == model)
    names = [sample["name"] for sample in data["samples"]]
    z = standardised(tables, model)
    rows = [(names[points["sample"][i]], points["row"][i]) for i in panel["points"]]
    shown = np.array([z[name][row] for name, row in rows])
    shown -= shown.mean(axis=0)
    _, values, axes = np.linalg.svd(shown, full_matrices=False)
    variance = values**2 / (values**2).sum()
    assert panel["explained"] == pytest.approx(variance[:2], abs=1e-3)
    for axis, direction in zip("xy", axes[:2], strict=True):
        drawn = panel["layouts"]["pca"][axis]
        assert abs(np.corrcoef(drawn, shown @ direction)[0, 1]) > 0.999


@pytest.mark.parametrize("model", MODELS)
def test_distances_are_those_of_the_mean_vectors(data, tables, model):
    found, names = data["distances"][model], [sample["name"] for sample in data["samples"]]
    means = {n: z.mean(axis=0) for n, z in standardised(tables, model).items() if len(z)}
    assert {names[number] for number in found["samples"]} == set(means)
    assert found["without"] == len(names) - len(means) > 0
    for i, one in enumerate(found["samples"]):
        for j, other in enumerate(found["samples"]):
            gap = means[names[one]] - means[names[other]]
            assert found["matrix"][i][j] == pytest.approx(np.sqrt(np.mean(gap**2)), abs=2e-3)


def test_strips_count_the_open_frames_of_each_window(data, tables):
    names = [sample["name"] for sample in data["samples"]]
    assert {strip["record"] for strip in data["strips"]} == {"gi|45478711|ref|NC_005816.1|"}
    for strip in data["strips"]:
        obs = tables[names[strip["sample"]]].obs
        obs = obs[(obs["record_id"] == strip["record"]) & (obs["frame"] != "none")]
        counted = Counter(obs["window"])
        assert strip["frames"] == [counted[window] for window in range(strip["num_windows"])]
        assert len(strip["component"]) == strip["num_windows"]
        assert None not in strip["component"]


def read_tsv(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_the_table_of_samples_has_the_numbers_of_the_files(made, tables):
    rows = {row["sample"]: row for row in read_tsv(made / "summary.tsv")}
    assert sorted(rows) == list(SAMPLES)
    for name, table in tables.items():
        assert int(rows[name]["rows"]) == table.n_obs
        assert int(rows[name]["records"]) == len(table.uns["records"])
        status = table.uns["records"]["status"]
        assert int(rows[name]["records_without_rows"]) == int((status != "ok").sum())
        made_with = table.uns["provenance"]["esm2"]["weights_sha256"]
        assert rows[name]["esm2_weights_sha256"] == made_with


def test_the_table_of_tasks_has_the_numbers_of_their_statistics(made, finished_run):
    rows = {row["task"]: row for row in read_tsv(made / "gpu.tsv")}
    files = {path.name.removesuffix(".stats.json"): path for path in finished_run.stats.iterdir()}
    assert rows.keys() == files.keys()
    assert len(rows) > 4
    for name, path in files.items():
        stats, row = json.loads(path.read_text()), rows[name]
        assert int(row["num_tokens"]) == stats["num_tokens"] == stats["samples"][-1]["tokens"]
        rate = stats["num_tokens"] / stats["seconds"]["loop"]
        assert float(row["tokens_per_s"]) == pytest.approx(rate, rel=1e-4)
        assert (row["sample"], row["model"]) == tuple(name.split(".")[:2])
        assert row["busy_percent"] == ""


def test_multiqc_gets_the_same_counts(made, data):
    general, losses, verdicts = (
        json.loads((made / "multiqc" / f"virembed_{name}_mqc.json").read_text())
        for name in ("general", "losses", "verdicts")
    )
    for name, sample in by_name(data).items():
        assert verdicts["data"][name]["state"] == sample["state"]
        assert general["data"][name]["rows"] == sample["counts"]["rows"]
        assert losses["data"][name]["records_too_short"] == (1 if name == "reads" else 0)


def test_what_a_file_is_called_is_no_html_in_multiqc(data, tmp_path):
    broken = failed_sample("x", "x.h5", "<b>.h5: cut short, or damaged")
    write_multiqc(tmp_path, data | {"samples": [broken]})
    table = json.loads((tmp_path / "virembed_verdicts_mqc.json").read_text())
    assert table["data"]["x"]["verdict"] == "failed: &lt;b&gt;.h5: cut short; or damaged"


def test_what_is_computed_takes_one_thread_whatever_the_machine_has(
    finished_run: FinishedRun, monkeypatch
):
    with one_thread():
        pass  # loads what there is to limit
    threads: list[set[int]] = []

    def watch(name: str) -> None:
        known = getattr(report_data, name)

        def watched(*arguments: object) -> object:
            threads.append({library["num_threads"] for library in threadpool_info()})
            return known(*arguments)

        monkeypatch.setattr(report_data, name, watched)

    for name in ("project", "read_strips", "sample_distances"):
        watch(name)
    with threadpool_limits(3):
        report_data.report_data([finished_run.result("genome")])
    assert threads == [{1}] * 5  # of both models, but for the strips


def test_small_samples_are_taken_whole_and_the_rest_is_shared():
    assert quotas([5, 1000, 0, 100_000], 205) == [5, 100, 0, 100]
    assert quotas([3, 4], 100) == [3, 4]
    assert sum(quotas([7] * 30, 100)) == 100


def test_rows_are_chosen_from_every_stretch_and_always_the_same():
    rows = stratified(1003, 100)
    assert len(set(rows.tolist())) == 100
    assert (np.diff(rows) > 0).all()
    assert np.diff(rows).max() < 21
    assert (rows == stratified(1003, 100)).all()
    assert stratified(5, 9).tolist() == [0, 1, 2, 3, 4]
