from itertools import pairwise
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors.compose.recipe import Recipe, RecipeError, Step, default_recipe, load_recipe


def recipe(*steps: Step, **fields) -> Recipe:
    return Recipe("r", steps, **fields)


def refusal(*steps: Step, **fields) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        recipe(*steps, **fields)
    return caught.value


OUTLINE = Step("outline", "x", shape="list")


def test_the_packaged_recipe_has_the_graph_of_a_blog_post():
    steps = {step.name: step for step in default_recipe().steps}
    assert {name: step.waits_for for name, step in steps.items()} == {
        "headline": (),
        "keywords": (),
        "image_prompt": (),
        "social_blurb": (),
        "intro": ("headline",),
        "outline": ("headline", "intro"),
        "sections": ("headline", "outline"),
        "conclusion": (),
        "meta_description": ("intro",),
    }
    assert (steps["sections"].for_each, steps["sections"].first) == ("outline", 3)
    assert (default_recipe().model, default_recipe().max_tokens) == ("gpt-5.4-nano", 500)
    assert default_recipe() is default_recipe()


def test_the_packaged_prompts_begin_with_what_is_asked_for():
    beginnings = {step.name: step.prompt.split("\n")[0] for step in default_recipe().steps}
    about = 'blog post about "{{ topic }}"'
    assert beginnings["headline"] == f"Write a headline for a {about}."
    assert beginnings["keywords"] == f"List 10 SEO keywords for a {about}, one per line."
    assert beginnings["outline"].startswith("Write an outline of 5 sections")
    assert beginnings["sections"].startswith('Write the section "{{ item }}" of a blog post titled')


def test_each_step_of_the_packaged_recipe_has_a_limit_that_fits_what_it_asks_for():
    recipe = default_recipe()
    limits = {step.name: step.max_tokens or recipe.max_tokens for step in recipe.steps}
    # Twice the most that a prompt asks for, at 4/3 tokens a word or a quarter of a token a letter.
    asked = {"headline": 12 * 4 / 3, "image_prompt": 60 * 4 / 3, "social_blurb": 280 / 4}
    asked |= {"outline": 5 * (3 + 8 * 4 / 3), "meta_description": 155 / 4, "keywords": 10 * 10}
    assert all(limits[name] >= 2 * tokens for name, tokens in asked.items())
    assert limits["headline"] < limits["intro"] < limits["sections"] == recipe.max_tokens == 500


def test_one_limit_can_be_set_for_every_step():
    found = default_recipe().with_max_tokens(4000)
    assert {step.max_tokens or found.max_tokens for step in found.steps} == {4000}
    assert [step.prompt for step in found.steps] == [it.prompt for it in default_recipe().steps]
    with pytest.raises(RecipeError, match="field max_tokens"):
        default_recipe().with_max_tokens(0)


def test_lists_become_tuples_and_a_changed_copy_is_checked_again():
    made = Recipe("r", [OUTLINE, Step("b", "{{ outline }}", ["outline"])])
    assert made.steps[1].needs == ("outline",)
    assert attrs.evolve(made, model="other").model == "other"
    with pytest.raises(RecipeError, match="field model"):
        attrs.evolve(made, model=" ")


def test_a_step_waits_once_for_a_list_that_it_also_reads():
    step = Step("s", "{{ item }} {{ outline }}", ("outline",), for_each="outline")
    assert recipe(OUTLINE, step).steps[1].waits_for == ("outline",)


@pytest.mark.parametrize(
    ("steps", "where", "what"),
    [
        ((), (None, "steps"), "at least one step"),
        ((Step("2a", "x"),), ("#1", "name"), "letters, digits"),
        ((Step("", "x"),), ("#1", "name"), "letters, digits"),
        ((Step("topic", "x"),), ("#1", "name"), "topic"),
        ((Step("error", "x"),), ("#1", "name"), "error"),  # only a post that failed has it as JSON
        ((Step("true", "x"),), ("#1", "name"), "Jinja"),
        ((Step("not", "x"),), ("#1", "name"), "Jinja"),
        ((Step("range", "x"),), ("#1", "name"), "Jinja"),
        ((Step("a", "  "),), ("a", "prompt"), "non-empty"),
        ((Step("a", "x"), Step("a", "y")), ("a", "name"), "rename"),
        ((Step("intro", "x"), Step("b", "y", ("intr",))), ("b", "needs"), 'mean "intro"'),
        ((Step("a", "x", for_each="nope"),), ("a", "for_each"), '"nope"'),
        ((Step("t", "x"), Step("a", "x", for_each="t")), ("a", "for_each"), 'make it "list"'),
        (
            (OUTLINE, Step("a", "x", for_each="outline"), Step("b", "x", for_each="a")),
            ("b", "for_each"),
            "for_each itself",
        ),
        ((OUTLINE, Step("a", "x", for_each="outline", shape="list")), ("a", "shape"), "for_each"),
        ((Step("a", "x", first=2),), ("a", "first"), "without for_each"),
        ((OUTLINE, Step("a", "x", for_each="outline", first=0)), ("a", "first"), "at least 1"),
        ((Step("a", "one\n{{ topic"),), ("a", "prompt"), "line 2"),
        ((Step("a", "{{ topic|shout }}"),), ("a", "prompt"), "shout"),
        ((Step("a", "{% include 'b' %}"),), ("a", "prompt"), "include"),
        ((Step("a", "{{ topics }}"),), ("a", "prompt"), 'mean "topic"'),
        ((OUTLINE, Step("a", "{{ outline }}")), ("a", "prompt"), "needs"),
        ((Step("a", "{{ item }}"),), ("a", "prompt"), '"item" is unknown'),
        ((Step("a", "x", "b"),), ("a", "needs"), "must be a list of names"),
        ((Step("a", "x", needs=3),), ("a", "needs"), "must be a list of names"),
        ((Step("a", "x", optional=1),), ("a", "optional"), "true or false, not 1"),
        ((Step("a", "x", shape="table"),), ("a", "shape"), "text, line, list"),
        ((Step("a", "x", max_tokens=True),), ("a", "max_tokens"), "whole number"),
        ((Step("a", "x", model=""),), ("a", "model"), "name of a model"),
    ],
)
def test_a_recipe_that_cannot_work_is_refused_with_its_place(steps, where, what):
    error = refusal(*steps)
    assert (error.step, error.field) == where
    assert what in error.problem
    assert str(error).startswith("recipe r, ")
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"model": ""}, "model"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"temperature": 2.5}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"system": ""}, "system"),
        ({"markdown": "{{ outlin }}"}, "markdown"),
        ({"markdown": "{{ outline"}, "markdown"),
    ],
)
def test_a_bad_setting_of_the_recipe_is_refused_by_name(fields, field):
    assert refusal(OUTLINE, **fields).field == field


@pytest.mark.parametrize("name", ["", "a b", "1st", 7])
def test_a_bad_name_of_the_recipe_is_refused(name):
    with pytest.raises(RecipeError, match="field name"):
        Recipe(name, (OUTLINE,))


def test_a_circle_is_spelled_out_from_its_first_step():
    steps = (
        Step("start", "x"),
        Step("a", "x", ("start", "b")),
        Step("b", "x", ("c",)),
        Step("c", "x", ("a",)),
    )
    error = refusal(*steps)
    assert "a -> b -> c -> a" in error.problem
    assert (error.step, error.field) == ("a", "needs")


def test_a_step_that_needs_itself_is_a_circle():
    assert "a -> a" in refusal(Step("a", "x", ("a",))).problem


def test_a_circle_can_go_through_for_each():
    error = refusal(
        Step("a", "x", for_each="b"), Step("b", "x", ("a",), shape="list"), Step("c", "x")
    )
    assert "a -> b -> a" in error.problem
    assert error.field == "for_each"


@given(st.integers(1, 8), st.data())
def test_any_circle_is_found_and_any_order_without_one_is_accepted(size, data):
    names = [f"s{n}" for n in range(size)]
    needs = {
        name: data.draw(st.lists(st.sampled_from(names), unique=True, max_size=2)) for name in names
    }

    def reaches(start: str, goal: str) -> bool:
        seen, queue = set(), [start]
        while queue:
            for need in needs[queue.pop()]:
                if need == goal:
                    return True
                if need not in seen:
                    seen.add(need)
                    queue.append(need)
        return False

    steps = tuple(Step(name, "x", tuple(needs[name])) for name in names)
    if not any(reaches(name, name) for name in names):
        recipe(*steps)
        return
    ring = refusal(*steps).problem.partition(": ")[2].partition(";")[0].split(" -> ")
    assert ring[0] == ring[-1]
    assert all(need in needs[name] for name, need in pairwise(ring))


TOML = """
name = "letter"
model = "m"
temperature = 1
[[steps]]
name = "points"
shape = "list"
prompt = "Points about {{ topic }}"
[[steps]]
name = "body"
needs = ["points"]
optional = true
max_tokens = 90
prompt = '''
{% for point in points %}
* {{ point }}
{% endfor %}'''
"""


def test_a_recipe_is_read_from_toml_and_the_same_from_json(tmp_path: Path):
    toml = tmp_path / "letter.toml"
    toml.write_text(TOML, encoding="utf-8")
    json = tmp_path / "letter.json"
    json.write_text(
        """{"name": "letter", "model": "m", "temperature": 1, "system": null, "steps": [
        {"name": "points", "shape": "list", "prompt": "Points about {{ topic }}"},
        {"name": "body", "needs": ["points"], "optional": true, "max_tokens": 90,
         "prompt": "{% for point in points %}\\n* {{ point }}\\n{% endfor %}"}]}""",
        encoding="utf-8",
    )
    assert load_recipe(toml) == load_recipe(str(json))
    assert load_recipe(toml).steps[1].needs == ("points",)


@pytest.mark.parametrize(
    ("text", "place", "what"),
    [
        ("name = \nmodel = 'm'", "", "line 1"),
        ('name = "r"', ", field steps", "missing"),
        ('name = "r"\nsteps = []', ", field steps", "at least one"),
        ('name = "r"\nsteps = "x"', ", field steps", "[[steps]]"),
        ('name = "r"\nsteps = ["x"]', ", field steps", "must hold steps, not 'x'"),
        ('[[steps]]\nname = "a"\nprompt = "x"', ", field name", "missing"),
        ('name = "r"\n[[steps]]\nname = "a"', ", step a, field prompt", "missing"),
        ('name = "r"\n[[steps]]\nprompt = "a"', ", step #1, field name", "missing"),
        (
            'name = "r"\n[[steps]]\nname = "a"\npromt = "x"',
            ", step a, field promt",
            'mean "prompt"',
        ),
        ('name = "r"\nmodle = "m"\nsteps = []', ", field modle", 'mean "model"'),
        (
            'name = "r"\n[[steps]]\nname = "a"\nprompt = 1979-05-27',
            ", step a, field prompt",
            "not datetime.date(1979, 5, 27)",
        ),
        (
            'name = "r"\n[[steps]]\nname = "a"\nprompt = "{{ b }}"',
            ", step a, field prompt",
            '"b" is unknown',
        ),
    ],
)
def test_a_bad_file_is_refused_with_file_step_and_field(tmp_path: Path, text, place, what):
    file = tmp_path / "mine.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        load_recipe(file)
    assert str(caught.value).startswith(f"recipe {file}{place}: ")
    assert what in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('{"name": "r",\n "steps": [}', "line 2"),
        ("[]", "JSON object"),
        ("[" * 200_000, "nested too deeply"),
    ],
)
def test_a_bad_json_file_is_refused(tmp_path: Path, text, what):
    file = tmp_path / "mine.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match=what):
        load_recipe(file)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path):
    with pytest.raises(RecipeError, match="the file does not exist"):
        load_recipe(tmp_path / "none.toml")
    with pytest.raises(RecipeError, match="cannot be read: Is a directory"):
        load_recipe(tmp_path)
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipe("a\0b")
    latin = tmp_path / "latin.toml"
    latin.write_bytes('name = "é"'.encode("latin-1"))
    with pytest.raises(RecipeError, match="is not UTF-8"):
        load_recipe(latin)


def test_a_template_cannot_reach_into_python():
    with pytest.raises(RecipeError, match='"open" is unknown'):
        recipe(Step("a", "{{ open('x') }}"))
