"""The provider's own events in a stream: as they are sent (L15), without the key (L8)."""

import json

import pytest
import trio
from fakes import Reply, Script, completion_json, requester
from provided import VENDORS, asked, house

from callsheet.actors import (
    CallContext,
    CallFailed,
    Delta,
    ProviderEvent,
    RetryPolicy,
    Stage,
    Stream,
    insert,
    replace_text,
)

KEY = "sk-proj-0123456789abcdefghij"
STREAM = {"content-type": "text/event-stream"}
RETRIES = RetryPolicy(max_attempts=2)


def chunk(text=None, reason=None, **more):
    delta = {} if text is None else {"content": text}
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}], **more}


ROLE = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}], "new": None}
END = chunk(reason="stop")


def events(*members, end="data: [DONE]\n\n"):
    texts = [it if isinstance(it, str) else f"data: {json.dumps(it)}\n\n" for it in members]
    return Reply(body="".join(texts) + end, headers=STREAM, pieces=7)


async def pieces_of(*replies, **settings):
    """Return the pieces, and the whole response."""
    message = Stream(asked(), CallContext("x"), events=True)
    async with (
        requester(Script(*replies), api_key=KEY, **settings) as (ref, _),
        ref.stream(message) as items,
    ):
        *pieces, whole = [item async for item in items]
    return pieces, whole


def sent(pieces):
    return [json.loads(piece.data) for piece in pieces]


@pytest.mark.parametrize("vendor", VENDORS)
async def test_events_have_the_deltas_of_the_same_stream(autojump_clock, vendor):
    async with house(vendor=vendor) as at:
        async with at.troupe.stream(asked()) as items:
            *deltas, whole = [item async for item in items]
        async with at.troupe.stream(asked(), events=True) as items:
            *found, same = [item async for item in items]
        assert items.response is same
        await at.at_rest()
    assert {type(event) for event in found} == {ProviderEvent}
    assert [delta for event in found for delta in event.deltas] == deltas
    assert same.text == whole.text
    assert {event.form for event in found} == {"chat" if vendor == "openai" else vendor}


async def test_events_are_passed_on_with_all_their_members(autojump_clock):
    odd = 'event: extra\ndata: {"choices":[],\ndata:  "spaced" : 1}\n\n'
    members = [ROLE, chunk("Hel", obfuscation="x", service={"a": [1]}), chunk("lo"), END]
    pieces, whole = await pieces_of(events(*members, odd))
    assert sent(pieces) == [*members, {"choices": [], "spaced": 1}]
    assert [piece.name for piece in pieces] == ["", "", "", "", "extra"]
    assert pieces[-1].data == b'{"choices":[],\n "spaced" : 1}'
    assert whole.text == "Hello"


async def test_what_keeps_the_connection_open_is_no_event(autojump_clock):
    noise = ": comment\n\n", "data: {}\n\n", "data: ping\n\n", "event: ping\ndata: {}\n\n"
    pieces, _ = await pieces_of(events(chunk("a"), *noise, chunk("b"), END))
    assert sent(pieces) == [chunk("a"), chunk("b"), END]


async def test_a_stream_that_fails_before_its_text_is_repeated(autojump_clock):
    broken = events(ROLE, {"error": {"message": "overloaded", "code": 503}}, end="")
    pieces, whole = await pieces_of(broken, events(ROLE, chunk("Hi"), END), retry=RETRIES)
    assert sent(pieces) == [ROLE, chunk("Hi"), END]
    assert whole.http_requests == 2


async def test_events_that_add_no_text_are_not_held_back_for_long(autojump_clock):
    """Partial images, for example, have no delta."""
    others = [{"choices": [], "image": number} for number in range(9)]
    broken = events(*others, {"error": {"message": "overloaded", "code": 503}}, end="")
    seen = []
    async with requester(Script(broken), api_key=KEY, retry=RETRIES) as (ref, _):
        with pytest.raises(CallFailed):
            async with ref.stream(Stream(asked(), CallContext("x"), events=True)) as items:
                seen = [item async for item in _noted(items, seen)]
    assert 5 <= len(seen) <= 9


async def _noted(items, seen):
    async for item in items:
        seen.append(item)
        yield item


async def test_a_whole_response_arrives_as_deltas(autojump_clock):
    pieces, whole = await pieces_of(Reply(body=completion_json("Hi")))
    assert pieces == [Delta("Hi")]
    assert whole.text == "Hi"


@pytest.mark.parametrize("size", [1, 2, 5, 11, 12, 20, len(KEY)])
async def test_no_event_quotes_the_key(autojump_clock, size):
    says = f"It is {KEY}, yes."
    parts = [says[at : at + size] for at in range(0, len(says), size)]
    pieces, whole = await pieces_of(events(ROLE, *map(chunk, parts), END))
    seen = "".join(
        delta.text
        for piece in pieces
        for delta in (piece.deltas if isinstance(piece, ProviderEvent) else [piece])
    )
    assert whole.text == "It is ***, yes."
    assert KEY[:12] not in seen
    assert KEY[11:] not in seen
    assert seen.startswith("It is ")
    assert seen.endswith("***, yes.")


async def test_an_event_that_quotes_the_key_beside_the_text_is_left_out(autojump_clock):
    pieces, _ = await pieces_of(events(chunk("a"), chunk("b", request=KEY), chunk("c"), END))
    first, *others = pieces
    assert first.data
    assert others == [Delta("b"), Delta("c")]


async def test_a_text_that_ends_as_a_key_begins_does_not_wait(autojump_clock):
    first = f"data: {json.dumps(chunk('yes'))}\n\n"
    rest = f"data: {json.dumps(END)}\n\ndata: [DONE]\n\n"
    body = first + f":{' ' * (len(first) - len(rest) - 3)}\n\n" + rest
    script = Script(Reply(body=body, headers=STREAM, pieces=2, gap=5.0))
    message = Stream(asked(), CallContext("x"), events=True)
    async with requester(script, api_key=KEY) as (ref, _), ref.stream(message) as items:
        times = [trio.current_time() async for _ in items]
    assert times == [1.0, 6.0, 6.0]


# ------------------------------------------------------------------ stages of a program


class Loud(Stage):
    async def incoming(self, response, context):
        return replace_text(response, str.upper)


class LoudPieces(Loud):
    async def incoming_pieces(self, pieces, context):
        async for piece in pieces:
            yield replace_text(piece, str.upper)


class Witness(Stage):
    async def incoming(self, response, context):
        return response

    def incoming_pieces(self, pieces, context):
        return pieces


@pytest.mark.parametrize("stage", [Loud, LoudPieces])
async def test_no_event_bypasses_a_stage_that_changes_texts(autojump_clock, stage):
    async with (
        house(stages=[insert(stage, before="batcher")]) as at,
        at.troupe.stream(asked(), events=True) as items,
    ):
        *pieces, whole = [item async for item in items]
    assert {type(piece) for piece in pieces} == {Delta}
    assert "".join(piece.text for piece in pieces) == whole.text == whole.text.upper()


async def test_events_pass_a_stage_that_leaves_the_pieces(autojump_clock):
    async with (
        house(stages=[insert(Witness, before="limiter")]) as at,
        at.troupe.stream(asked(), events=True) as items,
    ):
        *pieces, _ = [item async for item in items]
    assert {type(piece) for piece in pieces} == {ProviderEvent}


async def test_a_program_sees_whether_the_next_piece_has_arrived(autojump_clock):
    async with house() as at, at.troupe.stream(asked(), events=True) as items:
        assert not items.has_piece
        await anext(items)
        await trio.sleep(10)
        while items.has_piece:
            last = await anext(items)
    assert last is items.response
