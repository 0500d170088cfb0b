"""The page: whole, self-contained, small, the same every time, and there for every kind of run."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.report.conftest import STOPS, FinishedRun, finish
from tests.report.test_gpu_tasks import gpu_stats
from tests.steps import Sample, Weights, make_weights
from virembed.report import projection
from virembed.report.data import report_data
from virembed.report.render import render

VOID = {"meta", "link", "br"}
MAX_BYTES = 5_000_000


class Page(HTMLParser):
    """Reads a page strictly: every element closed in order, ids unique."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open
        assert len(self.ids) == len(set(self.ids))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.ids += [given["id"]] if "id" in given else []
        self.links += [
            given[name] for name in ("src", "href", "xlink:href", "data") if name in given
        ]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def check(path: Path) -> Page:
    text = path.read_text()
    page = Page(text)
    assert all(link.startswith("#") or link == "data:," for link in page.links), page.links
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert not re.search(r"https?:|@import|url\(|//cdn", text)
    assert len(text) <= MAX_BYTES
    return page


def test_the_page_is_whole_and_needs_nothing_from_elsewhere(made, data):
    page = check(made / "report.html")
    text = " ".join(page.texts)
    for sample in data["samples"]:
        assert sample["verdict"] in text
    assert f"{data['totals']['rows']:,}" in page.texts
    assert "5 samples complete, 2 with losses or empty" in text
    assert "2 s estimated" in text


def test_random_weights_are_announced_on_every_figure(made):
    text = (made / "report.html").read_text()
    figures = text.split("<figure>")[1:]
    assert len(figures) >= 6
    assert all('<span class="badge">Random weights: no biology</span>' in each for each in figures)


def test_the_same_files_give_the_same_page(made, finished_run: FinishedRun, tmp_path):
    code = finished_run.report(
        out=tmp_path / "again.html",
        stats=finished_run.stats,
        plan=made / "plan.json",
        map_points=300,
    )
    assert code == 0
    assert (tmp_path / "again.html").read_bytes() == (made / "report.html").read_bytes()


@pytest.mark.parametrize("sample", ["empty", "one", "reads", "stops", "genome"])
def test_a_single_sample_of_any_kind_has_a_page(finished_run: FinishedRun, tmp_path, sample):
    out = tmp_path / "report.html"
    assert finished_run.report(finished_run.result(sample), out=out, map_points=300) == 0
    page = check(out)
    assert ("map" in page.ids) == (sample in ("reads", "genome"))
    assert "similarity" not in page.ids
    assert "time" not in page.ids


def test_gpus_have_their_load_memory_and_power_shown(finished_run: FinishedRun, tmp_path):
    stats = tmp_path / "stats"
    stats.mkdir()
    for number in range(40):
        told = gpu_stats(number, gpu=f"GPU-{number % 4}", started=f"10:{number:02d}:00")
        (stats / f"{number}.stats.json").write_text(json.dumps(told))
    out = tmp_path / "report.html"
    assert finished_run.report(finished_run.result("one"), out=out, stats=stats) == 0
    text = " ".join(check(out).texts)
    for shown in ("GPU 4", "NVIDIA H200", "10,000", "80.5", "610", "10 more are in gpu.tsv"):
        assert shown in text


def test_fifty_samples_fit_the_limit(finished_run: FinishedRun, tmp_path, monkeypatch):
    def any_layout(reduced):  # of the same size as t-SNE's, which would take a minute here
        return np.ascontiguousarray(reduced[:, 2:4])

    monkeypatch.setattr(projection, "_tsne", any_layout)
    long_id = "NODE_1_length_9609_cov_17.281_" * 3
    paths = []
    for number in range(50):
        path = tmp_path / f"sample{number:02d}.h5"
        shutil.copy(finished_run.result("reads"), path)
        with h5py.File(path, "r+") as file:
            file.attrs["sample"] = path.stem
            names = file["obs/record_id/categories"].asstr()[:]
            file["obs/record_id/categories"][:] = [f"{long_id}{path.stem}{name}" for name in names]
        paths.append(path)
    data = report_data(paths)
    assert data["map"]["num_points"] > 5000
    assert sum(map(len, data["map"]["records"])) < 1_200_000
    (tmp_path / "report.html").write_text(render(data))
    page = check(tmp_path / "report.html")
    assert "sample49" in page.texts


def test_ids_cannot_break_out_of_the_page(tmp_path, tiny_weights: Weights):
    sample = Sample(tmp_path / "in", tiny_weights, "S")
    sample.home.mkdir()
    body = STOPS.split("\n", 1)[1]
    (sample.home / "in.fa").write_text(f"></script><img/src=x>&\n{body * 3}>b\n{body}")
    finish(sample, tmp_path / "run", sample.home / "in.fa")
    run = FinishedRun(tmp_path / "run")
    assert run.report(out=tmp_path / "report.html") == 0
    text = (tmp_path / "report.html").read_text()
    assert "<img" not in text
    assert text.count("</script>") == 3
    assert "&lt;/script&gt;&lt;img/src=x&gt;&amp;" in text


def test_a_sample_without_a_readable_result_does_not_hide_the_others(
    finished_run: FinishedRun, tmp_path, capsys
):
    shutil.copytree(finished_run.results, tmp_path / "results")
    damaged = tmp_path / "results" / "reads" / "reads.h5"
    damaged.write_bytes(damaged.read_bytes()[:5000])
    (tmp_path / "samples.csv").write_text("sample,fasta\none,a.fa\nlost,b.fa\n")
    run = FinishedRun(tmp_path)
    out, table = tmp_path / "report.html", tmp_path / "summary.tsv"
    code = run.report(out=out, samples=tmp_path / "samples.csv", summary_tsv=table, map_points=300)
    told = capsys.readouterr()
    assert code == 7
    assert "reads.h5: no readable result file" in told.err
    assert told.err.count("\n") == 1
    assert "6 samples: 3 ok, 1 empty, 2 failed" in told.out
    text = " ".join(check(out).texts)
    assert "2 of 6 samples failed" in text
    assert "failed: there is no result file" in text
    states = [line.split("\t")[:2] for line in table.read_text().splitlines()[1:]]
    assert ["lost", "failed"] in states
    assert ["reads", "failed"] in states


def other_weights(run: FinishedRun, tmp_path: Path) -> list[Path]:
    other = Sample(tmp_path / "other", make_weights(tmp_path / "w", seed=3), "other")
    other.home.mkdir()
    (other.home / "in.fa").write_text(">a\nAC\n")
    finish(other, tmp_path / "run", other.home / "in.fa")
    return [run.result("one"), tmp_path / "run/results/other/other.h5"]


def twice(run: FinishedRun, tmp_path: Path) -> list[Path]:
    shutil.copy(run.result("one"), tmp_path / "copy.h5")
    return [run.result("one"), tmp_path / "copy.h5"]


def nothing(run: FinishedRun, tmp_path: Path) -> list[Path]:
    return [tmp_path]


def nowhere(run: FinishedRun, tmp_path: Path) -> list[Path]:
    return [tmp_path / "nowhere.h5"]


@pytest.mark.parametrize(
    ("given", "code", "cause"),
    [
        (other_weights, 2, "one and other were embedded with other esm2 weights"),
        (twice, 2, "sample one is there twice"),
        (nothing, 2, "no result file"),
        (nowhere, 7, "there is no such result file"),
    ],
)
def test_results_that_do_not_go_together(finished_run, tmp_path, capsys, given, code, cause):
    results = given(finished_run, tmp_path)
    capsys.readouterr()
    assert finished_run.report(*results, out=tmp_path / "report.html") == code
    assert cause in capsys.readouterr().err
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    "content", ["", "[1]", '{"models": 3}', '{"models": {"esm2": {"gpu_s": "x"}}}']
)
def test_a_plan_of_another_kind_is_refused(finished_run, tmp_path, capsys, content):
    (tmp_path / "plan.json").write_text(content)
    out = tmp_path / "report.html"
    result = finished_run.result("one")
    assert finished_run.report(result, out=out, plan=tmp_path / "plan.json") == 3
    assert "plan.json" in capsys.readouterr().err


def test_every_column_of_the_tables_is_documented(made):
    docs = (Path(__file__).parents[2] / "docs" / "report.md").read_text()
    for table in ("summary.tsv", "gpu.tsv"):
        header = (made / table).read_text().splitlines()[0].split("\t")
        for column in header:
            general = re.sub(r"^(esm2|dnaberts)_", "MODEL_", column)
            assert f"`{column}`" in docs or f"`{general}`" in docs, column
