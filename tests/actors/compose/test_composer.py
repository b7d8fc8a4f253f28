"""The composer: as fast as the critical path, with clear errors."""

import json
from decimal import Decimal
from functools import partial

import httpx
import pytest
import trio
from fakes import MODEL, Behaviour, Journal, Stage, answer_to, error_json, outcomes

from callsheet.actors import (
    BadRequest,
    Compose,
    Endpoint,
    PostComposerActor,
    Recipe,
    Step,
    StepFailed,
    TroupeSettings,
    Usage,
    open_troupe,
)
from callsheet.runtime import ActorCrashed, ActorStopped, AskTimedOut, open_runtime
from callsheet.simulator.app import Provider
from callsheet.simulator.inprocess import ProviderTransport
from callsheet.simulator.settings import ProviderSettings

NO = BadRequest("No.", attempts=1)


def recipe(*steps):
    return Recipe("test", steps, model=MODEL)


def step(name, *needs, **more):
    """A step whose prompt has the topic, its name and its needs: "T/b(about T/a)"."""
    about = ", ".join(f"{{{{ {need} }}}}" for need in needs)
    return Step(name, f"{{{{ topic }}}}/{name}({about})", needs, **more)


async def composer_to(runtime, journal, recipe, by_prompt=None, **more):
    stage = await runtime.spawn(
        "stage",
        partial(Stage, journal, by_prompt),
        capacity=100,
        concurrency=100,
    )
    return await runtime.spawn(
        "composer",
        partial(PostComposerActor, stage, recipe, **more),
        capacity=50,
        concurrency=50,
    )


class Writer(Stage):
    """A stage that responds with given texts."""

    def __init__(self, journal, by_prompt, texts):
        super().__init__(journal, by_prompt)
        self.texts = texts

    def answer(self, prompt):
        return answer_to(prompt, text=self.texts.get(prompt, "text"))


class Breaking(httpx.AsyncBaseTransport):
    """A stage that forwards requests, but refuses one prompt after a while."""

    def __init__(self, transport, prompt, *, after):
        self.transport, self.prompt, self.after = transport, prompt, after

    async def handle_async_request(self, request):
        body = b"".join([part async for part in request.stream])
        if json.loads(body)["messages"][-1]["content"] == self.prompt:
            await trio.sleep(self.after)
            return httpx.Response(400, json=error_json("Bad."), request=request)
        request.stream = httpx.ByteStream(body)
        return await self.transport.handle_async_request(request)


def prompts(journal):
    return dict(journal.began)


# ------------------------------------------------------------------ as early as it can be


async def test_a_step_starts_as_soon_as_its_needs_are_available(autojump_clock):
    """Step "c" does not wait for the slow step that started together with "a"."""
    journal = Journal()
    steps = recipe(step("a"), step("slow"), step("c", "a"), step("d", "c", "slow"))
    async with open_runtime() as runtime:
        behaviours = {"T/slow()": Behaviour(10)}
        composer = await composer_to(runtime, journal, steps, behaviours)
        post = await composer.ask(Compose("T"))
    began = {prompt.partition("(")[0]: at for prompt, at in journal.began}
    assert began == {"T/a": 0, "T/slow": 0, "T/c": 1, "T/d": 10}
    assert list(post.results) == ["a", "slow", "c", "d"]
    assert post.results["c"] == "about T/c(about T/a())"


@pytest.mark.parametrize("seed", range(5))
async def test_the_wall_is_the_critical_path_exactly(autojump_clock, seed):
    """W1, through all four actors, against the built-in provider."""
    provider = Provider(ProviderSettings(seed=seed))
    async with ProviderTransport(provider) as transport:
        settings = TroupeSettings(endpoint=Endpoint("http://provider/v1"), transport=transport)
        async with open_troupe(settings) as troupe:
            start = trio.current_time()
            post = await troupe.compose("Why backpressure matters")
            wall = trio.current_time() - start
    stats = post.stats
    assert wall == pytest.approx(stats.critical_path_s, abs=1e-9)
    assert stats.wall_s == pytest.approx(wall, abs=1e-9)
    assert len(stats.critical_path) == 4
    assert stats.critical_path[:3] == ("headline", "intro", "outline")
    assert (stats.calls, stats.http_requests, stats.retries) == (11, 11, 0)
    assert stats.sequential_s > 11
    assert stats.cost_usd > 0
    assert provider.stats.requests == 11
    assert provider.stats.input_tokens == stats.input_tokens
    assert provider.stats.output_tokens == stats.output_tokens


async def test_several_posts_side_by_side_take_as_long_as_the_slowest(autojump_clock):
    async with ProviderTransport(Provider(ProviderSettings())) as transport:
        settings = TroupeSettings(endpoint=Endpoint("http://provider/v1"), transport=transport)
        async with open_troupe(settings) as troupe:
            start = trio.current_time()
            posts = await outcomes(*(partial(troupe.compose, f"Topic {at}") for at in range(5)))
            wall = trio.current_time() - start
    assert [post.topic for post in posts] == [f"Topic {at}" for at in range(5)]
    for post in posts:
        assert post.stats.wall_s == pytest.approx(post.stats.critical_path_s, abs=1e-9)
    assert wall == pytest.approx(max(post.stats.wall_s for post in posts))


async def test_so_many_posts_at_a_time(autojump_clock):
    journal = Journal()
    async with open_runtime() as runtime:
        stage = await runtime.spawn("stage", partial(Stage, journal), concurrency=100)
        composer = await runtime.spawn(
            "composer", partial(PostComposerActor, stage, recipe(step("a"))), concurrency=2
        )
        await outcomes(*(partial(composer.ask, Compose(f"{at}")) for at in range(5)))
    assert [at for _, at in journal.began] == [0, 0, 1, 1, 2]


# ------------------------------------------------------------------ when a step fails


async def test_a_step_that_is_optional_may_fail(autojump_clock):
    steps = recipe(
        step("a"),
        step("extra", optional=True),
        Step("end", "{{ topic }}/{{ a }}{% if extra %} {{ extra }}{% endif %}", ("a", "extra")),
    )
    behaviours = {"T/extra()": Behaviour(3, error=NO)}
    journal = Journal()
    async with open_runtime() as runtime:
        composer = await composer_to(runtime, journal, steps, behaviours)
        post = await composer.ask(Compose("T"))
    assert post.results["extra"] is None
    assert post.results["end"] == "about T/about T/a()"
    assert prompts(journal)["T/about T/a()"] == 3, "it waited for its end, successful or not"
    assert post.stats.calls == 3


async def test_a_step_that_fails_after_something_was_paid_for_it_counts_in_the_post(autojump_clock):
    failed = NO.after(Usage(7, 3), Decimal("0.5"))
    behaviours = {"T/extra()": Behaviour(error=failed)}
    async with open_runtime() as runtime:
        steps = recipe(step("a"), step("extra", optional=True))
        composer = await composer_to(runtime, Journal(), steps, behaviours)
        stats = (await composer.ask(Compose("T"))).stats
    assert (stats.input_tokens, stats.output_tokens) == (17, 8)
    assert stats.cost_usd == Decimal("0.501")


async def test_a_step_that_is_required_cancels_what_is_in_flight_for_its_post_alone(autojump_clock):
    provider = Provider(ProviderSettings(latency_s=(60.0, 60.0)))
    steps = recipe(step("a"), step("b"), step("c", "a"))
    async with ProviderTransport(provider) as transport:
        broken = Breaking(transport, "Bad/b()", after=2.0)
        settings = TroupeSettings(
            endpoint=Endpoint("http://provider/v1"), transport=broken, recipe=steps
        )
        async with open_troupe(settings) as troupe:
            ends = {}

            async def compose(topic):
                try:
                    return await troupe.compose(topic)
                finally:
                    ends[topic] = trio.current_time()

            bad, good = await outcomes(partial(compose, "Bad"), partial(compose, "Good"))
    assert isinstance(bad, StepFailed)
    assert list(good.results) == ["a", "b", "c"]
    assert ends == {"Bad": 2, "Good": 120}
    assert provider.stats.cancelled == 1, "the other call of the bad post"
    assert provider.stats.by_status == {200: 3}
    assert provider.stats.requests == 4, "and its third call was never made"


async def test_the_error_names_the_step_the_call_and_the_reason(autojump_clock):
    steps = recipe(
        step("items", shape="list"),
        Step("texts", "{{ topic }}/{{ item }}", for_each="items"),
    )
    answers = {"T/items()": "1. one\n2. two\n3. three"}

    async with open_runtime() as runtime:
        stage = await runtime.spawn(
            "stage",
            partial(Writer, Journal(), {"T/two": Behaviour(2, error=NO)}, answers),
            concurrency=10,
        )
        composer = await runtime.spawn("composer", partial(PostComposerActor, stage, steps))
        with pytest.raises(StepFailed) as caught:
            await composer.ask(Compose("T"))
        error = caught.value
        assert str(error) == "step 'texts', call texts[2] failed: No."
        assert (error.topic, error.step, error.call) == ("T", "texts", "texts[2]")
        assert error.__cause__ is NO
        assert set(error.spent) == {"items", "texts[1]", "texts[3]"}, (
            "the error has the cost of the successful calls"
        )
        assert runtime.snapshot()[composer.path].incarnation == 1, "it is a reply, not a crash"


async def test_a_step_of_one_call_is_named_once(autojump_clock):
    async with open_runtime() as runtime:
        behaviours = {"T/a()": Behaviour(error=NO)}
        composer = await composer_to(runtime, Journal(), recipe(step("a")), behaviours)
        with pytest.raises(StepFailed, match=r"^step 'a' failed: No\.$"):
            await composer.ask(Compose("T"))


async def test_an_answer_that_is_not_of_the_steps_shape_is_a_failed_step(autojump_clock):
    async with open_runtime() as runtime:
        stage = await runtime.spawn("stage", partial(Writer, Journal(), {}, {"T/a()": "  "}))
        composer = await runtime.spawn(
            "composer", partial(PostComposerActor, stage, recipe(step("a", shape="line")))
        )
        with pytest.raises(StepFailed, match="step 'a' failed: the response is empty") as caught:
            await composer.ask(Compose("T"))
        assert set(caught.value.spent) == {"a"}, "it was paid for nevertheless"


@pytest.mark.parametrize("is_crash", [True, False])
async def test_a_stage_that_crashes_or_is_stopped_fails_the_step(autojump_clock, is_crash):
    async with open_runtime() as runtime:
        behaviours = {"T/a()": Behaviour(error=KeyError("bug"))} if is_crash else {}
        composer = await composer_to(runtime, Journal(), recipe(step("a")), behaviours)
        if not is_crash:
            stage = await runtime.spawn("other", partial(Stage, Journal()))
            composer = await runtime.spawn(
                "composer2", partial(PostComposerActor, stage, recipe(step("a")))
            )
            await runtime.stop(stage)
        with pytest.raises(StepFailed, match="step 'a' failed") as caught:
            await composer.ask(Compose("T"))
        kind = ActorCrashed if is_crash else ActorStopped
        assert isinstance(caught.value.__cause__, kind)
        assert runtime.snapshot()[composer.path].incarnation == 1


# ------------------------------------------------------------------ when no caller waits any more


async def test_a_post_that_is_given_up_takes_its_calls_with_it(autojump_clock):
    journal, events = Journal(), []
    steps = recipe(step("a"), step("b"), step("c", "a"))
    behaviours = {"T/a()": Behaviour(1), "T/b()": Behaviour(60), "T/c(about T/a())": Behaviour(60)}
    async with open_runtime() as runtime:
        composer = await composer_to(runtime, journal, steps, behaviours, observer=events.append)
        with trio.move_on_after(5):
            await composer.ask(Compose("T"))
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(journal.cancelled) == [("T/b()", 5), ("T/c(about T/a())", 5)]
        assert journal.in_hand == 0
    ends = {event.context.call: event.stage for event in events}
    assert ends == {"T/a": "answered", "T/b": "cancelled", "T/c": "cancelled"}


async def test_the_deadline_of_a_post_is_that_of_its_calls(autojump_clock):
    journal = Journal()
    async with open_runtime() as runtime:
        behaviours = {"T/b(about T/a())": Behaviour(60)}
        composer = await composer_to(
            runtime, journal, recipe(step("a"), step("b", "a")), behaviours
        )
        with pytest.raises(AskTimedOut):
            await composer.ask(Compose("T"), timeout=7)
        assert trio.current_time() == 7
        await trio.testing.wait_all_tasks_blocked()
        assert journal.cancelled == [("T/b(about T/a())", 7)]
        assert runtime.snapshot()[composer.path].incarnation == 1
        assert runtime.snapshot()["callsheet/stage"].incarnation == 1


async def test_one_post_that_is_given_up_is_no_concern_of_another(autojump_clock):
    journal = Journal()
    async with open_runtime() as runtime:
        composer = await composer_to(runtime, journal, recipe(step("a"), step("b", "a")))
        gone, good = await outcomes(
            partial(composer.ask, Compose("Gone"), timeout=1.5),
            partial(composer.ask, Compose("Good")),
        )
    assert isinstance(gone, AskTimedOut)
    assert good.topic == "Good"
    assert [prompt.partition("/")[0] for prompt, _ in journal.cancelled] == ["Gone"]


# ------------------------------------------------------------------ input and events


@pytest.mark.parametrize("topic", ["", "  \n\t "])
def test_an_empty_topic_is_refused_before_anything_is_asked(topic):
    with pytest.raises(ValueError, match="topic"):
        Compose(topic)


async def test_a_topic_is_taken_without_the_white_space_around_it(autojump_clock):
    async with open_runtime() as runtime:
        composer = await composer_to(runtime, Journal(), recipe(step("a")))
        post = await composer.ask(Compose("  T \n"))
    assert post.topic == "T"
    assert post.results["a"] == "about T/a()"


async def test_every_call_carries_the_id_of_its_post_and_ends_once(autojump_clock):
    events = []
    steps = recipe(step("a"), step("b", optional=True), step("c", "a"))
    async with open_runtime() as runtime:
        behaviours = {"T/b()": Behaviour(error=NO)}
        composer = await composer_to(runtime, Journal(), steps, behaviours, observer=events.append)
        await composer.ask(Compose("T", post="post-7", lane="paying"))
        await composer.ask(Compose("T"))
    whose = {(event.context.post, event.context.lane) for event in events}
    assert whose == {("post-7", "paying"), ("T", "")}
    first = [event for event in events if event.context.post == "post-7"]
    found = [(event.at, event.context.call, event.context.step, event.stage) for event in first]
    assert sorted(found) == [
        (0, "post-7/a", "a", "asked"),
        (0, "post-7/b", "b", "asked"),
        (1, "post-7/a", "a", "answered"),
        (1, "post-7/b", "b", "failed"),
        (1, "post-7/c", "c", "asked"),
        (2, "post-7/c", "c", "answered"),
    ]


async def test_the_cost_of_a_post_is_unknown_if_that_of_one_call_is(autojump_clock):
    class Dear(Writer):
        def answer(self, prompt):
            price = {} if "a" in prompt.partition("/")[2] else {"cost_usd": None}
            return answer_to(prompt, **price)

    async with open_runtime() as runtime:
        stage = await runtime.spawn("stage", partial(Dear, Journal(), {}, {}), concurrency=9)
        for steps, is_known in ((recipe(step("a")), True), (recipe(step("a"), step("b")), False)):
            composer = await runtime.spawn(
                f"composer{is_known}", partial(PostComposerActor, stage, steps)
            )
            stats = (await composer.ask(Compose("T"))).stats
            assert (stats.cost_usd is not None) is is_known
