"""What OpenAI's formats have in common: usage, the list of answers, streams of chunks."""

from collections.abc import Callable, Sequence

from ..messages import Choice, Delta, Json, Usage
from .collecting import Collector, in_order
from .format import Answer, ApiError, Malformed, StreamFailed
from .reading import count_of, object_of, read_error, read_event, text_of
from .sse import Event

__all__ = ["ChunkDecoder", "read_choices", "read_usage"]


def read_usage(usage: Json) -> Usage | None:
    """The tokens that OpenAI's `usage` reports; None if it reports none."""
    if not isinstance(usage, dict):
        return None
    prompt, answer = count_of(usage, "prompt_tokens"), count_of(usage, "completion_tokens")
    if prompt is None and answer is None:
        return None
    of_prompt = object_of(usage, "prompt_tokens_details")
    of_answer = object_of(usage, "completion_tokens_details")
    return Usage(
        prompt or 0,
        answer or 0,
        count_of(of_prompt, "cached_tokens") or 0,
        count_of(of_prompt, "cache_write_tokens") or 0,
        count_of(of_answer, "reasoning_tokens") or 0,
    )


def read_choices(
    body: Json, read: Callable[[dict[str, Json]], Choice], expected: int
) -> Answer | ApiError:
    """The answers in a body, or the error that some servers send with status 200.

    Args:
        body: the whole body.
        read: reads one of its choices.
        expected: how many there must be.

    Raises:
        Malformed: it is neither, or has not exactly those answers.
    """
    if not isinstance(body, dict):
        raise Malformed("the answer is JSON, but not an object")
    if body.get("error") or body.get("object") == "error":  # the latter is old vLLM's
        return read_error(body)
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        raise Malformed('the answer has no "choices"')
    numbered: list[tuple[Json, Choice]] = []
    for choice in choices:
        if not isinstance(choice, dict):
            raise Malformed('the answer has no "choices" that are objects')
        numbered.append((choice.get("index"), read(choice)))
    return Answer(
        choices=in_order(numbered, expected),
        model=text_of(body, "model") or None,
        usage=read_usage(body.get("usage")),
        tier=text_of(body, "service_tier") or None,
        body=body,
    )


class ChunkDecoder:
    """Reads a stream of OpenAI's chunks, of chats and of completions.

    Tolerant, because the compatible servers differ: usage may come in every chunk, in the last or
    in none, and a stream may end with or without ``[DONE]``.

    Args:
        expected: how many answers there will be.
        read: the text that one choice of a chunk adds, and whether it refuses rather than answers.
        correct: what becomes of the whole, if anything.
    """

    def __init__(
        self,
        expected: int,
        read: Callable[[dict[str, Json]], tuple[str, bool]],
        correct: Callable[[Answer], Answer] | None = None,
    ) -> None:
        self._answers = Collector(expected)
        self._read = read
        self._correct = correct
        self._refused: set[int] = set()
        self._model: str | None = None
        self._tier: str | None = None
        self.usage: Usage | None = None
        self.done = False

    def feed(self, event: Event) -> Sequence[Delta]:
        """What one event adds to the answers.

        Raises:
            StreamFailed: the event is an error.
            Malformed: it is no chunk.
        """
        data = event.data
        if self.done or not data or data.isspace():
            return ()
        if data.startswith(b"[DONE]"):
            self.done = True
            return ()
        chunk = read_event(data)
        if chunk.get("error") or event.name == "error" or chunk.get("object") == "error":
            raise StreamFailed(read_error(chunk))
        if usage := chunk.get("usage"):
            self.usage = read_usage(usage) or self.usage
        elif "x_groq" in chunk:
            self.usage = read_usage(object_of(chunk, "x_groq").get("usage")) or self.usage
        if self._model is None:
            self._model = text_of(chunk, "model") or None
        if "service_tier" in chunk:  # in each, or only in the last, which knows best
            self._tier = text_of(chunk, "service_tier") or self._tier
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            return ()  # not of the answer: some servers send keep-alives of their own
        return [delta for choice in choices if (delta := self._add(choice)) is not None]

    def _add(self, choice: Json) -> Delta | None:
        if not isinstance(choice, dict):
            raise Malformed("a choice in the stream is not an object")
        place = self._answers.place(choice.get("index"))
        text, refuses = self._read(choice)
        if text:
            self._answers.add(place, text)
        if refuses:
            self._refused.add(place)
        reason = choice.get("finish_reason")
        if reason and isinstance(reason, str):
            self._answers.finish(place, "content_filter" if place in self._refused else reason)
        return Delta(text, place) if text else None

    def end(self) -> Answer:
        """The whole, once the body has ended.

        Raises:
            BrokeOff: some answer has no finish reason.
        """
        answer = Answer(
            choices=self._answers.choices(),
            model=self._model,
            usage=self.usage,
            tier=self._tier,
        )
        return answer if self._correct is None else self._correct(answer)
