"""POST /v1/completions, whose `prompt` may be a list."""

import attrs

from .apierror import ApiError
from .author import write_answer
from .body import Body
from .call import Answer, Ids
from .jsontext import Json, canonical, compact
from .settings import ProviderSettings
from .sse import DONE, event, pieces_of
from .tokens import count_tokens, cut_to_tokens

__all__ = ["CompletionsCall"]

DEFAULT_MAX_TOKENS = 16
MOST_TOKENS = 10_000_000
MOST_CHOICES = 128


@attrs.frozen(kw_only=True)
class CompletionsCall:
    """Prompts to complete (see `Call`)."""

    model: str
    prompts: tuple[str | list[int], ...] = attrs.field(repr=False)
    prompt_key: str = attrs.field(repr=False)
    max_tokens: int
    n: int
    stream: bool
    include_usage: bool

    @classmethod
    def parse(cls, body: Body, settings: ProviderSettings) -> "CompletionsCall":
        """Read a request. One prompt that is too long fails all of them.

        Raises:
            ApiError: it is not in order.
        """
        prompts = body.texts_or_tokens("prompt")
        limit = body.integer("max_tokens", 1, MOST_TOKENS) or DEFAULT_MAX_TOKENS
        longest = max(map(tokens_of, prompts))
        if longest + limit > settings.context_tokens:
            raise ApiError.context_exceeded(settings.context_tokens, longest, limit)
        return cls(
            model=body.model(),
            prompts=tuple(prompts),
            prompt_key=canonical(body.members["prompt"]),
            max_tokens=limit,
            n=body.integer("n", 1, MOST_CHOICES) or 1,
            stream=body.flag("stream"),
            include_usage=body.object("stream_options").flag("include_usage"),
        )

    @property
    def estimated_tokens(self) -> int:
        """Tokens of all prompts."""
        return sum(map(tokens_of, self.prompts))

    @property
    def most_output_tokens(self) -> int:
        """Tokens all choices of all prompts together may have."""
        return self.max_tokens * self.n * len(self.prompts)

    def answer(self, seed: int, ids: Ids) -> Answer:
        """Complete every prompt n times; choice j of prompt i has the index i * n + j."""
        choices: list[tuple[str, str]] = []
        for prompt in self.prompts:
            asked = prompt if isinstance(prompt, str) else f"{len(prompt)} tokens"
            for choice in range(self.n):
                text = write_answer("", asked, seed=seed, choice=choice)
                cut = cut_to_tokens(text, self.max_tokens)
                choices.append((cut, "stop" if cut == text else "length"))
        output_tokens = sum(count_tokens(text) for text, _ in choices)
        # The sum over all prompts: it is never given for each.
        usage: dict[str, Json] = {
            "prompt_tokens": self.estimated_tokens,
            "completion_tokens": output_tokens,
            "total_tokens": self.estimated_tokens + output_tokens,
        }
        head: dict[str, Json] = {
            "id": f"cmpl-{ids.hex[:29]}",
            "object": "text_completion",
            "created": ids.created,
            "model": self.model,
        }
        if self.stream:
            parts = self._events(head, choices, usage)
        else:
            found: list[Json] = [_choice(i, *choice) for i, choice in enumerate(choices)]
            parts = (compact(head | {"choices": found, "usage": usage}),)
        return Answer(parts, self.estimated_tokens, output_tokens)

    def _events(
        self, head: dict[str, Json], choices: list[tuple[str, str]], usage: dict[str, Json]
    ) -> tuple[bytes, ...]:
        tail: dict[str, Json] = {"usage": None} if self.include_usage else {}
        found: list[bytes] = []
        for i, (text, finish) in enumerate(choices):
            pieces = [_choice(i, piece, None) for piece in pieces_of(text)]
            pieces.append(_choice(i, "", finish))
            found += [event({**head, "choices": [piece], **tail}) for piece in pieces]
        if self.include_usage:
            found.append(event({**head, "choices": [], "usage": usage}))
        return (*found, DONE)


def tokens_of(prompt: str | list[int]) -> int:
    """Tokens of one prompt or input."""
    return count_tokens(prompt) if isinstance(prompt, str) else len(prompt)


def _choice(index: int, text: str, finish: str | None) -> dict[str, Json]:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": finish}
