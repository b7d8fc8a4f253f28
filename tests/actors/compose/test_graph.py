import heapq
import json
import random
from collections.abc import Callable
from itertools import pairwise

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors.compose.graph import PostGraph, StepCall
from callsheet.actors.compose.recipe import Recipe, Step, default_recipe
from callsheet.actors.compose.shape import EmptyResponse, StepResult

TOPIC = "Backpressure"
World = Callable[
    [str, str], StepResult | None
]  # (call id, shape) -> the response; None: the call fails


def world(seed: int, failing: float) -> World:
    """Return the response to a call: the same for the same call at any time."""

    def answer(call_id: str, shape: str) -> StepResult | None:
        chance = random.Random(f"{seed} {call_id}")
        if chance.random() < failing:
            return None
        if shape != "list":
            return f"answer of {call_id}"
        return tuple(f"{call_id} item {n}" for n in range(chance.randrange(1, 5)))

    return answer


def as_text(answer: StepResult) -> str:
    return answer if isinstance(answer, str) else "\n".join(answer)


@st.composite
def recipes(draw) -> Recipe:
    """Any graph, with its steps in any order. Each prompt contains all that its step needs."""
    steps: list[Step] = []
    for number in range(draw(st.integers(1, 7))):
        before = [step.name for step in steps]
        lists = [step.name for step in steps if step.shape == "list"]
        some = st.lists(st.sampled_from(before), unique=True, max_size=3) if before else st.just([])
        for_each = draw(st.none() | st.sampled_from(lists)) if lists else None
        step = Step(
            f"s{number}",
            "-",
            tuple(draw(some)),
            optional=draw(st.booleans()),
            for_each=for_each,
            first=draw(st.none() | st.integers(1, 3)) if for_each else None,
            shape=draw(st.sampled_from(["text", "line"] + ["list"] * (for_each is None))),
        )
        names = ["topic", *step.waits_for, *(["item", "index"] if for_each else [])]
        prompt = " / ".join(f"{{{{ {name} }}}}" for name in names)
        steps.append(attrs.evolve(step, prompt=prompt))
    return Recipe("random", draw(st.permutations(steps)))


@attrs.frozen
class Expected:
    results: dict[str, StepResult | None]
    prompts: dict[str, str]  # {call id: prompt} of every call that can come to be made
    failed: bool


def members(step: Step, results: dict[str, StepResult | None]) -> list[tuple[str, list[object]]]:
    if step.for_each is None:
        return [(step.name, [])]
    items = (results[step.for_each] or ())[: step.first]
    return [(f"{step.name}[{n}]", [item, n]) for n, item in enumerate(items, 1)]


def fixed_point(recipe: Recipe, answer: World) -> Expected:
    """Compute the results by checking all steps until nothing changes any more."""
    results: dict[str, StepResult | None] = {}
    prompts: dict[str, str] = {}
    broken: set[str] = set()
    while True:
        news = [
            step
            for step in recipe.steps
            if step.name not in results
            and step.name not in broken
            and all(need in results for need in step.waits_for)
        ]
        if not news:
            return Expected(results, prompts, bool(broken))
        for step in news:
            answers = []
            for call_id, extra in members(step, results):
                values = [TOPIC, *(results[need] for need in step.waits_for), *extra]
                shown = [list(v) if isinstance(v, tuple) else v for v in values]
                prompts[call_id] = " / ".join(
                    json.dumps(one) if isinstance(one, list) else str(one or "") for one in shown
                ).strip()
                answers.append(answer(call_id, step.shape))
            if None in answers and not step.optional:
                broken.add(step.name)
            elif step.for_each is None:
                results[step.name] = answers[0]
            else:
                results[step.name] = tuple(a for a in answers if a is not None)


def finish(plan: PostGraph, call: StepCall, answer: World) -> bool:
    given_answer = answer(call.id, step_of(plan, call).shape)
    if given_answer is None:
        return plan.fail(call.id, RuntimeError("as told"))
    return plan.succeed(call.id, as_text(given_answer))


def step_of(plan: PostGraph, call: StepCall) -> Step:
    return next(step for step in plan.recipe.steps if step.name == call.step)


def run_all(plan: PostGraph, *, fail: tuple[str, ...] = ()) -> list[str]:
    """Run a graph in the order in which it returns calls; return the ids in that order."""
    ids = []
    queue = plan.ready()
    while queue:
        call = queue.pop(0)
        ids.append(call.id)
        if call.id in fail:
            plan.fail(call.id, RuntimeError("as told"))
        else:
            plan.succeed(call.id, f"1. {call.id} one\n2. {call.id} two")
        queue += plan.ready()
    return ids


@given(recipes(), st.integers(0, 9999), st.sampled_from([0, 0.1, 0.4]), st.integers(0, 9999))
def test_any_recipe_ends_the_same_in_any_order_and_hands_out_every_call_once(
    recipe, seed, failing, order
):
    answer = world(seed, failing)
    expected = fixed_point(recipe, answer)
    plan = PostGraph(recipe, TOPIC)
    choose = random.Random(order)
    in_flight: list[StepCall] = []
    handed_out: list[str] = []
    ended: set[str] = set()
    while True:
        for call in plan.ready():
            in_flight.append(call)
            handed_out.append(call.id)
            assert call.prompt == call.request.messages[-1].content == expected.prompts[call.id]
            assert set(call.needs) <= ended, "it was handed out before its needs"
        if not plan.failed:
            for step in recipe.steps:
                if all(need in plan.results for need in step.waits_for):
                    possible = {call_id for call_id, _ in members(step, plan.results)}
                    assert possible <= set(handed_out), "a call that could start was held back"
        if not in_flight:
            break
        call = in_flight.pop(choose.randrange(len(in_flight)))
        before = plan.failed
        goes_on = finish(plan, call, answer)
        assert goes_on is not plan.failed
        assert not (before and plan.ready()), "a failed plan handed out a call"
        ended.add(call.id)
    assert plan.ready() == []
    assert len(handed_out) == len(set(handed_out))
    assert plan.failed is expected.failed
    assert plan.done is not plan.failed
    if plan.done:
        assert plan.results == expected.results
        assert list(plan.results) == [step.name for step in recipe.steps]
        assert set(handed_out) == set(expected.prompts)
        assert {state.state for state in plan.snapshot()} <= {"done", "failed", "skipped"}
    else:
        assert set(handed_out) <= set(expected.prompts)
        assert plan.failure is not None
        assert (
            answer(plan.failure.call, step_of(plan, _call(plan, plan.failure.call)).shape) is None
        )


def _call(plan: PostGraph, call_id: str) -> StepCall:
    return next(call for call in plan.calls if call.id == call_id)


@given(recipes(), st.integers(0, 9999), st.sampled_from([0, 0.2]))
def test_the_critical_path_is_how_long_a_run_without_any_limit_takes(recipe, seed, failing):
    answer = world(seed, failing)
    durations: dict[str, float] = {}
    plan = PostGraph(recipe, TOPIC)
    flying: list[tuple[float, str, StepCall]] = []
    now = 0.0
    while True:
        for call in plan.ready():
            seconds = random.Random(f"{seed} {call.id} takes").uniform(1, 3)
            heapq.heappush(flying, (now + seconds, call.id, call))
        if not flying or plan.failed:
            break
        end, _, call = heapq.heappop(flying)
        durations[call.id] = random.Random(f"{seed} {call.id} takes").uniform(1, 3)
        now = end
        finish(plan, call, answer)
    seconds, path = plan.critical_path(durations)
    assert seconds == now
    assert sum(durations[call_id] for call_id in path) == pytest.approx(seconds)
    for earlier, later in pairwise(path):
        assert earlier in _call(plan, later).needs


def test_the_default_post_takes_eleven_calls_in_the_order_in_which_they_become_possible():
    plan = PostGraph(default_recipe(), TOPIC)
    topic_only = ["headline", "keywords", "image_prompt", "social_blurb", "conclusion"]
    assert [call.id for call in plan.ready()] == topic_only
    assert plan.succeed("headline", '"On Queues"')
    (intro,) = plan.ready()
    assert (intro.id, intro.needs) == ("intro", ("headline",))
    assert 'titled "On Queues"' in intro.prompt
    plan.succeed("intro", "Once.")
    assert [call.id for call in plan.ready()] == ["outline", "meta_description"]
    plan.succeed("outline", "1. A\n2. B\n3. C\n4. D\n5. E")
    sections = plan.ready()
    assert [(call.id, call.step, call.index) for call in sections] == [
        ("sections[1]", "sections", 1),
        ("sections[2]", "sections", 2),
        ("sections[3]", "sections", 3),
    ]
    assert sections[1].needs == ("headline", "outline")
    assert sections[1].prompt.startswith('Write the section "B" of a blog post titled "On Queues"')
    assert "It is section 2 of this outline:\n1. A\n2. B\n3. C\n4. D\n5. E\n" in sections[1].prompt
    for call_id in [*topic_only[1:], "sections[3]", "meta_description", "sections[1]"]:
        plan.succeed(call_id, f"{call_id}!")
    assert not plan.done
    plan.succeed("sections[2]", "two")
    assert plan.done
    assert len(plan.calls) == 11
    assert plan.results["sections"] == ("sections[1]!", "two", "sections[3]!")
    assert plan.items == {"sections": ("A", "B", "C")}
    assert plan.critical_path({call.id: 1 for call in plan.calls})[0] == 4


def test_the_settings_of_a_step_override_those_of_the_recipe():
    recipe = Recipe(
        "r",
        (Step("a", "x", model="big", max_tokens=9), Step("b", "y")),
        model="small",
        temperature=0.5,
        system="Be brief.",
    )
    a, b = (call.request for call in PostGraph(recipe, TOPIC).ready())
    assert (a.model, a.max_tokens, b.model, b.max_tokens) == ("big", 9, "small", 500)
    assert (b.temperature, b.messages[0].role, b.messages[0].content) == (
        0.5,
        "system",
        "Be brief.",
    )


def test_a_step_that_needs_a_failed_optional_one_gets_none():
    prompt = "{% if a %}with {{ a }}{% else %}without{% endif %}"
    plan = PostGraph(Recipe("r", (Step("a", "x", optional=True), Step("b", prompt, ("a",)))), TOPIC)
    plan.ready()
    assert plan.fail("a", RuntimeError("no"))
    (call,) = plan.ready()
    assert (call.prompt, call.needs) == ("without", ("a",))
    plan.succeed("b", "text")
    assert plan.results == {"a": None, "b": "text"}


EACH = Recipe(
    "each",
    (
        Step("list", "x", shape="list", optional=True),
        Step("each", "{{ item }}", for_each="list", optional=True),
        Step("last", "{{ each }}", ("each",)),
    ),
)


def test_for_each_of_a_list_that_failed_makes_no_calls_and_its_dependants_wait_for_the_list():
    plan = PostGraph(EACH, TOPIC)
    plan.ready()
    plan.fail("list", RuntimeError("no"))
    (last,) = plan.ready()
    assert (last.prompt, last.needs) == ("[]", ("list",))
    assert [state.state for state in plan.snapshot()] == ["failed", "skipped", "ready"]
    assert plan.critical_path({"list": 2, "last": 1}) == (3, ("list", "last"))


def test_an_optional_member_that_failed_is_left_out_with_its_item():
    plan = PostGraph(EACH, TOPIC)
    assert run_all(plan, fail=("each[1]",)) == ["list", "each[1]", "each[2]", "last"]
    assert plan.items == {"each": ("list two",)}
    assert len(plan.results["each"]) == 1


def test_an_answer_without_a_list_is_the_failure_of_its_step():
    plan = PostGraph(default_recipe(), TOPIC)
    plan.ready()
    assert not plan.succeed("keywords", "\n")
    assert plan.failure is not None
    assert (plan.failure.call, plan.failure.step) == ("keywords", "keywords")
    assert isinstance(plan.failure.error, EmptyResponse)


def test_a_failed_plan_hands_out_nothing_more_and_still_takes_late_answers():
    plan = PostGraph(default_recipe(), TOPIC)
    plan.ready()
    assert not plan.fail("keywords", RuntimeError("first"))
    assert not plan.succeed("headline", "Late")
    assert not plan.fail("conclusion", RuntimeError("second"))
    assert plan.ready() == []
    assert not plan.done
    assert str(plan.failure.error) == "first"
    assert {state.id: state.state for state in plan.snapshot()} == {
        "headline": "done",
        "keywords": "failed",
        "image_prompt": "ready",
        "social_blurb": "ready",
        "intro": "skipped",
        "outline": "skipped",
        "sections": "skipped",
        "conclusion": "failed",
        "meta_description": "skipped",
    }


def test_a_call_that_was_not_handed_out_when_the_plan_failed_never_is():
    plan = PostGraph(
        Recipe("r", (Step("a", "x"), Step("b", "y"), Step("c", "{{ a }}", ("a",)))), TOPIC
    )
    plan.ready()
    plan.succeed("a", "text")
    plan.fail("b", RuntimeError("no"))
    assert plan.ready() == []
    assert [state.state for state in plan.snapshot()] == ["done", "failed", "skipped"]


def test_a_prompt_that_cannot_be_filled_in_fails_its_step_before_any_call():
    steps = (
        Step("a", "x", shape="list"),
        Step("b", "{{ a[7] }}", ("a",)),
        Step("c", "{{ a }}", ("a",)),
    )
    plan = PostGraph(Recipe("r", steps), TOPIC)
    plan.ready()
    assert not plan.succeed("a", "one")
    assert plan.failure.step == "b"
    assert "no element 7" in str(plan.failure.error)
    assert plan.ready() == []


def test_an_optional_prompt_that_comes_out_empty_is_a_step_without_a_result():
    plan = PostGraph(
        Recipe("r", (Step("a", "{% if not topic %}x{% endif %}", optional=True),)), TOPIC
    )
    assert plan.ready() == []
    assert plan.done
    assert plan.results == {"a": None}


def test_the_snapshot_shows_steps_until_their_calls_are_known():
    plan = PostGraph(EACH, TOPIC)
    assert [(s.id, s.state) for s in plan.snapshot()] == [
        ("list", "ready"),
        ("each", "waiting"),
        ("last", "waiting"),
    ]
    plan.ready()
    plan.succeed("list", "one, two")
    assert [(s.id, s.step, s.index, s.state) for s in plan.snapshot()][1:] == [
        ("each[1]", "each", 1, "ready"),
        ("each[2]", "each", 2, "ready"),
        ("last", "last", None, "waiting"),
    ]


@pytest.mark.parametrize("call_id", ["nope", "intro", "headline", "conclusion"])
def test_only_a_call_in_flight_can_end(call_id):
    plan = PostGraph(default_recipe(), TOPIC)
    if call_id == "headline":  # has ended already; "conclusion" was not handed out
        plan.ready()
        plan.succeed("headline", "x")
    with pytest.raises(ValueError, match="in flight"):
        plan.succeed(call_id, "x")
    with pytest.raises(ValueError, match="in flight"):
        plan.fail(call_id, RuntimeError("no"))


def test_a_topic_must_not_be_empty():
    with pytest.raises(ValueError, match="topic is empty"):
        PostGraph(default_recipe(), " \n")


def test_a_plan_shows_how_far_it_is():
    assert (
        repr(PostGraph(default_recipe(), TOPIC))
        == "<PostGraph of 'post': 0/9 steps, 5 calls known>"
    )
