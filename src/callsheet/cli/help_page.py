"""The page of `--help`, drawn by rich-click, which is loaded only when a page is shown."""

from collections.abc import Mapping, Sequence
from copy import copy
from itertools import pairwise

import attrs
import click
from rich.text import Text
from rich_click import (
    RichCommandPanel,
    RichContext,
    RichGroup,
    RichHelpConfiguration,
    RichHelpFormatter,
    RichOptionPanel,
)

__all__ = ["HelpContents", "draw_help"]

_WIDEST = 100  # columns; longer lines are hard to read
_LONG_CHOICE = 20  # characters of [one|two|three], beyond which it is in the help text instead

_LOOK = RichHelpConfiguration(
    theme="default-slim",
    enable_theme_env_var=False,  # the texts are laid out for this one
    max_width=_WIDEST,
    text_markup=None,  # the texts of options have brackets
    text_emojis=False,
    text_paragraph_linebreaks="\n\n",
    padding_helptext_first_line=(0, 0, 1, 0),
    padding_helptext=(0, 0, 1, 2),
    append_metavars_help_string="{}",
    append_range_help_string="\\[{}]",
    default_string="\\[default: {}]",
)


@attrs.frozen
class HelpContents:
    """What a page of help has beside the usage and the text of the command.

    Args:
        options: the options, by the title of their section.
        commands: the summaries of commands, by the title of their section and by name.
        examples: command lines without the name of the program.
        page: the page of the documentation; "" for none.
    """

    options: Mapping[str, Sequence[click.Option]]
    commands: Mapping[str, Mapping[str, str]] = attrs.field(factory=dict[str, Mapping[str, str]])
    examples: Sequence[str] = ()
    page: str = ""


def draw_help(command: click.Command, ctx: click.Context, contents: HelpContents) -> str:
    """Return the page of a command, with colours if stdout is a terminal that has them.

    Args:
        command: the command that the page describes.
        ctx: the context in which the command is called.
        contents: what the page has.
    """
    page = _DrawnCommand(command, ctx, contents)
    context = RichContext(page, info_name=ctx.info_name, parent=ctx.parent, rich_help_config=_LOOK)
    lines = [line.rstrip() for line in page.get_help(context).strip().splitlines()]
    return "\n".join(line for before, line in pairwise(["", *lines]) if line or before)


class _DrawnCommand(RichGroup):
    """A command as rich-click draws it: what it lists is given, and no command is loaded for it."""

    def __init__(self, command: click.Command, ctx: click.Context, contents: HelpContents) -> None:
        super().__init__(
            name=command.name,
            help=command.help,
            epilog=command.epilog,
            params=[_drawn(one) for section in contents.options.values() for one in section],
            commands={
                name: click.Command(name, short_help=summary)
                for section in contents.commands.values()
                for name, summary in section.items()
            },
            add_help_option=False,  # it is among the options
            panels=[
                *(
                    RichCommandPanel(title, commands=list(section))
                    for title, section in contents.commands.items()
                ),
                *(
                    RichOptionPanel(title, options=[_longest(one) for one in section])
                    for title, section in contents.options.items()
                ),
            ],
        )
        self._path = ctx.command_path
        self._usage = " ".join(command.collect_usage_pieces(ctx))
        self._contents = contents

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # click's signature
        """Write the usage line of the command."""
        formatter.write_usage(self._path, self._usage)

    def format_epilog(self, ctx: RichContext, formatter: RichHelpFormatter) -> None:  # type: ignore[override]  # as in rich-click  # noqa: ARG002
        """Write the examples, the last remarks and where there is more."""
        if examples := self._contents.examples:
            title = "Examples:" if len(examples) > 1 else "Example:"
            _write_lines(formatter, [title, *(f"  callsheet {each}" for each in examples), ""])
        for paragraph in (self.epilog or "").split("\n\n"):
            if paragraph.startswith("\b"):  # click's mark of lines that stay as they are
                _write_lines(formatter, paragraph.removeprefix("\b\n").splitlines())
            else:
                formatter.write(formatter.rich_text(" ".join(paragraph.split())))
            formatter.write("")
        if page := self._contents.page:
            formatter.write(Text(f"Documentation: {page}"))


def _write_lines(formatter: RichHelpFormatter, lines: Sequence[str]) -> None:
    """Write lines that are not wrapped, so that they can be copied."""
    for line in lines:
        formatter.write(Text(line), no_wrap=True, overflow="ignore", crop=False)


def _drawn(option: click.Option) -> click.Option:
    """Return an option whose choices leave room for its help text."""
    kind = option.type
    if option.metavar is not None or not isinstance(kind, click.Choice):
        return option
    choices = f"[{'|'.join(map(str, kind.choices))}]"
    if len(choices) <= _LONG_CHOICE:
        return option
    drawn = copy(option)
    drawn.metavar, drawn.help = "CHOICE", f"{option.help} {choices}"
    return drawn


def _longest(option: click.Option) -> str:
    return max(option.opts, key=len)
