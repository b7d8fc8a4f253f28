"""Read a settings file, and a file of variables. Nothing in them may be a key (L8)."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from decimal import Decimal
from os import PathLike
from pathlib import Path
from typing import cast

import attrs

from ..actors import redact_secrets, why_not_read

_KEY_NAMES = frozenset({"api_key", "apikey", "key", "token", "secret", "password"})
_KEY_HEADERS = frozenset({"authorization", "proxy-authorization", "x-api-key", "api-key"})
_PRIVATE_KEY = "PRIVATE KEY-----"  # of a PEM file
_NO_KEYS = frozenset({"gateway.tls.key"})  # a path
_SHARED_URL = "shared.url"
_OF_HEADER = re.compile(r"\.headers\..*(auth|key|token|secret|cookie|password|credential)")


class ConfigError(ValueError):
    """A setting of a file or of a variable cannot be used. The text names both.

    Args:
        problem: what is wrong with it, and what to do.
        source: the file or the variable that has it; "" if that is not known yet.
        field: its path in the file, such as ``limits.rpm``; "" for the whole source.
    """

    def __init__(self, problem: str, *, source: str = "", field: str = "") -> None:
        super().__init__(": ".join(filter(None, (source, field, problem))))
        self.problem = problem
        self.source = source
        self.field = field


@attrs.frozen
class Document:
    """A settings file.

    Args:
        source: the path of the file as it was given, for errors.
        folder: what relative paths in it are relative to.
        members: the tables and single settings at its top, by name.
    """

    source: str = ""
    folder: Path = attrs.field(factory=Path)
    members: Mapping[str, object] = attrs.field(factory=dict[str, object])


def read_document(path: str | PathLike[str]) -> Document:
    """Read a TOML file. Fractions become decimals, so that amounts of money stay what they are.

    Args:
        path: the path of the file; a "~" at its beginning is the home folder.

    Raises:
        ConfigError: the file cannot be read, is not TOML, or has a key in it.
    """
    source = str(path)
    try:
        file = Path(path).expanduser()
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError("the file does not exist; check the path", source=source) from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"is not UTF-8 (byte {error.start}); save it as UTF-8", source=source
        ) from None
    except (OSError, ValueError, RuntimeError) as error:  # a zero byte; a home that is not known
        reason = why_not_read(error) if isinstance(error, OSError) else error
        raise ConfigError(f"cannot be read: {reason}", source=source) from None
    try:
        members: dict[str, object] = tomllib.loads(text, parse_float=Decimal)
        found = next(_keys(members, ""), None)
    except tomllib.TOMLDecodeError as error:
        hint = "; names of other characters than letters, digits, _ and - need quotes"
        needs = hint if "after a key" in str(error) else ""
        raise ConfigError(f"is not TOML: {error}{needs}", source=source) from None
    except RecursionError:
        raise ConfigError("is nested too deeply", source=source) from None
    except ValueError:  # Python's limit of 4,300 digits
        raise ConfigError("has a number of too many digits", source=source) from None
    if found == _SHARED_URL:
        problem = (
            "has a password, which does not belong in a file; put the URL into a variable of the "
            'environment, and name that here: url_env = "VARIABLE"'
        )
        raise ConfigError(problem, source=source, field=found)
    if found is not None:
        problem = (
            "looks like a key, which does not belong in a file; put it in a variable of the "
            'environment, and name that here: api_key_env = "VARIABLE" (of a header: headers_env; '
            "of a proxy: set HTTPS_PROXY)"
        )
        raise ConfigError(problem, source=source, field=found)
    return Document(source, file.absolute().parent, members)


def read_variables(path: str | PathLike[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Read a file of variables, each as ``NAME=value``, as it is often called ``.env``.

    Args:
        path: the path of the file.
        environ: the variables of the process, which ``${NAME}`` in a value may name.

    Returns:
        The variables of the file, without those that the environment has.

    Raises:
        ConfigError: the file cannot be read, or a line of it is no assignment.
    """
    from dotenv.parser import parse_stream  # noqa: PLC0415  # only few programs use it
    from dotenv.variables import parse_variables  # noqa: PLC0415

    source = str(path)
    found: dict[str, str] = {}
    try:
        with Path(path).expanduser().open(encoding="utf-8-sig") as file:
            for binding in parse_stream(file):
                if binding.error or (binding.key is not None and binding.value is None):
                    field = f"line {binding.original.line}"
                    raise ConfigError("must be NAME=value", source=source, field=field)
                if binding.key is None or binding.value is None or binding.key in environ:
                    continue  # a comment, or a variable that is set already
                known = {**found, **environ}
                atoms = parse_variables(binding.value)
                found[binding.key] = "".join(atom.resolve(known) for atom in atoms)
    except OSError as error:
        raise ConfigError(f"cannot be read: {why_not_read(error)}", source=source) from None
    except UnicodeDecodeError:
        raise ConfigError("is not UTF-8; save it as UTF-8", source=source) from None
    return found


def _keys(value: object, field: str, name: str = "") -> Iterator[str]:
    """Yield the path of each text that is a key by its name or by its form."""
    if isinstance(value, dict):
        for member, inner in cast("dict[str, object]", value).items():
            yield from _keys(inner, f"{field}.{member}" if field else member, member.lower())
    elif isinstance(value, list):
        for at, inner in enumerate(cast("list[object]", value), 1):
            yield from _keys(inner, f"{field}[{at}]", name)
    elif isinstance(value, str) and value:
        if _PRIVATE_KEY in value:
            yield field
            return
        is_named = name in _KEY_NAMES | _KEY_HEADERS and field not in _NO_KEYS
        is_named = is_named or _OF_HEADER.search(field.lower()) is not None
        if is_named or redact_secrets(None, "", {"value": value})["value"] != value:
            yield field
