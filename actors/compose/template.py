"""The templates of a recipe: Jinja2 in a sandbox, strict about the names they use.

A recipe is often somebody else's file, so that its templates reach neither files nor Python's
insides; and a misspelt name is an error rather than a gap in a prompt that is paid for.
"""

import functools
import json
from collections.abc import Mapping

from jinja2 import StrictUndefined, Template, TemplateSyntaxError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

__all__ = [
    "TemplateError",
    "names_used",
    "render",
]


class TemplateError(ValueError):
    """A template that cannot be read, or that failed on the values it was given."""


def _quoted(value: object) -> str:
    """`value` as JSON, which is YAML too. Jinja's own `tojson` escapes for HTML as well."""
    return json.dumps(value, ensure_ascii=False)


def _nothing_for_none(value: object) -> object:
    return "" if value is None else value


_environment = ImmutableSandboxedEnvironment(
    autoescape=False,  # the output is a prompt or Markdown, never HTML
    undefined=StrictUndefined,
    finalize=_nothing_for_none,  # "None" is Python's word, and no prompt means it
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters["quoted"] = _quoted


@functools.lru_cache(maxsize=256)  # compiling costs as much as some hundred renderings
def _compiled(source: str) -> Template:
    return _environment.from_string(source)


def names_used(source: str) -> frozenset[str]:
    """The names that a template looks up in the values it is given.

    Raises:
        TemplateError: it does not parse (with the line), names an unknown filter or test, or
            refers to another template, which a recipe cannot bring along.
    """
    try:
        tree = _environment.parse(source)
        _compiled(source)
    except TemplateSyntaxError as error:
        raise TemplateError(f"line {error.lineno} of the template: {error.message}") from None
    if any(True for _ in meta.find_referenced_templates(tree)):
        raise TemplateError("a template cannot include, import or extend another one")
    return frozenset(meta.find_undeclared_variables(tree))


def render(source: str, values: Mapping[str, object]) -> str:
    """The template filled in, without white space at its ends.

    Raises:
        TemplateError: a value is not what the template takes it for.
    """
    try:
        return _compiled(source).render(values).strip()
    except Exception as error:  # an expression in a template can raise anything
        raise TemplateError(f"the template failed: {type(error).__name__}: {error}") from error
