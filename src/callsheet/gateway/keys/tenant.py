"""Tenants: the callers behind the keys, and their turns at limits of their own."""

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from math import inf
from types import TracebackType
from typing import Self, final

import trio

from ...actors import CallFailed, TurnTooLate
from ...runtime import AskFailed, Verdict
from .key import ApiKey
from .turn_leases import TurnLeases
from .turns import OwnLimits, TurnLine, TurnPlace


@final
class Tenant:
    """The caller behind the keys of one name, and its own limits.

    Args:
        key: a key of the tenant. All valid keys of a name have the same terms.
        leases: the limits of keys over all replicas of the gateway; None if there is but this one.

    Attributes:
        key: the key whose terms apply.
    """

    def __init__(self, key: ApiKey, leases: TurnLeases | None = None) -> None:
        self.key = key
        self._leases = leases
        make = None if leases is None else leases.maker(key.name)
        self._line = TurnLine(key, trio.current_time(), make)
        if leases is not None:
            leases.attach(key.name, self._line)

    def __repr__(self) -> str:
        return f"<Tenant {self.name} {self._line!r}>"

    @property
    def name(self) -> str:
        """The name of its keys."""
        return self.key.name

    @property
    def in_flight(self) -> int:
        """The number of its calls that had their turn and have not ended."""
        return self._line.in_flight

    @property
    def waiting(self) -> int:
        """The number of its calls that wait for their turn."""
        return self._line.waiting

    @property
    def next_s(self) -> float | None:
        """Seconds until the first of them has its turn; None if that is not known."""
        now = trio.current_time()
        next_at = self._line.next_at(now)
        return None if next_at == inf else next_at - now

    def change(self, key: ApiKey) -> None:
        """Take the limits of a key. Calls that wait are scheduled again.

        Args:
            key: the key whose terms apply from now on.
        """
        if key != self.key:
            self._line.change(key, trio.current_time())
            self.key = key
            if self._leases is not None:
                self._leases.attach(key.name, self._line)
            self._wake()

    def turn(
        self, tokens: float, *, patience_s: float = inf, came: float | None = None
    ) -> "TenantTurn":
        """Return the turn of a call, for `async with`: the block begins when it has come.

        In the block the call is in flight. Its tokens are debited as estimated, until `settle` or
        `refund` correct them.

        Args:
            tokens: what the call takes, by estimate; see `TokenEstimator`.
            patience_s: the most seconds to wait.
            came: the Trio time at which an earlier copy of the call came: it has the place in line
                that this had.
        """
        return TenantTurn(self, self._line, tokens, patience_s, came)

    def limits(self) -> OwnLimits:
        """Return the state of its limits, for the headers of a response."""
        return self._line.state(trio.current_time())

    def _wake(self) -> None:
        """Let the first call that waits look for its turn, and lease what it takes."""
        self._line.wake()
        self._touch()

    def _touch(self) -> None:
        """Look whether something of the limits that replicas share is to be leased, or returned."""
        if self._leases is not None and self.key.has_limits:
            self._leases.touch(self.name, self._line)


@final
class TenantTurn:
    """The turn of one call at the limits of its tenant; see `Tenant.turn`.

    Attributes:
        waited_s: the seconds that the call has waited for its turn.

    Raises:
        TurnTooLate: on entry, if the turn cannot come in time: at once where the limits decide it,
            else when the patience has ended.
    """

    def __init__(
        self,
        tenant: Tenant,
        line: TurnLine,
        tokens: float,
        patience_s: float,
        came: float | None,
    ) -> None:
        self.waited_s = 0.0
        self._tenant = tenant
        self._line = line
        self._tokens = tokens
        self._patience_s = patience_s
        self._came = came
        self._place: TurnPlace | None = None
        self._is_settled = False

    async def __aenter__(self) -> Self:
        await trio.lowlevel.checkpoint_if_cancelled()
        now, line = trio.current_time(), self._line
        if self._patience_s < inf:
            wait_s = line.wait_s(self._tokens, now, inf if self._came is None else self._came)
            if wait_s > self._patience_s:
                raise self._too_late(wait_s)
        place = self._place = line.join(self._tokens, now, self._came)
        self._tenant._touch()  # noqa: SLF001  # its other half
        if line.first is place and line.admit(now) is place:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return self
        try:
            await self._wait(place, now + self._patience_s)
        except BaseException:
            line.leave(place)
            self._wake()
            raise
        self.waited_s = trio.current_time() - now
        self._wake()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        place, now = self._place, trio.current_time()
        if place is not None:
            if error is not None and not self._is_settled and _was_not_sent(error):
                self._line.refund(place, now)
            self._line.end(place, now)
            self._wake()

    def settle(self, tokens: float) -> None:
        """Debit the tokens that the call took, in place of the estimate.

        Args:
            tokens: what the provider has counted.
        """
        if self._place is not None:
            self._is_settled = True
            self._line.settle(self._place, tokens, trio.current_time())
            self._wake()

    def refund(self) -> None:
        """Give back what was debited, because nothing was sent.

        The end of the block does that itself for an error which says so.
        """
        if self._place is not None and not self._is_settled:
            self._is_settled = True
            self._line.refund(self._place, trio.current_time())
            self._wake()

    # ----------------------------------------------------------------

    async def _wait(self, place: TurnPlace, until: float) -> None:
        """Wait for the turn of a call.

        Raises:
            TurnTooLate: it has not come in time.
        """
        line = self._line
        while place.turn is None:
            now = trio.current_time()
            is_first = line.first is place
            if is_first and line.admit(now) is place:
                return
            if now >= until:
                line.leave(place)  # so that it does not count among the calls ahead
                raise self._too_late(line.wait_s(self._tokens, now, place.came))
            woken = trio.Event()
            place.wake = woken.set
            with trio.move_on_at(min(until, line.next_at(now) if is_first else inf)):
                await woken.wait()

    def _too_late(self, wait_s: float) -> TurnTooLate:
        wait_s = max(wait_s, self._line.free_s())
        return TurnTooLate(
            f"the key {self._tenant.name} is at a limit of its own; the turn of the call comes in "
            f"about {wait_s:.1f} s",
            wait_s=wait_s,
        )

    def _wake(self) -> None:
        self._tenant._wake()  # noqa: SLF001  # its other half


def _was_not_sent(error: BaseException) -> bool:
    """Return whether a call has certainly sent nothing to the provider."""
    if isinstance(error, CallFailed):
        return not error.attempts and error.billed == "no"
    return isinstance(error, AskFailed) and error.verdict is Verdict.NOT_STARTED


@final
class Tenants:
    """The tenants of a gateway, by name.

    One is made with the first call of a key, and is forgotten when no key of its name is valid.
    The calls of a key end with it: it has no budget any more.

    Args:
        leases: the limits of keys over all replicas of the gateway; None if there is but this one.
    """

    def __init__(self, leases: TurnLeases | None = None) -> None:
        self._leases = leases
        self._by_name: dict[str, Tenant] = {}
        self._calls: dict[str, set[trio.CancelScope]] = {}  # {id of a key: its calls}

    def __repr__(self) -> str:
        return f"<Tenants {len(self._by_name)}>"

    def __iter__(self) -> Iterator[Tenant]:
        return iter(tuple(self._by_name.values()))

    def of(self, key: ApiKey) -> Tenant:
        """Return the tenant of a key.

        Args:
            key: the key of a call.
        """
        found = self._by_name.get(key.name)
        if found is None:
            found = self._by_name[key.name] = Tenant(key, self._leases)
        return found

    @contextmanager
    def call_of(self, key: ApiKey) -> Generator[trio.CancelScope]:
        """Enter a scope that is cancelled when a key is no longer valid.

        Args:
            key: the key of a call, which lasts as long as the scope.
        """
        calls = self._calls.setdefault(key.id, set())
        with trio.CancelScope() as scope:
            calls.add(scope)
            try:
                yield scope
            finally:
                calls.discard(scope)
                if not calls:
                    self._calls.pop(key.id, None)

    def keep(self, keys: Iterable[ApiKey]) -> None:
        """Take the terms of the valid keys, and forget the tenants without one.

        The calls of keys that are no longer valid end.

        Args:
            keys: the valid keys, the oldest first; the last one of a name decides.
        """
        valid = tuple(keys)
        for ended in self._calls.keys() - {key.id for key in valid}:
            for scope in self._calls[ended]:
                scope.cancel()
        latest = {key.name: key for key in valid}
        for name, tenant in [*self._by_name.items()]:
            if name in latest:
                tenant.change(latest[name])
            elif not tenant.in_flight and not tenant.waiting:
                del self._by_name[name]
                if self._leases is not None:
                    self._leases.forget(name)
        if self._leases is not None and any(key.has_limits for key in valid):
            self._leases.use()
