"""The groups of a batcher: which requests may share a call."""

from collections.abc import Hashable, Iterable, Iterator

from ..messages import Request
from .agreement import Agreements, AgreementStatistics
from .former import BatchFormer, Batching, BatchWindow
from .members import BatchMember, Group
from .strategy import BatchStrategy

_MAX_GROUPS = 1000  # each remembers how fast its members arrive, and its agreement

_GroupKey = tuple[int, Hashable, str, bool]
"""Index of the strategy, key of the request, lane, and whether the request has a deadline."""


class Groups:
    """Finds the group of each request, and creates it for the first one.

    A request never shares a call with requests of another lane.

    Args:
        batching: when a batch is sent.
        strategies: ways to combine requests; the first that has a key for a request is used.
        agreements: what is known about each group, from before a restart as well.
    """

    def __init__(
        self,
        batching: Batching,
        strategies: Iterable[BatchStrategy],
        agreements: Agreements | None = None,
    ) -> None:
        self._batching = batching
        self._strategies = tuple(strategies)
        self._agreements = Agreements() if agreements is None else agreements
        self._groups: dict[_GroupKey, Group] = {}  # the most recently used is the last

    def __iter__(self) -> Iterator[Group]:
        return iter(tuple(self._groups.values()))

    def find(self, request: Request, lane: str) -> Group | None:
        """Return the existing group of a request, if there is one."""
        found = self._key(request, lane)
        return None if found is None else self._groups.get(found[0])

    def use(self, request: Request, lane: str) -> Group | None:
        """Return the group of a request; None if the request must be sent alone."""
        found = self._key(request, lane)
        if found is None:
            return None
        key, strategy = found
        group = self._groups.pop(key, None)
        if group is None:
            group = self._create(strategy, key)
        self._groups[key] = group
        return group if group.agreement.is_trusted else None

    def agreement(self) -> dict[str, tuple[AgreementStatistics, ...]]:
        """Return the results of the checks, one entry an instruction, by name of the strategy."""
        found: dict[str, tuple[AgreementStatistics, ...]] = {}
        for (number, _), agreement in self._agreements:
            name = self._strategies[number].name
            found[name] = (*found.get(name, ()), agreement.statistics())
        return found

    def _key(self, request: Request, lane: str) -> tuple[_GroupKey, BatchStrategy] | None:
        for number, strategy in enumerate(self._strategies):
            common = strategy.key(request)
            if common is not None:
                return (number, common, lane, request.deadline is not None), strategy
        return None

    def _create(self, strategy: BatchStrategy, key: _GroupKey) -> Group:
        if len(self._groups) >= _MAX_GROUPS:
            idle = next((key for key, it in self._groups.items() if not len(it.former)), None)
            if idle is not None:
                del self._groups[idle]
        window = BatchWindow(self._batching.max_wait_s)
        former = BatchFormer[BatchMember](strategy.bounds.within(self._batching), window)
        agreement = self._agreements.of(key[:2], strategy.least_agreement)
        return Group(strategy, former, window, agreement)
