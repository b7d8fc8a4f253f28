"""How many tokens a call will count for, learned from what came back. Pure (R14).

Counts tokens exactly, where that can be done without asking anybody.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any, final

import attrs

from ..messages import ChatMessage, Request, Usage

__all__ = [
    "Estimate",
    "EstimatorStatistics",
    "TokenCounter",
    "TokenEstimator",
    "offline_counter",
    "tokens_besides",
]


TokenCounter = Callable[[str], int]
"""The number of tokens of a text."""


def offline_counter(model: str) -> TokenCounter | None:
    """What counts a model's tokens: tiktoken, if it is installed and has the data on this machine.

    Nothing is ever fetched: while the data is looked for, tiktoken cannot open a URL.

    Args:
        model: as the provider names it.
    """
    if find_spec("tiktoken") is None:
        return None
    # Any: it may be absent, also when types are checked.
    tiktoken: Any = import_module("tiktoken")
    load: Any = import_module("tiktoken.load")
    fetch = load.read_file
    load.read_file = _refuse
    try:
        encoding = tiktoken.encoding_for_model(model)
    except Exception:  # noqa: BLE001  # an unknown model, no data, or another tiktoken: do without
        return None
    finally:
        load.read_file = fetch

    def count(text: str) -> int:
        return len(encoding.encode(text, disallowed_special=()))

    return count


def _refuse(path: str) -> bytes:
    raise OSError(f"{path!r:.200} is not on this machine")


_CHARS_PER_TOKEN = 4.0  # as providers reckon, until a model has shown what it does
_TOKENS_PER_TURN = 4  # what role and separators of a turn come to
_TOKENS_OF_REPLY = 3  # what it begins with, which is counted with the prompt
_TOKENS_PER_ATTACHMENT = 765  # what OpenAI debits for an image, whatever its size
_FIRST_OUTPUT = 256.0  # tokens, of a call that sets no bound, until answers have come
_GAIN = 0.1  # of one observation, once there are ten
_MOST_COUNTERS = 256  # models to remember
_LEAST_CHARS = 16  # of a prompt that says anything of the ratio


@attrs.frozen
class Estimate:
    """What a call will probably come to.

    Args:
        input_tokens: of the prompt.
        output_tokens: of the answer, as such answers usually are; at most what the call allows.
    """

    input_tokens: int
    output_tokens: int


@attrs.frozen
class EstimatorStatistics:
    """How well one model is known.

    Args:
        calls: that have told their usage.
        chars_per_token: of prompts.
        output_tokens: of the usual answer.
        input_bias: mean of (estimated - used) / used for prompts; above 0 is too many.
        input_error: mean of the same without its sign.
        output_error: of answers, mean of abs(estimated - used) / used.
    """

    calls: int
    chars_per_token: float
    output_tokens: float
    input_bias: float
    input_error: float
    output_error: float


@attrs.define
class _Model:
    calls: int = 0
    chars_per_token: float = _CHARS_PER_TOKEN
    output: float = _FIRST_OUTPUT
    deviation: float = 0.0  # of answers from the usual length, mean of absolute values
    input_bias: float = 0.0
    input_error: float = 0.0
    output_error: float = 0.0

    def learn(self, size: tuple[int, int], thought: tuple[int, int], said: tuple[int, int]) -> None:
        """What one answer came to.

        Args:
            size: characters of the prompt, and the tokens it has besides.
            thought: input and output tokens, as estimated.
            said: the same, as reported.
        """
        self.calls += 1
        gain = max(_GAIN, 1.0 / self.calls)  # the mean of the first ten, then a moving one
        (chars, besides), (input_tokens, output_tokens) = size, said
        content = input_tokens - besides
        if chars >= _LEAST_CHARS and content > 0:
            ratio = min(16.0, max(0.25, chars / content))
            self.chars_per_token += gain * (ratio - self.chars_per_token)
        if input_tokens:
            off = (thought[0] - input_tokens) / input_tokens
            self.input_bias += gain * (off - self.input_bias)
            self.input_error += gain * (abs(off) - self.input_error)
        if output_tokens:
            off = abs(thought[1] - output_tokens) / output_tokens
            self.output_error += gain * (off - self.output_error)
            self.deviation += gain * (abs(output_tokens - self.output) - self.deviation)
            self.output += gain * (output_tokens - self.output)


@final
class TokenEstimator:
    """Knows for each model how many characters make a token, and how long its answers are.

    Args:
        counter_for: gives what counts a model's tokens exactly, or None where nothing does.

    The estimate of an answer is the usual length and one mean deviation more, so that most stay
    below it. (TCP estimates its time-outs alike: RFC 6298, section 2.)
    """

    def __init__(self, counter_for: Callable[[str], TokenCounter | None] = offline_counter) -> None:
        self._models: dict[str, _Model] = {}
        self._counter_for = counter_for
        self._counters: dict[str, TokenCounter | None] = {}

    def estimate(self, request: Request) -> Estimate:
        """What a call will probably come to."""
        model = self._models.get(request.model)
        ratio = _CHARS_PER_TOKEN if model is None else model.chars_per_token
        chars, besides = _size(request)
        counter = self._counter(request.model)
        content = -int(-chars // ratio) if counter is None else _count(request, counter)
        prompt = besides + content
        if request.task == "embedding":
            return Estimate(prompt, 0)
        usual = _FIRST_OUTPUT if model is None else model.output + model.deviation
        answers = request.n * max(1, len(request.inputs))
        most = request.max_tokens
        if most is not None and (model is None or model.calls == 0 or usual > most):
            usual = most
        return Estimate(prompt, int(usual) * answers)

    def tokens(self, model: str, text: str) -> int:
        """What a text by itself comes to, without what its turn adds."""
        counter = self._counter(model)
        if counter is not None:
            return counter(text)
        known = self._models.get(model)
        ratio = _CHARS_PER_TOKEN if known is None else known.chars_per_token
        return -int(-len(text) // ratio)

    def learn(self, request: Request, estimate: Estimate, usage: Usage) -> None:
        """What such a call came to."""
        model = self._models.get(request.model)
        if model is None:
            model = self._models[request.model] = _Model()
        answers = request.n * max(1, len(request.inputs))
        thought = (estimate.input_tokens, estimate.output_tokens // answers)
        said = (usage.input_tokens, usage.output_tokens // answers)
        model.learn(_size(request), thought, said)

    def _counter(self, model: str) -> TokenCounter | None:
        try:
            return self._counters[model]
        except KeyError:
            if len(self._counters) >= _MOST_COUNTERS:
                self._counters.clear()
            counter = self._counters[model] = self._counter_for(model)
            return counter

    def statistics(self) -> Mapping[str, EstimatorStatistics]:
        """How well each model is known."""
        return {
            name: EstimatorStatistics(
                model.calls,
                model.chars_per_token,
                model.output,
                model.input_bias,
                model.input_error,
                model.output_error,
            )
            for name, model in self._models.items()
        }


def _count(request: Request, counter: TokenCounter) -> int:
    """The tokens of what is said."""
    return sum(counter(turn.content) for turn in request.messages) + sum(
        map(counter, request.inputs)
    )


def _size(request: Request) -> tuple[int, int]:
    """Characters of the prompt, and the tokens of what is around and between its texts."""
    turns = request.messages
    if not turns:
        return sum(map(len, request.inputs)), 0
    besides = sum(map(tokens_besides, turns)) + _TOKENS_OF_REPLY
    return sum(len(turn.content) for turn in turns), besides


def tokens_besides(turn: ChatMessage) -> int:
    """The tokens of a turn that are not of its text, about."""
    if turn.extra is None:  # as nearly always
        return _TOKENS_PER_TURN
    return _TOKENS_PER_TURN + turn.attachments * _TOKENS_PER_ATTACHMENT
