"""`virembed doctor`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

import virembed
from virembed.atomic import whole_file
from virembed.rates import DOCTOR_FORMAT
from virembed.weights_info import read_info


@click.command(short_help="Check the device, its memory and speed, and the weights.")
@click.option("--device", default="auto", help="auto, cpu, cuda or cuda:N.")
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A weights directory whose checksums to check; may be given several times.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Where to write it as JSON, for `virembed plan`."
)
def doctor(device: str, weights: tuple[Path, ...], out: Path | None) -> None:
    """Check that this machine is fit to embed: device, memory, products, speed, weights.

    The speed is what the device sustains, measured for seconds. Ends with exit code 5 if the
    device is not there or computes wrongly, 4 for damaged weights.
    """
    from virembed.engine.diagnosis import diagnose
    from virembed.engine.settings import choose_device
    from virembed.models.attention import available
    from virembed.models.weights import verify_checksums

    facts: dict[str, Any] = {"format": DOCTOR_FORMAT, "virembed": virembed.__version__}
    click.echo(f"{'virembed':<10} {virembed.__version__}")
    chosen = choose_device(device)
    for finding in diagnose(chosen.value):
        click.echo(f"{finding.subject:<10} {finding.result}")
        facts |= finding.facts
    facts["weights"] = {}
    for directory in weights:
        info = read_info(directory)
        verify_checksums(directory, info)
        facts["weights"][info.model] = info.name
        mark = ", RANDOM NUMBERS" if info.random else ""
        click.echo(f"{'weights':<10} {info.model} {info.name}{mark}, checksums right ({directory})")
    if out:
        facts["kernels"] = available(facts["kind"])
        with whole_file(out) as partial:
            partial.write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n")
