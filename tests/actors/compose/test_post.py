import json
from decimal import Decimal

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors.compose.graph import PostGraph
from callsheet.actors.compose.post import Post, PostStats
from callsheet.actors.compose.recipe import Recipe, Step, default_recipe

STATS = PostStats(
    calls=11,
    http_requests=12,
    input_tokens=1000,
    output_tokens=2000,
    cost_usd=Decimal("0.0035"),
    wall_s=8.1,
    sequential_s=22.0,
    critical_path_s=8.0,
    retries=1,
    critical_path=("headline", "intro", "outline", "sections[2]"),
)

ANSWERS = {
    "headline": 'Why "Backpressure" <Matters> & What\'s Next',
    "keywords": "1. queues\n2. flow control",
    "image_prompt": "A dam at dawn.",
    "social_blurb": "Full queues?\nRead this. #systems",
    "intro": "It is Monday.\n\nThe queue is full.",
    "outline": "1. Signs\n2. Causes\n3. Remedies\n4. Costs\n5. Habits",
    "sections[1]": "See this.",
    "sections[2]": "Because of that.",
    "sections[3]": "Do *this*.",
    "conclusion": "Remember it.",
    "meta_description": "What to do when queues are full.",
}


def finished(
    recipe: Recipe, answers: dict[str, str | None], topic: str = "Backpressure"
) -> PostGraph:
    plan = PostGraph(recipe, topic)
    while calls := plan.ready():
        for call in calls:
            answer = answers[call.id]
            if answer is None:
                plan.fail(call.id, RuntimeError("no"))
            else:
                plan.succeed(call.id, answer)
    return plan


def test_the_default_post_is_handed_to_programs_with_exactly_these_members():
    post = Post.of(finished(default_recipe(), ANSWERS), STATS)
    members = json.loads(json.dumps(post.to_json()))
    assert list(members) == [
        "topic",
        "headline",
        "keywords",
        "image_prompt",
        "social_blurb",
        "intro",
        "outline",
        "sections",
        "conclusion",
        "meta_description",
        "markdown",
        "stats",
    ]
    assert members["topic"] == "Backpressure"
    assert members["keywords"] == ["queues", "flow control"]
    assert members["outline"] == ["Signs", "Causes", "Remedies", "Costs", "Habits"]
    assert members["sections"] == [
        {"title": "Signs", "text": "See this."},
        {"title": "Causes", "text": "Because of that."},
        {"title": "Remedies", "text": "Do *this*."},
    ]
    assert members["markdown"] == post.markdown
    assert members["stats"] == {
        "calls": 11,
        "http_requests": 12,
        "input_tokens": 1000,
        "output_tokens": 2000,
        "cost_usd": "0.0035",
        "wall_s": 8.1,
        "sequential_s": 22.0,
        "critical_path_s": 8.0,
        "retries": 1,
        "critical_path": ["headline", "intro", "outline", "sections[2]"],
    }


def test_the_default_post_reads_well_as_markdown():
    assert Post.of(finished(default_recipe(), ANSWERS), STATS).markdown == (
        """\
---
title: "Why \\"Backpressure\\" <Matters> & What's Next"
description: "What to do when queues are full."
keywords: ["queues", "flow control"]
social: "Full queues?\\nRead this. #systems"
image_prompt: "A dam at dawn."
---

# Why "Backpressure" <Matters> & What's Next

It is Monday.

The queue is full.

## Signs

See this.

## Causes

Because of that.

## Remedies

Do *this*.

## Conclusion

Remember it.
"""
    )


CUSTOM = Recipe(
    "letter",
    (
        Step("points", "x", shape="list"),
        Step("tag_line", "x", optional=True),
        Step("parts", "{{ item }}", for_each="points"),
        Step("closing", "x"),
    ),
)
LETTER = {
    "points": "one, two",
    "tag_line": None,
    "parts[1]": "First.",
    "parts[2]": "Second.",
    "closing": "Yours.",
}


def test_a_recipe_without_a_template_puts_each_result_under_a_heading():
    post = Post.of(finished(CUSTOM, LETTER), STATS)
    assert post.markdown == (
        "# Backpressure\n\n"
        "## Points\n\n- one\n- two\n\n"
        "## Parts\n\n### one\n\nFirst.\n\n### two\n\nSecond.\n\n"
        "## Closing\n\nYours.\n"
    )
    assert list(post.to_json()) == [
        "topic",
        "points",
        "tag_line",
        "parts",
        "closing",
        "markdown",
        "stats",
    ]
    assert post.to_json()["tag_line"] is None


def test_a_recipe_brings_its_own_template():
    template = "{{ topic }}: {% for part in parts %}[{{ part.title }}] {{ part.text }} {% endfor %}"
    recipe = attrs.evolve(CUSTOM, markdown=template)
    post = Post.of(finished(recipe, LETTER), STATS)
    assert post.markdown == "Backpressure: [one] First. [two] Second.\n"


def test_a_template_that_fails_does_not_lose_the_texts():
    recipe = attrs.evolve(CUSTOM, markdown="{{ tag_line.upper() }}")
    markdown = Post.of(finished(recipe, LETTER), STATS).markdown
    assert markdown.startswith("<!-- recipe letter, field markdown: the template failed")
    assert "## Closing\n\nYours.\n" in markdown


def test_a_post_that_is_not_done_is_none():
    with pytest.raises(ValueError, match="not finished"):
        Post.of(PostGraph(default_recipe(), "x"), STATS)


def test_an_unknown_cost_is_null_and_never_nothing():
    assert attrs.evolve(STATS, cost_usd=None).to_json()["cost_usd"] is None
    assert attrs.evolve(STATS, cost_usd=Decimal("0E-7")).to_json()["cost_usd"] == "0"


@pytest.mark.parametrize("field", ["calls", "cost_usd", "wall_s", "retries"])
def test_negative_figures_are_refused_by_name(field):
    with pytest.raises(ValueError, match=field):
        attrs.evolve(STATS, **{field: Decimal(-1) if field == "cost_usd" else -1})


def test_the_results_of_a_post_cannot_be_changed():
    post = Post.of(finished(CUSTOM, LETTER), STATS)
    with pytest.raises(TypeError):
        post.results["points"] = ()


lines = st.text(min_size=1, max_size=30).filter(
    lambda text: len(text.splitlines()) == 1 and any(c.isalnum() for c in text)
)


@given(st.fixed_dictionaries({"headline": lines, "social_blurb": lines, "image_prompt": lines}))
def test_the_front_matter_keeps_any_text_whole(texts):
    plan = finished(default_recipe(), ANSWERS | texts)
    front = Post.of(plan, STATS).markdown.split("\n---\n")[0].splitlines()[1:]
    # YAML takes a JSON string for what it says
    values = {key: json.loads(value) for key, _, value in (line.partition(": ") for line in front)}
    assert values["title"] == plan.results["headline"]
    assert values["social"] == plan.results["social_blurb"]
    assert values["image_prompt"] == plan.results["image_prompt"]
