"""What there is to do: the workloads that the ways are compared by."""

import random
from typing import Literal, get_args

import attrs
from attrs.validators import ge, instance_of, min_len

from ..actors import Recipe, Request, default_recipe
from .execution import Item
from .samples import HEADLINE_TOPICS, INSTRUCTION, TOPICS, write_passages, write_reviews

__all__ = [
    "WORKLOADS",
    "Workload",
    "WorkloadName",
    "make_workload",
]


WorkloadName = Literal["post", "posts", "headlines", "reviews", "embeddings"]
WORKLOADS: tuple[WorkloadName, ...] = get_args(WorkloadName)

_LABEL_TOKENS = 5
_EMBEDDING_MODEL = "text-embedding-3-small"
_DIMENSIONS = 64


@attrs.frozen(kw_only=True)
class Workload:
    """Items to be done, all of them asked for at once.

    Args:
        name: what it is called.
        items: topics to write posts about, or single requests.
        recipe: the steps of a post.
        threads: items that the sequential way runs side by side.
        in_flight: HTTP requests that every other way may have under way at a time. It is the same
            for all of them, and large enough for posts and headlines never to be held back by it.
        shares_calls: several items may be one call, so that their own latencies bound nothing.
    """

    name: WorkloadName
    items: tuple[Item, ...] = attrs.field(validator=min_len(1), repr=lambda them: f"<{len(them)}>")
    recipe: Recipe = attrs.field(factory=default_recipe, repr=False)
    threads: int = attrs.field(default=50, validator=[instance_of(int), ge(1)])
    in_flight: int = attrs.field(default=100, validator=[instance_of(int), ge(1)])
    shares_calls: bool = False


def make_workload(name: WorkloadName, seed: int = 0) -> Workload:
    """Make a workload.

    Args:
        name: "post" is one post of eleven calls; "posts" are fifty of them; "headlines" are
            twelve calls, the default post's headline for as many topics; "reviews" are a thousand
            short texts to label, a fifth of them exact copies; "embeddings" are ten thousand
            passages of 50 to 400 tokens to embed.
        seed: what the reviews and passages say follows from it.
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
    """Fewer dimensions than the model has, so that the run is not about reading numbers."""
    return Request(model=_EMBEDDING_MODEL, task="embedding", inputs=passage, dimensions=_DIMENSIONS)
