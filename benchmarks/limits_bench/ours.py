"""Measure Callsheet with limits that are set, read from headers, or found by trying."""

from collections.abc import Sequence

import trio

from callsheet import Endpoint, Limits, Request, RetryPolicy, TroupeSettings, open_troupe
from callsheet.actors import CallEvent, CallFailed
from limits_bench.calls import MODEL, RPM, TPM, Chat, Sent

__all__ = ["found", "set_", "told"]


async def set_(base_url: str, todo: Sequence[Chat], sent: Sent) -> int:
    """Send all requests with the provider's limits set."""
    return await _run(base_url, todo, sent, Limits(rpm=RPM, tpm=TPM, in_flight=300))


async def told(base_url: str, todo: Sequence[Chat], sent: Sent) -> int:
    """Send all requests with limits that the provider's headers report."""
    return await _run(base_url, todo, sent, Limits(find=True, in_flight=300))


async def found(base_url: str, todo: Sequence[Chat], sent: Sent) -> int:
    """Send all requests with limits found by trying; not even the text of a 429 is read."""
    return await _run(base_url, todo, sent, Limits(find=True, learn=False, in_flight=300))


async def _run(base_url: str, todo: Sequence[Chat], sent: Sent, limits: Limits) -> int:
    last: dict[str, float] = {}
    given_up = 0

    def observe(event: CallEvent) -> None:
        if event.stage == "sent":
            last[event.context.call] = event.at
        elif event.stage == "answered":
            sent(last[event.context.call])

    async def ask(chat: Chat) -> None:
        nonlocal given_up
        request = Request.of(chat.prompt, model=MODEL, max_tokens=chat.max_tokens)
        try:
            await troupe.complete(request)
        except CallFailed:
            given_up += 1

    settings = TroupeSettings(
        endpoint=Endpoint(base_url),
        limits=limits,
        retry=RetryPolicy(max_attempts=20),
        observer=observe,
    )
    async with open_troupe(settings) as troupe, trio.open_nursery() as nursery:
        for chat in todo:
            nursery.start_soon(ask, chat)
    return given_up
