"""The estimate of a run: what it counts is what is embedded, what it adds up is right."""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest

from tests.steps import DEMO, Sample, Weights, call
from virembed.items import read_chunk
from virembed.models.random_weights import DNABERTS_SIZES, ESM2_SIZES, Size
from virembed.plan import make_plan, makespan
from virembed.rates import CPU, NAMES, Rate, shipped_rate
from virembed.weights_info import WeightsInfo, read_info
from virembed.workload import read_workloads

ROOT = Path(__file__).parents[2]
CHUNKS = {"esm2-chunk-residues": 20_000, "dnaberts-chunk-bp": 60_000}


@pytest.fixture(scope="module")
def sample(tmp_path_factory, tiny_weights: Weights) -> Sample:
    """A plasmid and 800 reads through all steps, several chunks for each model."""
    home = tmp_path_factory.mktemp("plan")
    with gzip.open(DEMO / "lambda_reads.fastq.gz", "rt") as reads:
        (home / "reads.fq").write_text("".join(itertools.islice(reads, 4 * 800)))
    made = Sample(home, tiny_weights)
    assert made.split(DEMO / "NC_005816.fna.gz", home / "reads.fq", **CHUNKS) == 0
    made.embed()
    assert made.collect() == 0
    return made


def workload_of(sample: Sample) -> Path:
    return sample.home / f"{sample.name}.split.json"


def plan(capsys, *paths: Path, cards: list[Path], **options: object) -> tuple[int, str, str]:
    arguments = [f"--{name}={value}" for name, value in options.items()]
    code = call("plan", *paths, *(f"--weights={card}" for card in cards), *arguments)
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def card_of(model: str, size: Size) -> WeightsInfo:
    return WeightsInfo(
        model=model,
        name="any",
        dim=size.dim,
        num_layers=size.num_layers,
        num_heads=size.num_heads,
        ffn_dim=size.ffn_dim,
        vocab_size=size.vocab_size,
        config={},
        random=False,
        files={"model.safetensors": ""},
        source={},
    )


def cards_of(sample: Sample) -> list[WeightsInfo]:
    return [read_info(card) for card in sample.weights.cards]


def test_what_is_counted_is_what_is_embedded(sample: Sample):
    (workload,) = read_workloads(workload_of(sample))
    summary = json.loads((sample.home / "S.summary.json").read_text())
    counts, embedded = summary["accounting"], summary["models"]
    assert workload.records == counts["records_in"]
    assert workload.bases == counts["bases_in"]
    assert workload.windows == counts["windows"]
    assert (workload.rows, workload.protein_rows) == (counts["rows"], counts["n_protein_rows"])
    for name, model in workload.models.items():
        assert model.items == counts[f"{name}_unique"]
        assert len(model.chunk_tokens) == embedded[name]["num_chunks"] > 1
    esm2, dnaberts = (workload.models[name] for name in ("esm2", "dnaberts"))
    assert esm2.tokens == embedded["esm2"]["num_tokens"]
    assert dnaberts.tokens == pytest.approx(embedded["dnaberts"]["num_tokens"], rel=0.5)


def test_tokens_and_pairs_of_each_chunk_are_those_of_its_items(sample: Sample):
    (workload,) = read_workloads(workload_of(sample))
    for name, suffix, per_token in (("esm2", "faa", 1.0), ("dnaberts", "fna", 4.5)):
        model = workload.models[name]
        chunks = sorted((sample.home / "chunks" / name).glob(f"*.{suffix}"))
        for number, chunk in enumerate(chunks):
            tokens = [len(text) / per_token + 2 for _, text in read_chunk(chunk)]
            assert model.chunk_tokens[number] == pytest.approx(sum(tokens), abs=0.51)
            assert model.chunk_pairs[number] == pytest.approx(sum(t * t for t in tokens), abs=0.51)


def test_residues_are_in_the_disk_space_and_as_large_as_said(
    sample: Sample, tmp_path: Path, capsys
):
    copy = Sample(tmp_path / "copy", sample.weights)
    shutil.copytree(sample.home, copy.home)
    copy.embed(residues=True)
    assert copy.collect(residues=True) == 0
    made = [*copy.shards.glob("*.residues.h5"), copy.residues]
    cards, totals = sample.weights.cards, []
    for asked in ((), ("--residues",)):
        command = ("plan", workload_of(sample), *(f"--weights={card}" for card in cards))
        assert call(*command, *asked, "--json", tmp_path / "plan.json") == 0
        totals.append(json.loads((tmp_path / "plan.json").read_text())["total"])
        assert ("residues   " in capsys.readouterr().out) == bool(asked)
    without, asked_for = totals
    assert without["residue_bytes"] == 0
    size = copy.residues.stat().st_size
    assert asked_for["residue_bytes"] == pytest.approx(size, rel=0.01)
    more = {name: asked_for[name] - without[name] for name in ("result_bytes", "work_bytes")}
    assert more["result_bytes"] == asked_for["residue_bytes"]
    assert more["work_bytes"] == pytest.approx(sum(p.stat().st_size for p in made), rel=0.01)


@pytest.mark.parametrize("rules", ["exact", "virnucpro"])
def test_rows_are_counted_under_both_rules(tmp_path, tiny_weights: Weights, rules: str):
    made = Sample(tmp_path, tiny_weights)
    (tmp_path / "stops.fna").write_text(f">a\n{'TAACTAACTAACTTAGTTAGTTAG' * 25}\n>b\nGCC\n")
    assert made.split(tmp_path / "stops.fna", rules=rules) == 0
    made.embed()
    assert made.collect() == 0
    (workload,) = read_workloads(workload_of(made))
    counts = json.loads((tmp_path / "S.summary.json").read_text())["accounting"]
    assert workload.rows == counts["rows"]


def test_disk_is_estimated_within_a_tenth(sample: Sample):
    estimate = make_plan(
        read_workloads(workload_of(sample)), cards=cards_of(sample), rate=shipped_rate(CPU)
    )
    published = [sample.result, sample.home / "S.proteins.faa.gz"]
    between = [sample.home / "S.manifest.h5", *sample.shards.iterdir()]
    between += (sample.home / "chunks").rglob("*.f?a")
    results = sum(path.stat().st_size for path in published)
    work = results + sum(path.stat().st_size for path in between)
    assert estimate.total["result_bytes"] == pytest.approx(results, rel=0.1)
    assert estimate.total["work_bytes"] == pytest.approx(work, rel=0.1)


def test_matrices_of_real_width_take_whole_chunks(sample: Sample):
    (workload,) = read_workloads(workload_of(sample))
    workload = replace(workload, records=1, rows=5000, protein_rows=4000)
    cards = [card_of("esm2", ESM2_SIZES["650M"]), card_of("dnaberts", DNABERTS_SIZES["base"])]
    total = make_plan([workload], cards=cards, rate=shipped_rate("H200")).total
    # 4,096 rows of 1,280 and 5,000 of 768 in one chunk each
    assert total["result_bytes"] == pytest.approx(2 * (4096 * 1280 + 5000 * 768), rel=0.1)


Loop = namedtuple("Loop", "model size length_squared_mean tokens_per_s")

# docs/gpu.md: residues/s of proteins of 132.75 residues on average, and 1.98 million tokens/s
MEASURED = (
    Loop("esm2", ESM2_SIZES["3B"], 148, 96_675 * 134.75 / 132.75),
    Loop("esm2", ESM2_SIZES["650M"], 148, 360_291 * 134.75 / 132.75),
    Loop("esm2", ESM2_SIZES["150M"], 148, 1_149_080 * 134.75 / 132.75),
    Loop("dnaberts", DNABERTS_SIZES["base"], 111.5, 1_980_000),
)


@pytest.mark.parametrize("loop", MEASURED, ids=["3B", "650M", "150M", "dnaberts"])
def test_the_loops_measured_on_an_h200_come_out_within_5_percent(loop: Loop):
    tokens = 10_000_000
    seconds = shipped_rate("H200").seconds(
        card_of(loop.model, loop.size),
        tokens=tokens,
        pairs=round(tokens * loop.length_squared_mean),
    )
    assert tokens / seconds == pytest.approx(loop.tokens_per_s, rel=0.05)


def test_long_items_cost_more_per_token():
    card, rate = card_of("dnaberts", DNABERTS_SIZES["base"]), shipped_rate("A100")
    short, long = (rate.seconds(card, tokens=10**6, pairs=10**6 * n) for n in (100, 2000))
    assert 1.5 * short < long < 5 * short


def test_a_faster_device_takes_proportionally_less():
    card = card_of("esm2", ESM2_SIZES["3B"])
    slow, fast = (Rate("x", flops, True, "") for flops in (1e14, 4e14))
    assert slow.seconds(card, tokens=1000, pairs=9000) == pytest.approx(
        4 * fast.seconds(card, tokens=1000, pairs=9000)
    )


TASKS = [
    [],
    [5.0],
    [3.0, 3.0, 2.0, 2.0, 2.0],
    [7.0, 1.0, 1.0, 1.0, 1.0, 1.0],
    [4.0, 3.5, 3.0, 2.5, 2.0, 1.5],
    [9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 1.0],
]


@pytest.mark.parametrize("num_devices", [1, 2, 3])
@pytest.mark.parametrize("tasks", TASKS)
def test_wall_time_is_near_the_best_of_all_assignments(tasks: list[float], num_devices: int):
    best = min(
        max(
            sum(t for t, device in zip(tasks, devices, strict=True) if device == number)
            for number in range(num_devices)
        )
        for devices in itertools.product(range(num_devices), repeat=len(tasks))
    )
    found = makespan(tasks, num_devices)
    assert best - 1e-9 <= found <= best * (4 / 3 - 1 / (3 * num_devices)) + 1e-9
    assert found >= max(tasks, default=0.0)


def test_wall_times_hours_and_total_follow_from_the_tasks(sample: Sample):
    estimate = make_plan(
        read_workloads(workload_of(sample)), cards=cards_of(sample), rate=shipped_rate("L4")
    )
    hours = estimate.total["esm2_hours"] + estimate.total["dnaberts_hours"]
    assert estimate.wall_s[1] == pytest.approx(3600 * hours)
    tasks = estimate.total["esm2_tasks"] + estimate.total["dnaberts_tasks"]
    assert estimate.wall_s[1] > tasks * 10
    assert estimate.wall_s[1] > estimate.wall_s[4] > estimate.wall_s[8] >= 10
    assert estimate.wall_s[4] >= estimate.wall_s[1] / 4


def test_the_table_says_what_it_rests_on(sample: Sample, tmp_path, capsys):
    cards = sample.weights.cards
    code, out, _ = plan(capsys, workload_of(sample), cards=cards)
    assert code == 0
    assert "A100; yours is not known" in out
    assert "NOT MEASURED" in out
    assert out.count("RANDOM NUMBERS") == 2
    _, out, _ = plan(capsys, workload_of(sample), cards=cards, gpu="H200")
    assert "NOT MEASURED" not in out
    assert "measured on one" in out
    assert call("doctor", "--device", "cpu", "--out", tmp_path / "doctor.json") == 0
    measured = json.loads((tmp_path / "doctor.json").read_text())
    _, out, _ = plan(capsys, workload_of(sample), cards=cards, doctor=tmp_path / "doctor.json")
    assert f"{measured['tflops']:,.3g} TFLOP/s in fp32 products, measured by the doctor" in out
    assert "GPU-hours" not in out


def test_of_many_samples_some_are_shown_and_all_are_in_the_table(sample: Sample, tmp_path, capsys):
    fields = json.loads(workload_of(sample).read_text())
    joined = tmp_path / "workloads.json"
    lines = [json.dumps({**fields, "sample": f"s{n:03d}"}) for n in range(130)]
    joined.write_text("\n".join(reversed(lines)) + "\n")
    tsv, as_json = tmp_path / "plan.tsv", tmp_path / "plan.json"
    code, out, _ = plan(capsys, joined, cards=sample.weights.cards, out=tsv, json=as_json)
    assert code == 0
    assert [line.split()[0] for line in out.splitlines() if line.startswith("s0")] == [
        f"s{n:03d}" for n in range(20)
    ]
    assert "... and 110 samples more" in out
    with tsv.open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["sample"] for row in rows] == [f"s{n:03d}" for n in range(130)]
    total = json.loads(as_json.read_text())["total"]
    assert total["esm2_tokens"] == sum(int(row["esm2_tokens"]) for row in rows)
    assert f"{total['esm2_tokens']:,}" in out


def test_too_little_space_is_a_warning(sample: Sample, tmp_path, capsys, monkeypatch):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(1_500_000))
    places = {"outdir": tmp_path / "not" / "yet", "work-dir": tmp_path}
    code, out, err = plan(capsys, workload_of(sample), cards=sample.weights.cards, **places)
    assert code == 0
    assert f"1.5 MB in {tmp_path}/not/yet" in out
    assert err.startswith(f"WARNING {tmp_path}: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "fragment"),
    [
        (None, "cannot be read"),
        ('{"format": "virembed.split/2", "sam', "line 1: not what SPLIT wrote"),
        ('{"format": "virembed.split/1"}', "not of format virembed.split/2"),
        (
            '{"format": "virembed.split/2", "models": {"esm2": {}}}',
            "models esm2, not esm2, dnaberts",
        ),
        ("[1]", "not what SPLIT wrote"),
        ("", "there is no sample"),
    ],
)
def test_a_file_that_is_no_workload_is_named(sample, tmp_path, capsys, content, fragment):
    path = tmp_path / "x.split.json"
    if content is not None:
        path.write_text(content)
    code, out, err = plan(capsys, path, cards=sample.weights.cards)
    assert (code, out, err.count("\n")) == (7, "", 1)
    assert fragment in err


def test_what_does_not_go_together_is_refused(sample: Sample, tmp_path, capsys):
    path, cards = workload_of(sample), sample.weights.cards
    assert "sample 'S' is there twice" in plan(capsys, path, path, cards=cards)[2]
    code, _, err = plan(capsys, path, cards=cards[:1])
    assert (code, "once per model" in err) == (2, True)
    code, _, err = plan(capsys, path, cards=cards, gpu="H2000")
    assert (code, "H200" in err) == (2, True)
    (tmp_path / "doctor.json").write_text('{"format": "virembed.doctor/1", "tflops": 3}')
    code, _, err = plan(capsys, path, cards=cards, doctor=tmp_path / "doctor.json")
    assert (code, "not a diagnosis" in err) == (7, True)


def test_the_schema_lists_the_devices_of_known_rate():
    schema = json.loads((ROOT / "nextflow_schema.json").read_text())
    assert tuple(schema["$defs"]["estimate"]["properties"]["gpu"]["enum"]) == NAMES
