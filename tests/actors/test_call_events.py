"""What an observer receives of calls and posts, usual stages and details (L9)."""

import contextvars
import re
from functools import partial
from pathlib import Path

import pytest
import trio
from fakes import MODEL, URL, Reply, Script, outcomes, refusal

from callsheet.actors import (
    CallContext,
    CallEvent,
    Destination,
    Endpoint,
    HedgePolicy,
    Recipe,
    Request,
    StageObserver,
    Step,
    TroupeSettings,
    all_of,
    ignore,
    open_troupe,
    stages_of,
)

DETAILS = frozenset(
    {
        "ended", "joined", "combined", "split", "resumed", "composing", "composed", "tool_started",
        "tool_ended",
    }
)  # fmt: skip


def event(stage):
    return CallEvent(stage=stage, at=1.0, context=CallContext("call"), model=MODEL)


def settings(script, *observers, **more):
    return TroupeSettings(
        endpoint=Endpoint(URL), transport=script, observer=observers, prompt_caching="off", **more
    )


def details(seen, *more):
    """Return an observer of the details and some usual stages, which appends to a list."""
    return StageObserver(seen.append, DETAILS | {*more})


def test_an_observer_gets_details_only_if_it_names_them():
    assert stages_of(ignore) == frozenset()
    assert stages_of(print) == {
        "asked", "queued", "admitted", "sent", "retrying", "rerouted", "answered", "shared",
        "failed", "cancelled",
    }  # fmt: skip
    assert stages_of(StageObserver(print, DETAILS)) == DETAILS


def test_each_stage_is_documented():
    page = Path(__file__).parents[2] / "docs" / "observability.md"
    text = page.read_text(encoding="utf-8").partition("## OpenTelemetry")[0]
    usual, details = (
        set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (.*?) \|", part, re.MULTILINE))))
        for part in text.split("These stages are details:")
    )
    assert (usual, details) == (stages_of(print), DETAILS)


def test_several_observers_are_one_that_wants_what_they_want():
    first, second, seen = [], [], []
    both = all_of(
        [first.append, ignore, StageObserver(second.append, frozenset({"ended", "sent"}))]
    )
    for stage in ("sent", "ended"):
        both(event(stage))
    assert ([one.stage for one in first], [one.stage for one in second]) == (
        ["sent"],
        ["sent", "ended"],
    )
    assert stages_of(both) == stages_of(first.append) | {"ended"}
    assert all_of([ignore]) is ignore
    assert all_of([seen.append, ignore]) == seen.append
    assert all_of([seen.append]) == seen.append == all_of(seen.append)


def test_the_texts_of_a_call_are_in_no_repr():
    shown = repr(
        CallEvent(
            stage="asked",
            at=1.0,
            context=CallContext("call"),
            model=MODEL,
            request=Request.of("a secret", model=MODEL),
        )
    )
    assert "secret" not in shown


async def test_each_attempt_has_an_end(autojump_clock):
    seen = []
    script = Script(refusal(500), Reply(after=2.0))
    async with open_troupe(settings(script, details(seen, "sent"))) as troupe:
        await troupe.complete(Request.of("Hi", model=MODEL))
    assert [(one.stage, one.attempt, one.destination) for one in seen] == [
        ("sent", 1, Destination("compatible", "provider", 80)),
        ("ended", 1, None),
        ("sent", 2, Destination("compatible", "provider", 80)),
        ("ended", 2, None),
    ]
    failed, answered = seen[1], seen[3]
    assert (failed.status, failed.first_byte_s, failed.is_cancelled) == (500, None, False)
    assert (answered.status, answered.first_byte_s, answered.is_cancelled) == (
        200,
        pytest.approx(2.0),
        False,
    )
    assert all(one.context is seen[0].context for one in seen)


async def test_the_copy_that_loses_is_cancelled(autojump_clock):
    seen = []
    script = Script(*[Reply(after=1.0)] * 10, Reply(after=60.0), Reply(after=1.0))
    hedging = HedgePolicy(min_calls=10, max_share=0.5)
    async with open_troupe(settings(script, details(seen), hedging=hedging)) as troupe:
        for _ in range(11):
            await troupe.complete(Request.of("Hi", model=MODEL))
    first, second = sorted(seen[-2:], key=lambda one: one.attempt)
    assert (first.is_cancelled, second.is_cancelled) == (True, False)


async def test_a_call_that_joins_names_the_call_that_it_follows(autojump_clock):
    seen = []
    async with open_troupe(settings(Script(Reply()), details(seen, "asked"))) as troupe:
        request = Request.of("Hi", model=MODEL, cacheable=True)
        await outcomes(*(partial(troupe.complete, request, call=name) for name in "ab"))
    (joined,) = [one for one in seen if one.stage == "joined"]
    leader, follower = [one.context for one in seen if one.stage == "asked"]
    assert joined.context is follower
    assert joined.leader is leader


@pytest.mark.parametrize("fails", [False, True])
async def test_a_combined_call_has_a_start_and_an_end(autojump_clock, fails):
    seen = []
    vectors = {
        "data": [{"index": at, "embedding": [1.0, float(at)]} for at in range(2)],
        "model": MODEL,
        "usage": {"prompt_tokens": 4, "total_tokens": 4},
    }
    script = Script(refusal(401) if fails else Reply(body=vectors))
    async with open_troupe(settings(script, details(seen, "asked", "sent"))) as troupe:
        await outcomes(
            *(
                partial(
                    troupe.complete,
                    Request(model=MODEL, task="embedding", inputs=text, deadline=60.0),
                )
                for text in ("one", "two")
            )
        )
    stages = [one.stage for one in seen]
    assert stages == ["asked", "asked", "combined", "sent", "ended", "split"]
    members, combined, split = seen[:2], seen[2], seen[5]
    assert [one.context for one in members] == list(combined.context.shared_by)
    assert combined.request.inputs == ("one", "two")
    assert split.context is combined.context is seen[3].context
    assert (split.failure is None, split.response is None) == (not fails, fails)


caller = contextvars.ContextVar("caller", default="nothing")


async def test_the_calls_of_a_post_are_reported_with_the_variables_of_its_caller(autojump_clock):
    seen = []

    def observe(event):
        seen.append((event.stage, event.context.call, caller.get()))
        if event.stage == "composing":
            caller.set("post")

    recipe = Recipe(
        name="two", model=MODEL, steps=(Step("a", "A"), Step("b", "B {{ a }}", needs=("a",)))
    )
    stages = frozenset({"composing", "composed", "asked", "answered"})
    both = settings(Script(Reply()), StageObserver(observe, stages), recipe=recipe)
    async with open_troupe(both) as troupe:
        caller.set("caller")
        await troupe.compose("The sea")
    assert seen == [
        ("composing", "The sea", "caller"),
        ("asked", "The sea/a", "post"),
        ("answered", "The sea/a", "post"),
        ("asked", "The sea/b", "post"),
        ("answered", "The sea/b", "post"),
        ("composed", "The sea", "post"),
    ]


@pytest.mark.parametrize(
    ("script", "timeout", "kind", "is_cancelled"),
    [
        (Script(refusal(401)), 60.0, "StepFailed", False),
        (Script(Reply(after=120.0)), 60.0, "AskTimedOut", False),
        (Script(Reply(after=120.0)), 600.0, None, True),
    ],
)
async def test_the_end_of_a_post_says_how_it_ended(
    autojump_clock, script, timeout, kind, is_cancelled
):
    seen = []
    recipe = Recipe(name="one", model=MODEL, steps=(Step("a", "A"),))
    async with open_troupe(settings(script, details(seen), recipe=recipe)) as troupe:
        with trio.move_on_after(100.0):
            await outcomes(partial(troupe.compose, "The sea", timeout=timeout))
    end = next(one for one in seen if one.stage == "composed")
    found = None if end.failure is None else type(end.failure).__name__
    assert (found, end.is_cancelled) == (kind, is_cancelled)


def test_an_observer_that_is_given_twice_gets_each_event_once():
    def observe(event):
        pass

    assert all_of([observe, observe]) is observe
    assert all_of([observe, all_of([ignore, observe])]) is observe
