"""An item of a workload and its script: which calls it makes, and which of them may be made now.

Every way asks the same scripts, so that the prompts are the same to the byte. When the calls are
made, and how many at a time, is each way's own affair.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import attrs

from ..actors import Call, Plan, Recipe, Request, Result

__all__ = ["Item", "Results", "Script", "Solo", "begin"]

Item = str | Request
"""A topic to write a post about, or one request to make."""

Results = Mapping[str, Result | None]
"""What an item has come to, by step; the only step of a request is "answer"."""


class Script(Protocol):
    """What an item still has to ask; `Plan` is one."""

    @property
    def calls(self) -> Sequence[Call]:
        """Every call made possible so far, each after those it needs."""
        ...

    @property
    def results(self) -> Results:
        """What the answers have come to so far."""
        ...

    def ready(self) -> list[Call]:
        """The calls that may start now. Each is handed out once."""
        ...

    def succeed(self, call_id: str, text: str) -> bool:
        """A call was answered; whether the item can still be finished."""
        ...


@attrs.define
class Solo:
    """The script of a single request."""

    request: Request
    _handed_out: bool = attrs.field(default=False, init=False)
    _results: dict[str, Result | None] = attrs.field(factory=dict[str, Result | None], init=False)

    @property
    def calls(self) -> tuple[Call]:
        """The one call."""
        request = self.request
        prompt = request.messages[-1].content if request.messages else request.inputs[0]
        return (Call("answer", "answer", None, prompt, request, ()),)

    @property
    def results(self) -> Results:
        """The answer, once it is there."""
        return self._results

    def ready(self) -> list[Call]:
        """The one call, the first time."""
        if self._handed_out:
            return []
        self._handed_out = True
        return list(self.calls)

    def succeed(self, call_id: str, text: str) -> bool:
        """Keep the answer, whatever it says."""
        self._results[call_id] = text
        return True


def begin(item: Item, recipe: Recipe) -> Script:
    """A fresh script of an item; a topic's calls are those of the recipe."""
    return Plan(recipe, item) if isinstance(item, str) else Solo(item)
