"""The variables that set settings: CALLSHEET_ and the path of the setting, such as limits.rpm."""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from pathlib import Path
from types import NoneType
from typing import get_args

import attrs

from .document import ConfigError
from .tables import is_scalar, read_value, settable_fields

PREFIX = "CALLSHEET_"
CONFIG_VARIABLE = f"{PREFIX}CONFIG"
"""Names the settings file."""

ADMIN_KEY_VARIABLE = f"{PREFIX}ADMIN_KEY"
"""Has the admin key of a gateway, unless its file names another variable."""

SHARED_URL_VARIABLE = f"{PREFIX}SHARED_URL"
"""Has the URL of the server that processes share, which may have a password."""

# that are no settings
_OTHERS = (CONFIG_VARIABLE, ADMIN_KEY_VARIABLE, f"{PREFIX}DEBUG", f"{PREFIX}PRICES")
_ALIKE = 0.88  # how much a name must resemble one that is known to be taken for a mistake
_TRUTHS: Mapping[str, bool] = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}

# The usual file of a ledger had this variable before there were others. It is also its switch.
_ALIASES: Mapping[tuple[str, ...], str] = {("ledger", "path"): f"{PREFIX}LEDGER"}


@attrs.frozen
class Variable:
    """A setting that a variable may have.

    Args:
        path: the names of the setting in the file, such as ("limits", "rpm").
        hint: the annotation of the field.
    """

    path: tuple[str, ...]
    hint: object


def variables_of(sections: Mapping[str, object]) -> dict[str, Variable]:
    """Return the settings that variables may have, by the name of the variable.

    Args:
        sections: the sections and single settings of a file, with their annotations.
    """
    found: dict[str, Variable] = {}
    for section, hint in sections.items():
        kind = policy_of(hint)
        if kind is None:
            if is_scalar(hint) and _name((section,)) not in _OTHERS:
                found[_name((section,))] = Variable((section,), hint)
            continue
        if get_args(hint) and _name((section,)) not in _ALIASES.values():
            found[_name((section,))] = Variable((section,), bool)
        for field, inner in settable_fields(kind).items():
            if is_scalar(inner):
                found[_name((section, field))] = Variable((section, field), inner)
    return found


def policy_of(hint: object) -> type[object] | None:
    """Return the attrs class of a section, which may be optional; None for another setting.

    Args:
        hint: the annotation of the section.
    """
    kinds: list[object] = [one for one in get_args(hint) if one is not NoneType]
    kind = kinds[0] if kinds else hint
    return kind if isinstance(kind, type) and attrs.has(kind) else None


def read_environment(
    sections: Mapping[str, object], environ: Mapping[str, str]
) -> dict[tuple[str, ...], tuple[str, object]]:
    """Return the settings in an environment: by their path, the variable and the value.

    An empty variable counts as unset. A variable that is none of these is ignored, unless its name
    resembles one of them, or is that of a setting which only a file can have.

    Args:
        sections: the sections and single settings of a file, with their annotations.
        environ: the variables of the process, others included.

    Raises:
        ConfigError: a value cannot be used, or a name looks like a mistake.
    """
    known = variables_of(sections)
    found: dict[tuple[str, ...], tuple[str, object]] = {}
    for name, text in environ.items():
        if not name.startswith(PREFIX) or name in _OTHERS or not text.strip():
            continue
        variable = known.get(name)
        if variable is None:
            if problem := _mistake(name, sections, known):
                raise ConfigError(problem, source=name)
            continue
        if name in _ALIASES.values() and (is_on := truth_of(text)) is not None:
            found[variable.path[:1]] = name, is_on
            continue
        value = _value(text.strip(), variable.hint)
        try:
            read_value(variable.hint, value, "", Path())
        except ConfigError as error:
            raise ConfigError(error.problem, source=name) from None
        found[variable.path] = name, value
    return found


def truth_of(text: str) -> bool | None:
    """Return whether a variable says true or false; None if it says something else.

    Args:
        text: the text of the variable.
    """
    return _TRUTHS.get(text.strip().lower())


def _mistake(
    name: str, sections: Mapping[str, object], known: Mapping[str, Variable]
) -> str | None:
    """Return what is wrong with an unknown variable; None if it may be one of another program."""
    tables = {one: kind for one, hint in sections.items() if (kind := policy_of(hint)) is not None}
    paths = {
        _name_of(section, field): (section, field)
        for section, kind in tables.items()
        for field in settable_fields(kind)
    }
    path = paths.get(name)
    if path is not None and path in _ALIASES:
        return f"is unknown; did you mean {_ALIASES[path]}?"
    if path is not None or name.startswith(_name_of("endpoints", "")):
        return f"is a setting that only a file can have ({CONFIG_VARIABLE} names one)"
    near = get_close_matches(name, [*known, *_OTHERS], 1, _ALIKE)
    if not near:  # the name of the section may be left out
        near = [one for one, variable in known.items() if name == _name_of(variable.path[-1])]
    if len(near) == 1:
        return f"is unknown; did you mean {near[0]}?"
    section = next((one for one in tables if name.startswith(_name_of(one, ""))), None)
    return f"is unknown; the section [{section}] has no such setting" if section else None


def _name_of(*path: str) -> str:
    return PREFIX + "_".join(path).upper()


def _name(path: tuple[str, ...]) -> str:
    return _ALIASES.get(path) or _name_of(*path)


def _value(text: str, hint: object) -> object:
    """Return the value of TOML that a text stands for, or the text if it stands for none."""
    kinds = [one for one in get_args(hint) if one is not NoneType] or [hint]
    if bool in kinds:
        is_on = truth_of(text)
        return text if is_on is None else is_on
    if int in kinds or float in kinds:
        try:
            return int(text)
        except ValueError:
            pass
        try:
            return Decimal(text)
        except InvalidOperation:
            return text
    return str(Path(text).expanduser().absolute()) if Path in kinds else text
