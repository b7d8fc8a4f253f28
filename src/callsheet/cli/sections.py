"""Help in sections: options under titles, then examples and the page of the documentation."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import click

from ..interrupts import raise_on_interrupt

_LAST = "Other"  # the title of the last section
_ELSEWHERE = {  # {an option of other programs: the name that it has here}
    "--prompt": "--template",
    "--budget": "--max-cost",
    "--concurrency": "--max-concurrency",
    "--parallel": "--max-concurrency",
    "--threads": "--max-concurrency",
    "--force": "--overwrite",
    "--settings": "--config",
}
_ALIKE = 0.7  # how much a name must resemble one that is known to be taken for a mistake


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


class HelpfulCommand(click.Command):
    """A command whose `--help` lists options by section, examples and a page of documentation.

    Args:
        examples: command lines, without the name of the program.
        page: the page of the documentation that describes the command, such as "docs/bulk.md".
        args: what `click.Command` takes.
        attributes: what `click.Command` takes.
    """

    def __init__(
        self,
        *args: Any,  # noqa: ANN401  # click's
        examples: tuple[str, ...] = (),
        page: str = "",
        **attributes: Any,  # noqa: ANN401  # click's
    ) -> None:
        super().__init__(*args, **attributes)
        self.examples = examples
        self.page = page

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments. An error about an unknown option suggests those that are alike."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            shown = [
                name
                for each in self.get_params(ctx)
                if isinstance(each, click.Option) and not each.hidden
                for name in (*each.opts, *each.secondary_opts)
            ]
            known = _ELSEWHERE.get(error.option_name)
            alike = [known] if known in shown else _alike(error.option_name, shown, 2)
            hint = f" Did you mean {' or '.join(map(repr, alike))}?" if alike else ""
            raise click.UsageError(
                f"No such option '{error.option_name}'.{hint}", error.ctx
            ) from None

    def get_help(self, ctx: click.Context) -> str:
        """Return the page of `--help`."""
        from .help_page import HelpContents, draw_help  # noqa: PLC0415  # takes long to load

        sections: dict[str, list[click.Option]] = {}
        for parameter in self.get_params(ctx):
            if isinstance(parameter, click.Option) and not parameter.hidden:
                title = getattr(parameter, "section", _LAST)  # --help has none
                sections.setdefault(title, []).append(parameter)
        if _LAST in sections:  # the others are in the order of their first options
            sections[_LAST] = sections.pop(_LAST)
        contents = HelpContents(sections, self.summaries(ctx), self.examples, self.page)
        return draw_help(self, ctx, contents)

    def summaries(self, ctx: click.Context) -> Mapping[str, Mapping[str, str]]:  # noqa: ARG002  # of groups
        """Return the summaries of the commands of a group, by section and name."""
        return {}


class SectionedCommand(HelpfulCommand):
    """A command that does something, and can clean up after Ctrl-C."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command, which can clean up after Ctrl-C."""
        raise_on_interrupt()
        result: object = super().invoke(ctx)
        return result


class HelpfulGroup(HelpfulCommand, click.Group):
    """A command with commands of its own, which `--help` lists before the options."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command of a name. An error about an unknown name suggests one that is alike."""
        name = args[0]
        names = self.list_commands(ctx)
        if name not in names and not name.startswith("-") and not ctx.resilient_parsing:
            alike = _alike(name, names, 1)
            hint = f"Did you mean '{alike[0]}'?" if alike else f"Choose one of {', '.join(names)}."
            ctx.fail(f"No such command '{name}'. {hint}")
        return super().resolve_command(ctx, args)

    def summaries(self, ctx: click.Context) -> Mapping[str, Mapping[str, str]]:
        """Return the summaries of the commands, by section and name."""
        found = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        return {
            "Commands": {name: each.short_help or "" for name, each in found if each is not None}
        }


def _alike(name: str, known: Iterable[str], most: int) -> list[str]:
    from difflib import get_close_matches  # noqa: PLC0415  # only for an error

    return get_close_matches(name, list(known), n=most, cutoff=_ALIKE)


option = partial(click.option, cls=SectionedOption)
"""`click.option` with one more argument, `section`."""
