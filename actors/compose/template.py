"""The templates of a recipe: Jinja2 in a sandbox, with an error for every unknown variable.

A recipe may come from an untrusted source: its templates can access neither files nor Python's
internals. A misspelt variable is an error, and not a gap in a prompt that is paid for.
"""

import functools
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment, Template

    from .sandbox import RenderTime


class TemplateError(ValueError):
    """A template cannot be parsed, or failed with the values that it was given."""


def _quoted(value: object) -> str:
    """Return `value` as JSON, which is also YAML. Jinja's `tojson` would escape it for HTML."""
    return json.dumps(value, ensure_ascii=False)


@functools.cache
def _environment() -> "Environment":
    # Jinja2 is imported for the first template: a troupe that composes no post does not need it.
    from .sandbox import BoundedEnvironment  # noqa: PLC0415

    return BoundedEnvironment({"quoted": _quoted})


@functools.lru_cache(maxsize=256)  # compiling takes as long as some hundred renderings
def _compiled(source: str) -> "Template":
    return _environment().from_string(source)


def names_used(source: str) -> frozenset[str]:
    """Return the names of the variables of a template.

    Args:
        source: the text of a Jinja2 template.

    Raises:
        TemplateError: it cannot be parsed (names the line), uses an unknown filter or test, or
            refers to another template, which a recipe cannot contain.
    """
    from jinja2 import TemplateSyntaxError, meta  # noqa: PLC0415  # see `_environment`

    try:
        tree = _environment().parse(source)
        _compiled(source)
    except TemplateSyntaxError as error:
        raise TemplateError(f"line {error.lineno} of the template: {error.message}") from None
    if any(True for _ in meta.find_referenced_templates(tree)):
        raise TemplateError("a template cannot include, import or extend another one")
    return frozenset(meta.find_undeclared_variables(tree))


def new_render_time() -> "RenderTime":
    """Return the processor time that all templates of a post share: half a second."""
    from .sandbox import RenderTime  # noqa: PLC0415  # see `_environment`

    return RenderTime()


def render(source: str, values: Mapping[str, object], within: "RenderTime | None" = None) -> str:
    """Render a template; white space at the ends is removed.

    Args:
        source: the text of a Jinja2 template.
        values: the values of its variables, by name.
        within: the processor time that several templates share; None for half a second for
            this one.

    Raises:
        TemplateError: the template failed, for example because a value has the wrong type, or it
            takes too long.
    """
    from .sandbox import RenderTime, TooMuchWork  # noqa: PLC0415  # see `_environment`

    template = _compiled(source)
    try:
        with (within or RenderTime()).running():
            return template.render(values).strip()
    except TooMuchWork as error:
        raise TemplateError(f"the template failed: {error}") from error
    except MemoryError as error:
        raise TemplateError("the template failed: it makes a text that is too long") from error
    except RecursionError as error:
        raise TemplateError(
            "the template failed: it is nested or calls itself too deeply"
        ) from error
    except Exception as error:  # an expression in a template can raise anything
        raise TemplateError(f"the template failed: {type(error).__name__}: {error}") from error
