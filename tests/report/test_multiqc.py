"""The tables for MultiQC, opened in MultiQC itself: its warnings, its data, its page."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.report.conftest import FinishedRun
from virembed.report.samples import loss_counts

MULTIQC = Path(__file__).parents[2] / ".venv-multiqc" / "bin" / "multiqc"
pytestmark = pytest.mark.skipif(not MULTIQC.exists(), reason="`make test CI=1` installs MultiQC")
COUNTS = {
    "records": "records_in",
    "rows": "rows",
    "open_frames": "frames_open",
}


@dataclass(frozen=True)
class Opened:
    """What MultiQC said, and what it made."""

    log: str
    data: dict[str, Any]
    page: str


def open_in_multiqc(directory: Path, out: Path) -> Opened:
    # strict: it warns of whatever it would do in another way
    options = ("--strict", "--no-ansi", "--no-version-check", "--outdir", out)
    done = subprocess.run(
        [MULTIQC, directory, *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    data = json.loads((out / "multiqc_data" / "multiqc_data.json").read_text())
    return Opened(done.stderr, data, (out / "multiqc_report.html").read_text())


@pytest.fixture(scope="module")
def published(finished_run: FinishedRun, tmp_path_factory) -> Path:
    """A directory of results as the pipeline publishes it, one sample without a result."""
    home = tmp_path_factory.mktemp("published")
    sheet = home / "samples.csv"
    names = ("gone", *(path.name for path in finished_run.results.iterdir()))
    sheet.write_text("sample,fasta\n" + "".join(f"{name},x.fa\n" for name in names))
    out = home / "results"
    tables = {"mqc": out / "multiqc", "summary_tsv": out / "summary.tsv"}
    done = {"stats": finished_run.stats, "samples": sheet, "gpu_tsv": out / "gpu.tsv"}
    assert finished_run.report(out=out / "report.html", **tables, **done) == 0
    for folder in finished_run.results.iterdir():
        (out / folder.name).symlink_to(folder)
    return out


@pytest.fixture(scope="module")
def opened(published: Path, tmp_path_factory) -> Opened:
    return open_in_multiqc(published, tmp_path_factory.mktemp("opened"))


def test_it_finds_our_tables_only_and_warns_of_nothing(opened: Opened):
    found = re.findall(r"^ *(\w+) \| (\w+): Found", opened.log, re.MULTILINE)
    tables = ["virembed_general", "virembed_losses", "virembed_verdicts"]
    assert sorted(found) == [("custom_content", table) for table in tables]
    assert not re.search(r"warn(ing)?:|error|deprecat", opened.log, re.IGNORECASE), opened.log


def test_its_numbers_are_those_of_the_files(opened: Opened, data):
    general = opened.data["report_general_stats_data"]["custom_content"]
    saved = opened.data["report_saved_raw_data"]
    losses = saved["multiqc_virembed_losses_plot"]
    assert set(general) == set(losses) == {sample["name"] for sample in data["samples"]}
    for sample in data["samples"]:
        name, counts = sample["name"], sample["counts"]
        for column, count in COUNTS.items():
            assert general[name][column] == counts[count]
        without = counts["records_in"] - counts["records_ok"]
        assert general[name]["records_without_rows"] == without
        assert losses[name] == {count: counts[count] for count, _ in loss_counts()}
    headers = opened.data["report_general_stats_headers"]["custom_content"]
    assert {header["namespace"] for header in headers.values()} == {"Custom content: virembed"}


def test_every_sample_has_its_verdict_a_failed_one_too(opened: Opened, data):
    verdicts = opened.data["report_saved_raw_data"]["multiqc_virembed_verdicts_table"]
    expected = {sample["name"]: sample["state"] for sample in data["samples"]}
    assert {name: row["state"] for name, row in verdicts.items()} == expected | {"gone": "failed"}
    for sample in data["samples"]:
        assert verdicts[sample["name"]]["verdict"] == sample["verdict"].replace(", ", "; ")


def test_its_page_has_our_sections(opened: Opened, data):
    for section in ("virembed_losses", "virembed_verdicts"):
        assert f'id="{section}"' in opened.page
    assert opened.page.count("Random weights: no biology in these vectors.") >= 2
    assert "failed: there is no result file" in opened.page
    # cells are HTML in which MultiQC makes something else of commas
    for sample in data["samples"]:
        assert sample["verdict"].replace(", ", "; ") in opened.page


def test_where_nothing_was_lost_the_verdict_is_still_there(finished_run, data, tmp_path):
    tables = tmp_path / "multiqc"
    genome = finished_run.result("genome")
    assert finished_run.report(genome, out=tmp_path / "report.html", mqc=tables) == 0
    opened = open_in_multiqc(tables, tmp_path / "opened")
    assert 'id="virembed_losses"' not in opened.page
    (verdict,) = (sample["verdict"] for sample in data["samples"] if sample["name"] == "genome")
    assert verdict.replace(", ", "; ") in opened.page
    assert "Random weights: no biology in these vectors." in opened.page
