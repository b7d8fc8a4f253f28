"""What the troupe says to each other.

Every stage on the way of a call takes the same message, `Complete`, so that stages can be stacked,
left out or replaced:

    PostComposerActor -> BatcherActor -> RateLimiterActor -> RequestActor -> provider
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Literal, Protocol

import attrs
from attrs.validators import and_, deep_iterable, ge, gt, instance_of, le, min_len, optional

from ..runtime import Message

__all__ = [
    "ChatMessage",
    "Complete",
    "Json",
    "Origin",
    "Permit",
    "Request",
    "Response",
    "Usage",
]

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
Role = Literal["system", "developer", "user", "assistant"]


@attrs.frozen
class ChatMessage:
    """One turn of a chat."""

    role: Role
    content: str = attrs.field(validator=instance_of(str))


@attrs.frozen(kw_only=True)
class Request:
    """One chat completion to ask a provider for.

    Args:
        model: the provider's name of the model.
        messages: the turns so far, at least one.
        max_tokens: the most tokens the answer may have; None leaves it to the provider.
        temperature: 0 to 2; None leaves it to the provider.
        seed: asks the provider for a repeatable answer, which it may or may not give.
        extra: further members of the request's JSON body, sent as they are.
        cacheable: declares that one answer may serve every identical request (L6).

    Raises:
        ValueError, TypeError: a field is out of its range, or no such thing; names the field.
    """

    model: str = attrs.field(validator=and_(instance_of(str), min_len(1)))
    messages: tuple[ChatMessage, ...] = attrs.field(
        converter=tuple[ChatMessage, ...],
        validator=and_(min_len(1), deep_iterable(instance_of(ChatMessage))),
    )
    max_tokens: int | None = attrs.field(
        default=None, validator=optional(and_(instance_of(int), gt(0)))
    )
    temperature: float | None = attrs.field(default=None, validator=optional(and_(ge(0), le(2))))
    seed: int | None = None
    extra: Mapping[str, Json] = attrs.field(factory=dict[str, Json])
    cacheable: bool = False

    @classmethod
    def of(
        cls,
        prompt: str,
        *,
        model: str,
        system: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        cacheable: bool = False,
    ) -> "Request":
        """A request of one user turn, with a system turn before it if `system` is given."""
        user = ChatMessage("user", prompt)
        return cls(
            model=model,
            messages=(user,) if system is None else (ChatMessage("system", system), user),
            max_tokens=max_tokens,
            temperature=temperature,
            cacheable=cacheable,
        )


@attrs.frozen
class Usage:
    """Tokens a provider reports for one call; `cached_tokens` are part of `input_tokens`."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
        )


@attrs.frozen(kw_only=True)
class Response:
    """The answer to a `Request`, and what it took.

    Args:
        text: what the model wrote.
        model: the model that answered, as the provider names it.
        finish_reason: why it ended: "stop", "length", "content_filter" and so on.
        usage: the tokens the provider reports; zero where it reports none.
        cost_usd: what the call cost in USD; None when the model's price is not known.
        http_requests: how many HTTP requests it took, retries included; 0 when the answer was
            shared with an identical request.
        seconds: from the first byte sent to the last byte received, of the attempt that answered.
    """

    text: str
    model: str
    finish_reason: str | None
    usage: Usage
    cost_usd: Decimal | None
    http_requests: int = 1
    seconds: float = 0.0


@attrs.frozen
class Origin:
    """Whom a call is for: the ids that let one follow a post through every actor (L9)."""

    call: str
    post: str | None = None
    step: str | None = None


class Permit(Protocol):
    """What the limiter lets a call pass with.

    It holds one place in flight until the call's answer is there, retries included.
    """

    async def renew(self, *, delay: float, throttled: bool) -> None:
        """Wait until one more attempt of the same call may be sent.

        Args:
            delay: seconds from now before which it must not be sent.
            throttled: the provider said "too fast": everybody waits, not only this call.

        Raises:
            AskFailed: it will not be known; the verdict says that asking again is safe.
        """
        ...

    def park(self, *, delay: float) -> None:
        """The provider said "too fast", and this call gives up: the others wait all the same.

        Args:
            delay: seconds from now.
        """
        ...


@attrs.frozen
class Complete(Message[Response]):
    """Ask for one completion. Every stage hands it on with reply slot and deadline (R4).

    Args:
        request: what to ask the provider.
        origin: whom it is for.
        permit: set by the limiter; without one, attempts are not limited.
    """

    request: Request
    origin: Origin
    permit: Permit | None = None
