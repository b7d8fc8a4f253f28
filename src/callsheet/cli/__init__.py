"""The command line. Results go to stdout, everything else to stderr.

Exit status: 0 on success, 1 if a run failed, 2 for wrong usage or a run that cannot start, 130
after Ctrl-C. `entry` runs the command line as a process.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

import click

from .._version import __version__
from ..interrupts import INTERRUPTED
from .sections import HelpfulGroup

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["INTERRUPTED", "main"]

# Each command is a module, which is imported when the command is used: each needs libraries of its
# own. So that `--help` and completion import none, their summaries are here.
_COMMANDS: Mapping[str, Mapping[str, str]] = {
    "Make calls": {
        "compose": "Write a blog post about each topic.",
        "run": "Send every request of a file, and write the responses to a file.",
        "export": "Write the results of a run as a table.",
        "work": "Send rows of a run that another process shares.",
    },
    "Serve": {
        "serve": "Serve the APIs of OpenAI and Anthropic to other programs.",
        "keys": "Create, list and revoke the keys of a gateway.",
        "simulate": "Serve the built-in provider on a local port.",
    },
    "Inspect": {
        "top": "Show a running program or gateway.",
        "costs": "Show what calls have cost.",
        "prices": "Show the prices of models.",
        "compare": "Compare Callsheet with three usual ways of making calls.",
    },
    "Set up": {
        "doctor": "Check the installation, keys, provider, disk and shared server.",
        "completion": "Print or install the completion of a shell.",
    },
}
_SUMMARIES = {name: text for section in _COMMANDS.values() for name, text in section.items()}


class _Commands(HelpfulGroup):
    """The commands of `callsheet`."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        return list(_SUMMARIES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # click's signature
        if cmd_name not in _SUMMARIES:
            return None
        command: click.Command = getattr(import_module(f"{__name__}.{cmd_name}"), cmd_name)
        return command

    def summaries(self, ctx: click.Context) -> Mapping[str, Mapping[str, str]]:  # noqa: ARG002  # of groups
        return _COMMANDS

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem]":
        """Complete the names of commands without importing them, and the options."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415  # rarely used

        names = [
            CompletionItem(name, help=summary)
            for name, summary in _SUMMARIES.items()
            if name.startswith(incomplete)
        ]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]

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
    examples=('compose "Why backpressure matters" --provider builtin',),
    epilog="'callsheet COMMAND --help' describes a command and its options.",
    page="docs/command-line.md",
)
@click.version_option(__version__, prog_name="callsheet")
def main() -> None:
    """Run LLM API calls fast, cheaply, and with real cancellation."""
