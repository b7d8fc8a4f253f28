"""One target of several: the members of a pool of endpoints, and how a call moves between them."""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from math import inf
from operator import attrgetter
from typing import Protocol, final

import attrs
import trio

from callsheet.runtime import get_logger

from ..errors import (
    AuthenticationFailed,
    CallFailed,
    ProviderUnavailable,
    QuotaExhausted,
    UnreadableEndpoint,
)
from ..pool_health import PoolHealth
from .breaker import EndpointBreaker, is_outage
from .context import CallProgress, RequestContext
from .exchange import Exchanged
from .failures import AttemptFailed
from .fallback import FALLS_BACK, Target
from .target import pause, renew

_ALL_MODELS = ""
_MODEL = re.compile(r"model|deployment|engine", re.IGNORECASE)
_log = get_logger("callsheet.requests")


class MemberLayer(Protocol):
    """Sends a call to one member. `RetryingTarget` does."""

    def is_out(self) -> bool:
        """Whether a call would wait for the member's circuit breaker."""
        ...

    async def send(self, call: CallProgress) -> Exchanged:
        """Send the call to this member.

        Args:
            call: the call and its state.

        Raises:
            AttemptFailed: there is no response from this member.
        """
        ...


@attrs.frozen
class MemberOfPool:
    """One member.

    Args:
        label: its host and the name of its key, for the log.
        layer: sends a call to it.
        breaker: its circuit breaker.
    """

    label: str
    layer: MemberLayer
    breaker: EndpointBreaker


def refused_model(error: CallFailed, model: str) -> str | None:
    """Return the model that a member refuses to every call; "" for all, None for none. Pure.

    Args:
        error: why an attempt at the member has failed.
        model: the model of the call.
    """
    if isinstance(error, AuthenticationFailed):
        return model if error.status == HTTPStatus.FORBIDDEN else _ALL_MODELS
    if isinstance(error, QuotaExhausted):
        return model if error.status == HTTPStatus.TOO_MANY_REQUESTS else _ALL_MODELS
    if error.status == HTTPStatus.NOT_FOUND and _is_about_all(error):
        return model
    return model if isinstance(error, UnreadableEndpoint) else None


def _is_about_all(error: CallFailed) -> bool:
    """Whether a 404 is about the address or the model, and not about what one request names."""
    return error.body is None or _MODEL.search(str(dict(error.body))) is not None


@attrs.frozen
class _Tried:
    """How the attempt of a call at one member has failed.

    Args:
        failure: the failure of the attempt.
        again_at: when the member may be asked again, by its own words, on Trio's clock.
    """

    failure: AttemptFailed
    again_at: float


@final
class PoolTarget:
    """Sends a call to the member that its permit names, and on to others when that fails it.

    What one member causes, such as a wrong key, a full limit or a failure of its server, is no
    reason to wait while another one works: the call moves on, at once and within its budget (L2),
    to one that it has not tried. When it has tried all of them, it pauses as at a single endpoint.

    A member that refuses is left out for all calls, and so is one with an open circuit breaker.
    Without a permit, calls go to the first member that is well.

    Args:
        target: the pool, as one of the targets of a call.
        members: its members, by the names of their keys.
        health: which of them are left out.
        shared: what all calls of the actor share.
    """

    def __init__(
        self,
        target: Target,
        members: Mapping[str, MemberOfPool],
        health: PoolHealth,
        shared: RequestContext,
    ) -> None:
        self._target = target
        self._members = members
        self._health = health
        self._shared = shared
        for name, member in members.items():
            health.recovered(name)  # its breaker is closed, as after a restart of the actor
            member.breaker.listener = _BreakerListener(name, member.breaker, health)

    def is_out(self) -> bool:
        """Whether a call would wait for a circuit breaker, whichever member serves it."""
        return all(member.layer.is_out() for member in self._members.values())

    async def send(self, call: CallProgress) -> Exchanged:
        """Send the call to one member after another.

        Args:
            call: the call and its state.

        Raises:
            AttemptFailed: there is no response from any. The error is that of the last attempt.
        """
        model = call.message.request.model
        name = self._permitted(call, self._well(model))
        tried: dict[str, _Tried] = {}
        while True:
            member = self._members[name]
            if member.layer.is_out() and (others := self._others(name, model)):
                name = await self._pass_by(call, name, others)
                continue
            try:
                exchanged = await member.layer.send(call)
            except AttemptFailed as failure:
                self._note(name, model, failure.error)
                again_at = trio.current_time() + (failure.server_s or 0.0)
                tried[name] = _Tried(failure, again_at)
                untried = [one for one in self._others(name, model) if one not in tried]
                if self._takes(call, failure, untried):
                    name = await self._move(call, failure, untried)
                else:
                    well = {name, *self._well(model)}
                    await self._pause(call, failure, [tried[one] for one in tried if one in well])
                    name = self._permitted(call, self._well(model))
                    tried.clear()
            else:
                self._worked(name, model)
                return exchanged

    # ---------------------------------------------------------------- which member

    def _permitted(self, call: CallProgress, members: Sequence[str]) -> str:
        """Return the member that the permit names, or the first of these without a permit."""
        permit = call.message.permit
        if permit is not None and permit.member in self._members:
            return permit.member
        return members[0] if members else next(iter(self._members))

    def _well(self, model: str) -> Sequence[str]:
        return self._health.may_serve(model, trio.current_time())[0]

    def _others(self, name: str, model: str) -> Sequence[str]:
        """Return the other members that a call may be sent to now."""
        found = self._health.others(name, model, trio.current_time())
        return [one for one in found if not self._members[one].layer.is_out()]

    def _takes(self, call: CallProgress, failure: AttemptFailed, untried: Sequence[str]) -> bool:
        """Return whether another member takes the call at once, and pay for that."""
        error = failure.error
        is_of_member = isinstance(error, FALLS_BACK) or error.status == HTTPStatus.NOT_FOUND
        if not (untried and is_of_member and call.may_repeat(error) and call.left_s > 0):
            return False
        reserve = self._shared.fallback.behind(self._target)
        return call.budget.take("retry", trio.current_time(), reserve=reserve)

    async def _move(
        self, call: CallProgress, failure: AttemptFailed, untried: Sequence[str]
    ) -> str:
        """Wait until another member may serve the call, and return its name.

        Raises:
            AttemptFailed: the deadline has passed.
        """
        call.report("retrying", failure.error)
        retry = self._shared.retry
        pause_s = retry.backoff(1, failure.server_s, self._shared.random)
        until = trio.current_time() + min(pause_s, retry.max_server_s)
        await renew(call, failure, until, untried)
        return self._permitted(call, untried)

    async def _pass_by(self, call: CallProgress, name: str, others: Sequence[str]) -> str:
        """Move a call on from a member with an open circuit breaker, to which nothing was sent."""
        member = self._members[name]
        text = f"nothing was sent to {member.label}, because it keeps failing"
        next_at = min(member.breaker.next_at(), trio.current_time() + self._shared.retry.cap_s)
        await renew(call, AttemptFailed(ProviderUnavailable(text)), next_at, others)
        return self._permitted(call, others)

    async def _pause(
        self, call: CallProgress, failure: AttemptFailed, tried: Sequence[_Tried]
    ) -> None:
        """Wait until the first of some members may be asked again.

        Args:
            call: the call and its state.
            failure: how the last attempt failed.
            tried: how attempts have failed at the last member and at those that are well.

        Raises:
            AttemptFailed: no attempt may follow here.
        """
        shared = self._shared
        if self.is_out() and shared.next_target(self._target, failure.error, call) is not None:
            raise failure
        again = [one for one in tried if not one.failure.is_final]
        if not again or not call.may_repeat(failure.error):
            raise failure
        first = min(again, key=attrgetter("again_at"))
        if first.failure is not failure:
            permit = call.message.permit
            if permit is not None and failure.throttled is not None:
                pause_s = min(failure.server_s or 0.0, shared.retry.max_server_s)
                permit.park(delay=pause_s, throttled=failure.throttled)
            left_s = max(0.0, first.again_at - trio.current_time())
            failure = attrs.evolve(first.failure, server_s=left_s, throttled=None)
        back_at = min(member.breaker.next_at() for member in self._members.values())
        now = trio.current_time()
        if self.is_out() and call.enter_by(now) < back_at < inf:  # without an end, one is tried
            bound = "deadline" if call.deadline() < back_at else "patience of the call"
            why = f"the circuit breakers of all members stay open beyond the {bound}"
            error = failure.error.but(why)
            error.back_in_s = back_at - now
            raise AttemptFailed(error, is_final=True)
        await pause(call, failure, self._target, shared, moves=())

    # ---------------------------------------------------------------- health

    def _note(self, name: str, model: str, error: CallFailed) -> None:
        """Leave a member out if it refuses; take it up if it has answered."""
        refused = refused_model(error, model)
        if refused is not None:
            if self._health.refused(name, refused, trio.current_time()):
                _log.warning(
                    "pool_member_left_out",
                    endpoint=self._members[name].label,
                    model=refused or None,
                    reason=str(error),
                )
        elif error.status is not None and not is_outage(type(error)):
            self._worked(name, model)

    def _worked(self, name: str, model: str) -> None:
        if self._health.answered(name, model):
            _log.info("pool_member_works", endpoint=self._members[name].label)


@attrs.frozen
class _BreakerListener:
    """Leaves a member out while its circuit breaker is open; the breaker logs it."""

    name: str
    breaker: EndpointBreaker
    health: PoolHealth

    def __call__(self) -> None:
        state = self.breaker.state
        if state == "closed":
            self.health.recovered(self.name)
        elif state == "open":
            self.health.failed(self.name, self.breaker.next_at())
