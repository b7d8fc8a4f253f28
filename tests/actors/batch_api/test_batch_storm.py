"""Many faults together: every request gets the right response in time."""

from collections import Counter

import pytest
import trio
from batch_provider import BatchProvider, answer_text
from batch_stage import KINDS, LIVE_S, MORE_KINDS, batch_stage
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from callsheet.actors import BadRequest

FAULTS = ["ok", "ok", "refuse-429", "refuse-503", "refuse-404", "drop", "lose"]
CALLS = ["upload", "create", "list", "poll", "cancel", "fetch"]
FATES = ["ok", "ok", "ok", "missing", "twice", "expired", "malformed", 0, 400, 500]

callers = st.lists(
    st.tuples(
        st.sampled_from(FATES),
        st.sampled_from([50.0, 200.0, 900.0, 86_400.0]),  # its deadline
        st.sampled_from([None, None, None, 0.5, 30.0, 250.0]),  # when the caller is cancelled
        st.floats(0, 20),  # when the request is sent
    ),
    min_size=1,
    max_size=8,
)
USUAL = ("openai", "anthropic", "gemini")  # files, and results inline, of two kinds


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=[] if kind in USUAL else [pytest.mark.slow])
        for kind in (*KINDS, *MORE_KINDS)
    ],
)
@settings(max_examples=settings.default.max_examples // 6)  # one is a storm of seconds
@given(
    callers=callers,
    finals=st.lists(
        st.sampled_from(["completed", "completed", "expired", "failed"]), min_size=1, max_size=3
    ),
    faults=st.dictionaries(
        st.sampled_from(CALLS), st.lists(st.sampled_from(FAULTS), max_size=5), max_size=6
    ),
    batch_s=st.sampled_from([1.0, 100.0, 500.0, 5000.0]),
    limit=st.sampled_from([None, None, 2]),
)
def test_whatever_goes_wrong(kind, callers, finals, faults, *, batch_s, limit):
    async def main():
        fates = {f"p{number}": fate for number, (fate, *_) in enumerate(callers)}
        finals_then = [*finals, "completed"]
        provider = BatchProvider(kind, batch_s=batch_s, fates=fates, finals=finals_then)
        provider.faults = {what: list(some) for what, some in faults.items()}
        provider.enqueued_limit = limit
        ends = {}

        async def one(here, number, deadline, leaves, comes):
            await trio.sleep(comes)
            start = trio.current_time()
            try:
                ends[number] = await here.ask(f"p{number}", deadline=deadline)
            except BadRequest as error:
                ends[number] = error
            assert trio.current_time() <= start + max(deadline, LIVE_S)

        async def asking(here, number, deadline, leaves, comes):
            async with trio.open_nursery() as own:
                own.start_soon(one, here, number, deadline, leaves, comes)
                if leaves is not None:
                    await trio.sleep(comes + leaves)
                    own.cancel_scope.cancel()

        async with batch_stage(provider, max_requests=3) as here:
            async with trio.open_nursery() as nursery:
                for number, (_, *times) in enumerate(callers):
                    nursery.start_soon(asking, here, number, *times)
            await trio.sleep(86_400)
            await trio.sleep(10_000)
            counts = await here.count()
            assert (counts.batches, counts.gathering, counts.submitted) == ({}, 0, 0)
            assert not any(counts.enqueued_tokens.values())
            live, billed = Counter(here.sent_live), Counter(provider.billed)
        for number, (fate, _, leaves, _) in enumerate(callers):
            prompt, end = f"p{number}", ends.get(number)
            assert end is not None or leaves is not None
            assert live[prompt] <= 1
            # A call that perhaps made a batch, which was cancelled or given up, may be paid for.
            assert billed[prompt] <= 1
            if isinstance(end, BadRequest):
                assert fate == 400
            elif end is not None:
                assert end.text == answer_text(prompt)
                assert end.maybe_billed >= (billed[prompt] and live[prompt])
                assert end.route == "batch" or live[prompt] == 1

    trio.run(main, clock=MockClock(autojump_threshold=0))
