"""A finished post and its statistics, as JSON and as Markdown."""

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType

import attrs
from attrs.validators import optional

from ..json_value import Json
from ..validation import ge
from .graph import PostGraph
from .shape import StepResult
from .template import TemplateError, render


@attrs.frozen(kw_only=True)
class PostStats:
    """Calls, tokens, cost and durations of a post.

    Args:
        calls: number of calls of its steps.
        http_requests: number of HTTP requests for these calls: fewer than calls if some shared a
            request, more if some were retried.
        input_tokens: tokens of the prompts, as the provider reports them.
        output_tokens: tokens of the responses, as the provider reports them.
        cost_usd: cost in USD; None if the price of a model is not known.
        wall_s: seconds from the start of the first call to the end of the last one.
        sequential_s: seconds that the calls would have taken one after another.
        critical_path_s: seconds of the longest chain of calls that had to wait for each other.
        retries: number of HTTP requests that were sent again.
        critical_path: ids of the calls of that chain, from the first to the last.
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
        """Return the figures as a JSON object; the cost is a text with all its digits."""
        cost = None if self.cost_usd is None else f"{self.cost_usd.normalize():f}"
        path: list[Json] = list(self.critical_path)
        return {**attrs.asdict(self), "cost_usd": cost, "critical_path": path}


def _read_only(members: Mapping[str, StepResult | None]) -> Mapping[str, StepResult | None]:
    return MappingProxyType(dict(members))


@attrs.frozen
class Post:
    """A finished post.

    As JSON, each step of the recipe is a member with the result of the step: a text; a list of
    texts; for a step with `for_each` a list of objects with `title` and `text`; or None for an
    optional step that failed.

    Args:
        topic: the topic of the post.
        results: the result of each step, by name, in the order of the recipe.
        markdown: the whole post as Markdown.
        stats: its calls, tokens, cost and durations.
        titles: for each step with `for_each`, the item of each text in its result.
    """

    topic: str
    results: Mapping[str, StepResult | None] = attrs.field(converter=_read_only)
    markdown: str = attrs.field(repr=False)
    stats: PostStats
    titles: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict[str, tuple[str, ...]])

    @classmethod
    def of(cls, graph: PostGraph, stats: PostStats) -> "Post":
        """Return the post of a graph.

        Args:
            graph: a graph that is done.
            stats: calls, tokens, cost and durations of the post.

        Raises:
            ValueError: the graph is not done.
        """
        if not graph.done:
            raise ValueError("the post is not finished")
        return cls(graph.topic, graph.results, _markdown(graph), stats, graph.items)

    def to_json(self) -> dict[str, Json]:
        """Return the post as a JSON object: topic, result of each step by name, Markdown, stats."""
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


def _markdown(graph: PostGraph) -> str:
    """Return the post by the template of its recipe; by `_plain` without one."""
    template = graph.recipe.markdown
    if template is None:
        return _plain(graph)
    values: dict[str, object] = {"topic": graph.topic}
    values |= {name: _json(result, graph.items.get(name)) for name, result in graph.results.items()}
    try:
        return render(template, values, graph.render_time) + "\n"
    except TemplateError as error:  # the texts are paid for, and must not be lost
        return f"<!-- recipe {graph.recipe.name}, field markdown: {error} -->\n\n{_plain(graph)}"


def _plain(graph: PostGraph) -> str:
    """Return a post with each result under a heading."""
    blocks = [f"# {graph.topic}"]
    for name, result in graph.results.items():
        if not result:
            continue
        blocks.append(f"## {name.replace('_', ' ').strip().capitalize()}")
        if isinstance(result, str):
            blocks.append(result)
        elif name in graph.items:
            for title, text in zip(graph.items[name], result, strict=True):
                blocks += [f"### {title}", text]
        else:
            blocks.append("\n".join(f"- {item}" for item in result))
    return "\n\n".join(blocks) + "\n"
