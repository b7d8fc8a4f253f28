"""The endpoint POST /v1/completions; its `prompt` may be a list."""

import attrs

from .apierror import RequestRefused
from .body import RequestBody
from .call import AnswerContext, ModelAnswer
from .choices import MAX_TOKENS, AnswerOptions, AnswerShape
from .jsontext import Json
from .settings import ProviderSettings
from .tokens import Texts
from .writing import Written, write

DEFAULT_MAX_TOKENS = 16
MAX_BEST_OF = 20
MAX_LOGPROBS = 5


@attrs.frozen(kw_only=True)
class CompletionsCall:
    """Parsed completions (see `ModelCall`)."""

    options: AnswerOptions
    prompts: Texts
    max_tokens: int
    by_prompt: bool

    @classmethod
    def parse(cls, body: RequestBody, settings: ProviderSettings) -> "CompletionsCall":
        """Parse a request. One prompt that is too long makes the whole request invalid.

        Raises:
            RequestRefused: the request is invalid.
        """
        prompts = body.texts_or_tokens("prompt")
        limit = body.integer("max_tokens", 1, MAX_TOKENS) or DEFAULT_MAX_TOKENS
        if prompts.longest + limit > settings.context_tokens:
            raise RequestRefused.context_exceeded(
                settings.context_tokens, prompts.longest, limit, param="prompt"
            )
        options = AnswerOptions.parse(body)
        body.integer("logprobs", 0, MAX_LOGPROBS)
        best_of = body.integer("best_of", 0, MAX_BEST_OF)
        if best_of is not None and best_of < options.n:
            raise RequestRefused(
                400, f"'best_of' must be at least 'n', which is {options.n}.", param="best_of"
            )
        return cls(
            options=options,
            prompts=prompts,
            max_tokens=limit,
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

    def answer(self, context: AnswerContext) -> ModelAnswer:
        """Complete every prompt n times; choice j of prompt i has the index i * n + j.

        With the setting `choice_order` = "choice", the index is j * P + i for P prompts.
        """
        pairs = [(i, j) for i in range(len(self.prompts.items)) for j in range(self.options.n)]
        if not self.by_prompt:
            pairs.sort(key=lambda pair: pair[1])
        choices = [self._write(i, j, context.seed) for i, j in pairs]
        return self.options.answer(_SHAPE, context, choices, self.prompts.tokens)

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


def _choice(index: int, text: str, finish: str | None = None) -> dict[str, Json]:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": finish}


def _usage(input_tokens: int, output_tokens: int) -> dict[str, Json]:
    # The sum of all prompts, as OpenAI reports it.
    return {
        "prompt_tokens": input_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": input_tokens + output_tokens,
    }


_SHAPE = AnswerShape(
    prefix="cmpl",
    whole="text_completion",
    chunk="text_completion",
    choice=_choice,
    bit=_choice,
    closing=lambda i, finish: _choice(i, "", finish),
    usage=_usage,
)
