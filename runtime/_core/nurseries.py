"""Nurseries without exception groups around a single error, and which error a group stands for."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from math import inf
from typing import cast

import trio


@asynccontextmanager
async def open_collapsing_nursery() -> AsyncGenerator[trio.Nursery]:
    """Open a nursery that raises a single error without an exception group around it.

    If exactly one task, or the block, fails, its error is raised as it is, with its own cause and
    context. Several errors are raised as a group, without the cancellations among them.
    """
    own: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            try:
                yield nursery
            except BaseExceptionGroup as raised:
                own = raised
                raise
    except BaseExceptionGroup as group:
        error = restore(collapse(group), own)
        cause, context = error.__cause__, error.__context__
        suppresses = error.__suppress_context__
        try:
            raise error
        finally:
            # `raise` has made the group the context: the error would seem to come from it.
            error.__cause__, error.__context__ = cause, context
            error.__suppress_context__ = suppresses
            del error, own, cause, context


def is_cancellation(error: BaseException) -> bool:
    """Whether an error is a cancellation, or a group of nothing else."""
    return without_cancellation(error) is None


def without_cancellation(error: BaseException) -> BaseException | None:
    """Return an error without the cancellations in it; None if nothing is left.

    An error without cancellations is returned itself, since a group that is split is a copy.
    """
    if isinstance(error, trio.Cancelled):
        return None
    if not isinstance(error, BaseExceptionGroup):
        return error
    group = cast("BaseExceptionGroup[BaseException]", error)
    cancelled, rest = group.split(trio.Cancelled)
    return group if cancelled is None else rest


def collapse(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error that the group of a nursery stands for: its only one, or the group.

    Tasks that were cancelled because of a failure, or at that moment, did not fail. Groups that
    the tasks themselves raised stay whole, but for the cancellations in them.

    Args:
        group: what a nursery has raised.
    """
    members = tuple(map(without_cancellation, group.exceptions))
    failures = [one for one in members if one is not None]
    if not failures:
        return group
    if len(failures) == 1:
        return failures[0]
    if members == group.exceptions:
        return group
    whole = group.derive(failures)
    whole.__cause__, whole.__context__ = group.__cause__, group.__context__
    whole.__suppress_context__ = group.__suppress_context__
    return whole.with_traceback(group.__traceback__)


def restore(error: BaseException, raised: BaseException | None) -> BaseException:
    """Return the group that was raised in a nursery, if an error is the copy that Trio made of it.

    Trio splits the groups that pass through a cancelled scope, and a copy may have lost its class.

    Args:
        error: an error that came out of the nursery.
        raised: an error that was raised in it; None if none is known.
    """
    if not isinstance(raised, BaseExceptionGroup) or not isinstance(error, BaseExceptionGroup):
        return error
    group = cast("BaseExceptionGroup[BaseException]", raised)
    copy = cast("BaseExceptionGroup[BaseException]", error)
    is_copy = copy.message == group.message and _leaves(copy) == _leaves(group)
    return group if is_copy else copy


def _leaves(error: BaseException) -> list[int]:
    """Return the identities of the errors in a group, in order."""
    if not isinstance(error, BaseExceptionGroup):
        return [id(error)]
    group = cast("BaseExceptionGroup[BaseException]", error)
    return [leaf for member in group.exceptions for leaf in _leaves(member)]


def explain_cancellation(path: str, error: BaseException) -> BaseException:
    """Return an exception in place of a cancellation that no scope around the actor has caused.

    Args:
        path: path of the actor.
        error: what a handler or hook of the actor raised; anything else is returned as it is.
    """
    if not is_cancellation(error) or trio.current_effective_deadline() == -inf:
        return error
    stray = RuntimeError(
        f"a handler of {path} raised a trio.Cancelled that was caught elsewhere before; "
        "raise another exception instead"
    )
    stray.__cause__ = error
    return stray
