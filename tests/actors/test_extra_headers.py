"""Headers of a request's own reach the provider (L15), and no secret is among them (L8)."""

from decimal import Decimal

import attrs
import pytest
from fakes import MODEL, Script, call, requester
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import CallContext, Complete, Endpoint, PriceBook, Request, Usage
from callsheet.actors.extra_headers import joined_headers
from callsheet.actors.identity import sharing_key
from callsheet.actors.routing import BatchRoute

BETAS = "files-api-2025-04-14,interleaved-thinking-2025-05-14"


def with_headers(**headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return attrs.evolve(Request.of("Hi", model=MODEL), extra_headers=named)


async def test_headers_of_a_request_are_sent_with_that_request_only(autojump_clock):
    script = Script()
    async with requester(script, api_key="sk-0123456789abcdefghij") as (ref, _):
        for request in (with_headers(Anthropic_Beta=BETAS), call().request):
            await ref.ask(Complete(request, CallContext("x")))
    first, second = (request.headers for request in script.sent)
    assert first["anthropic-beta"] == BETAS
    assert first["authorization"] == second["authorization"]
    assert "anthropic-beta" not in second


async def test_the_request_wins_over_the_endpoint_and_is_added_to_its_lists(autojump_clock):
    common = {"Anthropic-Beta": "one", "anthropic-version": "2023-06-01", "x": "y"}
    extra = {"anthropic-beta": "two", "anthropic-version": "2026-10-21"}
    assert joined_headers(common, extra) == {
        "anthropic-beta": "one,two",
        "anthropic-version": "2026-10-21",
        "x": "y",
    }


@pytest.mark.parametrize(
    "name",
    [
        *("Authorization", "x-api-key", "api-key", "Cookie", "x-goog-api-key", "my-token"),
        *("Host", "content-length", "Content-Type", "transfer-encoding", "Connection"),
        *("idempotency-key", "", "a b", "a:b", "a\r\nb", "\u00e9"),
    ],
)
def test_a_name_of_a_secret_or_of_http_is_refused(name):
    with pytest.raises(ValueError, match="extra_headers") as refused:
        attrs.evolve(Request.of("Hi", model=MODEL), extra_headers={name: "0123-value"})
    assert "0123-value" not in str(refused.value)


@pytest.mark.parametrize(
    "value", ["a\r\nb: c", "a\nb", "a\0", "caf\u00e9", " the-value", "sk-proj-0123456789abcdefghij"]
)
def test_a_value_that_would_end_the_header_or_is_a_key_is_refused(value):
    with pytest.raises(ValueError, match="extra_headers") as refused:
        with_headers(x=value)
    assert value not in str(refused.value)


@pytest.mark.parametrize("headers", ["x: y", [("x", "y")], {"x": 1}, {1: "x"}])
def test_what_is_no_mapping_of_texts_is_refused(headers):
    with pytest.raises(TypeError, match="extra_headers"):
        Request(model=MODEL, task="embedding", inputs="x", extra_headers=headers)


def test_headers_are_part_of_the_key_of_a_request_and_not_of_its_repr():
    plain = Request.of("Hi", model=MODEL, cacheable=True)
    one = attrs.evolve(plain, extra_headers={"openai-beta": "a=v1"})
    same = attrs.evolve(plain, extra_headers={"OpenAI-Beta": "a=v1"})
    other = attrs.evolve(plain, extra_headers={"openai-beta": "a=v2"})
    assert sharing_key(one) == sharing_key(same)
    assert len({sharing_key(it) for it in (plain, one, other)}) == 3
    assert "a=v1" not in repr(one)


def test_a_batch_takes_no_request_with_headers():
    """A line of a batch has none."""
    route = BatchRoute(None, PriceBook({}), from_s=60.0)
    plain = Request.of("Hi", model=MODEL, deadline=3600.0)
    usage = Usage(1, 1)
    assert route.quote(plain, usage, 3600.0, None).factor == Decimal("0.5")
    assert route.quote(attrs.evolve(plain, extra_headers={"x": "y"}), usage, 3600.0, None) is None


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=3))
def test_what_is_accepted_is_a_valid_header(headers):
    try:
        request = Request(model=MODEL, task="embedding", inputs="x", extra_headers=headers)
    except ValueError:
        return
    Endpoint("http://provider/v1", headers=request.extra_headers)
