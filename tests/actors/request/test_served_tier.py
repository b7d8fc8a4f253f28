"""Calls are priced by the service tier that served them."""

from decimal import Decimal

import pytest
from fakes import Reply, Script, completion_json, requester

from callsheet.actors import CallContext, ChatMessage, Complete, Request


@pytest.mark.parametrize(
    ("asked", "said", "tier", "dollars"),
    [
        (None, None, "default", "0.0000625"),
        (None, "flex", "flex", "0.00003125"),
        ("flex", None, "flex", "0.00003125"),  # silent: then it has done as it was asked
        ("flex", "default", "default", "0.0000625"),
        ("fast", "priority", "priority", "0.000125"),
        ("auto", "scale", "scale", None),
    ],
)
async def test_a_call_is_priced_by_the_tier_it_was_served_at(
    autojump_clock, asked, said, tier, dollars
):
    script = Script(Reply(body=completion_json(model="gpt-5", service_tier=said)))
    extra = {} if asked is None else {"service_tier": asked}
    async with requester(script) as (ref, _):
        request = Request(model="gpt-5", messages=[ChatMessage("user", "Hi")], extra_body=extra)
        answer = await ref.ask(Complete(request, CallContext("one")))
    assert answer.tier == tier
    assert answer.cost_usd == (None if dollars is None else Decimal(dollars))
