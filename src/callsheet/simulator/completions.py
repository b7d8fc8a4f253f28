"""The endpoint POST /v1/completions, whose `prompt` may be a list, and what chats share with it."""

from collections.abc import Callable, Mapping
from itertools import accumulate

import attrs

from .body import RequestBody, RequestRefused
from .cacheable import NOTHING_TO_CACHE, CacheablePrompt
from .call import AnswerContext, ModelAnswer, Piece
from .generation import Bit, Written, chances_of, write
from .prompt import Texts, read_texts
from .settings import ProviderSettings
from .wire import DONE, Json, compact, event

MAX_TOKENS = 10_000_000
MAX_CHOICES = 128
MAX_STOPS = 4

_FINISH = {"end": "stop", "stop": "stop", "limit": "length", "calls": "tool_calls"}


@attrs.frozen(kw_only=True)
class AnswerShape:
    """The format of one endpoint's responses.

    Args:
        prefix: the prefix of response ids.
        whole: the "object" of a whole response.
        chunk: the "object" of a stream's chunks.
        choice: makes a choice of a whole response from its index, content and finish reason.
        opening: makes the choice of a chunk before the content from its index and the content;
            None if there is none.
        bits: makes the choices of the chunks with a piece of content from its index and the piece.
        closing: makes a chunk's choice after all content from its index and the finish reason.
        usage: makes the usage from the tokens of the prompt and all choices.
        by_token: True for pieces of whole tokens, False for pieces of whole words.
    """

    prefix: str
    whole: str
    chunk: str
    choice: Callable[[int, Written, str], dict[str, Json]]
    opening: Callable[[int, Written], dict[str, Json]] | None = None
    bits: Callable[[int, Bit], list[dict[str, Json]]]
    closing: Callable[[int, str], dict[str, Json]]
    usage: Callable[[int, list[Written]], dict[str, Json]]
    by_token: bool = False


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
        usage = shape.usage(input_tokens, choices)
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
            shape.choice(i, written, _FINISH[written.ended]) for i, written in enumerate(choices)
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

        bits = [written.bits(context.pieces, by_token=shape.by_token) for written in choices]
        pieces: list[Piece] = []
        closings: list[bytes] = []
        for place in range(max(map(len, bits))):
            events, tokens = closings, 0
            closings = []
            for i, (written, own) in enumerate(zip(choices, bits, strict=True)):
                if place >= len(own):
                    continue
                if place == 0 and shape.opening is not None:
                    events.append(chunk(shape.opening(i, written)))
                events += map(chunk, shape.bits(i, own[place]))
                tokens += own[place].tokens
                if place == len(own) - 1:
                    closings.append(chunk(shape.closing(i, _FINISH[written.ended])))
            pieces.append(Piece(b"".join(events), tokens))
        end = b"".join(closings)
        if usage is not None:
            end += event({**head, "choices": [], "usage": usage})
        return ModelAnswer(tuple(pieces), input_tokens, end + DONE)


DEFAULT_MAX_TOKENS = 16
MAX_BEST_OF = 20
_MEMBERS = frozenset({
    "best_of", "echo", "frequency_penalty", "logit_bias", "logprobs", "max_tokens", "model", "n",
    "presence_penalty", "prompt", "seed", "stop", "stream", "stream_options", "suffix",
    "temperature", "top_p", "user",
})  # fmt: skip
MAX_LOGPROBS = 5


@attrs.frozen(kw_only=True)
class CompletionsCall:
    """Parsed completions (see `ModelCall`)."""

    options: AnswerOptions
    prompts: Texts
    max_tokens: int
    logprobs: int | None
    by_prompt: bool

    @classmethod
    def parse(cls, body: RequestBody, settings: ProviderSettings) -> "CompletionsCall":
        """Parse a request. One prompt that is too long makes the whole request invalid.

        Raises:
            RequestRefused: the request is invalid.
        """
        if settings.refuses_unknown:
            body.refuse_unknown(_MEMBERS)
        prompts = read_texts(body, "prompt")
        limit = body.integer("max_tokens", 1, MAX_TOKENS) or DEFAULT_MAX_TOKENS
        if prompts.longest + limit > settings.context_tokens:
            raise RequestRefused.context_exceeded(
                settings.context_tokens, prompts.longest, limit, param="prompt"
            )
        options = AnswerOptions.parse(body)
        best_of = body.integer("best_of", 0, MAX_BEST_OF)
        if best_of is not None and best_of < options.n:
            raise RequestRefused(
                400, f"'best_of' must be at least 'n', which is {options.n}.", param="best_of"
            )
        return cls(
            options=options,
            prompts=prompts,
            max_tokens=limit,
            logprobs=body.integer("logprobs", 0, MAX_LOGPROBS),
            by_prompt=settings.choice_order == "prompt",
        )

    @property
    def model(self) -> str:
        """The name of the model."""
        return self.options.model

    @property
    def tier(self) -> str:
        """The only service tier."""
        return "default"

    @property
    def stream(self) -> bool:
        """Whether the response is a stream."""
        return self.options.stream

    @property
    def prompt_key(self) -> str:
        """Canonical JSON of the prompts."""
        return self.prompts.key

    @property
    def estimated_tokens(self) -> int:
        """The tokens of all prompts."""
        return self.prompts.tokens

    @property
    def max_output_tokens(self) -> int:
        """The maximum of output tokens of all choices of all prompts."""
        return self.max_tokens * self.options.n * len(self.prompts.items)

    @property
    def to_cache(self) -> CacheablePrompt:
        """Nothing: these prompts are never cached."""
        return NOTHING_TO_CACHE

    def answer(self, context: AnswerContext) -> ModelAnswer:
        """Complete every prompt n times; choice j of prompt i has the index i * n + j.

        With the setting `choice_order` = "choice", the index is j * P + i for P prompts.
        """
        pairs = [(i, j) for i in range(len(self.prompts.items)) for j in range(self.options.n)]
        if not self.by_prompt:
            pairs.sort(key=lambda pair: pair[1])
        choices = [self._write(i, j, context.seed) for i, j in pairs]
        return self.options.answer(_shape(self.logprobs), context, choices, self.prompts.tokens)

    def _write(self, place: int, choice: int, seed: int) -> Written:
        prompt = self.prompts.items[place]
        asked = prompt if isinstance(prompt, str) else f"{len(prompt)} tokens"
        return write(
            "",
            asked,
            seed=seed,
            choice=choice,
            max_tokens=self.max_tokens,
            stops=self.options.stops,
        )


def _choice(
    index: int, text: str, finish: str | None = None, logprobs: Json = None
) -> dict[str, Json]:
    return {"text": text, "index": index, "logprobs": logprobs, "finish_reason": finish}


def _logprobs(text: str, start: int, top: int | None) -> Json:
    if top is None:
        return None
    chances = chances_of(text, start, top)
    offsets = accumulate((len(chance.token) for chance in chances), initial=start)
    return {
        "tokens": [chance.token for chance in chances],
        "token_logprobs": [chance.logprob for chance in chances],
        "top_logprobs": [dict(chance.likely) for chance in chances] if top else None,
        "text_offset": list[Json](offsets)[:-1],
    }


def _usage(input_tokens: int, choices: list[Written]) -> dict[str, Json]:
    # The sum of all prompts, as OpenAI reports it.
    output_tokens = sum(written.tokens for written in choices)
    return {
        "prompt_tokens": input_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": input_tokens + output_tokens,
    }


def _shape(logprobs: int | None) -> AnswerShape:
    def bits(i: int, bit: Bit) -> list[dict[str, Json]]:
        return [_choice(i, bit.text, None, _logprobs(bit.text, bit.start, logprobs))]

    return AnswerShape(
        prefix="cmpl",
        whole="text_completion",
        chunk="text_completion",
        choice=lambda i, written, finish: _choice(
            i, written.text, finish, _logprobs(written.text, 0, logprobs)
        ),
        bits=bits,
        closing=lambda i, finish: _choice(i, "", finish),
        usage=_usage,
        by_token=logprobs is not None,
    )
