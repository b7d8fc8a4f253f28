"""The composer: writes a post by the steps of a recipe, and starts each call as early as it can."""

from contextvars import Context, copy_context
from math import inf

import attrs
import trio

from ...runtime import Actor, AskFailed, Message, Ref, handles, open_collapsing_nursery
from ..asking import ask_for
from ..calls import CallContext
from ..errors import CallFailed
from ..events import CallEvent, CallStage, Destination, Observer, ignore, stages_of
from ..responses import Response, Usage, sum_of_costs
from ..validation import not_empty
from .graph import PostGraph, StepCall
from .post import Post, PostStats
from .recipe import Recipe, default_recipe


def _strip(topic: str) -> str:
    if not isinstance(topic, str):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
        raise TypeError(f"topic must be a text, not {topic!r:.40}")
    return topic.strip()


@attrs.frozen
class Compose(Message[Post]):
    """Ask a `PostComposerActor` to write a post.

    Args:
        topic: the topic of the post; white space at its ends is removed.
        post: id of the post, which all its calls carry (L9); "" uses the topic.
        lane: the lane in which its calls wait; see `Limits.lanes`.
        caller: the context variables with which the events of its calls are reported; None for
            those of the actor.

    Raises:
        ValueError: the topic is empty.
        TypeError: it is no text.
    """

    topic: str = attrs.field(converter=_strip, validator=not_empty)
    post: str = ""
    lane: str = ""
    caller: Context | None = attrs.field(default=None, eq=False, repr=False)


class StepFailed(Exception):
    """A post failed, because a required step failed. The error of the call is its `__cause__`.

    Args:
        topic: the topic of the post.
        step: name of the step in the recipe.
        call: id of the call; one of several calls of a step has an index, such as ``sections[2]``.
        error: the error of the call.
        spent: the responses of the calls that succeeded, by id of the call.

    Attributes:
        topic: the topic of the post.
        step: name of the step in the recipe.
        call: id of the call that failed.
        spent: the responses of the calls that succeeded, by id of the call.
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


async def compose_for(
    composer: Ref, message: Compose, *, observer: Observer, timeout: float = inf
) -> Post:
    """Ask a composer for a post, and report its start and its end to the observer.

    Args:
        composer: the ref of a `PostComposerActor`.
        message: the post to write.
        observer: called with "composing" and "composed", if it wants these events.
        timeout: seconds for the whole post.

    Raises:
        StepFailed: a required step failed.
        AskFailed: the runtime ended the ask, for example because of the timeout.
    """
    wanted = stages_of(observer)
    if not wanted:
        return await composer.ask(message, timeout=timeout)
    name = message.post or message.topic
    context = CallContext(name, post=name, lane=message.lane)
    failure: Exception | None = None
    is_cancelled = True

    def report(stage: CallStage) -> None:
        if stage in wanted:
            observer(
                CallEvent(
                    stage=stage,
                    at=trio.current_time(),
                    context=context,
                    model="",
                    error=None if failure is None else str(failure),
                    failure=failure,
                    is_cancelled=stage == "composed" and is_cancelled,
                )
            )

    report("composing")  # it may set context variables for the calls of the post
    try:
        post = await composer.ask(attrs.evolve(message, caller=copy_context()), timeout=timeout)
        is_cancelled = False
    except (StepFailed, AskFailed) as error:
        failure, is_cancelled = error, False
        raise
    finally:
        report("composed")
    return post


class PostComposerActor(Actor):
    """Writes posts: it starts each call of a recipe as soon as the results that it needs exist.

    It writes as many posts concurrently as the ``concurrency`` that it is spawned with. An optional
    step may fail. When a required step fails, the other calls of that post are cancelled.

    Args:
        to: the first stage of the calls.
        recipe: the steps and their prompts; None for `default_recipe()`.
        observer: receives an event when a call starts, and one when it ends.
        destination: where calls are sent first, for these events.
    """

    def __init__(
        self,
        to: Ref,
        recipe: Recipe | None = None,
        observer: Observer = ignore,
        destination: Destination | None = None,
    ) -> None:
        self._to = to
        self._recipe = recipe
        self._observer = observer
        self._destination = destination

    @handles(Compose, raises=(StepFailed,))
    async def compose(self, message: Compose) -> Post:
        """Write one post.

        Raises:
            StepFailed: a required step failed.
        """
        start = trio.current_time()
        post = message.post or message.topic
        graph = PostGraph(self._recipe or default_recipe(), message.topic)
        responses: dict[str, Response] = {}
        failures: list[CallFailed] = []

        async def run(call: StepCall) -> None:
            try:
                responses[call.id] = response = await self._ask(call, post, message.lane)
            except (CallFailed, AskFailed) as error:
                can_continue = graph.fail(call.id, error)
                if isinstance(error, CallFailed):
                    failures.append(error)
            else:
                can_continue = graph.succeed(call.id, response.text)
            if can_continue:
                start_ready()
            else:
                nursery.cancel_scope.cancel()

        def start_ready() -> None:
            for call in graph.ready():
                nursery.start_soon(run, call)

        async with open_collapsing_nursery() as nursery:
            if message.caller is None:
                start_ready()
            else:
                message.caller.run(start_ready)  # each call inherits the variables
        if graph.failure is not None:
            failure = graph.failure
            raise StepFailed(message.topic, failure.step, failure.call, failure.error, responses)
        wall_s = trio.current_time() - start
        return Post.of(graph, _stats(graph, responses, failures, wall_s))

    async def _ask(self, call: StepCall, post: str, lane: str) -> Response:
        context = CallContext(f"{post}/{call.id}", post=post, step=call.step, lane=lane)
        return await ask_for(
            self._to,
            call.request,
            context,
            observer=self._observer,
            destination=self._destination,
        )


def _stats(
    graph: PostGraph, responses: dict[str, Response], failures: list[CallFailed], wall_s: float
) -> PostStats:
    ended: list[Response | CallFailed] = [*responses.values(), *failures]
    usage = sum((call.usage for call in ended), Usage())
    critical_path_s, critical_path = graph.critical_path(
        {call: response.seconds for call, response in responses.items()}
    )
    return PostStats(
        calls=len(graph.calls),
        http_requests=sum(response.http_requests for response in responses.values()),
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cost_usd=sum_of_costs(*(call.cost_usd for call in ended)),
        wall_s=wall_s,
        sequential_s=sum(response.seconds for response in responses.values()),
        critical_path_s=critical_path_s,
        retries=sum(max(0, response.http_requests - 1) for response in responses.values()),
        critical_path=critical_path,
    )
