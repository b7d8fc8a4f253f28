"""The graph of a post's calls, which grows as responses arrive, and its critical path.

It is a pure state machine (R14). The composer gets from it the calls that may start, and reports
how each one ended. A step starts as soon as the results that it needs exist.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

import attrs

from ..messages import Request
from .recipe import Recipe, Step
from .shape import EmptyResponse, StepResult, read_result
from .template import TemplateError, new_render_time, render

StepState = Literal["waiting", "ready", "done", "failed", "skipped"]


@attrs.frozen
class StepCall:
    """One call of a step, ready to start.

    Args:
        id: name of the step; one of several calls of a step has an index: "sections[2]".
        step: name of the step.
        index: index among the calls of the step, from 1; None if the step has one call.
        prompt: the rendered template of the step.
        request: the request to send.
        needs: ids of the calls that had to end before this one could start.
    """

    id: str
    step: str
    index: int | None
    prompt: str
    request: Request
    needs: tuple[str, ...]


@attrs.frozen
class StepCallState:
    """The state of one call, for a display.

    Args:
        id: id of the call; name of the step while its calls are not known yet.
        step: name of the step.
        index: index among the calls of the step, from 1; None if the step has one call, or its
            calls are not known yet.
        state: "waiting" for results that it needs; "ready" to start, or in flight; "done";
            "failed"; "skipped" if its step had no items, or the post failed before it started.
    """

    id: str
    step: str
    index: int | None
    state: StepState


@attrs.frozen
class Failure:
    """Why a post failed.

    Args:
        call: id of the required call that failed first.
        step: name of its step.
        error: the exception that the call raised.
    """

    call: str
    step: str
    error: Exception


def critical_path(
    calls: Iterable[StepCall], durations: Mapping[str, float]
) -> tuple[float, tuple[str, ...]]:
    """Return the critical path: the longest chain of calls that had to run one after another.

    With d(c) the duration of call c, and f(c) = d(c) + max f(n) over the calls n that c waited for,
    it is the chain that ends in the greatest f(c).

    Args:
        calls: the calls of a post, each after those that it needs.
        durations: duration of calls in seconds, by id; a call without one counts as 0.

    Returns:
        The length of the chain in seconds, and the ids of its calls, from the first to the last.
    """
    none: tuple[float, tuple[str, ...]] = (0.0, ())
    chains: dict[str, tuple[float, tuple[str, ...]]] = {}
    for call in calls:
        seconds, ids = max((chains[need] for need in call.needs), key=_seconds, default=none)
        if call.id in durations:
            seconds, ids = seconds + durations[call.id], (*ids, call.id)
        chains[call.id] = (seconds, ids)
    return max(chains.values(), key=_seconds, default=none)


def _seconds(chain: tuple[float, tuple[str, ...]]) -> float:
    return chain[0]


# {optional: states in which the calls of a step must be for the step to have a result}
_ENDED: Mapping[bool, frozenset[StepState]] = {
    False: frozenset({"done"}),
    True: frozenset({"done", "failed"}),
}


@attrs.define
class _StartedStep:
    """A step whose calls are known.

    Args:
        items: {id of the call: its item}; None for the only call of a step without `for_each`.
        ends: ids of the calls that a later step waits for.
    """

    items: dict[str, str | None]
    ends: tuple[str, ...]


class PostGraph:
    """The calls of one post, returned by `ready` as soon as they can start.

    A step with `for_each` makes a call for each item, "sections[1]", "sections[2]" and so on. Its
    result has the responses of the calls that succeeded, in the order of the list. Any other
    optional step that failed has the result None.

    Args:
        recipe: the steps of the post.
        topic: the topic of the post.

    Attributes:
        recipe: the steps of the post.
        topic: the topic, without white space at its ends.
        failure: why the post failed; None if it has not failed.
        render_time: the processor time that is left for the templates of the post.

    Raises:
        ValueError: the topic is empty.
    """

    def __init__(self, recipe: Recipe, topic: str) -> None:
        if not topic.strip():
            raise ValueError("the topic is empty; name the topic of the post")
        self.recipe = recipe
        self.topic = topic.strip()
        self.failure: Failure | None = None
        self.render_time = new_render_time()
        self._steps = {step.name: step for step in recipe.steps}
        self._started: dict[str, _StartedStep] = {}  # {step: its calls}
        self._calls: dict[str, StepCall] = {}  # {id: call}, each after those that it needs
        self._states: dict[str, StepState] = {}  # {id: state} of the calls of started steps
        self._call_results: dict[str, StepResult] = {}  # {id: result} of calls that succeeded
        self._results: dict[str, StepResult | None] = {}  # {step: result} of steps that ended
        self._unsent: dict[str, StepCall] = {}  # {id: call} of calls that `ready` returns next
        self._sorter = recipe.graph()
        self._sorter.prepare()
        self._grow()

    def __repr__(self) -> str:
        ended = f"{len(self._results)}/{len(self._steps)} steps"
        return f"<PostGraph of {self.recipe.name!r}: {ended}, {len(self._calls)} calls known>"

    @property
    def done(self) -> bool:
        """Whether every step has ended and the post has not failed."""
        return not self.failed and len(self._results) == len(self._steps)

    @property
    def failed(self) -> bool:
        """Whether a required step failed; `failure` has the reason."""
        return self.failure is not None

    @property
    def calls(self) -> tuple[StepCall, ...]:
        """All calls that could start so far, each after those that it needs."""
        return tuple(self._calls.values())

    @property
    def results(self) -> dict[str, StepResult | None]:
        """The results of the steps that have ended, by name, in the order of the recipe."""
        return {name: self._results[name] for name in self._steps if name in self._results}

    @property
    def items(self) -> dict[str, tuple[str, ...]]:
        """For each step with `for_each` that has ended, the items of its results."""
        return {
            name: tuple(
                item
                for id_, item in self._started[name].items.items()
                if item is not None and id_ in self._call_results
            )
            for name in self.results
            if self._steps[name].for_each is not None
        }

    def ready(self) -> list[StepCall]:
        """Return the calls that may start now. Each call is returned once."""
        calls = list(self._unsent.values())
        self._unsent.clear()
        return calls

    def succeed(self, call_id: str, text: str) -> bool:
        """Record the response of a call. A text that does not have the step's shape is a failure.

        Args:
            call_id: id of the call.
            text: text of the response.

        Returns:
            Whether the post can still succeed.

        Raises:
            ValueError: the call is not in flight.
        """
        step = self._in_flight(call_id)
        try:
            result = read_result(step.shape, text)
        except EmptyResponse as error:
            return self.fail(call_id, error)
        self._states[call_id] = "done"
        self._call_results[call_id] = result
        self._settle(step)
        self._grow()
        return not self.failed

    def fail(self, call_id: str, error: Exception) -> bool:
        """Record the failure of a call.

        Steps that need an optional step continue without its result. The failure of a required step
        fails the post: `ready` returns no more calls, and the caller should cancel the calls in
        flight.

        Args:
            call_id: id of the call.
            error: the exception that the call raised.

        Returns:
            Whether the post can still succeed.

        Raises:
            ValueError: the call is not in flight.
        """
        step = self._in_flight(call_id)
        self._record_failure(call_id, step, error)
        self._settle(step)
        self._grow()
        return not self.failed

    def snapshot(self) -> tuple[StepCallState, ...]:
        """Return the states of all known calls, and of the steps whose calls are not known yet."""
        return tuple(self._call_states())

    def critical_path(self, durations: Mapping[str, float]) -> tuple[float, tuple[str, ...]]:
        """Return the critical path of the calls so far; see the function `critical_path`.

        Args:
            durations: duration of calls in seconds, by id; a call without one counts as 0.

        Returns:
            The length of the chain in seconds, and the ids of its calls.
        """
        return critical_path(self._calls.values(), durations)

    def _grow(self) -> None:
        """Create the calls of every step whose needs have ended."""
        while not self.failed and (names := self._sorter.get_ready()):
            for name in names:
                self._begin(self._steps[name])

    def _begin(self, step: Step) -> None:
        if self.failed:  # by another step that started at the same time
            return
        values: dict[str, object] = {"topic": self.topic}
        for need in step.waits_for:
            result = self._results[need]
            values[need] = list(result) if isinstance(result, tuple) else result
        items: dict[str, str | None] = {step.name: None}
        if step.for_each is not None:
            source = self._results[step.for_each] or ()
            items = {f"{step.name}[{at}]": item for at, item in enumerate(source[: step.first], 1)}
        waited = [id_ for need in step.waits_for for id_ in self._started[need].ends]
        needs = tuple(dict.fromkeys(waited))
        started = self._started[step.name] = _StartedStep(items, ends=needs)
        self._states.update(dict.fromkeys(items, "skipped"))
        for at, (id_, item) in enumerate(items.items(), 1):
            index = None if item is None else at
            try:
                prompt = self._prompt(step, values, item, index)
            except TemplateError as error:
                if not self._record_failure(id_, step, error):
                    return
                continue
            call = StepCall(id_, step.name, index, prompt, self._request(step, prompt), needs)
            self._calls[id_] = self._unsent[id_] = call
            self._states[id_] = "ready"
        started.ends = tuple(id_ for id_ in items if id_ in self._calls) or needs
        self._settle(step)  # a step without calls ends at once

    def _prompt(
        self, step: Step, values: dict[str, object], item: str | None, index: int | None
    ) -> str:
        """Render the template of a step.

        Raises:
            TemplateError: the template failed, or the prompt is empty.
        """
        extra = {} if item is None else {"item": item, "index": index}
        prompt = render(step.prompt, values | extra, self.render_time)
        if not prompt:
            raise TemplateError("the rendered prompt is empty")
        return prompt

    def _request(self, step: Step, prompt: str) -> Request:
        return Request.of(
            prompt,
            model=step.model or self.recipe.model,
            system=self.recipe.system,
            max_tokens=step.max_tokens or self.recipe.max_tokens,
            temperature=self.recipe.temperature,
        )

    def _in_flight(self, call_id: str) -> Step:
        if self._states.get(call_id) != "ready" or call_id in self._unsent:
            raise ValueError(f"the call {call_id!r} is not in flight")
        return self._steps[self._calls[call_id].step]

    def _record_failure(self, call_id: str, step: Step, error: Exception) -> bool:
        """Record that a call failed; return whether the post can still succeed."""
        self._states[call_id] = "failed"
        if not step.optional and self.failure is None:
            self.failure = Failure(call_id, step.name, error)
            self._states.update(dict.fromkeys(self._unsent, "skipped"))
            self._unsent.clear()
        return self.failure is None

    def _settle(self, step: Step) -> None:
        """Set the result of a step, once all of its calls have ended as the step requires."""
        ids = self._started[step.name].items
        if any(self._states[id_] not in _ENDED[step.optional] for id_ in ids):
            return
        if step.for_each is None:
            self._results[step.name] = self._call_results.get(step.name)
        else:
            found = (self._call_results.get(id_) for id_ in ids)
            self._results[step.name] = tuple(text for text in found if isinstance(text, str))
        self._sorter.done(step.name)

    def _call_states(self) -> Iterator[StepCallState]:
        for name in self._steps:
            started = self._started.get(name)
            if started is None:
                yield StepCallState(name, name, None, "skipped" if self.failed else "waiting")
            elif not started.items:
                yield StepCallState(name, name, None, "skipped")
            else:
                for at, (id_, item) in enumerate(started.items.items(), 1):
                    yield StepCallState(id_, name, None if item is None else at, self._states[id_])
