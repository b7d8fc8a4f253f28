"""The provider's refusals, in the words of the real ones (PROVIDERS, section 1.4)."""

import math

import attrs

from .jsontext import Json, compact
from .limits import Refusal, go_duration

__all__ = ["ORGANIZATION", "ApiError"]

ORGANIZATION = "org-callsheet"

# Of a shorter key, even the ends would give too much away.
SHOWN_KEY_LENGTH = 20

_MARKS = {"requests": "requests per min (RPM)", "tokens": "tokens per min (TPM)"}


@attrs.frozen(eq=False)
class ApiError(Exception):
    """A request is refused: the answer's status, body and headers.

    Args:
        status: the HTTP status.
        message: what is wrong, for people.
        type: the class of the error.
        param: the member of the body at fault.
        code: the error, for programs.
        headers: further headers of the answer.
    """

    status: int
    message: str
    type: str = "invalid_request_error"
    param: str | None = None
    code: str | None = None
    headers: dict[str, str] = attrs.field(factory=dict[str, str])

    def body(self) -> bytes:
        """The JSON body."""
        error: dict[str, Json] = {
            "message": self.message,
            "type": self.type,
            "param": self.param,
            "code": self.code,
        }
        return compact({"error": error})

    @classmethod
    def bad_key(cls, key: str | None) -> "ApiError":
        """401: no key, or a wrong one, of which only the ends are shown (L8)."""
        if key is None:
            return cls(
                401,
                "You didn't provide an API key. You need to provide your API key in an "
                "Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
            )
        shown = f"{key[:3]}{'*' * 8}{key[-4:]}" if len(key) >= SHOWN_KEY_LENGTH else "*" * 8
        return cls(401, f"Incorrect API key provided: {shown}.", code="invalid_api_key")

    @classmethod
    def no_such_model(cls, model: str) -> "ApiError":
        """404: there is no model of this name."""
        return cls(
            404,
            f"The model `{model}` does not exist or you do not have access to it.",
            code="model_not_found",
        )

    @classmethod
    def no_such_url(cls, method: str, path: str) -> "ApiError":
        """404: nothing is there."""
        return cls(404, f"Invalid URL ({method} {path})")

    @classmethod
    def no_such_method(cls, method: str, allowed: str) -> "ApiError":
        """405: something is there, but not for this method."""
        return cls(
            405,
            f"Not allowed to {method} on this URL. Only {allowed} requests are accepted.",
            code="method_not_supported",
            headers={"allow": allowed},
        )

    @classmethod
    def context_exceeded(cls, most: int, prompt: int, answer: int) -> "ApiError":
        """400: prompt and answer are longer than the model's context."""
        return cls(
            400,
            f"This model's maximum context length is {most} tokens. However, you requested "
            f"{prompt + answer} tokens ({prompt} in the messages, {answer} in the completion). "
            "Please reduce the length of the messages or completion.",
            param="messages",
            code="context_length_exceeded",
        )

    @classmethod
    def rate_limited(cls, refusal: Refusal, model: str) -> "ApiError":
        """429: too fast, or larger than the limit can ever hold."""
        where = f"for {model} in organization {ORGANIZATION} on {_MARKS[refusal.what]}"
        if math.isinf(refusal.wait_s):
            return cls(
                429,
                f"Request too large {where}: Limit {refusal.limit}, Requested "
                f"{refusal.requested}. The input or output tokens must be reduced in order to run "
                "successfully.",
                type=refusal.what,
                code="rate_limit_exceeded",
            )
        # Rounded up to a millisecond: who waits as long as it says is let in.
        wait = go_duration(math.ceil(refusal.wait_s * 1000 - 1e-6) / 1000)
        return cls(
            429,
            f"Rate limit reached {where}: Limit {refusal.limit}, Used {refusal.used}, Requested "
            f"{refusal.requested}. Please try again in {wait}.",
            type=refusal.what,
            code="rate_limit_exceeded",
            headers={"retry-after": str(max(1, math.ceil(refusal.wait_s)))},
        )

    @classmethod
    def of_fault(cls, status: int, retry_after: int | None) -> "ApiError":
        """429, 500 or 503 because a fault was asked for."""
        headers = {} if retry_after is None else {"retry-after": str(retry_after)}
        match status:
            case 429:
                return cls(
                    429,
                    "Rate limit reached: traffic ramped up too fast. Please slow down.",
                    type="rate_limit_error",
                    code="slow_down",
                    headers=headers,
                )
            case 503:
                return cls(
                    503,
                    "The server is overloaded. Please try again later.",
                    type="service_unavailable_error",
                    code="server_is_overloaded",
                    headers=headers,
                )
            case _:
                return cls(
                    500,
                    "The server had an error while processing your request. Sorry about that!",
                    type="server_error",
                    headers=headers,
                )
