"""Make the settings of a troupe from a file and from the variables of the environment."""

import os
from collections.abc import Callable, Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import attrs

from ..actors import (
    BatchApiPolicy,
    Batching,
    BreakerPolicy,
    CachePolicy,
    Endpoint,
    HedgePolicy,
    LedgerPolicy,
    Limits,
    Packing,
    PriceBook,
    PriceError,
    RecipeError,
    RetryPolicy,
    Routing,
    ThrottlePolicy,
    Timeouts,
    TroupeSettings,
    default_prices,
    load_recipe,
)
from ..endpoints import choose_endpoint
from .document import ConfigError, Document, read_document
from .endpoints import ChosenEndpoint, EndpointTables
from .shared import SHARED, SharedTable
from .tables import as_table, check_names, explained, read_value
from .variables import CONFIG_VARIABLE, read_environment

if TYPE_CHECKING:
    from ..actors import SharedStores

SECTIONS: Mapping[str, object] = {
    "limits": Limits,
    "timeouts": Timeouts,
    "retry": RetryPolicy,
    "throttle": ThrottlePolicy | None,
    "breaker": BreakerPolicy | None,
    "hedging": HedgePolicy | None,
    "cache": CachePolicy | None,
    "ledger": LedgerPolicy | None,
    "batching": Batching,
    "packing": Packing | None,
    "batches": BatchApiPolicy | None,
    "routing": Routing,
    "prompt_caching": Literal["off", "order", "auto"],
    "prices": Path,
    "recipe": Path,
    SHARED: SharedTable,
    "inspect": Path,
    "streaming": bool,
    "max_concurrent_posts": int,
    "max_waiting_calls": int,
    "max_in_flight": int | None,
    "max_waiting_batches": int,
}
"""The sections and single settings of a file besides the endpoints, with what they have."""

GATEWAY_SECTIONS = ("gateway", "models", "keys")
"""The sections that only `callsheet serve` reads; the same file may serve other programs."""

_FILES = ("prices", "recipe")  # that are read with the settings
_OF_ENDPOINTS: Mapping[str, object] = {"endpoint": str}


@attrs.frozen(kw_only=True)
class Config:
    """What a settings file and the environment say.

    Args:
        source: the path of the file; "" without one.
        chosen: the endpoint of the file, and what is behind it.
        values: the other settings, by the name of the field of `TroupeSettings`.
        variables: the variable of each setting that one has, by the path of the setting.
        files: the files that it names, "prices" and "recipe", which are in `values` as well.
        further: the sections that the caller has asked for besides, by their names.
        members: the tables and single settings at the top of the file, as TOML has them.
        endpoints: the tables of its endpoints, of which a program can make several.
        shared: the table ``[shared]``, whose stores are in `values` if it has a URL.
    """

    source: str = ""
    chosen: ChosenEndpoint = attrs.field(factory=ChosenEndpoint)
    values: Mapping[str, object] = attrs.field(factory=dict[str, object])
    variables: Mapping[str, str] = attrs.field(factory=dict[str, str])
    files: Mapping[str, Path] = attrs.field(factory=dict[str, Path])
    further: Mapping[str, object] = attrs.field(factory=dict[str, object])
    members: Mapping[str, object] = attrs.field(factory=dict[str, object], repr=False)
    endpoints: EndpointTables = attrs.field(factory=EndpointTables)
    shared: SharedTable = attrs.field(factory=SharedTable)

    @property
    def folder(self) -> Path:
        """What relative paths in the file are relative to."""
        return self.endpoints.folder

    @property
    def stores(self) -> "SharedStores | None":
        """What the table ``[shared]`` names; None if nothing is shared."""
        return cast("SharedStores | None", self.values.get(SHARED))

    @property
    def endpoint_reason(self) -> str:
        """Where the endpoint is from, such as "callsheet.toml: endpoints.main"."""
        return f"{self.source}: {self.chosen.field}"

    def apply(
        self, settings: TroupeSettings, *, but: Iterable[str] = (), is_chosen: bool = True
    ) -> TroupeSettings:
        """Return settings with what the file and the environment say.

        Args:
            settings: the settings that hold where they say nothing.
            but: fields of these settings that stay as they are.
            is_chosen: whether the endpoint of the settings is that of the file, so that its limits
                and its fallbacks apply.

        Raises:
            ConfigError: the settings do not fit together.
        """
        values = dict(self.values)
        if is_chosen and self.chosen.endpoint is not None:
            values["fallbacks"] = self.chosen.fallbacks
            values["member_limits"] = self.chosen.member_limits
            if self.chosen.limits is not None:
                values["limits"] = self.chosen.limits
        for name in but:
            values.pop(name, None)
        try:
            return cast("Callable[..., TroupeSettings]", attrs.evolve)(settings, **values)
        except (ValueError, TypeError) as error:
            raise located(explained(error, "", values), self.source, self.variables) from None


def read_config(
    path: str | PathLike[str] | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    with_endpoint: bool = True,
    further: Mapping[str, object] | None = None,
) -> Config:
    """Read a settings file and the CALLSHEET_ variables, which override it.

    Args:
        path: the file; None for the one that the variable CALLSHEET_CONFIG names, if it is set.
        environ: the environment; None for that of the process.
        with_endpoint: whether to read the endpoint of the file, whose key must be set then.
        further: sections besides those of a troupe, which variables can set as well: the class of
            each.

    Raises:
        ConfigError: the file or a variable cannot be used.
    """
    environ = os.environ if environ is None else environ
    document = _document(path, environ)
    further = further or {}
    sections = {**SECTIONS, **further}
    given = read_environment({**sections, **_OF_ENDPOINTS}, environ)
    variables = {".".join(setting): name for setting, (name, _) in given.items()}
    try:
        _check_sections(document.members)
        members = _merged(document.members, given)
        values = {
            name: read_value(sections[name], value, name, document.folder)
            for name, value in members.items()
            if name in sections
        }
        files = {name: cast("Path", values[name]) for name in _FILES if name in values}
        values |= {name: _loaded(name, file) for name, file in files.items()}
        shared = cast("SharedTable", values.pop(SHARED, SharedTable()))
        shared = shared.overridden({path[1] for path in given if path[0] == SHARED and path[1:]})
        if (stores := shared.stores(environ)) is not None:
            values[SHARED] = stores
        given_limits = {path[1]: value for path, (_, value) in given.items() if path[0] == "limits"}
        endpoints = EndpointTables.of(document, given_limits, environ)
        chosen = ChosenEndpoint()
        if with_endpoint:
            chosen = endpoints.choose(members.get("endpoint"))
    except ConfigError as error:
        raise located(error, document.source, variables) from None
    return Config(
        source=document.source,
        chosen=chosen,
        values={name: value for name, value in values.items() if name in SECTIONS},
        variables=variables,
        files=files,
        further={name: value for name, value in values.items() if name in further},
        members=members,
        endpoints=endpoints,
        shared=shared,
    )


def load_settings(
    path: str | PathLike[str] | None = None, *, environ: Mapping[str, str] | None = None
) -> TroupeSettings:
    """Return the settings of a troupe from a TOML file and from CALLSHEET_ variables.

    A variable overrides the file. A program that sets a field itself, by ``attrs.evolve``,
    overrides both.

    Args:
        path: the file; None for the one that the variable CALLSHEET_CONFIG names, or for variables
            alone. Relative paths in it are relative to its folder.
        environ: the environment, which also has the keys; None for that of the process.

    Raises:
        ConfigError: a setting cannot be used, or no endpoint is configured; the text names the file
            or the variable, and the field. It is a ValueError.
    """
    config = read_config(path, environ)
    endpoint = config.chosen.endpoint or _endpoint_of(environ)
    return config.apply(TroupeSettings(endpoint=endpoint))


def _document(path: str | PathLike[str] | None, environ: Mapping[str, str]) -> Document:
    """Read the file that is given, or the one that the environment names."""
    if path:
        return read_document(path)
    named = environ.get(CONFIG_VARIABLE, "").strip()
    try:
        return read_document(named) if named else Document()
    except ConfigError as error:
        source = f"{CONFIG_VARIABLE}: {error.source}"
        raise ConfigError(error.problem, source=source, field=error.field) from None


def _check_sections(members: Iterable[str]) -> None:
    known = ("endpoint", "endpoints", *SECTIONS, *GATEWAY_SECTIONS)
    for name in members:
        if name not in known and name in attrs.fields_dict(TroupeSettings):
            raise ConfigError(
                f"cannot be in a file; a program sets it: attrs.evolve(load_settings(...), "
                f"{name}=...)",
                field=name,
            )
    check_names(members, known, "")


def _endpoint_of(environ: Mapping[str, str] | None) -> Endpoint:
    """Return the endpoint that the environment names, as for `open_endpoint`."""
    try:
        choice = choose_endpoint(environ=environ)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if choice.endpoint is None:
        raise ConfigError(
            'no endpoint is configured; add [endpoints.main] with provider = "..." to a settings '
            "file, or set OPENAI_API_KEY or OPENAI_BASE_URL"
        )
    return choice.endpoint


def located(error: ConfigError, source: str, variables: Mapping[str, str]) -> ConfigError:
    """Return an error with the file or the variable that has the setting.

    Args:
        error: the error, which names the setting by its path.
        source: the path of the file; "" without one.
        variables: the variable of each setting that one has, by the path of the setting.
    """
    if error.field in variables:
        return ConfigError(error.problem, source=variables[error.field])
    return ConfigError(error.problem, source=source, field=error.field)


def _merged(
    members: Mapping[str, object], given: Mapping[tuple[str, ...], tuple[str, object]]
) -> Mapping[str, object]:
    """Return the members of a file with what variables say instead."""
    found = dict(members)
    for (section, *rest), (_, value) in sorted(given.items(), key=lambda item: len(item[0])):
        if not rest:
            found[section] = value
            continue
        table = found.get(section)
        is_switch = table is None or isinstance(table, bool)
        inner: Mapping[str, object] = {} if is_switch else as_table(table, section)
        found[section] = {**inner, rest[0]: value}
    return found


def _loaded(name: str, file: Path) -> object:
    """Return what a file that is named in the settings has."""
    try:
        return load_recipe(file) if name == "recipe" else PriceBook.load(file, default_prices())
    except (PriceError, RecipeError) as error:
        raise ConfigError(str(error).removeprefix("recipe "), field=name) from None
