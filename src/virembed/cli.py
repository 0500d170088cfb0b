"""The command line: the only place that prints errors, exits and sets up anything.

Commands live in `commands/`, one file each, imported when called, so that `virembed --help` does
not wait for torch.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from keyword import iskeyword

import click

from virembed import __version__
from virembed.errors import CombinedInputError, TransientError, VirembedError

# by what people want, each in the order of use; name: what it is for
GROUPS = {
    "Steps of the pipeline": {
        "check": "Check a sample sheet and every file in it.",
        "split": "Cut a sample into windows, open frames and chunks to embed.",
        "plan": "Estimate GPU hours, wall time and disk of a run after split.",
        "embed": "Embed one chunk with ESM-2 or DNABERT-S.",
        "collect": "Collect the vectors of a sample into one HDF5 file.",
        "report": "Make the report of a run, and its tables.",
        "classify": "Score the frames of a result with VirNucPro's classifier.",
    },
    "Look at results and use them": {
        "info": "Show what is in a result file.",
        "verify": "Prove that a result file is complete and unaltered.",
        "compare": "Compare the rows and vectors of two result files.",
        "merge": "Put the rows of several samples into one result file.",
        "export": "Write a result in other formats, or its records' means.",
        "import": "Make a result file of the feature files of VirNucPro.",
    },
    "Weights and machine": {
        "weights": "Fetch, convert, list or make up model weights.",
        "doctor": "Check the device, its memory and speed, and the weights.",
        "parity": "Compare our vectors with those of the original implementations.",
    },
}
COMMANDS = {name: what for group in GROUPS.values() for name, what in group.items()}


class LazyGroup(click.Group):
    """Knows its commands by name and imports one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        name = f"{cmd_name}_" if iskeyword(cmd_name) else cmd_name
        command = getattr(import_module(f"virembed.commands.{name}"), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl(list(commands.items()))


@click.group(
    cls=LazyGroup,
    context_settings={
        "help_option_names": ["-h", "--help"],
        # the pipeline's parameters have underscores, shell users expect dashes: both are right
        "token_normalize_func": lambda token: token.replace("_", "-"),
        "show_default": True,
        "max_content_width": 100,
    },
)
@click.version_option(__version__, "--version", message="virembed %(version)s")
@click.option("--debug", is_flag=True, help="Show where in the program an error arose.")
def cli(debug: bool) -> None:
    """ESM-2 and DNABERT-S embeddings of viral and metagenomic sequences.

    The steps do the same by hand as in the pipeline: check → split → embed → collect gives one HDF5
    file per sample, which the other commands read.
    """


def main(argv: Sequence[str] | None = None) -> None:
    """Runs a command and exits with its code; errors become one line each."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        cli.main(arguments, prog_name="virembed", standalone_mode=False)
    except VirembedError as error:
        if "--debug" in arguments:
            traceback.print_exc()
        problems = error.problems if isinstance(error, CombinedInputError) else [error]
        for problem in problems:
            click.echo(f"ERROR {problem}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:  # the machine's side: no space, no permission, a vanished directory
        if "--debug" in arguments:
            traceback.print_exc()
        where = f"{error.filename}: " if error.filename else ""
        cause = os.strerror(error.errno) if error.errno else " ".join(str(error).split())
        _drop_unsaid()
        click.echo(f"ERROR {where}{cause}. Make room or correct the path.", err=True)
        sys.exit(1)
    except MemoryError as error:
        if "--debug" in arguments:
            traceback.print_exc()
        cause = f" ({error})" if str(error) else ""
        click.echo(f"ERROR out of memory{cause}. Give the task more.", err=True)
        sys.exit(TransientError.exit_code)
    except ImportError as error:  # not installed, or its libraries do not fit into the memory
        if "--debug" in arguments:
            traceback.print_exc()
        remedy = "Install the package again, or give the program more memory."
        click.echo(f"ERROR a library cannot be loaded ({error}). {remedy}", err=True)
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)
    sys.exit(0)


def _drop_unsaid() -> None:
    """Python would try text that standard output did not take again at exit, and end with 120."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
