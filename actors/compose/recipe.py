"""A recipe: the calls that make a post, as data.

A recipe names its steps, what each asks the model, and what it needs first. Whatever can be wrong
with it is found when it is made, so that a post never fails halfway for a misspelt name.

A step that needs an optional one starts when that one has ended, well or not. If it failed, its
result is `none`, and the template says what to do then: `{% if subtitle %}...{% endif %}`.

What each field of a recipe and its steps may hold, and the error that says it does not.
"""

import functools
import json
import math
import re
import reprlib
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from graphlib import CycleError, TopologicalSorter
from os import PathLike
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import attrs

from .shape import SHAPES, StepShape
from .template import TemplateError, names_used

__all__ = [
    "RECIPE_FIELDS",
    "STEP_FIELDS",
    "Recipe",
    "RecipeError",
    "RecipeFault",
    "Step",
    "check_fields",
    "check_template",
    "default_recipe",
    "is_name",
    "load_recipe",
    "meant",
]


class RecipeError(ValueError):
    """A recipe that cannot be used. Its text says where the fault is and what to do about it.

    Attributes:
        problem: what is wrong, without the place.
        recipe: the recipe's file or, if it was not read from one, its name.
        step: the name of the step at fault, or "#3" for the third if it has none.
        field: the field at fault.
    """

    def __init__(
        self, problem: str, *, recipe: str, step: str | None = None, field: str | None = None
    ) -> None:
        place = f"recipe {recipe}"
        if step is not None:
            place += f", step {step}"
        if field is not None:
            place += f", field {field}"
        super().__init__(f"{place}: {problem}")
        self.problem = problem
        self.recipe = recipe
        self.step = step
        self.field = field


class RecipeFault(Protocol):
    """`RecipeError` with the place filled in, as far as it is known."""

    def __call__(self, problem: str, *, field: str) -> RecipeError: ...  # noqa: D102 - see above


# What a template finds besides results, the post's own members, and Jinja's name for a template.
_RESERVED = frozenset({"topic", "item", "index", "markdown", "stats", "self"})


def is_name(value: object) -> bool:
    """Whether a step can have this name: a template must be able to look it up."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
        return False
    try:  # Jinja's own words ("true", "range", "not") can never be looked up
        return value not in _RESERVED and value in names_used(f"{{{{ {value} }}}}")
    except TemplateError:
        return False


def _is_recipe_name(value: object) -> bool:
    return isinstance(value, str) and bool(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", value))


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_temperature(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return math.isfinite(value) and 0 <= value <= 2  # noqa: PLR2004 - the range of the API


def _is_shape(value: object) -> bool:
    return value in SHAPES


def _are_texts(value: object) -> bool:
    return isinstance(value, tuple) and all(map(_is_text, cast("tuple[object, ...]", value)))


def _none_or(test: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or test(value)


_Rules = Mapping[str, tuple[Callable[[object], bool], str]]  # {field: (test, what it must be)}

RECIPE_FIELDS: _Rules = {
    "name": (_is_recipe_name, 'a name of letters, digits, "_" and "-"'),
    "model": (_is_text, "the name of a model"),
    "max_tokens": (_is_count, "a whole number, at least 1"),
    "temperature": (_none_or(_is_temperature), "a number from 0 to 2"),
    "system": (_none_or(_is_text), "a text that is not empty"),
    "markdown": (_none_or(_is_text), "a template that is not empty"),
}
STEP_FIELDS: _Rules = {
    "name": (
        is_name,
        'a name of letters, digits and "_", and none of Jinja\'s own words nor of '
        + ", ".join(sorted(_RESERVED)),
    ),
    "prompt": (_is_text, "a template that is not empty"),
    "needs": (_are_texts, "a list of names of steps"),
    "optional": (_is_flag, "true or false"),
    "for_each": (_none_or(_is_text), "the name of a step"),
    "first": (_none_or(_is_count), "a whole number, at least 1"),
    "shape": (_is_shape, f"one of {', '.join(SHAPES)}"),
    "model": (_none_or(_is_text), "the name of a model"),
    "max_tokens": (_none_or(_is_count), "a whole number, at least 1"),
}


def check_fields(part: object, rules: _Rules, fault: RecipeFault) -> None:
    """Hold every field of a recipe or a step against its rule.

    Raises:
        RecipeError: for the first field that breaks it.
    """
    for field, (test, wanted) in rules.items():
        value: object = getattr(part, field)
        if not test(value):
            raise fault(f"must be {wanted}, not {reprlib.repr(value)}", field=field)


def check_template(
    source: str, known: set[str], fault: RecipeFault, *, field: str, remedy: str
) -> None:
    """Refuse a template that does not parse, or that uses a name it will not find.

    Raises:
        RecipeError: either is so.
    """
    try:
        unknown = sorted(names_used(source) - known)
    except TemplateError as error:
        raise fault(str(error), field=field) from None
    if unknown:
        raise fault(
            f'"{unknown[0]}" is not known here{meant(unknown[0], known)}; known are '
            f"{', '.join(sorted(known))}{remedy}",
            field=field,
        )


def meant(name: str, known: Iterable[str]) -> str:
    """A question about the known name that is most like an unknown one, if any is."""
    return "".join(f', did you mean "{near}"?' for near in get_close_matches(name, known, n=1))


T = TypeVar("T")


def _tuple(value: Sequence[T]) -> tuple[T, ...]:
    # Whatever is no list stays as it is, for the recipe to refuse: tuple("ab") would be two names.
    return tuple(value) if isinstance(value, list) else cast("tuple[T, ...]", value)


@attrs.frozen
class Step:
    """What a recipe asks the model for, once or for each item of a list.

    A step is checked by the recipe that it becomes part of, which can say where it stands.

    Args:
        name: what other steps, templates and the finished post call its result.
        prompt: a Jinja2 template over `topic` and the results of the steps it waits for; with
            `for_each` also over `item` and `index`, which counts from 1.
        needs: the steps whose results the prompt is made of.
        optional: the post goes on without it when it fails.
        for_each: a step of shape "list": this one makes one call for each of its items.
        first: with `for_each`, how many items to take at most.
        shape: how the answer is read: "text", "line" or, without `for_each`, "list".
        model: the model to ask, if another than the recipe's.
        max_tokens: the most tokens an answer may have, if another figure than the recipe's.
    """

    name: str
    prompt: str
    needs: tuple[str, ...] = attrs.field(default=(), converter=_tuple)
    optional: bool = attrs.field(default=False, kw_only=True)
    for_each: str | None = attrs.field(default=None, kw_only=True)
    first: int | None = attrs.field(default=None, kw_only=True)
    shape: StepShape = attrs.field(default="text", kw_only=True)
    model: str | None = attrs.field(default=None, kw_only=True)
    max_tokens: int | None = attrs.field(default=None, kw_only=True)

    @property
    def waits_for(self) -> tuple[str, ...]:
        """The steps that must have ended before this one starts, each once."""
        sources = self.needs if self.for_each is None else (*self.needs, self.for_each)
        return tuple(dict.fromkeys(sources))


@attrs.frozen
class Recipe:
    """The steps of a post, and how the model is asked.

    Args:
        name: letters, digits, "_" and "-".
        steps: at least one, in the order in which a reader of the post's JSON meets them.
        model: the provider's name of the model that the steps ask.
        max_tokens: the most tokens an answer may have.
        temperature: 0 to 2; None leaves it to the provider.
        system: the system turn of every call.
        markdown: a Jinja2 template of the finished post over `topic` and every step's result; that
            of a step with `for_each` is a list of objects with `title` and `text` here. Its filter
            `quoted` makes a YAML value. None puts every result under a heading of its own.

    Raises:
        RecipeError: something does not fit; the text names step and field and what to do.
    """

    name: str
    steps: tuple[Step, ...] = attrs.field(converter=_tuple)
    model: str = attrs.field(default="gpt-3.5-turbo", kw_only=True)
    max_tokens: int = attrs.field(default=500, kw_only=True)
    temperature: float | None = attrs.field(default=None, kw_only=True)
    system: str | None = attrs.field(default=None, kw_only=True)
    markdown: str | None = attrs.field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        fault = functools.partial(RecipeError, recipe=str(self.name))
        check_fields(self, RECIPE_FIELDS, fault)
        for number, step in enumerate(_steps_of(self.steps, fault), 1):
            _check_step(step, functools.partial(fault, step=_label(step.name, number)))
        _check_needs(self.steps, self.name)
        _check_cycles(self)
        if self.markdown is not None:
            known = {"topic", *(step.name for step in self.steps)}
            check_template(self.markdown, known, fault, field="markdown", remedy="")

    def graph(self) -> "TopologicalSorter[str]":
        """The steps' names, each after those it waits for, ready to be prepared."""
        return TopologicalSorter({step.name: step.waits_for for step in self.steps})


def _label(name: object, number: int) -> str:
    """What an error calls a step: its name, or its place if that is no name."""
    return str(name) if is_name(name) else f"#{number}"


def _steps_of(steps: object, fault: RecipeFault) -> tuple[Step, ...]:
    if not isinstance(steps, tuple) or not steps:
        raise fault("must be a list of at least one step; write [[steps]] in TOML", field="steps")
    for step in cast("tuple[object, ...]", steps):
        if not isinstance(step, Step):
            raise fault(f"must hold steps, not {reprlib.repr(step)}", field="steps")
    return cast("tuple[Step, ...]", steps)


def _check_step(step: Step, fault: RecipeFault) -> None:
    check_fields(step, STEP_FIELDS, fault)
    known = {"topic", *step.waits_for}
    if step.for_each is not None:
        known |= {"item", "index"}
        if step.shape == "list":
            raise fault('must be "text" or "line" in a step with for_each', field="shape")
    elif step.first is not None:
        raise fault("means nothing without for_each; add that or remove this", field="first")
    remedy = "; add a step's name to needs to use its result"
    check_template(step.prompt, known, fault, field="prompt", remedy=remedy)


def _check_needs(steps: tuple[Step, ...], recipe: str) -> None:
    by_name: dict[str, Step] = {}
    for step in steps:
        if step.name in by_name:
            problem = "two steps have this name; rename one of them"
            raise RecipeError(problem, recipe=recipe, step=step.name, field="name")
        by_name[step.name] = step
    for step in steps:
        fault = functools.partial(RecipeError, recipe=recipe, step=step.name)
        for need in step.waits_for:
            if need not in by_name:
                field = "needs" if need in step.needs else "for_each"
                problem = f'there is no step "{need}"{meant(need, by_name)}'
                raise fault(f"{problem}; there are {', '.join(by_name)}", field=field)
        if step.for_each is None:
            continue
        source = by_name[step.for_each]
        if source.for_each is not None:
            problem = f'"{source.name}" has for_each itself; take a step that makes one list'
            raise fault(problem, field="for_each")
        if source.shape != "list":
            problem = f'the shape of "{source.name}" is {source.shape}; make it "list"'
            raise fault(problem, field="for_each")


def _check_cycles(recipe: Recipe) -> None:
    try:
        recipe.graph().prepare()
    except CycleError as error:
        ring = cast("list[str]", error.args[1])[:0:-1]  # the other way round, the end not twice
        order = [step.name for step in recipe.steps]
        start = min(range(len(ring)), key=lambda place: order.index(ring[place]))
        ring = [*ring[start:], *ring[: start + 1]]
        raise RecipeError(
            f"the steps need each other in a circle: {' -> '.join(ring)}; remove one need",
            recipe=recipe.name,
            step=ring[0],
            field="needs" if ring[1] in recipe.steps[order.index(ring[0])].needs else "for_each",
        ) from None


def load_recipe(path: str | PathLike[str]) -> Recipe:
    """Read a recipe from a file of TOML or, if its name ends in ".json", of JSON.

    Its members are the fields of `Recipe`, and those of `Step` in each of `steps`.

    Raises:
        RecipeError: the file cannot be read, or what it says is no recipe; names the file and, as
            far as there is one, the line or the step and the field.
    """
    try:
        return _recipe(_members(Path(path)))
    except RecipeError as error:  # which knows the recipe by its name, or not at all
        raise RecipeError(
            error.problem, recipe=str(path), step=error.step, field=error.field
        ) from None


@functools.cache
def default_recipe() -> Recipe:
    """The blog post that Callsheet brings along: 11 calls, 4 of them on its critical path."""
    return load_recipe(Path(__file__).parent / "post.toml")


def _members(path: Path) -> dict[str, Any]:
    fault = functools.partial(RecipeError, recipe=str(path))
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise fault("there is no such file; give the path of a .toml or .json file") from None
    except UnicodeDecodeError as error:
        raise fault(f"is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        reason = error.strerror if isinstance(error, OSError) else error
        raise fault(f"cannot be read: {reason}") from None
    try:
        members: object = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise fault(f"is not TOML: {error}") from None
    except json.JSONDecodeError as error:
        raise fault(f"is not JSON: {error.msg} (line {error.lineno})") from None
    except RecursionError:
        raise fault("is nested too deeply to be a recipe") from None
    if not isinstance(members, dict):
        raise fault("must be a JSON object with name and steps")
    return cast("dict[str, Any]", members)


def _recipe(members: dict[str, Any]) -> Recipe:
    fault = functools.partial(RecipeError, recipe=str(members.get("name")))
    _check_keys(members, Recipe, fault)
    tables: object = members["steps"]
    if not isinstance(tables, list):
        return Recipe(**members)  # which refuses it
    steps: list[object] = []
    for number, table in enumerate(cast("list[object]", tables), 1):
        if isinstance(table, dict):
            fields = cast("dict[str, Any]", table)
            label = _label(fields.get("name"), number)
            _check_keys(fields, Step, functools.partial(fault, step=label))
            steps.append(Step(**fields))
        else:
            steps.append(table)
    members["steps"] = steps
    return Recipe(**members)


def _check_keys(table: dict[str, Any], kind: type[Recipe | Step], fault: RecipeFault) -> None:
    fields = attrs.fields_dict(kind)
    for key in table:
        if key not in fields:
            near = meant(key, fields)
            raise fault(f"is unknown{near}; the fields are {', '.join(fields)}", field=key)
    for name, field in fields.items():
        if field.default is attrs.NOTHING and name not in table:
            raise fault("is missing; add it", field=name)
