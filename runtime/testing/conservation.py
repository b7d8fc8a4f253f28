"""R9 as a check: what came into an actor has ended or is pending, each message once."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import final

import attrs
import trio

from .._core import ActorEvent, ActorSnapshot, Cell, Instrument, RuntimeSnapshot, Strategy
from ..runtime import Runtime, open_runtime
from ..supervision import RestartPolicy, Supervisor

__all__ = ["check_conservation", "open_test_runtime"]


def check_conservation(snapshot: RuntimeSnapshot) -> None:
    """Check R9 for every actor of a snapshot; it holds at any moment.

    Raises:
        AssertionError: a message was lost, or counted twice; it has the actors and their counts.
    """
    _refuse([_imbalance(actor) for actor in snapshot.actors if not actor.is_conserved])


@asynccontextmanager
async def open_test_runtime(
    name: str = "test",
    *,
    strategy: Strategy = "one_for_one",
    restarts: RestartPolicy | None = None,
    drain_s: float = 10.0,
    seed: str = "test",
    instruments: Sequence[Instrument] = (),
) -> AsyncGenerator[Runtime]:
    """A runtime with a fixed seed, whose books are checked when the block is left, in any way.

    Every actor that ever stopped in it is checked, those that were removed meanwhile included.

    Args:
        name: as for `open_runtime`, like all the others.
        strategy: whom the root restarts with a child that has crashed.
        restarts: how often.
        drain_s: seconds for the drain at the end.
        seed: what all randomness in the runtime is drawn from (R13).
        instruments: are told of everything that happens.

    Raises:
        AssertionError: R9's sum did not hold for an actor when it stopped, or something that it
            took in was still pending.
        Exception: as `open_runtime`.
    """
    auditor = _Auditor()
    try:
        async with open_runtime(
            name,
            strategy=strategy,
            restarts=restarts,
            drain_s=drain_s,
            seed=seed,
            instruments=(auditor, *instruments),
        ) as runtime:
            auditor.root = runtime.root
            yield runtime
    finally:
        _refuse(auditor.findings)
    check_conservation(runtime.snapshot())  # nothing was counted after they had stopped


@final
@attrs.define
class _Auditor(Instrument):
    """Looks at each actor at the moment it has stopped; afterwards it may be forgotten.

    Args:
        root: of the tree.
        findings: what was wrong. An instrument must not raise.
    """

    root: Supervisor | None = None
    findings: list[str] = attrs.Factory(list[str])

    def actor_stopped(self, event: ActorEvent) -> None:
        """See `Instrument`."""
        node = self._find(event.actor)
        if not isinstance(node, Cell):
            return  # a supervisor has no mailbox
        actor = node.snapshot(trio.current_time())
        if not actor.is_conserved:
            self.findings.append(_imbalance(actor))
        if actor.pending:
            self.findings.append(f"{actor.path} stopped with {actor.pending} messages pending")

    def _find(self, path: str) -> object:
        """By name from supervisor to supervisor: a snapshot for each stop would be quadratic."""
        node: object = self.root
        for name in path.split("/")[1:]:
            if not isinstance(node, Supervisor):
                return None
            child = node._children.by_name.get(name)  # noqa: SLF001  # the runtime's own
            node = child and child.node  # one below a supervisor that was removed never ran
        return node


def _imbalance(actor: ActorSnapshot) -> str:
    counts = actor.counts
    came = counts.accepted + counts.bypassed
    found = attrs.asdict(counts, filter=lambda _, count: bool(count))
    told = ", ".join(f"{name} {count}" for name, count in found.items())
    return (
        f"{actor.path}: {came} messages came in, but {counts.ended} have ended and {actor.pending} "
        f"are pending ({told})"
    )


def _refuse(findings: Sequence[str]) -> None:
    if findings:
        raise AssertionError("R9 does not hold: " + "; ".join(findings))
