"""The tree as text, for a person who wonders what everybody is doing (R12)."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

import trio

from .snapshot import ActorSnapshot, RuntimeSnapshot, Snapshot, SupervisorSnapshot

if TYPE_CHECKING:
    from .runtime import Runtime

__all__ = ["dump", "format_tree"]


_open: trio.lowlevel.RunVar[list["Runtime"]] = trio.lowlevel.RunVar("callsheet_runtimes")


def open_runtimes() -> list["Runtime"]:
    """Those of this Trio run, in the order in which they were opened."""
    try:
        return _open.get()
    except LookupError:
        runtimes: list[Runtime] = []
        _open.set(runtimes)
        return runtimes


def format_tree(snapshot: RuntimeSnapshot) -> str:
    """The tree with what each actor is doing, a line each."""
    return "\n".join([_line(snapshot.root), *_below(snapshot.root, "")])


def dump(runtime: "Runtime | None" = None, file: TextIO | None = None) -> None:
    """Print a runtime's tree, or those of all that are open in this Trio run, to stderr.

    Args:
        runtime: which; by default all.
        file: where to instead.
    """
    for one in open_runtimes() if runtime is None else (runtime,):
        print(format_tree(one.snapshot()), file=file or sys.stderr, flush=True)


def _below(node: SupervisorSnapshot, indent: str) -> Iterator[str]:
    for position, child in enumerate(node.children, 1):
        is_last = position == len(node.children)
        yield f"{indent}{'└── ' if is_last else '├── '}{_line(child)}"
        if isinstance(child, SupervisorSnapshot):
            yield from _below(child, indent + ("    " if is_last else "│   "))


def _line(node: Snapshot) -> str:
    name = node.path.rpartition("/")[2]
    if isinstance(node, SupervisorSnapshot):
        return f"{name}  {node.state.value}, {node.strategy}, {node.restarts_left} restarts left"
    parts = [node.state.value]
    if node.incarnation > 1:
        parts.append(f"incarnation {node.incarnation}")
    parts.append(_doing(node))
    if node.mailbox.depth:
        oldest = "" if node.oldest_s is None else f" for up to {node.oldest_s:.1f} s"
        parts.append(f"{node.mailbox.depth} of {node.mailbox.capacity} waiting{oldest}")
    if node.mailbox.senders_waiting:
        parts.append(f"{node.mailbox.senders_waiting} senders wait for room")
    if node.held:
        parts.append(f"{node.held} held")
    tally = node.tally
    counts = {
        "handled": tally.handled,
        "failed": tally.failed,
        "cancelled": tally.cancelled,
        "expired": tally.expired,
        "dropped": tally.dropped,
        "lost": tally.dead_lettered,
    }
    parts += [f"{count} {word}" for word, count in counts.items() if count]
    return f"{name}  {', '.join(parts)}"


def _doing(node: ActorSnapshot) -> str:
    if not node.doing:
        return "idle"
    first = ", ".join(f"{one.message} for {one.seconds:.1f} s" for one in node.doing[:3])
    more = len(node.doing) - 3
    return f"doing {first}{f' and {more} more' if more > 0 else ''}"
