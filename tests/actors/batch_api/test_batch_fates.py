"""Whatever the order and fate of files and lines: each row is answered once, or it is told (L3)."""

from collections import Counter

import pytest
import trio
from batch_provider import BatchProvider, answer_text
from batch_stage import MORE_KINDS, batch_stage
from hypothesis import given, settings
from hypothesis import strategies as st
from odd_lines import ODD, ODD_OF, WITHOUT, WITHOUT_OF
from trio.testing import MockClock

from callsheet.actors import BadRequest, BatchUnavailable, CallFailed

FATES = ["ok", "ok", "ok", "missing", "twice", "expired", "malformed", 0, 400, 429, 500]
SHAPES = [*ODD.values(), *WITHOUT.values()]
SHAPES_OF = {
    "openai": SHAPES,
    "groq": SHAPES,
    **{kind: [*some.values(), *WITHOUT_OF[kind].values()] for kind, some in ODD_OF.items()},
}
SHORT = [
    bytes,
    lambda _: b"",
    lambda content: content[: len(content) // 2],
    lambda content: content[: content.find(b"\n") + 1],
    lambda _: b'{"error": {"message": "later"}}',
]
FETCHES = ["ok", "refuse-404", "refuse-410", "refuse-500", "refuse-503", "drop", "lose"]

rows = st.lists(st.tuples(st.sampled_from(FATES), st.integers(0, 40)), min_size=1, max_size=6)


@pytest.mark.parametrize(
    "kind",
    [
        *("openai", "anthropic"),
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("together", *MORE_KINDS)),
    ],
)
@settings(max_examples=settings.default.max_examples // 2, deadline=None)
@given(
    rows=rows,
    final=st.sampled_from(["completed", "completed", "expired", "cancelled", "failed"]),
    hidden_s=st.sampled_from([0.0, 0.0, 200.0, 900.0, 1e9]),
    reports_counts=st.booleans(),
    fetches=st.lists(st.sampled_from(FETCHES), max_size=8),
    polls=st.lists(st.sampled_from(["ok", "ok", "refuse-404", "refuse-503", "lose"]), max_size=8),
    downloads=st.lists(st.sampled_from(SHORT), max_size=8),
    is_required=st.booleans(),
)
def test_no_row_is_bought_twice_in_silence(
    kind, rows, final, *, hidden_s, reports_counts, fetches, polls, downloads, is_required
):
    async def main():
        provider = BatchProvider(kind, finals=[final, "completed"])
        provider.fates = {f"p{at}": fate for at, (fate, _) in enumerate(rows)}
        shapes = dict(enumerate(SHAPES_OF.get(kind, [])))
        provider.odd = {f"p{at}": shapes[odd] for at, (_, odd) in enumerate(rows) if odd in shapes}
        provider.downloads = list(downloads)
        provider.hidden_s, provider.reports_counts = hidden_s, reports_counts
        provider.faults = {"fetch": list(fetches), "poll": list(polls)}
        async with batch_stage(provider, late_s=1200.0, is_required=is_required) as here:
            found = await here.ask_all(*provider.fates)
            for _ in range(3):  # days, for the windows of all vendors
                await trio.sleep(86_400)
                await trio.sleep(86_400)
            counts = await here.count()
            assert (counts.batches, counts.submitted, counts.unclaimed) == ({}, 0, 0)
            live, billed = Counter(here.sent_live), Counter(provider.billed)
            told = Counter(one.context.call for one in here.events if one.stage == "rerouted")
        assert live == told  # nothing goes live without a word
        for prompt, end in found.items():
            bought = live[prompt] + billed[prompt]
            if isinstance(end, CallFailed):
                assert live[prompt] == 0
                assert isinstance(end, (BadRequest, BatchUnavailable))
                assert billed[prompt] == 0 or end.billed == "maybe"
            else:
                assert end.text == answer_text(prompt)
                assert bought >= 1
                assert end.maybe_billed >= bought - 1
                assert end.route == ("live" if live[prompt] else "batch")

    trio.run(main, clock=MockClock(autojump_threshold=0))
