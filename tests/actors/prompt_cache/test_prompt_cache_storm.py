"""Any calls, faults, deadlines and cancellations: every call ends in time, and nothing is left."""

from functools import partial

import hypothesis
import trio
from fakes import URL
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from callsheet.actors import (
    CallFailed,
    ChatMessage,
    Endpoint,
    Limits,
    Request,
    Response,
    RetryPolicy,
    TroupeSettings,
    cast_troupe,
)
from callsheet.runtime import AskFailed
from callsheet.runtime.testing import run_virtual
from callsheet.runtime.testing.conservation import check_conservation, open_test_runtime
from callsheet.simulator import Provider, ProviderSettings, ProviderTransport
from callsheet.simulator.faults import Faults

BEGINNINGS = tuple(f"{letter} " * 3000 for letter in "ab")
PLACES = {
    "anthropic": "claude-sonnet-4-5",
    "openai": "gpt-5.4-nano",
    "newer": "gpt-5.6-luna",
    "deepseek": "deepseek-chat",
}
FAULTS = {"503": 0.15, "stall": 0.1, "cut": 0.1, "reset": 0.1, "429": 0.05}

calls = st.lists(
    st.fixed_dictionaries(
        {
            "beginning": st.sampled_from([0, 0, 0, 1]),
            "marked": st.booleans(),
            "short": st.booleans(),
            "streams": st.booleans(),
            "lane": st.sampled_from(["", "x"]),
            "at": st.sampled_from([0.0, 0.0, 0.5, 1.5, 400.0]),
            "timeout": st.sampled_from([2.0, 30.0, 300.0]),
            "leaves": st.sampled_from([None, None, 0.5, 3.0]),
        }
    ),
    min_size=1,
    max_size=9,
)


def request_of(number, call, model):
    mark = {"cache_control": {"type": "ephemeral"}}
    is_marked = call["marked"] and model.startswith("claude")
    system = ChatMessage("system", BEGINNINGS[call["beginning"]], extra=mark if is_marked else None)
    limit = 5 if call["short"] else 300
    messages = (system, ChatMessage("user", f"Text {number}"))
    return Request(model=model, messages=messages, max_tokens=limit)


async def make(troupe, number, call, model, ended):
    await trio.sleep(call["at"])
    begun, request = trio.current_time(), request_of(number, call, model)
    with trio.CancelScope() as scope:
        if call["leaves"] is not None:
            scope.deadline = begun + call["leaves"]
        try:
            more = {"timeout": call["timeout"], "lane": call["lane"]}
            if call["streams"]:
                async with troupe.stream(request, **more) as items:
                    found = [item async for item in items][-1]
            else:
                found = await troupe.complete(request, **more)
            assert isinstance(found, Response)
        except (CallFailed, AskFailed):
            pass
    assert trio.current_time() - begun <= call["timeout"] + 0.001
    ended.append(number)


@hypothesis.settings(max_examples=hypothesis.settings.default.max_examples // 2)
@given(
    calls,
    st.sampled_from(sorted(PLACES)),
    st.sampled_from(["order", "auto"]),
    st.booleans(),
    st.sampled_from([2, 50]),
)
def test_every_call_ends_in_time_and_nothing_is_left(them, place, caching, has_faults, in_flight):
    model, ended = PLACES[place], []
    vendor = "openai" if place == "newer" else place

    async def main():
        faults = Faults(FAULTS if has_faults else {})
        provider = Provider(ProviderSettings(latency_s=(3.0, 3.0), faults=faults))
        async with ProviderTransport(provider) as transport, open_test_runtime() as runtime:
            settings = TroupeSettings(
                endpoint=Endpoint(URL, "sk-ant-0123456789", vendor),
                transport=transport,
                prompt_caching=caching,
                limits=Limits(in_flight=in_flight),
                retry=RetryPolicy(max_attempts=2),
            )
            troupe = await cast_troupe(runtime, settings)
            async with trio.open_nursery() as nursery:
                for number, call in enumerate(them):
                    nursery.start_soon(partial(make, troupe, number, call, model, ended))
            await wait_all_tasks_blocked()
            statistics = await troupe.prompt_cache_statistics()
            assert statistics.waiting == 0
            if in_flight > len(them) and not has_faults:  # no leader waits for the limiter
                assert statistics.longest_wait_s <= 15.0
            limiter = await troupe.limiter_statistics()
            assert (limiter.limiter.in_flight, limiter.limiter.waiting) == (0, 0)
            snapshot = runtime.snapshot()
            check_conservation(snapshot)
            assert all(one.incarnation == 1 and one.deferred == 0 for one in snapshot.actors)
        await wait_all_tasks_blocked()

    run_virtual(main)
    assert sorted(ended) == list(range(len(them)))
