"""bin/check_params.py by itself: one line for each wrong parameter, none for a right one."""

import json

import pytest

from virembed.weights_info import PUBLISHED

from .launch import ROOT, complaints

RIGHT = {"input": "samples.csv", "esm2_weights": "esm2", "dnaberts_weights": "dnaberts"}


def check(directory, **given):
    (directory / "samples.csv").touch()
    for name in ("esm2", "dnaberts"):
        (directory / name).mkdir(exist_ok=True)
    values = {name: value for name, value in (RIGHT | given).items() if value is not None}
    schema = ROOT / "nextflow_schema.json"
    return complaints("check_params.py", schema, json.dumps(values), cwd=directory)


def test_right_parameters_pass_in_silence(tmp_path):
    assert check(tmp_path, window="300", rules="virnucpro", help="false") == []
    assert check(tmp_path, weights_store="/data/weights-1.0/new") == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"input": None}, "--input: missing. Needed: Sample sheet"),
        ({"input": "true"}, "--input: the value is missing. Needed: Sample sheet"),
        ({"input": "none.csv"}, "--input: none.csv: there is no such file. Correct the path."),
        ({"input": "esm2"}, "--input: esm2 is a directory. Needed: Sample sheet"),
        ({"esm2_weights": "w"}, "--esm2_weights: w: there is no such file. Correct the path."),
        (
            {"esm2_weights": "facebook/esm2_t33_650M_UR50D"},
            "--esm2_weights: facebook/esm2_t33_650M_UR50D is the name of a model, and there is no "
            "such file. Get it with `virembed weights fetch esm2_t33_650M_UR50D --store DIR`",
        ),
        ({"weights_store": "s3://bucket/w"}, "--weights_store: 's3://bucket/w' is not possible."),
        ({"weights_store": "my weights"}, "--weights_store: 'my weights' is not possible. With"),
        ({"window": "5e2"}, "--window: '5e2' is not a whole number. Write it without dots"),
        ({"window": "0"}, "--window: 0 is too small. The least is 3."),
        ({"rules": "exacct"}, "--rules: 'exacct' is not possible. Did you mean exact?"),
        ({"rules": "x"}, "--rules: 'x' is not possible. Use one of exact, virnucpro."),
        ({"genetic_code": "7"}, "--genetic_code: '7' is not possible."),
        ({"help": "yes"}, "--help: 'yes' is neither true nor false. Give it without a value."),
        ({"widow": "5"}, "--widow: there is no such parameter. Did you mean --window?"),
        ({"xyzzy": "5"}, "--xyzzy: there is no such parameter. --help lists all parameters."),
        ({"resume": "true"}, "--resume: an option of Nextflow, not of the pipeline. Use one dash"),
        ({"workDir": "w"}, "--workDir: an option of Nextflow, not of the pipeline. Use one dash"),
    ],
)
def test_a_wrong_parameter_is_one_line_that_says_what_to_do(tmp_path, given, message):
    (line,) = check(tmp_path, **given)
    assert line.startswith(f"ERROR {message}")


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_name_that_fetch_knows_is_told_from_a_path(tmp_path, name):
    (line,) = check(tmp_path, dnaberts_weights=name)
    assert f"`virembed weights fetch {name} --store DIR`" in line


def test_a_dashed_parameter_is_named_once_although_nextflow_has_it_twice(tmp_path):
    (line,) = check(tmp_path, **{"min-record-bp": "5", "minRecordBp": "5"})
    assert line.endswith("Did you mean --min_record_bp?")
