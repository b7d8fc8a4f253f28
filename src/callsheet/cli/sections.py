"""Help in sections: options under titles, then examples."""

from functools import partial
from typing import Any

import click

from ..interrupts import raise_on_interrupt

_LAST = "Other"  # the title of the last section


class SectionedOption(click.Option):
    """An option that `--help` lists under the title of its section.

    Args:
        section: the title under which `--help` lists the option.
        args: what `click.Option` takes.
        attributes: what `click.Option` takes.
    """

    def __init__(self, *args: Any, section: str = _LAST, **attributes: Any) -> None:  # noqa: ANN401  # click's
        super().__init__(*args, **attributes)
        self.section = section


class SectionedCommand(click.Command):
    """A command whose `--help` lists options by section, then examples.

    Args:
        examples: command lines, without the name of the program.
        args: what `click.Command` takes.
        attributes: what `click.Command` takes.
    """

    def __init__(self, *args: Any, examples: tuple[str, ...] = (), **attributes: Any) -> None:  # noqa: ANN401  # click's
        super().__init__(*args, **attributes)
        self.examples = examples

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments. An error about an unknown option suggests no hidden option."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            hidden = {
                name
                for each in self.params
                if isinstance(each, click.Option) and each.hidden
                for name in each.opts
            }
            shown = [one for one in error.possibilities or () if one not in hidden]
            raise click.NoSuchOption(
                error.option_name, possibilities=shown, ctx=error.ctx
            ) from None

    def invoke(self, ctx: click.Context) -> object:
        """Run the command, which can clean up after Ctrl-C."""
        raise_on_interrupt()
        result: object = super().invoke(ctx)
        return result

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options by section. Sections are in the order of their first options."""
        sections: dict[str, list[tuple[str, str]]] = {}  # {title: [(names, help)]}
        for parameter in self.get_params(ctx):
            if isinstance(parameter, click.Option) and (record := parameter.get_help_record(ctx)):
                title = getattr(parameter, "section", _LAST)  # --help has none
                sections.setdefault(title, []).append(record)
        for title in sorted(sections, key=lambda title: title == _LAST):
            with formatter.section(title):
                formatter.write_dl(sections[title])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, then the epilog."""
        if self.examples:
            with formatter.section("Example" if len(self.examples) == 1 else "Examples"):
                for example in self.examples:
                    formatter.write(f"{'':{formatter.current_indent}}callsheet {example}\n")
        super().format_epilog(ctx, formatter)


class SectionedGroup(SectionedCommand, click.Group):
    """A command with commands of its own, which `--help` lists after the options."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options by section, then the commands."""
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


option = partial(click.option, cls=SectionedOption)
"""`click.option` with one more argument, `section`."""
