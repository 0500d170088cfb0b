"""The page in a real browser: what it shows, and what it does when it is used."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.report.conftest import FinishedRun, finish
from tests.steps import Sample, Weights

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(not BROWSER, reason="no chromium here: `make browser` installs it")
WIDTHS = (400, 1280, 1920)
TITLES = {"esm2": "Proteins, ESM-2", "dnaberts": "DNA, DNABERT-S"}


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with playwright.sync_playwright() as started:
        # --no-sandbox: as root, in a container
        chromium = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser, made: Path):
    """Opens a report as asked; fails on any error in it and on any request to elsewhere."""
    opened, errors = [], []

    def start(
        report: Path = made / "report.html",
        *,
        width: int = 1280,
        script: bool = True,
        scheme: str = "light",
    ):
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,
            java_script_enabled=script,
        )
        opened.append(context)
        page = context.new_page()
        page.on("console", lambda message: errors.append(message.text))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on(
            "request",
            lambda request: errors.append(request.url) if request.url[:5] == "http:" else None,
        )
        page.goto(report.as_uri())
        return page

    yield start
    for context in opened:
        context.close()
    assert errors == []


@dataclass(frozen=True)
class ManySamples:
    """A report of fifty samples that lie apart, twelve of them without a protein.

    means: by model and sample, in standard deviations of all rows, [D] each
    """

    report: Path
    means: dict[str, dict[str, np.ndarray]]

    def distance(self, model: str, one: str, other: str) -> float:
        means = self.means[model]
        return float(np.sqrt(np.square(means[one] - means[other]).mean()))


@pytest.fixture(scope="module")
def many_samples(finished_run: FinishedRun, tmp_path_factory) -> ManySamples:
    home = tmp_path_factory.mktemp("many_samples")
    rng = np.random.default_rng(0)
    moments: dict[str, dict[str, list[np.ndarray]]] = {model: {} for model in TITLES}
    for number in range(50):
        # long names that begin and end alike
        path = home / f"SRR10{number:02d}_of_one_long_study_day{number % 7}.h5"
        shutil.copy(finished_run.result("reads" if number % 4 else "stops"), path)
        with h5py.File(path, "r+") as file:
            file.attrs["sample"] = path.stem
            for model, found in moments.items():
                stats = file[f"uns/stats/X_{model}"]
                n, mean, m2 = int(stats["n"][()]), stats["mean"], stats["m2"][:]
                if n:
                    mean[:] = mean[:] + rng.standard_normal(mean.shape) / 9
                    found[path.stem] = [n, mean[:], m2]
    report = home / "report.html"
    assert finished_run.report(home, out=report, map_points=300) == 0
    means = {}
    for model, found in moments.items():
        n, mean, m2 = (np.array(values) for values in zip(*found.values(), strict=True))
        centre = n @ mean / n.sum()
        squares = m2.sum(axis=0) + n @ np.square(mean - centre)
        spread = np.sqrt(squares / (n.sum() - 1))
        means[model] = {name: values[1] / spread for name, values in found.items()}
    return ManySamples(report, means)


def pair_shown(page) -> tuple[list[str], dict[str, float]]:
    """The samples that the note names, and their distances by title of the heat map."""
    lines = page.locator(".tip span").all_inner_texts()
    shown = dict(line.split(": distance ") for line in lines)
    names = page.locator(".tip b").inner_text().split(" and ")
    return names, {title: float(value) for title, value in shown.items()}


def drawn(canvas) -> int:
    """How many pixels of a canvas have a colour."""
    return canvas.evaluate(
        """canvas => {
            const copy = new OffscreenCanvas(canvas.width, canvas.height);
            const context = copy.getContext("2d", { willReadFrequently: true });
            context.drawImage(canvas, 0, 0);
            const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
            return data.filter((value, place) => place % 4 === 3 && value > 0).length;
        }"""
    )


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("script", [True, False])
def test_nothing_is_cut_off_or_lies_upon_each_other(visit, width, script):
    page = visit(width=width, script=script)
    assert page.locator("section").count() == 9
    boxes = [section.bounding_box() for section in page.locator("section").all()]
    for above, below in pairwise(boxes):
        assert above["y"] + above["height"] <= below["y"]
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= width for box in boxes)
    for svg in page.locator("section svg:visible").all():
        box = svg.bounding_box()
        inside = page.locator("section").first.bounding_box()
        # tables scroll sideways; pictures do not
        if "spark" not in (svg.get_attribute("class") or ""):
            assert box["x"] + box["width"] <= inside["x"] + inside["width"]


def test_without_javascript_every_figure_is_a_still_picture(visit):
    page = visit(script=False)
    assert page.locator("canvas:visible, select:visible, button:visible").count() == 0
    assert page.locator("svg.points:visible").count() == 2
    assert page.locator("svg.histogram:visible").count() == 6
    assert page.locator("svg.heat:visible").count() == 2
    assert page.locator("svg.strip:visible").count() >= 2
    assert page.locator("#legend .key:visible").count() == 4


def test_pointing_at_a_dot_shows_the_id_of_its_row(visit, finished_run: FinishedRun):
    page = visit()
    canvas = page.locator(".panel canvas").first
    canvas.scroll_into_view_if_needed()
    assert drawn(canvas) > 500
    tip = page.locator(".tip")
    assert not tip.is_visible()
    canvas.focus()
    canvas.press("ArrowRight")  # to the dot nearest to the middle
    ring = page.locator(".ring").first.bounding_box()
    by_key = tip.locator("b").inner_text()
    canvas.press("Escape")
    assert not tip.is_visible()
    page.mouse.move(ring["x"] + ring["width"] / 2, ring["y"] + ring["height"] / 2)
    assert tip.is_visible()
    assert tip.locator("b").inner_text() == by_key
    assert page.locator(".ring:visible").count() == 2  # in both panels
    sample, row = tip.locator("span").first.inner_text().removeprefix("Sample ").split(", row ")
    with h5py.File(finished_run.result(sample)) as file:
        assert file["obs/row_id"].asstr()[int(row.replace(",", ""))] == by_key


def test_a_whole_record_is_shown_under_its_own_id(visit, tiny_weights: Weights, tmp_path):
    proteins = {f"my protein {n}".replace(" ", "_"): "MKLV" * (n + 2) for n in range(7)}
    (tmp_path / "in.faa").write_text("".join(f">{n}\n{text}\n" for n, text in proteins.items()))
    sample = Sample(tmp_path / "ours", tiny_weights, "ours")
    sample.home.mkdir()
    finish(sample, tmp_path, tmp_path / "in.faa", type="protein")
    run = FinishedRun(tmp_path)
    assert run.report(out=tmp_path / "report.html") == 0
    page = visit(tmp_path / "report.html")
    canvas = page.locator(".panel canvas").first
    canvas.scroll_into_view_if_needed()
    canvas.focus()
    canvas.press("ArrowRight")
    assert page.locator(".tip b").inner_text() in proteins


def test_the_legend_hides_and_shows_and_follows_the_colouring(visit):
    page = visit()
    canvas = page.locator(".panel canvas").nth(1)
    button = page.get_by_role("button", name="reads")
    before = drawn(canvas)
    button.press("Enter")
    assert button.get_attribute("aria-pressed") == "false"
    assert drawn(canvas) < before / 2
    button.click()
    assert drawn(canvas) == before
    page.select_option("#colour", label="Frame")
    names = page.locator("#legend .name").all_inner_texts()
    assert names == ["F1", "F2", "F3", "R1", "R2", "R3", "no open frame"]
    page.select_option("#layout", "pca")
    assert page.locator("[data-layout=pca]:visible").count() == 2
    assert drawn(canvas) > 500


def test_zooming_and_back(visit):
    page = visit()
    canvas = page.locator(".panel canvas").first
    before = canvas.evaluate("c => c.toDataURL()")
    nearer, _, everything = page.locator(".zoom").first.locator("button").all()
    nearer.click()
    assert canvas.evaluate("c => c.toDataURL()") != before
    everything.click()
    assert canvas.evaluate("c => c.toDataURL()") == before


def test_dark_by_the_system_and_by_the_button(visit):
    def paper(page):
        return page.locator("section").first.evaluate("s => getComputedStyle(s).backgroundColor")

    light, dark = visit(), visit(scheme="dark")
    assert paper(light) == "rgb(255, 255, 255)"
    assert paper(dark) == "rgb(23, 28, 35)"
    light.locator("#theme").click()
    dark.locator("#theme").click()
    assert paper(light) == "rgb(23, 28, 35)"
    assert paper(dark) == "rgb(255, 255, 255)"


def test_choosing_a_sample_shows_its_numbers_everywhere(visit, data):
    page = visit()
    page.locator("select.sample").first.select_option(label="stops")
    stops = next(sample for sample in data["samples"] if sample["name"] == "stops")
    assert page.locator("[data-total=windows]").inner_text() == f"{stops['counts']['windows']:,}"
    assert page.locator("li[data-count=frames_open] b").inner_text() == "0"
    titles = page.locator("[data-bins=frames] .bars title").all_text_contents()
    assert titles[-1] == f"none: {stops['frames']['none']}"
    page.locator("select.sample").last.select_option("all")
    shown = page.locator("[data-total=windows]").inner_text()
    assert shown == f"{data['totals']['windows']:,}"


@pytest.mark.parametrize("width", WIDTHS)
def test_pointing_at_a_cell_of_fifty_samples_names_both(visit, many_samples, width):
    page = visit(many_samples.report, width=width)
    heat = page.locator(".pairs").last
    heat.scroll_into_view_if_needed()
    heat.evaluate("element => { element.scrollLeft = 0; }")
    names = heat.locator("text.name")
    assert names.count() == 50
    assert len(set(names.all_text_contents())) == 50
    assert heat.locator(".frame").count() == 0
    # the cell at the right of the sixth name and below the 5; the first 5 is at the side
    row, column = (
        names.nth(5).bounding_box(),
        heat.get_by_text("5", exact=True).last.bounding_box(),
    )
    page.mouse.move(column["x"] + column["width"] / 2, row["y"] + row["height"] / 2)
    chosen = heat.locator("text.name.chosen").all_text_contents()
    assert chosen == [names.nth(place).text_content() for place in (4, 5)]
    (first, second), shown = pair_shown(page)
    for short, full in zip(chosen, (second, first), strict=True):
        begin, end = short.split("…")
        assert full.startswith(begin)
        assert full.endswith(end)
    for model, title in TITLES.items():
        if {first, second} <= many_samples.means[model].keys():
            expected = many_samples.distance(model, first, second)
            assert shown.pop(title) == pytest.approx(expected, abs=6e-4)
    assert not shown
    tip = page.locator(".tip").bounding_box()
    assert tip["x"] >= 0
    assert tip["x"] + tip["width"] <= width
    page.mouse.move(column["x"], column["y"] - 30)
    assert not page.locator(".tip").is_visible()
    assert heat.locator(".frame").count() == 0


@pytest.mark.parametrize("width", WIDTHS)
def test_arrow_keys_go_from_pair_to_pair_and_into_view(visit, many_samples, width):
    page = visit(many_samples.report, width=width)
    first, last = page.locator(".pairs").all()
    page.keyboard.press("Tab")  # from now on by the keyboard
    first.focus()
    start, shown = pair_shown(page)
    assert len(start) == 2
    assert shown.keys() == set(TITLES.values())
    for _ in range(60):  # past the last one
        page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    pair, shown = pair_shown(page)
    assert pair[0] == start[1]
    assert pair[1] not in start
    for model, title in TITLES.items():
        assert shown[title] == pytest.approx(many_samples.distance(model, *pair), abs=6e-4)
    assert first.get_attribute("aria-label").startswith(f"{pair[0]} and {pair[1]}. Proteins")
    frame = first.locator(".frame.inner").bounding_box()
    box = first.bounding_box()
    assert box["x"] <= frame["x"]
    assert frame["x"] + frame["width"] <= box["x"] + box["width"]
    assert last.locator(".frame.inner").count() == 1  # the same pair there
    page.keyboard.press("Escape")
    assert not page.locator(".tip").is_visible()
    assert page.locator(".frame").count() == 0


def test_samples_that_are_not_on_a_heat_map_are_counted(visit, many_samples):
    page = visit(many_samples.report)
    proteins, dna = page.locator("#similarity .heats p.note").all_inner_texts()
    without = 50 - len(many_samples.means["esm2"])
    assert f"{without} of 50 samples have no such vector." in proteins
    assert without > 0
    assert "no such vector" not in dna


def test_tables_are_sorted_by_their_heads(visit, data):
    page = visit()
    head = page.locator("#samples th button", has_text=re.compile("^Rows$"))
    column = page.locator("#samples tbody td:nth-child(7)")
    rows = sorted(sample["counts"]["rows"] for sample in data["samples"])
    head.click()
    assert column.all_inner_texts() == [f"{number:,}" for number in rows]
    head.click()
    assert column.all_inner_texts() == [f"{number:,}" for number in reversed(rows)]


def test_everything_is_reached_by_the_keyboard(visit):
    page = visit()
    seen = set()
    for _ in range(120):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert {"theme", "colour", "layout", "CANVAS", "BUTTON", "A", "SELECT"} <= seen
