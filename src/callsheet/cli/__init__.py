"""The command line. Results go to stdout, everything else to stderr.

Exit status: 0, or 1 if a run failed, 2 if it was called wrongly, 130 after Ctrl-C.
"""

import click

from .._version import __version__
from .compare import compare
from .compose import compose
from .costs import costs
from .run import run
from .simulate import simulate

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="callsheet")
def main() -> None:
    """Make LLM API work fast, cheap and safe to cancel, with supervised actors on Trio."""


main.add_command(compose)
main.add_command(compare)
main.add_command(costs)
main.add_command(run)
main.add_command(simulate)
