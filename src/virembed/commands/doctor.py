"""`virembed doctor`."""

from __future__ import annotations

from pathlib import Path

import click

import virembed
from virembed.weights_info import read_info


@click.command(short_help="Check the device, its memory and speed, and the weights.")
@click.option("--device", default="auto", help="auto, cpu, cuda or cuda:N.")
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A weights directory whose checksums to check; may be given several times.",
)
def doctor(device: str, weights: tuple[Path, ...]) -> None:
    """Check that this machine is fit to embed: device, memory, products, speed, weights.

    Ends with exit code 5 if the device is not there or computes wrongly, 4 for damaged weights.
    """
    from virembed.engine.diagnosis import diagnose
    from virembed.engine.settings import choose_device
    from virembed.models.weights import verify_checksums

    click.echo(f"{'virembed':<10} {virembed.__version__}")
    chosen = choose_device(device)
    for finding in diagnose(chosen.value):
        click.echo(f"{finding.subject:<10} {finding.result}")
    for directory in weights:
        info = read_info(directory)
        verify_checksums(directory, info)
        mark = ", RANDOM NUMBERS" if info.random else ""
        click.echo(f"{'weights':<10} {info.model} {info.name}{mark}, checksums right ({directory})")
