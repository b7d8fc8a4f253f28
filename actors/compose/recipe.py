"""A recipe: the steps that make a post, with their prompts and needs, and its validation.

A recipe is validated completely when it is created, so that no post fails halfway because of a
misspelt name. A step that needs an optional step starts when that step has ended. If the optional
step failed, its result is `none`, which a template can test: `{% if subtitle %}...{% endif %}`.
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

from ..storage import why_not_read
from .shape import SHAPES, StepShape
from .template import TemplateError, names_used


class RecipeError(ValueError):
    """A recipe is invalid. The text names the place, the problem and the remedy.

    Args:
        problem: the problem and the remedy, without the place.
        recipe: file of the recipe, or its name if it was not read from a file.
        step: name of the step at fault, or "#3" for the third step if it has no name; None if the
            problem is not in a step.
        field: the field at fault; None if the problem is not in one field.

    Attributes:
        problem: the problem and the remedy, without the place.
        recipe: file or name of the recipe.
        step: name or number of the step at fault, or None.
        field: the field at fault, or None.
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


class _Fault(Protocol):
    """Creates a `RecipeError` for a place in a recipe."""

    def __call__(self, problem: str, *, field: str) -> RecipeError: ...


# Other variables of a template, members of a post's JSON, and Jinja's name for the template.
_RESERVED = frozenset({"topic", "item", "index", "markdown", "stats", "error", "self"})


def _is_name(value: object) -> bool:
    """Return whether a step can have this name, which must be a free variable of a template."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
        return False
    try:  # Jinja's own names ("true", "range", "not") are not variables
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

_RECIPE_FIELDS: _Rules = {
    "name": (_is_recipe_name, 'a name of letters, digits, "_" and "-"'),
    "model": (_is_text, "the name of a model"),
    "max_tokens": (_is_count, "a whole number, at least 1"),
    "temperature": (_none_or(_is_temperature), "a number from 0 to 2"),
    "system": (_none_or(_is_text), "a non-empty text"),
    "markdown": (_none_or(_is_text), "a non-empty template"),
}
_STEP_FIELDS: _Rules = {
    "name": (
        _is_name,
        'a name of letters, digits and "_" that is not a name of Jinja and not one of '
        + ", ".join(sorted(_RESERVED)),
    ),
    "prompt": (_is_text, "a non-empty template"),
    "needs": (_are_texts, "a list of names of steps"),
    "optional": (_is_flag, "true or false"),
    "for_each": (_none_or(_is_text), "the name of a step"),
    "first": (_none_or(_is_count), "a whole number, at least 1"),
    "shape": (_is_shape, f"one of {', '.join(SHAPES)}"),
    "model": (_none_or(_is_text), "the name of a model"),
    "max_tokens": (_none_or(_is_count), "a whole number, at least 1"),
}


def _check_fields(part: object, rules: _Rules, fault: _Fault) -> None:
    """Check every field of a recipe or a step.

    Raises:
        RecipeError: a field is invalid; names the first one.
    """
    for field, (test, wanted) in rules.items():
        value: object = getattr(part, field)
        if not test(value):
            raise fault(f"must be {wanted}, not {reprlib.repr(value)}", field=field)


def _check_template(
    source: str, known: set[str], fault: _Fault, *, field: str, remedy: str
) -> None:
    """Check that a template can be parsed, and that all its variables are known.

    Args:
        source: the text of a Jinja2 template.
        known: the known variables.
        fault: creates the error.
        field: the field of the template, for the error.
        remedy: added to the text about an unknown variable.

    Raises:
        RecipeError: the template cannot be parsed, or has an unknown variable.
    """
    try:
        unknown = sorted(names_used(source) - known)
    except TemplateError as error:
        raise fault(str(error), field=field) from None
    if unknown:
        raise fault(
            f'"{unknown[0]}" is unknown here{_suggestion(unknown[0], known)}; known are '
            f"{', '.join(sorted(known))}{remedy}",
            field=field,
        )


def _suggestion(name: str, known: Iterable[str]) -> str:
    """Return a question that suggests the known name most similar to `name`; "" without one."""
    return "".join(f', did you mean "{near}"?' for near in get_close_matches(name, known, n=1))


T = TypeVar("T")


def _tuple(value: Sequence[T]) -> tuple[T, ...]:
    # Only a list is converted: tuple("ab") would be two names, and the recipe refuses other values.
    return tuple(value) if isinstance(value, list) else cast("tuple[T, ...]", value)


@attrs.frozen
class Step:
    """One step of a recipe: a call, or a call for each item of a list.

    A step is validated by its recipe, whose errors name the step.

    Args:
        name: name of its result in other steps, in templates and in the post.
        prompt: a Jinja2 template. Its variables are `topic` and the results of the steps that this
            one waits for; with `for_each` also `item` and `index`, which counts from 1.
        needs: names of the steps whose results the prompt uses.
        optional: whether the post continues without the step if it fails.
        for_each: name of a step of shape "list"; this step makes a call for each of its items.
        first: the most items to use; only with `for_each`.
        shape: how the response is read: "text", "line" or, without `for_each`, "list".
        model: the provider's name of the model; None uses the recipe's.
        max_tokens: the most tokens of a response; None uses the recipe's.
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
        """Names of the steps that must have ended before this one starts, without duplicates."""
        sources = self.needs if self.for_each is None else (*self.needs, self.for_each)
        return tuple(dict.fromkeys(sources))


@attrs.frozen
class Recipe:
    """The steps of a post, and the settings of their calls.

    Args:
        name: name of the recipe: letters, digits, "_" and "-".
        steps: at least one step, in the order of the members in the post's JSON.
        model: the provider's name of the model.
        max_tokens: the most tokens of a response.
        temperature: sampling temperature, 0 to 2; None uses the provider's default.
        system: system message of every call; None for no system message.
        markdown: a Jinja2 template of the finished post. Its variables are `topic` and the result
            of every step; the result of a step with `for_each` is a list of objects with `title`
            and `text`. Its filter `quoted` returns a YAML value. None puts every result under a
            heading.

    Raises:
        RecipeError: the recipe is invalid; the text names step, field and remedy.
    """

    name: str
    steps: tuple[Step, ...] = attrs.field(converter=_tuple)
    model: str = attrs.field(default="gpt-5.4-nano", kw_only=True)
    max_tokens: int = attrs.field(default=500, kw_only=True)
    temperature: float | None = attrs.field(default=None, kw_only=True)
    system: str | None = attrs.field(default=None, kw_only=True)
    markdown: str | None = attrs.field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        fault = functools.partial(RecipeError, recipe=str(self.name))
        _check_fields(self, _RECIPE_FIELDS, fault)
        for number, step in enumerate(_steps_of(self.steps, fault), 1):
            _check_step(step, functools.partial(fault, step=_label(step.name, number)))
        _check_needs(self.steps, self.name)
        _check_cycles(self)
        if self.markdown is not None:
            known = {"topic", *(step.name for step in self.steps)}
            _check_template(self.markdown, known, fault, field="markdown", remedy="")

    def with_max_tokens(self, tokens: int) -> "Recipe":
        """Return the recipe with the same limit for every step.

        Args:
            tokens: the most tokens of a response, which replaces the limits of single steps.

        Raises:
            RecipeError: the limit is below 1.
        """
        steps = tuple(attrs.evolve(step, max_tokens=None) for step in self.steps)
        return attrs.evolve(self, steps=steps, max_tokens=tokens)  # type: ignore[arg-type]  # mypy cannot solve its generic converter

    def graph(self) -> "TopologicalSorter[str]":
        """Return a sorter of the names of the steps by what they wait for, not prepared yet."""
        return TopologicalSorter({step.name: step.waits_for for step in self.steps})


def _label(name: object, number: int) -> str:
    """Return the label of a step in errors: its name, or its number if the name is invalid."""
    return str(name) if _is_name(name) else f"#{number}"


def _steps_of(steps: object, fault: _Fault) -> tuple[Step, ...]:
    if not isinstance(steps, tuple) or not steps:
        raise fault("must be a list of at least one step; write [[steps]] in TOML", field="steps")
    for step in cast("tuple[object, ...]", steps):
        if not isinstance(step, Step):
            raise fault(f"must hold steps, not {reprlib.repr(step)}", field="steps")
    return cast("tuple[Step, ...]", steps)


def _check_step(step: Step, fault: _Fault) -> None:
    _check_fields(step, _STEP_FIELDS, fault)
    known = {"topic", *step.waits_for}
    if step.for_each is not None:
        known |= {"item", "index"}
        if step.shape == "list":
            raise fault('must be "text" or "line" in a step with for_each', field="shape")
    elif step.first is not None:
        raise fault("has no effect without for_each; add for_each or remove first", field="first")
    remedy = "; add a step's name to needs to use its result"
    _check_template(step.prompt, known, fault, field="prompt", remedy=remedy)


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
                problem = f'there is no step "{need}"{_suggestion(need, by_name)}'
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
    """Read a recipe from a TOML file, or from a JSON file if its name ends in ".json".

    Its members are the fields of `Recipe`; each entry of `steps` has the fields of `Step`.

    Args:
        path: the TOML or JSON file of the recipe.

    Raises:
        RecipeError: the file cannot be read or is not a valid recipe; names the file, and the line
            or the step and field if there is one.
    """
    try:
        return _recipe(_members(Path(path)))
    except RecipeError as error:  # it names the recipe, but not the file
        raise RecipeError(
            error.problem, recipe=str(path), step=error.step, field=error.field
        ) from None


@functools.cache
def default_recipe() -> Recipe:
    """Return the recipe that Callsheet contains: a blog post of 11 calls.

    The critical path has 4 of them.
    """
    return load_recipe(Path(__file__).parent / "post.toml")


def _members(path: Path) -> dict[str, Any]:
    fault = functools.partial(RecipeError, recipe=str(path))
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise fault("the file does not exist; give the path of a .toml or .json file") from None
    except UnicodeDecodeError as error:
        raise fault(f"is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        reason = why_not_read(error) if isinstance(error, OSError) else error
        raise fault(f"cannot be read: {reason}") from None
    try:
        members: object = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise fault(f"is not TOML: {error}") from None
    except json.JSONDecodeError as error:
        raise fault(f"is not JSON: {error.msg} (line {error.lineno})") from None
    except RecursionError:
        raise fault("is nested too deeply for a recipe") from None
    if not isinstance(members, dict):
        raise fault("must be a JSON object with name and steps")
    return cast("dict[str, Any]", members)


def _recipe(members: dict[str, Any]) -> Recipe:
    fault = functools.partial(RecipeError, recipe=str(members.get("name")))
    _check_keys(members, Recipe, fault)
    tables: object = members["steps"]
    if not isinstance(tables, list):
        return Recipe(**members)  # it raises the error
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


def _check_keys(table: dict[str, Any], kind: type[Recipe | Step], fault: _Fault) -> None:
    fields = attrs.fields_dict(kind)
    for key in table:
        if key not in fields:
            near = _suggestion(key, fields)
            raise fault(f"is unknown{near}; the fields are {', '.join(fields)}", field=key)
    for name, field in fields.items():
        if field.default is attrs.NOTHING and name not in table:
            raise fault("is missing; add it", field=name)
