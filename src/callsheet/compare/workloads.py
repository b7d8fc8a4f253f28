"""The workloads that the modes are compared on."""

import random
from typing import Literal, get_args

import attrs

from ..actors import Recipe, Request, default_recipe, ge, in_, instance_of, not_empty
from .execution import Item
from .samples import HEADLINE_TOPICS, INSTRUCTION, TOPICS, write_passages, write_reviews

WorkloadName = Literal["post", "posts", "headlines", "reviews", "embeddings"]
WORKLOADS: tuple[WorkloadName, ...] = get_args(WorkloadName)

_LABEL_TOKENS = 5
_EMBEDDING_MODEL = "text-embedding-3-small"
_DIMENSIONS = 64


@attrs.frozen(kw_only=True)
class Workload:
    """A list of items, all of which start at the same time.

    Args:
        name: the name of the workload.
        items: topics to write posts about, or single requests.
        recipe: the steps of a post.
        threads: the number of items that the sequential mode runs at a time.
        in_flight: the number of HTTP requests that every other mode may have in flight at a time.
            It is large enough that it never delays the workloads "posts" and "headlines".
        shares_calls: True if one call may serve several items, so that the latencies of the
            separate calls are no lower bound.
    """

    name: WorkloadName = attrs.field(validator=in_(WORKLOADS))
    items: tuple[Item, ...] = attrs.field(validator=not_empty, repr=lambda them: f"<{len(them)}>")
    recipe: Recipe = attrs.field(factory=default_recipe, repr=False, validator=instance_of(Recipe))
    threads: int = attrs.field(default=50, validator=[instance_of(int), ge(1)])
    in_flight: int = attrs.field(default=100, validator=[instance_of(int), ge(1)])
    shares_calls: bool = attrs.field(default=False, validator=instance_of(bool))


def make_workload(name: WorkloadName, seed: int = 0) -> Workload:
    """Make a workload.

    Args:
        name: "post" is one post of 11 calls; "posts" is 50 posts; "headlines" is 12 calls, the
            headline step of the default recipe for 12 topics; "reviews" is 1,000 short texts to
            label, 200 of them exact copies; "embeddings" is 10,000 passages of 50 to 400 tokens
            to embed.
        seed: determines the texts of the reviews and the passages.
    """
    match name:
        case "post":
            return Workload(name=name, items=TOPICS[:1])
        case "posts":
            return Workload(name=name, items=TOPICS, in_flight=500)
        case "headlines":
            post = default_recipe()
            steps = tuple(step for step in post.steps if step.name == "headline")
            recipe = Recipe(
                "headline",
                steps,  # type: ignore[arg-type]  # mypy cannot solve its generic converter
                model=post.model,
                max_tokens=post.max_tokens,
            )
            return Workload(name=name, items=HEADLINE_TOPICS, recipe=recipe)
        case "reviews":
            chance = random.Random(seed)  # noqa: S311 - text to classify, no secret
            return Workload(
                name=name, items=tuple(map(_labelling, write_reviews(chance))), shares_calls=True
            )
        case "embeddings":
            chance = random.Random(seed)  # noqa: S311 - text to embed, no secret
            items = tuple(map(_embedding, write_passages(chance)))
            return Workload(name=name, items=items, shares_calls=True)


def _labelling(review: str) -> Request:
    return Request.of(
        review,
        model=default_recipe().model,
        system=INSTRUCTION,
        max_tokens=_LABEL_TOKENS,
        temperature=0.0,
        cacheable=True,
        packable=True,
    )


def _embedding(passage: str) -> Request:
    """Ask for few dimensions, so that parsing numbers does not dominate the run time."""
    return Request(model=_EMBEDDING_MODEL, task="embedding", inputs=passage, dimensions=_DIMENSIONS)
