"""What all endpoints of models have: a parsed call, its response, and a vendor."""

import math
from collections.abc import Mapping
from typing import Protocol

import attrs
from starlette.requests import Request

from .body import RequestRefused
from .cacheable import NOTHING_TO_CACHE, CacheablePrompt
from .caching import NO_CACHE, CacheRules, CacheUse
from .limits import Level, LimitRefusal
from .prompt import Texts
from .settings import ProviderSettings


@attrs.frozen(kw_only=True)
class AnswerContext:
    """The context of one response, besides the call itself.

    Args:
        seed: the provider's seed.
        hex: hexadecimal digits that are unique to this response.
        created: the time of the response, in seconds since 1970.
        pieces: the maximum number of pieces of a stream's text.
        with_usage: True if the response reports its tokens.
        batch: True if the response is for a line of a batch.
        cache: how much of the prompt was read from the prompt cache or written to it.
    """

    seed: int
    hex: str
    created: int
    pieces: int = 12
    with_usage: bool = True
    batch: bool = False
    cache: CacheUse = NO_CACHE


@attrs.frozen
class Piece:
    """A piece of a response body.

    Args:
        data: the bytes.
        output_tokens: the number of output tokens in the piece.
    """

    data: bytes = attrs.field(repr=False)
    output_tokens: int = 0


@attrs.frozen
class ModelAnswer:
    """The response to a call.

    Args:
        pieces: the body in one piece, or the text of a stream in several.
        input_tokens: the tokens billed for the prompt.
        end: the bytes that end a stream, sent with the last piece: finish reason, usage and end
            mark.
        error_event: the event of a stream that fails in the middle; None for that of the vendor.
    """

    pieces: tuple[Piece, ...]
    input_tokens: int
    end: bytes = attrs.field(default=b"", repr=False)
    error_event: bytes | None = attrs.field(default=None, repr=False)

    @property
    def output_tokens(self) -> int:
        """The tokens billed for the whole response."""
        return sum(piece.output_tokens for piece in self.pieces)

    @property
    def body(self) -> bytes:
        """The whole body."""
        return b"".join(piece.data for piece in self.pieces) + self.end


class ModelCall(Protocol):
    """One parsed and valid request to a model."""

    @property
    def model(self) -> str:
        """The name of the model."""
        ...

    @property
    def tier(self) -> str:
        """The service tier for billing outside of batches: "default", "flex" or "priority"."""
        ...

    @property
    def prompt_key(self) -> str:
        """Canonical JSON of the prompt; the latency depends on it."""
        ...

    @property
    def estimated_tokens(self) -> int:
        """The prompt tokens, as the limiter estimates them from the characters."""
        ...

    @property
    def max_output_tokens(self) -> int | None:
        """The maximum of output tokens that the request sets; None if it sets none."""
        ...

    @property
    def stream(self) -> bool:
        """Whether the response is a stream."""
        ...

    @property
    def to_cache(self) -> CacheablePrompt:
        """The prompt as a cache sees it."""
        ...

    def answer(self, context: AnswerContext) -> ModelAnswer:
        """Compute the response."""
        ...


class SimulatedVendor(Protocol):
    """One vendor, as the simulator implements it."""

    def limits(self) -> Mapping[str, int | None]:
        """Return {name: limit per minute}."""
        ...

    def key_in(self, request: Request) -> str | None:
        """Return the key of a request."""
        ...

    def check(self, request: Request, size: int) -> None:
        """Raise `RequestRefused` if the request lacks what the vendor requires of every request.

        Args:
            request: the HTTP request, with its method, URL and headers.
            size: the bytes of its body.
        """
        ...

    def id_headers(self, request_id: str) -> dict[str, str]:
        """Return the headers of every response, refusals included."""
        ...

    def account_headers(self) -> dict[str, str]:
        """Return the headers of every response to a valid key, refusals included."""
        ...

    def work_headers(self, latency_s: float) -> dict[str, str]:
        """Return the headers of model responses only."""
        ...

    def level_headers(self, levels: Mapping[str, Level], date: float) -> dict[str, str]:
        """Return the headers of the limits.

        Args:
            levels: the level of each bucket.
            date: the time, in seconds since 1970.
        """
        ...

    def costs(self, call: ModelCall) -> Mapping[str, float]:
        """Return the charges of a call at admission, by name of the limit."""
        ...

    def cache_rules(self, model: str) -> CacheRules | None:
        """Return the rules of a model's prompt cache; None if it has none."""
        ...

    def totals(
        self, input_tokens: int, output_tokens: int, *, cached_tokens: int, ended: bool
    ) -> Mapping[str, float]:
        """Return the total charges of a call for the tokens so far, by name of the limit.

        Args:
            input_tokens: the tokens of the prompt.
            output_tokens: the tokens produced so far.
            cached_tokens: the tokens of the prompt that were read from the cache.
            ended: True if no more tokens follow.
        """
        ...

    def bad_key(self, key: str | None) -> RequestRefused:
        """Return the 401 for a missing or wrong key."""
        ...

    def no_such_model(self, model: str) -> RequestRefused:
        """Return the 404 for an unknown model."""
        ...

    def rate_limited(self, refusal: LimitRefusal, model: str) -> RequestRefused:
        """Return the 429 for a request over a limit, or larger than the limit."""
        ...

    def refused(self, kind: str, retry_after: int | None) -> RequestRefused:
        """Return the refusal of a fault: one of `REFUSALS`."""
        ...

    def error_body(self, error: RequestRefused, request_id: str) -> bytes:
        """Return the JSON body of a refusal."""
        ...

    def error_event(self) -> bytes:
        """Return the event of a stream that fails in the middle."""
        ...


def bearer_in(request: Request) -> str | None:
    """Return the key in an Authorization header."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" and key.strip() else None


def retry_headers(settings: ProviderSettings, wait_s: float) -> dict[str, str]:
    """Return the headers of a 429 with the time of a retry, as far as the settings include them.

    Args:
        settings: the provider's settings.
        wait_s: seconds until the request would be admitted; infinite if it never will be.
    """
    found: dict[str, str] = {}
    if math.isfinite(wait_s):
        if "retry-after" in settings.headers_on_429:
            found["retry-after"] = str(max(1, math.ceil(wait_s)))
        if "retry-after-ms" in settings.headers_on_429:
            found["retry-after-ms"] = str(math.ceil(wait_s * 1000 - 1e-6))
    if "x-should-retry" in settings.headers_on_429:
        found["x-should-retry"] = "true" if math.isfinite(wait_s) else "false"
    return found


@attrs.frozen(kw_only=True)
class TextsCall:
    """What parsed calls have in common that generate nothing (see `ModelCall`).

    Args:
        model: the model that is requested.
        inputs: the texts to read.
    """

    model: str
    inputs: Texts

    @property
    def tier(self) -> str:
        """The only service tier."""
        return "default"

    @property
    def prompt_key(self) -> str:
        """Canonical JSON of the inputs."""
        return self.inputs.key

    @property
    def estimated_tokens(self) -> int:
        """The tokens of all inputs."""
        return self.inputs.tokens

    @property
    def max_output_tokens(self) -> int:
        """0: nothing is generated."""
        return 0

    @property
    def stream(self) -> bool:
        """False: nothing is generated that could be streamed."""
        return False

    @property
    def to_cache(self) -> CacheablePrompt:
        """Nothing: these prompts are never cached."""
        return NOTHING_TO_CACHE
