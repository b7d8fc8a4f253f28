"""The command line. Results go to stdout, everything else to stderr.

Exit status: 0, or 1 if a run failed, 2 if it was called wrongly, 130 after Ctrl-C.
"""

from importlib import import_module

import click

from .._version import __version__

__all__ = ["main"]

_COMMANDS = ("compare", "compose", "costs", "run", "simulate")


class _Commands(click.Group):
    """Commands that are imported when they are used: each needs libraries that others do not."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # click's signature
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"{__name__}.{cmd_name}"), cmd_name)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="callsheet")
def main() -> None:
    """Make LLM API work fast, cheap and safe to cancel, with supervised actors on Trio."""
