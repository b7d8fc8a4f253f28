"""The work of a template is bounded: nothing can interrupt it in the event loop."""

import time
from datetime import date

import pytest
import trio
from fakes import MODEL, Script, requester

from callsheet.actors import Compose, PostComposerActor, StepFailed
from callsheet.actors.compose.recipe import Recipe, Step, default_recipe
from callsheet.actors.compose.sandbox import RenderTime
from callsheet.actors.compose.template import TemplateError, names_used, render
from callsheet.runtime import AskTimedOut

LOOPS = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
LONG = {
    "loops in loops": LOOPS,
    "a macro that calls itself twice": (
        "{% macro m(n) %}{% if n %}{{ m(n-1) }}{{ m(n-1) }}{% endif %}{% endmacro %}{{ m(60) }}"
    ),
    "a filter in a loop": "{% set r = range(99999) %}{% for i in r %}{{ r|sum }}{% endfor %}",
    "a search in a loop": "{% set r = [1] * 99999 %}{% for i in r %}{{ '' in r }}{% endfor %}",
    "a condition of a loop": "{% for i in range(99999) if range(99999)|sum %}{% endfor %}",
    "a test of each item": "{{ range(99999)|map('string')|select('in', range(99999)|list)|list }}",
    "many filters": "{{ range(99999)|sum }}" * 300,
}
GROW = (
    "{{% set n = namespace(x={start}) %}}{{% for i in range(99) %}}{{% set n.x = {next} %}}"
    "{{% endfor %}}"
)
LARGE = {
    "*": "{{ 'x' * 10000000000 }}",
    "* of a list": "{{ 10000000000 * [1] }}",
    "* again and again": GROW.format(start="9", next="n.x * n.x"),
    "**": "{{ 9 ** 999999999 }}",
    "~": GROW.format(start="'x'", next="n.x ~ n.x"),
    "+": GROW.format(start="[1]", next="n.x + n.x"),
    "%": "{{ '%999999999d' % 1 }}",
    "% with a width": "{{ '%*d' % (999999999, 1) }}",
    "the output": "{% set x = 'x' * 9999999 %}{% for i in range(999) %}{{ x }}{% endfor %}",
    "an output": "{{ ['x' * 9999999] * 99999 }}",
    "lists in lists": GROW.format(start="['x' * 999]", next="[n.x, n.x]") + "{{ n.x }}",
    "a macro": "{% macro m() %}{% for i in range(9999) %}{{ 'x' * 9999 }}{% endfor %}"
    "{% endmacro %}{{ m()|length }}",
}
FILTERS = {
    "batch": "[1]|batch(999999999, 0)",
    "center": "'x'|center(10**9)",
    "constant center": "'x'|center(1000000000)",
    "format": "'%999999999s'|format('x')",
    "indent": "'x'|indent(999999999, true)",
    "indent by a text": "('x\n' * 99999)|indent('x' * 99999)",
    "join": "(['x' * 99999] * 99999)|join",
    "join with a text": "range(99999)|join('x' * 99999)",
    "pprint": "(['x' * 99999] * 99999)|pprint",
    "quoted": "(['x' * 99999] * 99999)|quoted",
    "replace": "('x' * 99999)|replace('x', 'x' * 99999)",
    "round": "1.5|round(999999999, 'ceil')",
    "slice": "[1]|slice(999999999)|list",
    "string": "(['x' * 99999] * 99999)|string",
    "tojson": "{'a': 1}|tojson(indent=999999999)",
    "wordwrap": "('x ' * 99999)|wordwrap(1, true, 'x' * 99999)",
}
METHODS = {
    "center": "'x'.center(999999999)",
    "expandtabs": "('\t' * 99999).expandtabs(tabsize=99999)",
    "format": "'{:999999999}'.format(1)",
    "join": "('x' * 99999).join(range(9999)|map('string')|list)",
    "ljust": "'x'.ljust(999999999)",
    "replace": "('x' * 99999).replace('x', 'x' * 99999)",
    "rjust": "'x'|attr('rjust')(999999999)",
    "to_bytes": "(5).to_bytes(999999999, 'big')",
    "translate": "('x' * 99999).translate({120: 'x' * 99999})",
    "zfill": "'x'.zfill(999999999)",
}


@pytest.mark.parametrize("source", LONG.values(), ids=LONG)
def test_a_template_that_takes_too_long_fails(source):
    names_used(source)  # it is valid
    began = time.thread_time()
    with pytest.raises(TemplateError, match=r"takes more than 0.05 s of processor time; make its"):
        render(source, {}, RenderTime(0.05))
    assert time.thread_time() - began < 1.0


@pytest.mark.parametrize("source", LARGE.values(), ids=LARGE)
def test_a_template_that_makes_a_value_that_is_too_large_fails(source):
    names_used(source)  # constants are not computed here
    with pytest.raises(TemplateError, match="is too large"):
        render(source, {})


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_that_makes_a_value_that_is_too_large_is_named(name):
    began, word = time.thread_time(), name.split()[0 if name.split()[0] != "constant" else 1]
    with pytest.raises(TemplateError, match=f"a result of the filter {word} is too large"):
        render(f"{{{{ {FILTERS[name]} }}}}", {})
    assert time.thread_time() - began < 1.0


@pytest.mark.parametrize("name", METHODS)
def test_a_method_that_makes_a_value_that_is_too_large_is_named(name, monkeypatch):
    # A busy machine may take more than 0.5 s of processor time, which is another error.
    monkeypatch.setattr(RenderTime.__init__, "__defaults__", (5.0,))
    began = time.thread_time()
    with pytest.raises(TemplateError, match=rf"a result of {name}\(\) is too large"):
        render(f"{{{{ {METHODS[name]} }}}}", {})
    assert time.thread_time() - began < 2.0


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "calls itself too deeply"),
        ("{{ '%99999999999d' % 1 }}", "too (large|long)"),
    ],
)
def test_a_template_that_grows_without_end_is_said_to_do_so(source, words):
    with pytest.raises(TemplateError, match=words) as caught:
        render(source, {})
    assert "Error" not in str(caught.value)


@pytest.mark.parametrize("source", ["'x'|batch(1, 2, 3, 4)", "1.5|round('x')", "'%d'|format('x')"])
def test_a_filter_with_wrong_arguments_is_an_error_of_the_template(source):
    with pytest.raises(TemplateError, match=r"the template failed: (Type|Value)Error"):
        render(f"{{{{ {source} }}}}", {})


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{% for i in 'abc' %}{{ loop.index }}{{ i }}{{ loop.length }}{% endfor %}", "1a32b33c3"),
        ("{% for i in [1, 2]|map('string') %}{{ i }}{{ loop.last }}{% endfor %}", "1false2true"),
        ("{% for a, b in {'x': 1}.items() %}{{ a }}{{ b }}{% endfor %}", "x1"),
        ("{% for i in [] %}{% else %}none{% endfor %}", "none"),
        ("{% for i in [[1, []]] recursive %}{{ i[0] }}{{ loop(i[1]) }}{% endfor %}", "1"),
        (
            "{{ 2 ** 10 }}{{ 2 ** -1 }}{{ 'ab' * 2 }}{{ 1 + 1 }}{{ [1] + [2] }}",
            "10240.5abab2[1, 2]",
        ),
        ("{{ 'a' ~ 1 ~ none ~ topic }}", "a1NoneTea"),
        ("{{ 'a'|center(5) }}|{{ 'ab'|replace('b', 'c') }}{{ [1, 2]|join('-') }}", "a  |ac1-2"),
        ("{{ 'a'.ljust(3) }}{{ '%d of %s'|format(1234567890, 'x') }}", "a  1234567890 of x"),
        ("{{ '{:>4}'.format(7) }}{{ 3 % 2 }}{{ '%5.1f' % 2.25 }}", "71  2.2"),
        ("{% for row in [1, 2, 3]|batch(2, 0) %}{{ row }}{% endfor %}", "[1, 2][3, 0]"),
        (
            "{{ {'a': [1, none]}|tojson }}{{ 2.5|round|int }}{{ 'a b'|title }}",
            '{"a": [1, null]}2A B',
        ),
        ("{% filter upper %}a{% endfilter %}{{ 'b'|upper|quoted }}", 'A"B"'),
    ],
)
def test_what_other_templates_render_is_unchanged(source, text):
    assert render(source, {"topic": "Tea"}) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (False, "false"),
        (None, ""),
        ([True, None, "é"], '[true, null, "é"]'),
        ({"a": {"b": False}}, '{"a": {"b": false}}'),
        (1.0, "1.0"),
        ("True", "True"),
        ([date(2026, 1, 2)], "[datetime.date(2026, 1, 2)]"),  # JSON has no dates
    ],
)
def test_values_are_written_as_json_writes_them(value, text):
    assert render("{{ value }}", {"value": value}) == text
    assert render("{{ row.value }}", {"row": {"value": value}}) == text


def test_templates_that_share_a_time_have_it_once():
    left = RenderTime(0.1)
    with pytest.raises(TemplateError, match="takes more than"):
        render(LOOPS, {}, left)
    with pytest.raises(TemplateError, match="takes more than"):
        render("quick", {}, left)
    assert render("quick", {}) == "quick"


async def test_the_loops_of_a_recipe_obey_the_deadline_and_a_cancellation(
    autojump_clock, monkeypatch
):
    """Its other steps end, and the post fails for the step; nothing hangs."""
    monkeypatch.setattr(RenderTime.__init__, "__defaults__", (0.1,))
    steps = [Step("first", "Say x."), *(Step(f"s{n}", LOOPS, ("first",)) for n in range(9))]
    recipe = Recipe("r", steps, model=MODEL)
    began = time.thread_time()
    async with requester(Script()) as (ref, runtime):
        composer = await runtime.spawn("composer", lambda: PostComposerActor(ref, recipe))
        with pytest.raises(StepFailed, match="step 's0' failed: the template failed: rendering"):
            await composer.ask(Compose("Tea"))
        with trio.move_on_after(0.5) as scope:
            await composer.ask(Compose("Tea"))
        with pytest.raises(AskTimedOut):
            await composer.ask(Compose("Tea"), timeout=0.5)
    assert scope.cancelled_caught
    assert time.thread_time() - began < 5.0


async def test_optional_steps_share_the_time_of_their_post(autojump_clock, monkeypatch):
    monkeypatch.setattr(RenderTime.__init__, "__defaults__", (0.1,))
    steps = [Step(f"s{number}", LOOPS, optional=True) for number in range(50)]
    recipe = Recipe("r", [*steps, Step("last", "Say x.")], model=MODEL)
    began = time.thread_time()
    async with requester(Script()) as (ref, runtime):
        composer = await runtime.spawn("composer", lambda: PostComposerActor(ref, recipe))
        with pytest.raises(StepFailed, match="step 'last' failed"):  # no time is left for it
            await composer.ask(Compose("Tea"))
    assert time.thread_time() - began < 2.0  # 50 times 0.1 if they did not


def test_the_built_in_recipe_needs_little_of_the_time():
    began = time.thread_time()
    for step in default_recipe().steps:
        names_used(step.prompt)
    assert time.thread_time() - began < 0.5
