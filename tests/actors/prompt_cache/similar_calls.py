"""Calls that share a long beginning, for tests of the stage of the prompt cache."""

from functools import partial

import trio
from fakes import outcomes

from callsheet.actors import CallFailed, ChatMessage, Request, RetryPolicy
from callsheet.runtime import AskTimedOut

SYSTEM = "Judge the text by the rules, and answer in one word. " * 160  # 2,120 tokens
CLAUDE, OLDER, NEWER = "claude-sonnet-4-5", "gpt-5.4-nano", "gpt-5.6"
MARKED = {"cache_control": {"type": "ephemeral"}}
ONCE = RetryPolicy(max_attempts=1)
N = 20


def asking(text="Tea", *, marked=False, model=CLAUDE, system=SYSTEM, max_tokens=300, **more):
    messages = [
        ChatMessage("system", system, extra=MARKED if marked else None),
        ChatMessage("user", text),
    ]
    return Request(model=model, messages=messages, max_tokens=max_tokens, **more)


def many(count=N, **more):
    return [asking(f"Text {number}", **more) for number in range(count)]


async def all_of(at, requests, **more):
    return await outcomes(*(partial(at.troupe.complete, one, **more) for one in requests))


async def at_once(at, requests, **more):
    """Make calls in one step, in any order; return their responses and errors."""
    found = []

    async def ask(request):
        try:
            found.append(await at.troupe.complete(request, **more))
        except (CallFailed, AskTimedOut) as error:
            found.append(error)

    async with trio.open_nursery() as nursery:
        for request in requests:
            nursery.start_soon(ask, request)
    return found


async def cancel_soon(scope):
    await trio.sleep(0.5)
    scope.cancel()


def times(at):
    return [sent.at for sent in at.sent]


def reads(responses):
    return [response.usage.cached_tokens > 0 for response in responses]


def writes(responses):
    return [response.usage.cache_write_tokens > 0 for response in responses]
