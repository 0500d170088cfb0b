"""Input that is wrong stops the run in CHECK, with all problems and before any work."""

import pytest

pytestmark = pytest.mark.pipeline


def test_all_problems_of_sheet_and_files_are_listed_and_nothing_is_split(prepared):
    data = prepared.home / "data"
    (data / "digits.fna").write_text(">one\nACGT\n>two\nAC9T\n")
    (data / "twice.fna").write_text(">same\nACGT\n>same\nACGG\n")
    prepared.write_sheet(
        "lambda,data/lambda_1.fna",
        "bad name,data/lambda_2.fna",
        "missing,data/nowhere.fna",
        "digits,data/digits.fna",
        "twice,data/twice.fna",
    )
    run = prepared.run(*prepared.arguments)
    assert run.returncode == 1
    assert {task.process for task in run.tasks} <= {"CHECK", "WEIGHTS"}
    for problem in ("bad name", "data/nowhere.fna", "digits.fna", "twice.fna"):
        assert any(problem in line and "ERROR" in line for line in run.output.splitlines()), problem
    assert f"{prepared.arguments[-1]} -resume" in run.output


def test_the_files_of_a_sheet_with_quotes_blank_lines_and_spaces_are_found(prepared):
    source = prepared.home / "data" / "lambda_1.fna"
    source.rename(source.with_name("lambda, part 1.fna"))
    prepared.write_sheet(
        'lambda,"data/lambda, part 1.fna"', "", " plasmid , data/plasmid.fna.gz ", "lambda,nowhere"
    )
    run = prepared.run(*prepared.arguments)
    (problem,) = [line.strip() for line in run.output.splitlines() if "ERROR samples" in line]
    assert problem.startswith("ERROR samples.csv line 5: ")
