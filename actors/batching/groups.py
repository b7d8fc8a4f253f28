"""The groups of a batcher: which requests may share a call."""

from collections.abc import Callable, Hashable, Iterable, Iterator

import attrs

from ..call_plan import SharedCall
from ..messages import Request
from .agreement import Agreements, AgreementStatistics, CheckPlan
from .combined_cost import CombinedCost
from .former import BatchFormer, Batching, BatchWindow
from .members import BatchMember, Group
from .strategy import BatchStrategy

_MAX_GROUPS = 1000  # each remembers how fast its members arrive, and its agreement

_GroupKey = tuple[int, Hashable, str, str, bool]
"""Index of the strategy, key of the request, lane, tenant, and whether it has a deadline."""


class Groups:
    """Finds the group of each request, and creates it for the first one.

    A request never shares a call with requests of another lane, or of another tenant.

    Args:
        batching: when a batch is sent.
        strategies: ways to combine requests; the first that has a key for a request is used.
        cost_of: returns what compares the costs of a new group, whose checks are planned.
        agreements: what is known about each group, from before a restart as well.
    """

    def __init__(
        self,
        batching: Batching,
        strategies: Iterable[BatchStrategy],
        cost_of: Callable[[BatchStrategy, CheckPlan], CombinedCost],
        agreements: Agreements | None = None,
    ) -> None:
        self._batching = batching
        self._strategies = tuple(strategies)
        self._cost_of = cost_of
        self._agreements = Agreements() if agreements is None else agreements
        self._groups: dict[_GroupKey, Group] = {}  # the most recently used is the last

    def __iter__(self) -> Iterator[Group]:
        return iter(tuple(self._groups.values()))

    def find(self, request: Request, lane: str) -> Group | None:
        """Return the group of a request, a new one if there is none; None if none can have it."""
        found = self._key(request, lane, lane)
        if found is None:
            return None
        key, strategy = found
        return self._groups.get(key) or self._create(strategy, key, request)

    def use(self, request: Request, lane: str, tenant: str) -> Group | None:
        """Return the group of a request; None if the request must be sent alone."""
        found = self._key(request, lane, tenant)
        if found is None:
            return None
        key, strategy = found
        group = self._groups.pop(key, None)
        if group is None:
            self._make_room()
            group = self._create(strategy, key, request)
        self._groups[key] = group
        return group if group.agreement.is_trusted else None

    def agreement(self) -> dict[str, tuple[AgreementStatistics, ...]]:
        """Return the results of the checks, one entry an instruction, by name of the strategy."""
        found: dict[str, tuple[AgreementStatistics, ...]] = {}
        for (number, _), agreement in self._agreements:
            name = self._strategies[number].name
            found[name] = (*found.get(name, ()), agreement.statistics())
        return found

    def _key(
        self, request: Request, lane: str, tenant: str
    ) -> tuple[_GroupKey, BatchStrategy] | None:
        for number, strategy in enumerate(self._strategies):
            common = strategy.key(request)
            if common is not None:
                return (number, common, lane, tenant, request.deadline is not None), strategy
        return None

    def _make_room(self) -> None:
        if len(self._groups) >= _MAX_GROUPS:
            idle = next((key for key, it in self._groups.items() if not len(it.former)), None)
            if idle is not None:
                del self._groups[idle]

    def _create(self, strategy: BatchStrategy, key: _GroupKey, request: Request) -> Group:
        window = BatchWindow(self._batching.max_wait_s)
        bounds = strategy.bounds_for(request).within(self._batching)
        former = BatchFormer[BatchMember](bounds, window)
        agreement = self._agreements.of(key[:2], strategy.least_agreement, strategy.check_share)
        cost = self._cost_of(strategy, agreement.checks)
        return Group(strategy, former, window, agreement, cost)


def explain_sharing(group: Group, request: Request) -> SharedCall:
    """Return which call of a group a request would share if it arrived now.

    Args:
        group: the group of the request.
        request: the request that would arrive.
    """
    strategy, members = group.strategy, len(group.former) + 1
    is_priced = strategy.form_tokens(request) is not None
    full_share = group.cost.full_share(request)
    if not group.agreement.is_trusted or full_share >= 1:
        return SharedCall()
    could_be = SharedCall(could_be=strategy.name, full_share=full_share if is_priced else 1.0)
    compare = group.cost.share if is_priced else group.cost.prompt_share
    share = compare([request] * members)
    if members == 1 or (is_priced and share >= 1):
        return could_be
    return attrs.evolve(could_be, strategy=strategy.name, members=members, share=share)
