"""Writes a post: walks the growing graph of its recipe, each call as early as it can be made."""

from decimal import Decimal

import attrs
import trio
from attrs.validators import min_len

from ...runtime import Actor, AskFailed, Message, Ref, handles, open_collapsing_nursery
from ..asking import ask_for
from ..calls import CallContext
from ..errors import CallFailed
from ..events import Observer, ignore
from ..messages import Response, Usage
from .graph import PostGraph, StepCall
from .post import Post, PostStats
from .recipe import Recipe, default_recipe

__all__ = [
    "Compose",
    "PostComposerActor",
    "StepFailed",
]


def _strip(topic: str) -> str:
    return topic.strip()


@attrs.frozen
class Compose(Message[Post]):
    """Ask for a post.

    Args:
        topic: what it is about.
        post: its id, which all its calls carry (L9); the topic if it is empty.
        lane: in which its calls wait for their turn; see `Limits.lanes`.

    Raises:
        ValueError: the topic is empty.
    """

    topic: str = attrs.field(converter=_strip, validator=min_len(1))
    post: str = ""
    lane: str = ""


class StepFailed(Exception):
    """A post cannot be written, because a step it requires has failed.

    Attributes:
        topic: what the post was to be about.
        step: the step, by its name in the recipe.
        call: the call, which for a step of several is one of them, such as ``sections[2]``.
        spent: what the calls that were answered took, by id.
    """

    def __init__(
        self, topic: str, step: str, call: str, error: Exception, spent: dict[str, Response]
    ) -> None:
        where = f"step {step!r}" if call == step else f"step {step!r}, call {call}"
        super().__init__(f"{where} failed: {error}")
        self.__cause__ = error
        self.topic = topic
        self.step = step
        self.call = call
        self.spent = spent


class PostComposerActor(Actor):
    """Makes the calls of a recipe, each the moment what it needs is there, never in waves.

    It writes up to its spawned ``concurrency`` of posts side by side. A step that is optional may
    fail; one that is required cancels what is still under way for its post, and for no other.

    Args:
        to: where the calls go first.
        recipe: the steps and their prompts.
        observer: is told of the beginning and the end of every call.
    """

    def __init__(self, to: Ref, recipe: Recipe | None = None, observer: Observer = ignore) -> None:
        self._to = to
        self._recipe = recipe or default_recipe()
        self._observer = observer

    @handles(Compose, raises=(StepFailed,))
    async def compose(self, message: Compose) -> Post:
        """Write one post.

        Raises:
            StepFailed: a required step has failed.
        """
        start = trio.current_time()
        post = message.post or message.topic
        plan = PostGraph(self._recipe, message.topic)
        answers: dict[str, Response] = {}

        async def make(call: StepCall) -> None:
            try:
                answers[call.id] = answer = await self._ask(call, post, message.lane)
            except (CallFailed, AskFailed) as error:
                goes_on = plan.fail(call.id, error)
            else:
                goes_on = plan.succeed(call.id, answer.text)
            if goes_on:
                make_ready()
            else:
                nursery.cancel_scope.cancel()

        def make_ready() -> None:
            for call in plan.ready():
                nursery.start_soon(make, call)

        async with open_collapsing_nursery() as nursery:
            make_ready()
        if plan.failure is not None:
            failure = plan.failure
            raise StepFailed(message.topic, failure.step, failure.call, failure.error, answers)
        return Post.of(plan, _stats(plan, answers, trio.current_time() - start))

    async def _ask(self, call: StepCall, post: str, lane: str) -> Response:
        context = CallContext(f"{post}/{call.id}", post=post, step=call.step, lane=lane)
        return await ask_for(self._to, call.request, context, observer=self._observer)


def _stats(plan: PostGraph, answers: dict[str, Response], wall_s: float) -> PostStats:
    usage = sum((answer.usage for answer in answers.values()), Usage())
    costs = [answer.cost_usd for answer in answers.values()]
    critical_path_s, critical_path = plan.critical_path(
        {call: answer.seconds for call, answer in answers.items()}
    )
    http_requests = sum(answer.http_requests for answer in answers.values())
    return PostStats(
        calls=len(plan.calls),
        http_requests=http_requests,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cost_usd=None if None in costs else sum(filter(None, costs), Decimal(0)),
        wall_s=wall_s,
        sequential_s=sum(answer.seconds for answer in answers.values()),
        critical_path_s=critical_path_s,
        retries=sum(max(0, answer.http_requests - 1) for answer in answers.values()),
        critical_path=critical_path,
    )
