"""A finished post: what was written, what it took, and the two ways it is handed out."""

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType

import attrs
from attrs.validators import ge, optional

from ..messages import Json
from .graph import PostGraph
from .shape import StepResult
from .template import TemplateError, render

__all__ = [
    "Post",
    "PostStats",
]


@attrs.frozen(kw_only=True)
class PostStats:
    """What a post took.

    Args:
        calls: calls that its steps made.
        http_requests: HTTP requests sent for them; fewer where calls shared one, more by retries.
        input_tokens: tokens of the prompts, as reported.
        output_tokens: tokens of the answers, as reported.
        cost_usd: USD; None when the price of a model is not known.
        wall_s: seconds from the first call's start to the last one's end.
        sequential_s: seconds that the calls would have taken one by one.
        critical_path_s: seconds of the longest chain of calls that had to wait for each other.
        retries: HTTP requests that were sent again.
        critical_path: the ids of the calls along that chain.
    """

    calls: int = attrs.field(validator=ge(0))
    http_requests: int = attrs.field(validator=ge(0))
    input_tokens: int = attrs.field(validator=ge(0))
    output_tokens: int = attrs.field(validator=ge(0))
    cost_usd: Decimal | None = attrs.field(validator=optional(ge(Decimal(0))))
    wall_s: float = attrs.field(validator=ge(0))
    sequential_s: float = attrs.field(validator=ge(0))
    critical_path_s: float = attrs.field(validator=ge(0))
    retries: int = attrs.field(validator=ge(0))
    critical_path: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Json]:
        """The figures, without the names of the calls along the critical path."""
        return {
            "calls": self.calls,
            "http_requests": self.http_requests,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cost_usd": None if self.cost_usd is None else float(self.cost_usd),
            "wall_s": self.wall_s,
            "sequential_s": self.sequential_s,
            "critical_path_s": self.critical_path_s,
            "retries": self.retries,
        }


def _read_only(members: Mapping[str, StepResult | None]) -> Mapping[str, StepResult | None]:
    return MappingProxyType(dict(members))


@attrs.frozen
class Post:
    """A post that is done.

    Args:
        topic: what it is about.
        results: each step's result, in the recipe's order; None for an optional step that failed.
        markdown: the whole of it, to be read.
        stats: what it took.
        titles: for each step with `for_each`, the item that each text of its result is about.
    """

    topic: str
    results: Mapping[str, StepResult | None] = attrs.field(converter=_read_only)
    markdown: str = attrs.field(repr=False)
    stats: PostStats
    titles: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict[str, tuple[str, ...]])

    @classmethod
    def of(cls, plan: PostGraph, stats: PostStats) -> "Post":
        """The post that a plan has come to.

        Raises:
            ValueError: the plan is not done.
        """
        if not plan.done:
            raise ValueError("the post is not done")
        return cls(plan.topic, plan.results, _markdown(plan), stats, plan.items)

    def to_json(self) -> dict[str, Json]:
        """The post for a program: its topic, each step's result by name, the Markdown, the stats.

        The result of a step with `for_each` is a list of objects with `title` and `text`.
        """
        results = {
            name: _json(result, self.titles.get(name)) for name, result in self.results.items()
        }
        return {
            "topic": self.topic,
            **results,
            "markdown": self.markdown,
            "stats": self.stats.to_json(),
        }


def _json(result: StepResult | None, titles: tuple[str, ...] | None) -> Json:
    if not isinstance(result, tuple):
        return result
    if titles is None:
        return list(result)
    return [{"title": title, "text": text} for title, text in zip(titles, result, strict=True)]


def _markdown(plan: PostGraph) -> str:
    """The post by its recipe's template, or else plain."""
    template = plan.recipe.markdown
    if template is None:
        return _plain(plan)
    values: dict[str, object] = {"topic": plan.topic}
    values |= {name: _json(result, plan.items.get(name)) for name, result in plan.results.items()}
    try:
        return render(template, values) + "\n"
    except TemplateError as error:  # the texts are paid for: they are not lost for their wrapping
        return f"<!-- recipe {plan.recipe.name}, field markdown: {error} -->\n\n{_plain(plan)}"


def _plain(plan: PostGraph) -> str:
    """Every result there is under a heading of its own."""
    blocks = [f"# {plan.topic}"]
    for name, result in plan.results.items():
        if not result:
            continue
        blocks.append(f"## {name.replace('_', ' ').strip().capitalize()}")
        if isinstance(result, str):
            blocks.append(result)
        elif name in plan.items:
            for title, text in zip(plan.items[name], result, strict=True):
                blocks += [f"### {title}", text]
        else:
            blocks.append("\n".join(f"- {item}" for item in result))
    return "\n\n".join(blocks) + "\n"
