"""A limiter in front of a fake stage."""

from functools import partial

import trio
from fakes import Stage

from callsheet.actors import RateLimiterActor


async def limiter_to(
    runtime, journal, limits, by_prompt=None, *, usual=None, max_deferred=1000, observer=None
):
    """Spawn a limiter in front of a stage with as many places as the limits admit."""
    stage = await runtime.spawn(
        "stage",
        partial(Stage, journal, by_prompt, usual=usual),
        capacity=limits.in_flight,
        concurrency=limits.in_flight,
    )
    more = {} if observer is None else {"observer": observer}
    return await runtime.spawn(
        "limiter", partial(RateLimiterActor, stage, limits, **more), max_deferred=max_deferred
    )


async def settled(runtime):
    """Wait until all tasks are blocked; check that no message is left."""
    await trio.testing.wait_all_tasks_blocked()
    for actor in runtime.snapshot().actors:
        assert actor.is_conserved
        assert (actor.deferred, actor.pending, actor.in_progress) == (0, 0, ())
