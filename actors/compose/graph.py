"""A post while it is made: the graph of its calls, which grows as answers come in.

A pure state machine (R14). The composer asks it which calls may start, and tells it how each one
ended; it never waits, and starts a step the moment what it needs is there, never in waves.

One call of a post, how it stands, and the chain of calls that bounds how fast a post can be.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

import attrs

from ..messages import Request
from .recipe import Recipe, Step
from .shape import EmptyAnswer, StepResult, read_answer
from .template import TemplateError, render

__all__ = [
    "Failure",
    "PostGraph",
    "StepCall",
    "StepCallState",
    "StepState",
    "critical_path",
]


StepState = Literal["waiting", "ready", "done", "failed", "skipped"]


@attrs.frozen
class StepCall:
    """One call that may start now.

    Args:
        id: the step's name, and for one of several calls its index: "sections[2]".
        step: the step it belongs to.
        index: which of the step's calls it is, from 1; None where a step makes one call.
        prompt: the step's template, filled in.
        request: what to ask the provider.
        needs: the ids of the calls whose end it waited for.
    """

    id: str
    step: str
    index: int | None
    prompt: str
    request: Request
    needs: tuple[str, ...]


@attrs.frozen
class StepCallState:
    """How one call stands, for a display.

    Args:
        id: the call's id; the step's name as long as nobody knows which calls it will make.
        step: the step it belongs to.
        index: which of the step's calls it is, from 1; None where there is one, or none is known.
        state: "waiting" for what it needs; "ready", which includes in flight; "done"; "failed";
            "skipped" where there was nothing to do, or the post had failed before it began.
    """

    id: str
    step: str
    index: int | None
    state: StepState


@attrs.frozen
class Failure:
    """Why a post failed: the required call that failed first, and its error."""

    call: str
    step: str
    error: Exception


def critical_path(
    calls: Iterable[StepCall], durations: Mapping[str, float]
) -> tuple[float, tuple[str, ...]]:
    """The chain of calls that no way of running them could have made shorter.

    With d(c) the duration of call c and f(c) = d(c) + max f(n) over the calls n that c waited for,
    it is the chain that ends in the greatest f(c).

    Args:
        calls: the calls as they were made, each after those it needs.
        durations: seconds by call id; a call that is not there counts for nothing.

    Returns:
        Seconds, and the ids along the chain from its first call to its last.
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


# {optional: how a call may end for its step to have a result}
_ENDED: Mapping[bool, frozenset[StepState]] = {
    False: frozenset({"done"}),
    True: frozenset({"done", "failed"}),
}


@attrs.define
class _Grown:
    """A step whose calls are known."""

    # {id: item it is made for}; the one call of a step without for_each has no item
    items: dict[str, str | None]
    # ids to wait for in order to have waited for this step
    ends: tuple[str, ...]


class PostGraph:
    """The calls of one post, handed out as they become possible.

    A step with `for_each` makes a call for each item, "sections[1]", "sections[2]" and so on; its
    result holds the answers of those that succeeded, in the order of the list. Any other step that
    failed and is optional has the result None.

    Args:
        recipe: what to ask.
        topic: what the post is about.

    Raises:
        ValueError: the topic is empty.
    """

    def __init__(self, recipe: Recipe, topic: str) -> None:
        if not topic.strip():
            raise ValueError("the topic is empty; say what the post is about")
        self.recipe = recipe
        self.topic = topic.strip()
        self.failure: Failure | None = None
        self._steps = {step.name: step for step in recipe.steps}
        self._grown: dict[str, _Grown] = {}  # {step: its calls}
        self._calls: dict[str, StepCall] = {}  # {id: call}, each after those it needs
        self._states: dict[str, StepState] = {}  # {id: state} of the calls of grown steps
        self._answers: dict[str, StepResult] = {}  # {id: answer} of calls that are done
        self._results: dict[str, StepResult | None] = {}  # {step: result} of steps that have ended
        self._unsent: dict[str, StepCall] = {}  # {id: call} of calls not handed out yet
        self._graph = recipe.graph()
        self._graph.prepare()
        self._grow()

    def __repr__(self) -> str:
        ended = f"{len(self._results)}/{len(self._steps)} steps"
        return f"<Plan of {self.recipe.name!r}: {ended}, {len(self._calls)} calls known>"

    @property
    def done(self) -> bool:
        """Every step has ended, and the post is whole."""
        return not self.failed and len(self._results) == len(self._steps)

    @property
    def failed(self) -> bool:
        """A required step failed; `failure` says which, and why."""
        return self.failure is not None

    @property
    def calls(self) -> tuple[StepCall, ...]:
        """Every call made possible so far, each after those it needs."""
        return tuple(self._calls.values())

    @property
    def results(self) -> dict[str, StepResult | None]:
        """The results of the steps that have ended, in the recipe's order."""
        return {name: self._results[name] for name in self._steps if name in self._results}

    @property
    def items(self) -> dict[str, tuple[str, ...]]:
        """For each step with `for_each` that has ended, what its answers were made for."""
        return {
            name: tuple(
                item
                for id_, item in self._grown[name].items.items()
                if item is not None and id_ in self._answers
            )
            for name in self.results
            if self._steps[name].for_each is not None
        }

    def ready(self) -> list[StepCall]:
        """The calls that may start now. Each is handed out once."""
        calls = list(self._unsent.values())
        self._unsent.clear()
        return calls

    def succeed(self, call_id: str, text: str) -> bool:
        """A call was answered. An answer that cannot be read as its step's shape is a failure.

        Args:
            call_id: the `StepCall.id`.
            text: what the model wrote.

        Returns:
            Whether the post can still be made.

        Raises:
            ValueError: no such call is in flight.
        """
        step = self._in_flight(call_id)
        try:
            answer = read_answer(step.shape, text)
        except EmptyAnswer as error:
            return self.fail(call_id, error)
        self._states[call_id] = "done"
        self._answers[call_id] = answer
        self._settle(step)
        self._grow()
        return not self.failed

    def fail(self, call_id: str, error: Exception) -> bool:
        """A call failed for good.

        An optional step's dependants go on without it. A required step's failure fails the post:
        nothing more is handed out, and what is in flight had better be cancelled.

        Args:
            call_id: the `StepCall.id`.
            error: why.

        Returns:
            Whether the post can still be made.

        Raises:
            ValueError: no such call is in flight.
        """
        step = self._in_flight(call_id)
        self._note_failure(call_id, step, error)
        self._settle(step)
        self._grow()
        return not self.failed

    def snapshot(self) -> tuple[StepCallState, ...]:
        """How every call stands that is known, and every step whose calls are not, in order."""
        return tuple(self._standing())

    def critical_path(self, durations: Mapping[str, float]) -> tuple[float, tuple[str, ...]]:
        """Seconds and call ids of the post's critical path so far; see `call.critical_path`.

        Args:
            durations: seconds by call id; a call that is not there counts for nothing.
        """
        return critical_path(self._calls.values(), durations)

    def _grow(self) -> None:
        """Make the calls of every step that waits for nothing any more."""
        while not self.failed and (names := self._graph.get_ready()):
            for name in names:
                self._begin(self._steps[name])

    def _begin(self, step: Step) -> None:
        if self.failed:  # one that became ready together with it did
            return
        values: dict[str, object] = {"topic": self.topic}
        for need in step.waits_for:
            result = self._results[need]
            values[need] = list(result) if isinstance(result, tuple) else result
        items: dict[str, str | None] = {step.name: None}
        if step.for_each is not None:
            source = self._results[step.for_each] or ()
            items = {f"{step.name}[{at}]": item for at, item in enumerate(source[: step.first], 1)}
        waited = [id_ for need in step.waits_for for id_ in self._grown[need].ends]
        needs = tuple(dict.fromkeys(waited))
        grown = self._grown[step.name] = _Grown(items, ends=needs)
        self._states.update(dict.fromkeys(items, "skipped"))
        for at, (id_, item) in enumerate(items.items(), 1):
            index = None if item is None else at
            try:
                prompt = _prompt(step, values, item, index)
            except TemplateError as error:
                if not self._note_failure(id_, step, error):
                    return
                continue
            call = StepCall(id_, step.name, index, prompt, self._request(step, prompt), needs)
            self._calls[id_] = self._unsent[id_] = call
            self._states[id_] = "ready"
        grown.ends = tuple(id_ for id_ in items if id_ in self._calls) or needs
        self._settle(step)  # at once where there is nothing to ask

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
            raise ValueError(f"no call {call_id!r} is in flight")
        return self._steps[self._calls[call_id].step]

    def _note_failure(self, call_id: str, step: Step, error: Exception) -> bool:
        """Note that a call failed; whether the post can still be made."""
        self._states[call_id] = "failed"
        if not step.optional and self.failure is None:
            self.failure = Failure(call_id, step.name, error)
            self._states.update(dict.fromkeys(self._unsent, "skipped"))
            self._unsent.clear()
        return self.failure is None

    def _settle(self, step: Step) -> None:
        """Note the result of a step once all of its calls have ended, well enough to go on."""
        ids = self._grown[step.name].items
        if any(self._states[id_] not in _ENDED[step.optional] for id_ in ids):
            return
        if step.for_each is None:
            self._results[step.name] = self._answers.get(step.name)
        else:
            answers = (self._answers.get(id_) for id_ in ids)
            self._results[step.name] = tuple(text for text in answers if isinstance(text, str))
        self._graph.done(step.name)

    def _standing(self) -> Iterator[StepCallState]:
        for name in self._steps:
            grown = self._grown.get(name)
            if grown is None:
                yield StepCallState(name, name, None, "skipped" if self.failed else "waiting")
            elif not grown.items:
                yield StepCallState(name, name, None, "skipped")
            else:
                for at, (id_, item) in enumerate(grown.items.items(), 1):
                    yield StepCallState(id_, name, None if item is None else at, self._states[id_])


def _prompt(step: Step, values: dict[str, object], item: str | None, index: int | None) -> str:
    """The step's template filled in.

    Raises:
        TemplateError: it failed, or nothing came out.
    """
    extra = {} if item is None else {"item": item, "index": index}
    prompt = render(step.prompt, values | extra)
    if not prompt:
        raise TemplateError("the prompt came out empty")
    return prompt
