"""Check R9: each message that an actor accepted has ended once or is pending."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import final

import attrs
import trio

from .._core import (
    ActorEvent,
    ActorSnapshot,
    Instrument,
    MessageDone,
    MessageSent,
    Node,
    RestartPolicy,
    RuntimeSnapshot,
    Strategy,
)
from ..runtime import Runtime, open_runtime


def check_conservation(snapshot: RuntimeSnapshot) -> None:
    """Check R9 for every actor of a snapshot; it holds at any moment.

    Args:
        snapshot: the tree, from `Runtime.snapshot`.

    Raises:
        AssertionError: a message was lost or counted twice; the text has the actors and their
            counts.
    """
    _raise_if_any([_imbalance(actor) for actor in snapshot.actors if not actor.is_conserved])


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
    """Open a runtime with a fixed seed, and check R9 when the block ends in any way.

    The check covers every actor that stopped in the block, those that were removed included, and
    that each message which was sent has ended once.

    Args:
        name: the first part of every actor's path.
        strategy: which children the root restarts together with one that has crashed.
        restarts: how often the root restarts its children; by default five times in 30 seconds.
        drain_s: seconds that the drain at the end of the block may take.
        seed: seed of all randomness in the runtime (R13).
        instruments: objects that are called at every event.

    Raises:
        AssertionError: R9's sum did not hold for an actor when it stopped, or a message that it
            accepted was still pending.
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
            auditor.root = runtime.root._node  # noqa: SLF001  # the runtime's own
            yield runtime
    finally:
        auditor.check_all_ended()
        _raise_if_any(auditor.findings)
    check_conservation(runtime.snapshot())  # nothing may be counted after the actors have stopped


@final
@attrs.define
class _Auditor(Instrument):
    """Checks each actor at the moment it stops, since it may be removed afterwards.

    Args:
        root: root of the tree.
        findings: what was wrong; collected, since an instrument must not raise.
        going: the messages that were sent and have not ended, by the ids of their contexts.
    """

    root: Node | None = None
    findings: list[str] = attrs.Factory(list[str])
    going: dict[int, MessageSent] = attrs.Factory(dict[int, MessageSent])

    def message_sent(self, event: MessageSent) -> object:
        """See `Instrument`."""
        self.going[id(event)] = event
        return event

    def message_done(self, event: MessageDone) -> None:
        """See `Instrument`."""
        if event.outcome == "redelivered":
            return
        if self.going.pop(id(event.context), None) is None:
            self.findings.append(f"a {event.message} at {event.actor} has ended twice")

    def check_all_ended(self) -> None:
        """Find the messages that have not ended."""
        for event in self.going.values():
            self.findings.append(f"a {event.message} to {event.actor} has not ended")

    def actor_stopped(self, event: ActorEvent) -> None:
        """See `Instrument`."""
        node = self._find(event.actor)
        actor = node and node.snapshot(trio.current_time())
        if not isinstance(actor, ActorSnapshot):
            return  # a supervisor has no mailbox
        if not actor.is_conserved:
            self.findings.append(_imbalance(actor))
        if actor.pending:
            self.findings.append(f"{actor.path} stopped with {actor.pending} messages pending")

    def _find(self, path: str) -> Node | None:
        """Find a node by its path; a snapshot for each stop would take quadratic time."""
        node = self.root
        for name in path.split("/")[1:]:
            node = node and node.find_child(name)  # a node below a removed supervisor never ran
        return node


def _imbalance(actor: ActorSnapshot) -> str:
    counts = actor.counts
    accepted = counts.accepted + counts.bypassed
    found = attrs.asdict(counts, filter=lambda _, count: bool(count))
    listed = ", ".join(f"{name} {count}" for name, count in found.items())
    return (
        f"{actor.path}: {accepted} messages were accepted, but {counts.ended} have ended "
        f"and {actor.pending} are pending ({listed})"
    )


def _raise_if_any(findings: Sequence[str]) -> None:
    if findings:
        raise AssertionError("R9 does not hold: " + "; ".join(findings))
