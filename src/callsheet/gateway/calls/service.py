"""What all calls of the gateway share: who may call, which troupe answers, and what is counted."""

import itertools
import secrets
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final, Protocol, final

import attrs
import trio

from ...actors import Shared, TokenEstimator
from ..endpoints import CallTarget
from ..errors import Refusal, Refused
from .callers import Caller, Callers
from .places import LeftPlaces

_LONGEST_NAME: Final = 300  # characters of the name of a model


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Models(Protocol):
    """The models that clients may name."""

    def find(self, name: str) -> CallTarget | None:
        """Return where the calls for a model go; None if no endpoint serves it.

        Args:
            name: the name that the client uses.
        """
        ...


@attrs.frozen(kw_only=True)
class CallRules:
    """The settings of the gateway that hold for each call; a reload replaces them.

    Args:
        patience_s: how long whole responses wait for their turn at most, in seconds.
        max_body_bytes: the most bytes of a request body.
        body_timeout_s: seconds in which a request body must be complete.
        allow: what calls may use whose key has no list of its own; see `ApiKey.allow`.
    """

    patience_s: float = 50.0
    max_body_bytes: int = 32 * 1024 * 1024
    body_timeout_s: float = 60.0
    allow: frozenset[Shared] = frozenset()


@final
@attrs.define(eq=False, kw_only=True)
class CallService:
    """What all calls of the gateway share.

    Args:
        callers: finds the client of a request.
        models: finds the troupe of a model.
        rules: the settings that hold for each call.
        places: the places of calls whose clients went away.
        estimator: estimates the tokens of calls, for the limits of keys.
        wall_clock: returns the time in UTC, for headers and bodies.

    Attributes:
        draining: set when no further calls are accepted.
        open_calls: the number of calls in the gateway.
    """

    callers: Callers
    models: Models
    rules: CallRules = attrs.field(factory=CallRules)
    places: LeftPlaces = attrs.field(factory=LeftPlaces)
    estimator: TokenEstimator = attrs.field(factory=TokenEstimator)
    wall_clock: Callable[[], datetime] = _utc_now
    draining: trio.Event = attrs.field(factory=trio.Event, init=False)
    open_calls: int = attrs.field(default=0, init=False)
    _prefix: str = attrs.field(factory=lambda: f"req_{secrets.token_hex(6)}", init=False)
    _numbers: Iterator[int] = attrs.field(factory=lambda: itertools.count(1), init=False)

    def new_id(self) -> str:
        """Return an id for a request, unlike that of any other."""
        return f"{self._prefix}{next(self._numbers):08x}"

    @contextmanager
    def counted(self) -> Generator[None]:
        """Count a call as open within the block.

        Raises:
            Refused: the gateway is draining.
        """
        if self.draining.is_set():
            text = "the gateway is shutting down; send the call again"
            raise Refused(
                Refusal(
                    status=503,
                    kind="unavailable",
                    message=text,
                    retry_after_s=1.0,
                    should_retry=True,
                )
            )
        self.open_calls += 1
        try:
            yield
        finally:
            self.open_calls -= 1

    def target(self, model: str, caller: Caller) -> CallTarget:
        """Return where a call goes.

        Args:
            model: the name of the model that the client uses.
            caller: the client that calls.

        Raises:
            Refused: no endpoint serves the model, or the client's key does not allow it.
        """
        if len(model) > _LONGEST_NAME:
            raise _not_served(f"{model:.100}...")
        if not caller.may_use(model):
            text = f"the key {caller.name!r} may not use the model {model!r:.100}"
            raise Refused(
                Refusal(
                    status=403,
                    kind="permission",
                    message=text,
                    param="model",
                    code="model_not_allowed",
                )
            )
        found = self.models.find(model)
        if found is None:
            raise _not_served(model)
        return found


def _not_served(model: str) -> Refused:
    return Refused(
        Refusal(
            status=404,
            kind="not_found",
            message=f"the model {model!r:.110} is not served here; GET /v1/models lists those that "
            "are",
            param="model",
            code="model_not_found",
        )
    )
