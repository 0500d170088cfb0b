#!/usr/bin/env python3
"""Checks the parameters of a run against nextflow_schema.json, before any task exists.

    check_params.py SCHEMA JSON

JSON maps each parameter that has a value to it, as text. Prints one line for each thing that is
wrong and exits with 2. Runs on the machine Nextflow runs on: nothing but the standard library.
"""

from __future__ import annotations

import difflib
import json
import re
import sys
from pathlib import Path
from typing import Any

# Nextflow takes one dash for its own options and hands those with two to the pipeline.
NEXTFLOW_OPTIONS = {"resume", "profile", "params-file", "stub", "stub-run", "work-dir"}

# Names that `virembed weights fetch` knows, with or without the owner of the repository.
PUBLISHED_MODEL = re.compile(r"(?:[\w-]+/)?(esm2_t\d+_\d+[MB]_UR50D|DNABERT-S)/?")

Schema = dict[str, Any]


def snake(name: str) -> str:
    """esm2Weights and esm2-weights as esm2_weights: Nextflow knows a dashed option by both."""
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).replace("-", "_").lower()


def unknown_parameter(name: str, known: dict[str, Schema]) -> str:
    dashed = snake(name).replace("_", "-")
    if dashed in NEXTFLOW_OPTIONS:
        return (
            f"ERROR --{name}: an option of Nextflow, not of the pipeline. Use one dash: -{dashed}."
        )
    near = difflib.get_close_matches(snake(name), known, n=1, cutoff=0.6)
    remedy = f"Did you mean --{near[0]}?" if near else "--help lists all parameters."
    return f"ERROR --{name}: there is no such parameter. {remedy}"


def wrong_value(value: str, schema: Schema) -> str | None:
    """What is wrong with a value, if anything."""
    kind, allowed = schema["type"], [str(option) for option in schema.get("enum", [])]
    problem = None
    if kind == "boolean":
        if value not in ("true", "false"):
            problem = f"'{value}' is neither true nor false. Give it without a value."
    elif value == "true":  # what Nextflow makes of an option without a value
        problem = f"the value is missing. Needed: {schema['description']}."
    elif kind == "integer" and not re.fullmatch(r"-?\d+", value):
        problem = f"'{value}' is not a whole number. Write it without dots and units."
    elif kind == "integer" and int(value) < schema.get("minimum", int(value)):
        problem = f"{value} is too small. The least is {schema['minimum']}."
    elif allowed and value not in allowed:
        near = difflib.get_close_matches(value, allowed, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"Use one of {', '.join(allowed)}."
        problem = f"'{value}' is not possible. {hint}"
    elif not re.fullmatch(schema.get("pattern", ".*"), value):
        problem = f"'{value}' is not possible. {schema['help_text']}"
    elif schema.get("exists") and "://" not in value:
        problem = wrong_path(Path(value), schema)
    return problem


def wrong_path(path: Path, schema: Schema) -> str | None:
    if not path.exists():
        if name := PUBLISHED_MODEL.fullmatch(str(path)):
            return (
                f"{path} is the name of a model, and there is no such file. Get it with `virembed "
                f"weights fetch {name[1]} --store DIR` and give the directory that this prints."
            )
        return f"{path}: there is no such file. Correct the path."
    if schema["format"] == "file-path" and path.is_dir():
        return f"{path} is a directory. Needed: {schema['description']}."
    return None


def problems_of(schema: Schema, given: dict[str, str]) -> list[str]:
    groups = schema["$defs"].values()
    known = {name: rule for group in groups for name, rule in group["properties"].items()}
    problems = [
        f"ERROR --{name}: missing. Needed: {known[name]['description']}."
        for group in groups
        for name in group.get("required", [])
        if name not in given
    ]
    complained = set()
    for name, value in given.items():
        if name in known:
            problem = wrong_value(value, known[name])
            problems += [f"ERROR --{name}: {problem}"] if problem else []
        elif snake(name) not in complained:
            complained.add(snake(name))
            problems.append(unknown_parameter(name, known))
    return problems


def main() -> None:
    schema, given = sys.argv[1:]
    problems = problems_of(json.loads(Path(schema).read_text()), json.loads(given))
    if problems:
        print("\n".join(problems), file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
