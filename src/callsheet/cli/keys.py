"""`callsheet keys`: create, list and revoke the keys of a gateway."""

import json
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import attrs
import click
import trio
from rich.console import Console

from ..actors import StorageError
from ..config import ConfigError
from ..gateway.file import read_key_settings
from ..gateway.keys import (
    ALLOWABLE,
    NO_SERVER,
    SHARED_KEYS,
    ApiKey,
    InvalidKey,
    IssuedKey,
    KeyPlace,
    KeyStore,
    KeyTerms,
    default_key_store,
    key_store,
)
from ..gateway.keys.report import CreatedKey, KeyList, ListedKey, keys_table, moment
from ..wording import printable
from .key_options import CommaTexts, TimeAhead, store_options, wall_clock
from .parameters import ABOVE_ZERO
from .sections import HelpfulGroup, SectionedCommand, option

_REFUSED = 2
_NOTHING = "none"
_ANOTHER = "give another --store"


json_option: Callable[[Callable[..., object]], Callable[..., object]] = option(
    "--json", "as_json", section="Output", is_flag=True, help="Write one JSON object to stdout."
)


@click.group(
    cls=HelpfulGroup,
    short_help="Create, list and revoke the keys of a gateway.",
    page="docs/gateway.md",
    examples=("keys create team-a --weight 2 --budget 25/day", "keys list", "keys revoke team-a"),
)
def keys() -> None:
    """Create, list and revoke the keys of a gateway (callsheet serve).

    The store has hashes of the keys: a key is shown once, when it is created.
    """


@keys.command(
    cls=SectionedCommand,
    short_help="Create a key, and print it.",
    page="docs/gateway.md",
    examples=(
        'keys create team-a --weight 2 --budget 25/day --models "gpt-5*"',
        "keys create team-a --replace",
    ),
)
@click.argument("name")
@option(
    "--lane",
    section="Share",
    metavar="NAME",
    help="The lane in which its calls wait. Default: one of its own, with the name of the key.",
)
@option(
    "--weight",
    section="Share",
    metavar="N",
    type=ABOVE_ZERO,
    help="The share of its lane in the provider's limits, relative to other lanes. Default: 1.",
)
@option(
    "--rpm",
    section="Limits",
    metavar="N",
    type=ABOVE_ZERO,
    help="Requests a minute for this key; calls beyond it wait. Default: the provider's limit.",
)
@option(
    "--tpm", section="Limits", metavar="N", type=ABOVE_ZERO, help="Tokens a minute for this key."
)
@option(
    "--in-flight",
    section="Limits",
    metavar="N",
    type=click.IntRange(1),
    help="The maximum number of calls of this key in flight.",
)
@option(
    "--budget",
    "budgets",
    section="Limits",
    metavar="USD/PERIOD",
    multiple=True,
    help="What may be spent: 25/day, 100/month, or 500 in total; may be repeated.",
)
@option(
    "--models",
    section="Limits",
    metavar="PATTERNS",
    type=CommaTexts(),
    multiple=True,
    help='The models that it may use, such as "gpt-5*,o4-mini"; may be repeated. Default: all.',
)
@option(
    "--allow",
    section="Limits",
    metavar="NAMES",
    type=CommaTexts(),
    multiple=True,
    help="What calls of the key may use without asking for it: "
    f"{', '.join(ALLOWABLE)}, or {_NOTHING}. Default: what the settings file of the gateway says.",
)
@option(
    "--admin",
    "is_admin",
    section="Limits",
    is_flag=True,
    default=None,
    help="Let the key also open the page, the metrics and `callsheet top` of the gateway.",
)
@option(
    "--expires",
    "expires_at",
    section="Validity",
    metavar="SPAN|DAY",
    type=TimeAhead(),
    help="When the key expires: after 12h, 30d or 8w, or at the beginning of a UTC day, such as "
    "2027-01-31. Default: never.",
)
@option(
    "--replace",
    section="Validity",
    is_flag=True,
    help="Issue a new key for NAME. It has the settings of the old key, except for the options "
    "given; the old key expires after --grace.",
)
@option(
    "--grace",
    "grace_until",
    section="Validity",
    metavar="SPAN|DAY",
    type=TimeAhead(),
    default="1d",
    show_default=True,
    help="How long a replaced key stays valid; 0 revokes it at once.",
)
@store_options
@json_option
def create(
    *,
    name: str,
    models: tuple[tuple[str, ...], ...],
    allow: tuple[tuple[str, ...], ...],
    expires_at: float | None,
    replace: bool,
    grace_until: float,
    store: KeyPlace | None,
    shared: str | None,
    config: str | None,
    as_json: bool,
    **terms: object,
) -> None:
    """Create a key for the caller NAME, and print it to stdout.

    It cannot be shown again. Everything else is printed to stderr, so that KEY=$(callsheet keys
    create NAME) works.
    """
    given: dict[str, Any] = {"name": name}
    given |= {field: value for field, value in terms.items() if value not in (None, ())}
    if models:
        given["models"] = tuple(pattern for patterns in models for pattern in patterns)
    if allow:
        words = tuple(word for names in allow for word in names)
        given["allow"] = () if words == (_NOTHING,) else words
    if expires_at is not None and expires_at <= wall_clock():
        raise click.UsageError("--expires: the key would have expired before its first call")
    keys_of_gateway = _store_at(store, shared, config, create=not replace)
    with _refusing():
        wanted = KeyTerms(**given)  # before a store is created for it

    async def work() -> IssuedKey:
        async with keys_of_gateway.open():
            known = keys_of_gateway.known.valid()
            former = next((key for key in known if key.name == name), None)
            terms = wanted
            if replace and former is not None:
                terms = KeyTerms(**former.values() | given)
            issued = await keys_of_gateway.create(
                terms,
                expires_at=expires_at,
                replace=replace,
                grace_s=max(0.0, grace_until - wall_clock()),
            )
            try:
                click.echo(_created_json(issued, keys_of_gateway) if as_json else issued.secret)
                sys.stdout.flush()
            except OSError:  # no one has seen the key
                await keys_of_gateway.revoke(issued.key.id)
                raise
            return issued

    with _refusing():
        issued = trio.run(work)
    if not as_json:
        for line in _words(issued, keys_of_gateway):
            click.echo(printable(line), err=True)


@keys.command(
    "list",
    cls=SectionedCommand,
    short_help="List the keys.",
    page="docs/gateway.md",
    examples=("keys list", "keys list --all --json"),
)
@option(
    "--all",
    "with_ended",
    section="Rows",
    is_flag=True,
    help="Also list keys that are revoked or have expired.",
)
@store_options
@json_option
def list_keys(
    *,
    with_ended: bool,
    store: KeyPlace | None,
    shared: str | None,
    config: str | None,
    as_json: bool,
) -> None:
    """List the keys that are valid."""
    keys_of_gateway, now = _store_at(store, shared, config), wall_clock()

    async def work() -> tuple[ApiKey, ...]:
        async with keys_of_gateway.open():
            return await keys_of_gateway.all()

    with _refusing():
        found = [key for key in trio.run(work) if with_ended or key.is_valid(now)]
    if as_json:
        _print_json(keys_of_gateway, found)
    elif found:
        Console(highlight=False).print(keys_table(found, now))
    else:
        click.echo(f"No key of {printable(keys_of_gateway.name)} is valid.", err=True)


@keys.command(
    cls=SectionedCommand,
    short_help="Revoke keys.",
    page="docs/gateway.md",
    examples=("keys revoke team-a", "keys revoke k_3f9a1c0b77de"),
)
@click.argument("which", nargs=-1, required=True, metavar="NAME|ID...")
@store_options
@json_option
def revoke(
    *,
    which: tuple[str, ...],
    store: KeyPlace | None,
    shared: str | None,
    config: str | None,
    as_json: bool,
) -> None:
    """Revoke keys by their names or ids. Running gateways refuse them within two seconds.

    A name stands for all valid keys that have it. The key itself can be given, too.
    """
    keys_of_gateway = _store_at(store, shared, config)
    revoked, errors = list[ApiKey](), list[str]()

    async def work() -> None:
        async with keys_of_gateway.open():
            for one in which:
                try:
                    revoked.extend(await keys_of_gateway.revoke(one))
                except InvalidKey as error:
                    errors.append(str(error))

    with _refusing():
        trio.run(work)
    if as_json:
        _print_json(keys_of_gateway, revoked)
    else:
        for key in revoked:
            click.echo(f"Revoked {key.id} of {key.name} ({key.prefix}).")
    if errors:
        _refuse("; ".join(errors))


# ----------------------------------------------------------------


def _store_at(
    store: KeyPlace | None, shared: str | None, config: str | None, *, create: bool = False
) -> KeyStore:
    """Return the key store that the options and the settings file name, or the usual one."""
    if isinstance(store, Path):
        if shared is not None:
            raise click.UsageError("give --store FILE or --shared URL, not both")
        return key_store(store, None, create=create, clock=wall_clock)
    try:
        found = read_key_settings(config, shared=shared)
    except ConfigError as error:
        _refuse(f"--config: {error}" if error.source == config else str(error))
    except ValueError as error:
        raise click.UsageError(f"--shared: {error}") from None
    place = SHARED_KEYS if shared is not None or store is not None else found.place
    if place is None and config is not None:
        _refuse(f"--config: {config}: it names no key store; add [keys] store, or give --store")
    if place == SHARED_KEYS and found.shared is None:
        _refuse(NO_SERVER)
    return key_store(place or default_key_store(), found.shared, create=create, clock=wall_clock)


@contextmanager
def _refusing() -> Generator[None]:
    """End the command with one line if the key store or a key cannot be used."""
    try:
        yield
    except StorageError as error:
        _refuse(f"{error.name} cannot be used: {error.reason}; {error.remedy_by(_ANOTHER)}")
    except ValueError as error:
        _refuse(str(error))


def _refuse(reason: str) -> NoReturn:
    click.echo(f"Error: {printable(reason)}", err=True)
    sys.exit(_REFUSED)


def _words(issued: IssuedKey, store: KeyStore) -> Iterator[str]:
    """Yield what people should know of a new key."""
    key = issued.key
    ends = "never expires" if key.expires_at is None else f"expires {moment(key.expires_at)}"
    yield f"This is the key of {key.name} ({key.id}); it cannot be shown again. It {ends}."
    for former in issued.replaced:
        until = moment(former.expires_at or 0.0)
        yield f"Its former key {former.id} ({former.prefix}) is valid until {until}."
    yield f"A gateway takes it with {store.setting} in its settings file."


def _created_json(issued: IssuedKey, store: KeyStore) -> str:
    now = wall_clock()
    former = [ListedKey.of(key, now) for key in issued.replaced]
    created = CreatedKey(store.name, issued.secret, ListedKey.of(issued.key, now), former)
    return json.dumps(attrs.asdict(created), indent=2)


def _print_json(store: KeyStore, found: Sequence[ApiKey]) -> None:
    now = wall_clock()
    keys = KeyList(store.name, [ListedKey.of(key, now) for key in found])
    click.echo(json.dumps(attrs.asdict(keys), indent=2))
