"""The scopes of a limiter, by model, and the limits that all of them share. Pure (R14)."""

import copy
from typing import final

from .bucket import Limit, changed
from .limits import Cost, Limits
from .scope import LimitScope, Reservation

_MAX_SCOPES = 256  # beyond it, models without calls are forgotten


@final
class ScopeTable:
    """One scope for each model, or group of models, that a call was pushed for.

    Args:
        limits: the limits that calls are kept within.
        now: the current time, in seconds of a monotonic clock.

    Attributes:
        by_name: the scopes, by the model or the pattern of the group.
        shared: the limits of all models.
    """

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self.shared = [Limit(rate, now) for rate in limits.all_rates]
        self.by_name: dict[str, LimitScope] = {}
        self._of_model: dict[str, LimitScope] = {}

    def of(self, model: str, now: float) -> LimitScope:
        """Return the scope of a model; it is made if there is none.

        Args:
            model: the model of a call.
            now: the current time.
        """
        scope = self._of_model.get(model)
        if scope is not None:
            return scope
        name, own = self._limits.group_of(model)
        scope = self.by_name.get(name)
        if scope is None:
            if len(self.by_name) >= _MAX_SCOPES:
                idle = [one.name for one in self.by_name.values() if one.is_idle]
                for gone in idle:
                    del self.by_name[gone]
                self._of_model.clear()
            scope = self.by_name[name] = LimitScope(name, self._limits, own, self.shared, now)
        self._of_model[model] = scope
        return scope

    def of_reservation(self, reservation: Reservation, now: float) -> LimitScope:
        """Return the scope of a reservation, which may come from a limiter before a restart."""
        scope = self.by_name.get(reservation.scope.name)
        return self.of(reservation.scope.name, now) if scope is None else scope

    def owns(self, reservation: Reservation) -> bool:
        """Whether a reservation is of this table, and not of one before or after a restart."""
        return self.by_name.get(reservation.scope.name) is reservation.scope

    def shared_ready_at(self, cost: Cost, now: float) -> float:
        """Return when the limits of all models allow a call, `now` at the earliest."""
        at = now
        for limit in self.shared:
            ready = limit.bucket.ready_at(cost[limit.index], now)
            at = max(at, ready)
        return at

    def change(self, limits: Limits, now: float) -> None:
        """Replace the limits; what was taken stays taken."""
        self._limits = limits
        self.shared = changed(self.shared, limits.all_rates, now)
        self._of_model.clear()
        for scope in self.by_name.values():
            scope.change(limits, limits.models.get(scope.name), self.shared, now)

    def copy(self, now: float) -> "ScopeTable":
        """Return an independent copy."""
        other = ScopeTable(self._limits, now)
        other.shared = [copy.deepcopy(limit) for limit in self.shared]
        other.by_name = {name: scope.copy(other.shared) for name, scope in self.by_name.items()}
        return other
