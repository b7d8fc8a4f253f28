"""Estimates the tokens of a call, from the usage of earlier calls. Pure (R14).

Prompts are counted exactly where a tokenizer is installed.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any, final

import attrs

from ..chat_message import ChatMessage
from ..messages import Request
from ..responses import Usage
from ..vendors import dumps

TokenCounter = Callable[[str], int]
"""Returns the number of tokens of a text."""


def offline_counter(model: str) -> TokenCounter | None:
    """Return tiktoken's counter for a model; None if it is not installed or lacks the data.

    Nothing is downloaded: while tiktoken looks for its data, it cannot open a URL.

    Args:
        model: the provider's name of the model.
    """
    if find_spec("tiktoken") is None:
        return None
    # Any: it may not be installed when types are checked.
    tiktoken: Any = import_module("tiktoken")
    load: Any = import_module("tiktoken.load")
    fetch = load.read_file
    load.read_file = _refuse
    try:
        encoding = tiktoken.encoding_for_model(model)
    except Exception:  # noqa: BLE001  # unknown model, no data, or an incompatible version
        return None
    finally:
        load.read_file = fetch

    def count(text: str) -> int:
        return len(encoding.encode(text, disallowed_special=()))

    return count


def _refuse(path: str) -> bytes:
    raise OSError(f"{path!r:.200} is not on this machine")


_CHARS_PER_TOKEN = 4.0  # the providers' rule of thumb, until a model has reported usage
_TOKENS_PER_MESSAGE = 4  # role and separators of a message
_TOKENS_OF_REPLY = 3  # the beginning of the reply, which is counted with the prompt
_TOKENS_PER_ATTACHMENT = 765  # what OpenAI debits for an image of any size
_FIRST_OUTPUT = 256.0  # tokens of a response without `max_tokens`, until usage was reported
_GAIN = 0.1  # weight of one observation, after the first ten
_MAX_COUNTERS = 256  # models with a counter; beyond it all are forgotten
_MAX_MODELS = 1000  # known; beyond it, the one with the fewest calls is forgotten
_LEAST_CHARS = 16  # shorter prompts are not used to learn the characters per token


@attrs.frozen
class Estimate:
    """The estimated tokens of a call.

    Args:
        input_tokens: tokens of the prompt.
        output_tokens: tokens of the response, from the usual length of the model's responses; at
            most what the request allows.
        size: characters of the prompt's texts, and its other tokens, to learn from.
    """

    input_tokens: int
    output_tokens: int
    size: tuple[int, int] = (0, 0)


@attrs.frozen
class EstimatorStatistics:
    """How accurate the estimates for one model are.

    Args:
        calls: number of calls that reported their usage.
        chars_per_token: mean characters per token of prompts.
        output_tokens: mean tokens of a response.
        input_bias: mean of (estimated - used) / used for prompts; above 0 is too high.
        input_error: mean of abs(estimated - used) / used for prompts.
        output_error: mean of abs(estimated - used) / used for responses.
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
    deviation: float = 0.0  # mean absolute deviation from `output`
    input_bias: float = 0.0
    input_error: float = 0.0
    output_error: float = 0.0

    def learn(
        self, size: tuple[int, int], estimated: tuple[int, int], reported: tuple[int, int]
    ) -> None:
        """Learn from the usage of one response.

        Args:
            size: characters of the prompt's texts, and its other tokens.
            estimated: input and output tokens that were estimated.
            reported: input and output tokens that the provider reported.
        """
        self.calls += 1
        gain = max(_GAIN, 1.0 / self.calls)  # the mean of the first ten, then a moving one
        (chars, besides), (input_tokens, output_tokens) = size, reported
        content = input_tokens - besides
        if chars >= _LEAST_CHARS and content > 0:
            ratio = min(16.0, max(0.25, chars / content))
            self.chars_per_token += gain * (ratio - self.chars_per_token)
        if input_tokens:
            off = (estimated[0] - input_tokens) / input_tokens
            self.input_bias += gain * (off - self.input_bias)
            self.input_error += gain * (abs(off) - self.input_error)
        if output_tokens:
            off = abs(estimated[1] - output_tokens) / output_tokens
            self.output_error += gain * (off - self.output_error)
            # Nothing but a guess is known before the first response (RFC 6298, 2.2).
            spread = output_tokens / 2 if self.calls == 1 else abs(output_tokens - self.output)
            self.deviation += gain * (spread - self.deviation)
            self.output += gain * (output_tokens - self.output)


@final
class TokenEstimator:
    """Estimates tokens by each model's characters per token and usual length of responses.

    The estimate of a response is the mean length plus one mean deviation, so that most responses
    are shorter. (TCP estimates its retransmission time-out the same way: RFC 6298, section 2.)

    Args:
        counter_for: returns the exact counter of a model, or None if there is none.
    """

    def __init__(self, counter_for: Callable[[str], TokenCounter | None] = offline_counter) -> None:
        self._models: dict[str, _Model] = {}
        self._counter_for = counter_for
        self._counters: dict[str, TokenCounter | None] = {}

    def estimate(self, request: Request) -> Estimate:
        """Estimate the tokens of a call.

        Args:
            request: the request of the call.
        """
        model = self._models.get(request.model)
        ratio = _CHARS_PER_TOKEN if model is None else model.chars_per_token
        chars, besides = size = _size(request)
        counter = self._counter(request.model)
        content = -int(-chars // ratio) if counter is None else _count(request, counter)
        prompt = besides + content
        if request.task in ("embedding", "moderation"):
            return Estimate(prompt, 0, size)
        usual = _FIRST_OUTPUT if model is None else model.output + model.deviation
        choices = request.n * max(1, len(request.inputs))
        most = request.max_tokens
        if most is not None and (model is None or model.calls == 0 or usual > most):
            usual = most
        return Estimate(prompt, int(usual) * choices, size)

    def tokens(self, model: str, text: str) -> int:
        """Estimate the tokens of a text, without those that a message adds.

        Args:
            model: the provider's name of the model.
            text: the text to count.
        """
        counter = self._counter(model)
        if counter is not None:
            return counter(text)
        known = self._models.get(model)
        ratio = _CHARS_PER_TOKEN if known is None else known.chars_per_token
        return -int(-len(text) // ratio)

    def learn(self, request: Request, estimate: Estimate, usage: Usage) -> None:
        """Learn from the usage of a call.

        Args:
            request: the request of the call.
            estimate: what `estimate` has returned for it.
            usage: the tokens that the provider reported.
        """
        model = self._known(request.model)
        choices = request.n * max(1, len(request.inputs))
        estimated = (estimate.input_tokens, estimate.output_tokens // choices)
        reported = (usage.input_tokens, usage.output_tokens // choices)
        model.learn(estimate.size, estimated, reported)

    def assume_output(self, model: str, tokens: float) -> None:
        """Take a length of responses for the usual one of a model, as far as requests allow it.

        Args:
            model: the provider's name of the model.
            tokens: the mean tokens of a response.
        """
        known = self._known(model)
        known.calls += 1
        known.output, known.deviation = tokens, 0.0

    def _known(self, name: str) -> _Model:
        """Return what is known of a model; clients of a gateway may make names up."""
        model = self._models.get(name)
        if model is None:
            if len(self._models) >= _MAX_MODELS:
                del self._models[min(self._models, key=lambda name: self._models[name].calls)]
            model = self._models[name] = _Model()
        return model

    def _counter(self, model: str) -> TokenCounter | None:
        try:
            return self._counters[model]
        except KeyError:
            if len(self._counters) >= _MAX_COUNTERS:
                self._counters.clear()
            counter = self._counters[model] = self._counter_for(model)
            return counter

    def statistics(self) -> Mapping[str, EstimatorStatistics]:
        """Return the accuracy of the estimates, by model."""
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
    """Return the exact number of tokens of the prompt's texts."""
    messages = sum(counter(message.content) for message in request.messages)
    return messages + sum(map(counter, request.inputs))


def _size(request: Request) -> tuple[int, int]:
    """Return the characters of the prompt's texts, and an estimate of its other tokens."""
    if not request.messages:
        return sum(map(len, request.inputs)), 0
    chars, besides = 0, tokens_of_tools(request) + _TOKENS_OF_REPLY
    for message in request.messages:
        chars += len(message.content)
        besides += tokens_besides(message)
    return chars, besides


def tokens_of_tools(request: Request) -> int:
    """Estimate the tokens of the definitions of tools, which are part of the prompt."""
    if not request.tools:  # the usual case
        return 0
    return -(-sum(len(dumps(tool.told)) for tool in request.tools) // int(_CHARS_PER_TOKEN))


def tokens_besides(message: ChatMessage) -> int:
    """Estimate the tokens of a message that do not belong to its text."""
    if message.extra is None:  # the usual case
        return _TOKENS_PER_MESSAGE
    return _TOKENS_PER_MESSAGE + message.attachments * _TOKENS_PER_ATTACHMENT
