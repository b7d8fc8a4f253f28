"""The command line. Results go to stdout, everything else to stderr.

Exit status: 0 on success, 1 if a run failed, 2 for wrong usage or a run that cannot start, 130
after Ctrl-C. `entry` runs the command line as a process.
"""

from importlib import import_module

import click

from .._version import __version__
from ..interrupts import INTERRUPTED

__all__ = ["INTERRUPTED", "main"]

_COMMANDS = (
    *("compose", "run", "export", "costs", "prices", "compare", "simulate", "top"),
    *("work", "serve", "keys"),
)


class _Commands(click.Group):
    """Commands that are imported when they are used, because each needs libraries of its own."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # click's signature
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"{__name__}.{cmd_name}"), cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> object:
        """Run a command. Ctrl-C before the command handles it itself ends the process quietly."""
        result: object = None
        is_interrupted = False
        try:
            result = super().invoke(ctx)
        except* KeyboardInterrupt:  # out of a nursery it comes in a group
            is_interrupted = True
        if is_interrupted:
            click.echo("Interrupted.", err=True)
            ctx.exit(INTERRUPTED)
        return result


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Example:
  callsheet compose "Why backpressure matters" --provider builtin

'callsheet COMMAND --help' describes a command and its options.""",
)
@click.version_option(__version__, prog_name="callsheet")
def main() -> None:
    """Run LLM API calls fast, cheaply, and with real cancellation."""
