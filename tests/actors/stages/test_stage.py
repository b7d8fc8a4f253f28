"""A stage of a program's own: what passes it, and what its faults cost (R3, R4, R8, R11)."""

from functools import partial

import attrs
import pytest
import trio
from fakes import MODEL, STALL, URL, Reply, Script, answer_to, completion_json, outcomes, refusal
from own_stages import Shouting

from callsheet.actors import (
    BadRequest,
    CallContext,
    Complete,
    Delta,
    Endpoint,
    ExplainStage,
    LedgerPolicy,
    Request,
    Stage,
    Stream,
    TroupeSettings,
    insert,
    open_troupe,
    replace_text,
)
from callsheet.runtime import ActorCrashed, AskTimedOut, RestartPolicy, Verdict, open_runtime


def settings_for(script, *stages, **more):
    return TroupeSettings(endpoint=Endpoint(URL), transport=script, stages=stages, **more)


def asking(prompt="Hi", **more):
    return Request.of(prompt, model=MODEL, **more)


async def items_of(troupe, request, **more):
    async with troupe.stream(request, **more) as items:
        return [item async for item in items]


class Judge(Stage):
    """Refuses, crashes or waits, as the texts say."""

    async def outgoing(self, request, context):
        await self.judge(request.messages[-1].content)
        return request

    async def incoming(self, response, context):
        await self.judge(response.text)
        return response

    async def judge(self, text):
        if "refuse" in text:
            raise BadRequest("refused by the judge")
        if "crash" in text:
            raise ZeroDivisionError("bug")
        if "wait" in text:
            await trio.sleep_forever()


# ------------------------------------------------------------------------------ what passes


async def test_requests_and_responses_are_changed_on_every_way(autojump_clock):
    script = Script(Reply(body=completion_json("Yes")))
    async with open_troupe(settings_for(script, insert(Shouting, after="batcher"))) as troupe:
        response = await troupe.complete(asking("no?"))
        assert (response.text, response.choices[0].text) == ("Yes!", "Yes!")
        assert [sent.prompt for sent in script.sent] == ["NO?"]
        piece, whole = await items_of(troupe, asking("no?"))
        assert (piece, whole.text) == (Delta("Yes!"), "Yes!")
        slot = await troupe.submit(asking("no?"))
        assert (await slot.wait()).text == "Yes!"
        assert {sent.prompt for sent in script.sent} == {"NO?"}


async def test_posts_go_through_a_stage(autojump_clock):
    script = Script(Reply(body=completion_json("# Title\n\nText")))
    async with open_troupe(settings_for(script, insert(Shouting, before="batcher"))) as troupe:
        post = await troupe.compose("tea")
    assert "!" in post.markdown
    assert all(sent.prompt.isupper() for sent in script.sent)


async def test_typed_results_are_read_from_the_changed_text(autojump_clock):
    @attrs.frozen
    class Label:
        mood: str

    class Cheering(Stage):
        async def incoming(self, response, context):
            return replace_text(response, lambda text: text.replace("sad", "glad"))

    script = Script(Reply(body=completion_json('{"mood": "sad"}')))
    async with open_troupe(settings_for(script, insert(Cheering, after="router"))) as troupe:
        response = await troupe.complete(asking(returns=Label))
    assert response.parsed == Label("glad")


async def test_a_body_that_a_stage_has_left_behind_is_left_out(autojump_clock):
    class Plain(Stage):
        async def incoming(self, response, context):
            return attrs.evolve(response, text="plain") if "Yes" in response.text else response

    script = Script(Reply(body=completion_json("Yes")), Reply(body=completion_json("No")))
    async with open_troupe(settings_for(script, insert(Plain, before="batcher"))) as troupe:
        changed, same = [await troupe.complete(asking()) for _ in range(2)]
    assert (changed.text, changed.body) == ("plain", None)
    assert same.body["choices"][0]["message"]["content"] == same.text == "No"


async def test_stages_at_one_place_stand_in_the_order_of_the_list(autojump_clock):
    class Adding(Stage):
        def __init__(self, to, mark):
            super().__init__(to)
            self.mark = mark

        async def outgoing(self, request, context):
            return replace_text(request, lambda text: text + self.mark)

    stages = [
        insert(partial(Adding, mark="d"), before="limiter"),
        insert(partial(Adding, mark="b"), after="batcher"),
        insert(partial(Adding, mark="a"), before="batcher"),
        insert(partial(Adding, mark="c"), after="batcher"),
    ]
    script = Script()
    async with open_troupe(settings_for(script, *stages)) as troupe:
        await troupe.complete(asking("."))
        plan = await troupe.explain(asking("."))
    assert script.sent[0].prompt == ".abcd"
    assert plan.cost_usd is not None


async def test_explain_knows_what_a_stage_makes_of_a_request(autojump_clock):
    class Cheaper(Stage):
        async def outgoing(self, request, context):
            return attrs.evolve(request, model="gpt-4.1-nano")

    script = Script()
    async with open_troupe(settings_for(script)) as troupe:
        dear, cheap = [
            await troupe.explain(asking()),
            await troupe.explain(Request.of("Hi", model="gpt-4.1-nano")),
        ]
    async with open_troupe(settings_for(script, insert(Cheaper, before="batcher"))) as troupe:
        plan = await troupe.explain(asking())
    assert plan.cost_usd == cheap.cost_usd < dear.cost_usd
    assert script.sent == []


async def test_pieces_are_changed_one_by_one(autojump_clock):
    class Loud(Stage):
        async def incoming(self, response, context):
            return replace_text(response, str.upper)

        async def incoming_pieces(self, pieces, context):
            async for piece in pieces:
                yield replace_text(piece, str.upper)

    async with open_runtime() as runtime:
        stage = await runtime.spawn("stage", partial(Loud, await runtime.spawn("end", Slow)))
        async with stage.stream(Stream(asking(), CallContext("a"))) as items:
            seen = [(trio.current_time(), item) async for item in items]
    assert [(when, item.text) for when, item in seen] == [(1, "ONE"), (2, "TWO"), (2, "ONETWO")]


async def test_what_a_stage_does_not_read_of_a_stream_is_left_out(autojump_clock):
    class Short(Stage):
        async def incoming_pieces(self, pieces, context):
            async for piece in pieces:
                yield piece
                break

    async with open_runtime() as runtime:
        stage = await runtime.spawn("stage", partial(Short, await runtime.spawn("end", Slow)))
        async with stage.stream(Stream(asking(), CallContext("a"))) as items:
            assert [item.text async for item in items] == ["one", "onetwo"]
        await stage.ask(Stream(asking(), CallContext("b")))  # asked: its items are discarded


# ------------------------------------------------------------------- errors, crashes, endings


async def test_a_stream_that_breaks_off_fails_whatever_a_stage_catches(autojump_clock):
    class Calm(Stage):
        async def incoming_pieces(self, pieces, context):
            try:
                async for piece in pieces:
                    yield piece
            except Exception:  # noqa: BLE001  # what users write
                yield Delta("...")

    script = Script(refusal(400, "No.", kind="invalid_request_error"))
    async with open_troupe(settings_for(script, insert(Calm, before="batcher"))) as troupe:
        with pytest.raises(BadRequest, match="No"):
            await items_of(troupe, asking())


async def test_a_stage_makes_calls_of_its_own_behind_it(autojump_clock):
    """Asking the next stage is no call through this one, which would wait for itself."""

    class Asking(Stage):
        async def outgoing(self, request, context):
            answer = await self.to.ask(Complete(asking("Which topic?"), context))
            return replace_text(request, lambda text: f"{answer.text}: {text}")

    script = Script(Reply(body=completion_json("tea")))
    async with open_troupe(settings_for(script, insert(Asking, before="batcher"))) as troupe:
        assert (await troupe.complete(asking("Hi"), timeout=10)).text == "tea"
    assert [sent.prompt for sent in script.sent] == ["Which topic?", "tea: Hi"]


@pytest.mark.parametrize("prompt", ["refuse", "Hi"])
async def test_a_stage_refuses_a_call_by_an_error_of_calls(autojump_clock, prompt):
    script = Script(Reply(body=completion_json("I refuse")))
    async with open_troupe(settings_for(script, insert(Judge, before="batcher"))) as troupe:
        for make in (troupe.complete, partial(items_of, troupe)):
            with pytest.raises(BadRequest, match="by the judge"):
                await make(asking(prompt))
        if prompt == "refuse":
            with pytest.raises(BadRequest, match="by the judge"):
                await troupe.explain(asking(prompt))


async def test_a_crash_costs_the_calls_that_return_through_the_stage_and_no_other(autojump_clock):
    by_prompt = {
        "crash": [Reply()],
        "long": [Reply(after=5)],
        "later": [Reply(body=completion_json("later"))],
    }
    script = Script(by_prompt=by_prompt)
    async with open_troupe(settings_for(script, insert(Judge, before="batcher"))) as troupe:

        async def later():
            await trio.sleep(2)
            return await troupe.complete(asking("later"))

        async def crash():
            await trio.sleep(1)
            return await troupe.complete(asking("crash"))

        long, crashed, found = await outcomes(
            partial(troupe.complete, asking("long")), crash, later
        )
        assert isinstance(crashed, ActorCrashed)
        assert isinstance(long, ActorCrashed)
        assert long.verdict is Verdict.MAY_HAVE_RUN, "it was sent"
        assert found.text == "later"
        assert script.open == 0, "the call that could not return was cancelled"


async def test_calls_that_only_pass_survive_a_crash_of_the_stage(autojump_clock):
    class Outward(Stage):
        async def outgoing(self, request, context):
            if request.messages[-1].content == "crash":
                raise ZeroDivisionError("bug")
            return request

    script = Script(Reply(after=5))
    async with open_troupe(settings_for(script, insert(Outward, before="batcher"))) as troupe:
        found, crashed = await outcomes(
            partial(troupe.complete, asking("long")), partial(troupe.complete, asking("crash"))
        )
    assert found.text == "Hello"
    assert isinstance(crashed, ActorCrashed)


async def test_a_crash_in_a_stream_is_a_crash_of_the_stage(autojump_clock):
    script = Script(Reply(body=completion_json("crash")), Reply(body=completion_json("well")))
    restarts = RestartPolicy(base_s=0.1)
    settings = settings_for(script, insert(Judge, before="batcher"))
    async with open_troupe(settings, restarts=restarts) as troupe:
        with pytest.raises(ActorCrashed, match="ZeroDivisionError"):
            await items_of(troupe, asking())
        assert (await items_of(troupe, asking()))[-1].text == "well"


async def test_what_is_no_request_crashes_the_stage_and_not_the_next_one(autojump_clock):
    class Forgetful(Stage):
        async def outgoing(self, request, context):
            pass

        async def incoming(self, response, context):
            pass

    script = Script()
    async with open_troupe(settings_for(script, insert(Forgetful, before="batcher"))) as troupe:
        with pytest.raises(ActorCrashed, match=r"Forgetful\.outgoing must return a Request, not N"):
            await troupe.complete(asking())


@pytest.mark.parametrize(
    ("pieces", "problem"), [(None, "yield`, or return the pieces, not None"), ("text", "Delta")]
)
async def test_what_is_no_piece_crashes_the_stage(autojump_clock, pieces, problem):
    class Careless(Stage):
        def incoming_pieces(self, source, context):
            return None if pieces is None else self.texts(source)

        async def texts(self, source):
            async for piece in source:
                yield piece.text

    script = Script(Reply(body=completion_json("well")))
    async with open_troupe(settings_for(script, insert(Careless, before="batcher"))) as troupe:
        with pytest.raises(ActorCrashed, match=r"Careless\.incoming_pieces must .*" + problem):
            await items_of(troupe, asking())


async def test_a_method_that_waits_is_cancelled_with_its_call(autojump_clock):
    script = Script(Reply(body=completion_json("wait")))
    async with open_troupe(settings_for(script, insert(Judge, before="batcher"))) as troupe:
        for prompt in ("wait", "Hi"):  # outgoing, then incoming
            with pytest.raises(AskTimedOut):
                await troupe.complete(asking(prompt), timeout=2)
            with pytest.raises(AskTimedOut):
                await items_of(troupe, asking(prompt), timeout=2)
            with trio.move_on_after(2):
                await troupe.complete(asking(prompt))
        assert trio.current_time() == 12


async def test_a_call_that_is_given_up_is_cancelled_down_to_the_provider(autojump_clock):
    script = Script(STALL)
    async with open_troupe(settings_for(script, insert(Shouting, before="requester"))) as troupe:
        for make in (troupe.complete, partial(items_of, troupe)):
            with trio.move_on_after(2):
                await make(asking())
            await trio.sleep(0.1)
            assert script.open == 0
        assert len(script.sent) == 2


async def test_a_drain_waits_for_what_returns_through_a_stage(autojump_clock):
    script = Script(Reply(after=5))
    async with open_troupe(settings_for(script, insert(Shouting, before="batcher"))) as troupe:
        slot = await troupe.submit(asking())
    assert (await slot.wait()).text == "Hello!"


async def test_a_caller_who_joins_with_more_time_gets_it_behind_a_stage(autojump_clock):
    """Joined calls have the latest deadline of their callers, behind a stage as well."""
    script = Script(Reply(after=5))
    async with open_troupe(settings_for(script, insert(Shouting, after="batcher"))) as troupe:

        async def late():
            await trio.sleep(1)
            return await troupe.complete(asking(cacheable=True), timeout=20)

        first, second = await outcomes(
            partial(troupe.complete, asking(cacheable=True), timeout=2), late
        )
    assert isinstance(first, AskTimedOut)
    assert second.text == "Hello!"
    assert len(script.sent) == 1


# ---------------------------------------------------------------- instead of a built-in stage


class Slow(Stage):
    """Sends two pieces by itself."""

    def __init__(self):
        pass

    async def pass_on(self, message, slot):
        slot.reply(WHOLE)

    async def pass_stream_on(self, message, slot):
        self.nursery.start_soon(self.send, slot)

    async def send(self, slot):
        for text in ("one", "two"):
            await trio.sleep(1)
            if slot.sink is not None:
                await slot.sink.send(Delta(text))
        if slot.sink is not None:
            await slot.sink.send(WHOLE)
        slot.reply(None)


WHOLE = answer_to("", text="onetwo")


async def test_an_actor_stands_instead_of_the_requester(autojump_clock):
    settings = settings_for(None, insert(Slow, instead_of="requester"))
    async with open_troupe(settings) as troupe:
        assert (await troupe.complete(asking())).text == "onetwo"
        assert [item.text for item in await items_of(troupe, asking())] == ["one", "two", "onetwo"]
        assert (await troupe.explain(asking())).route == "live"


async def test_explain_knows_what_a_stage_instead_of_another_makes_of_a_request(autojump_clock):
    class Refusing(Stage):
        async def outgoing(self, request, context):
            if request.messages[-1].content == "HI":
                raise BadRequest("in upper case")
            return request

    stages = [insert(Shouting, instead_of="batcher"), insert(Refusing, before="limiter")]
    async with open_troupe(settings_for(Script(), *stages)) as troupe:
        for make in (troupe.complete, troupe.explain):
            with pytest.raises(BadRequest, match="in upper case"):
                await make(asking())


@pytest.mark.parametrize("name", ["batcher", "router", "limiter", "ledger"])
async def test_what_stands_instead_of_a_stage_need_not_explain_itself(autojump_clock, name):
    script = Script()
    settings = settings_for(script, insert(Shouting, instead_of=name), ledger=LedgerPolicy())
    async with open_troupe(settings) as troupe:
        for deadline in (None, 60):
            assert (await troupe.complete(asking(deadline=deadline))).text == "Hello!"
        plan = await troupe.explain(asking())
        assert (plan.cost_usd is None) is (name == "router")
        assert plan.usage.input_tokens > 0
        assert (
            await troupe.limiter.ask(ExplainStage(asking("a"), CallContext("b")))
            if name == "limiter"
            else asking("A")
        ) == asking("A")
        assert len(script.sent) == 2


async def test_each_call_passes_what_stands_instead_of_the_router(autojump_clock):
    script = Script()
    async with open_troupe(settings_for(script, insert(Shouting, instead_of="router"))) as troupe:
        assert (await troupe.complete(asking())).text == "Hello!"
        assert (await troupe.batcher.ask(Complete(asking(), CallContext("a")))).text == "Hello!"
