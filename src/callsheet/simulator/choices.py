"""Responses with several choices, for chat completions and completions."""

from collections.abc import Callable, Mapping

import attrs

from .body import RequestBody
from .call import AnswerContext, ModelAnswer, Piece
from .jsontext import Json, compact
from .sse import DONE, event, pieces_of
from .tokens import count_tokens
from .writing import Written

MAX_TOKENS = 10_000_000
MAX_CHOICES = 128
MAX_STOPS = 4

_FINISH = {"end": "stop", "stop": "stop", "limit": "length"}


@attrs.frozen(kw_only=True)
class AnswerShape:
    """The format of one endpoint's responses.

    Args:
        prefix: the prefix of response ids.
        whole: the "object" of a whole response.
        chunk: the "object" of a stream's chunks.
        choice: makes a choice of a whole response from its index, text and finish reason.
        opening: makes a chunk's choice before any text from its index; None if there is none.
        bit: makes a chunk's choice with text from its index and the text.
        closing: makes a chunk's choice after all text from its index and the finish reason.
        usage: makes the usage from the tokens of prompt and response.
    """

    prefix: str
    whole: str
    chunk: str
    choice: Callable[[int, str, str], dict[str, Json]]
    opening: Callable[[int], dict[str, Json]] | None = None
    bit: Callable[[int, str], dict[str, Json]]
    closing: Callable[[int, str], dict[str, Json]]
    usage: Callable[[int, int], dict[str, Json]]


@attrs.frozen(kw_only=True)
class AnswerOptions:
    """The options of a request that concern the response rather than the prompt.

    Args:
        model: the name of the model.
        n: the number of choices for each prompt.
        stream: True for a stream.
        include_usage: True if the stream ends with the usage.
        stops: the stop sequences.
    """

    model: str
    n: int
    stream: bool
    include_usage: bool
    stops: tuple[str, ...]

    @classmethod
    def parse(cls, body: RequestBody) -> "AnswerOptions":
        """Parse the members that both endpoints have.

        Raises:
            RequestRefused: a member is invalid.
        """
        stream = body.flag("stream")
        body.number("temperature", 0, 2)
        body.number("top_p", 0, 1)
        body.number("frequency_penalty", -2, 2)
        body.number("presence_penalty", -2, 2)
        return cls(
            model=body.model(),
            n=body.integer("n", 1, MAX_CHOICES) or 1,
            stream=stream,
            include_usage=body.object("stream_options").flag("include_usage"),
            stops=body.words("stop", MAX_STOPS, or_one=True),
        )

    def answer(
        self,
        shape: AnswerShape,
        context: AnswerContext,
        choices: list[Written],
        input_tokens: int,
        more: Mapping[str, Json] | None = None,
    ) -> ModelAnswer:
        """Format the written texts for the endpoint.

        Args:
            shape: the members of the endpoint's response.
            context: the id and the other members of the response.
            choices: the texts, in the order of their indices.
            input_tokens: the tokens of the prompt.
            more: further members of the response.
        """
        usage = shape.usage(input_tokens, sum(written.tokens for written in choices))
        head: dict[str, Json] = {
            "id": f"{shape.prefix}-{context.hex[:29]}",
            "object": shape.chunk if self.stream else shape.whole,
            "created": context.created,
            "model": self.model,
            **(more or {}),
        }
        if self.stream:
            shown = usage if self.include_usage and context.with_usage else None
            return self._stream(shape, context, choices, input_tokens, (head, shown))
        found: list[Json] = [
            shape.choice(i, written.text, _FINISH[written.ended])
            for i, written in enumerate(choices)
        ]
        tail: dict[str, Json] = {"usage": usage} if context.with_usage else {}
        body = compact({**head, "choices": found, **tail})
        tokens = sum(written.tokens for written in choices)
        return ModelAnswer((Piece(body, tokens),), input_tokens)

    def _stream(
        self,
        shape: AnswerShape,
        context: AnswerContext,
        choices: list[Written],
        input_tokens: int,
        frame: tuple[dict[str, Json], dict[str, Json] | None],
    ) -> ModelAnswer:
        """Format the choices as a stream; each piece has a piece of every choice."""
        head, usage = frame
        tail: dict[str, Json] = {} if usage is None else {"usage": None}

        def chunk(choice: dict[str, Json]) -> bytes:
            return event({**head, "choices": [choice], **tail})

        texts = [pieces_of(written.text, context.pieces) for written in choices]
        sent = [0] * len(choices)  # characters of each choice so far
        pieces: list[Piece] = []
        closings: list[bytes] = []
        for place in range(max(map(len, texts))):
            events, tokens = closings, 0
            closings = []
            for i, (written, bits) in enumerate(zip(choices, texts, strict=True)):
                if place >= len(bits):
                    continue
                if place == 0 and shape.opening is not None:
                    events.append(chunk(shape.opening(i)))
                events.append(chunk(shape.bit(i, bits[place])))
                before, sent[i] = sent[i], sent[i] + len(bits[place])
                tokens += count_tokens(written.text[: sent[i]])
                tokens -= count_tokens(written.text[:before])
                if place == len(bits) - 1:
                    closings.append(chunk(shape.closing(i, _FINISH[written.ended])))
            pieces.append(Piece(b"".join(events), tokens))
        end = b"".join(closings)
        if usage is not None:
            end += event({**head, "choices": [], "usage": usage})
        return ModelAnswer(tuple(pieces), input_tokens, end + DONE)
