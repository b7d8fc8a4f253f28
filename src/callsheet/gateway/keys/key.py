"""Keys: what one may use, its secret, and how the secret is recognized. Pure (R14).

A secret is 32 random bytes as text, so no one can guess it, and the store has its SHA-256 only. The
slow hashes of passwords (scrypt, Argon2) protect what a person has chosen and a list of likely
passwords contains; against 2**256 secrets a fast hash loses nothing, and a gateway computes it for
each call.
"""

import hashlib
import re
import secrets
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from math import inf
from typing import Any, Final, cast

import attrs
from attrs.validators import optional

from ...actors import Budget, Shared, deep_iterable, gt, instance_of, listed
from .budget_text import budget_of

ALLOWABLE: Final = ("cache", "join", "lists", "prompt_cache")
"""What the calls of a key may use without asking for it: the response cache, one call for identical
requests, calls that are combined in lists, and marks for the provider's prompt cache."""

SECRET_START: Final = "cs-"  # noqa: S105  # no password
_ID_START = "k_"
_SECRET_BYTES, _SHOWN = 32, 7  # characters of a secret that are shown later
_SECRET = re.compile(r"cs-[A-Za-z0-9_-]{43}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+:/-]{0,63}")
_NAME_RULE = "1 to 64 ASCII letters, digits and . _ @ + : / -, and begin with a letter or a digit"


class InvalidKey(ValueError):
    """A key cannot be created, or changed; the text gives the reason and the remedy."""


def new_secret() -> str:
    """Return a new secret, "cs-" and 43 characters."""
    return SECRET_START + secrets.token_urlsafe(_SECRET_BYTES)


def new_id() -> str:
    """Return a new id, such as "k_3f9a1c0b77de"."""
    return _ID_START + secrets.token_hex(6)


def hash_of(secret: str) -> bytes:
    """Return the hash by which a secret is recognized.

    Args:
        secret: what a client has sent, which may be anything.
    """
    return hashlib.sha256(secret.encode(errors="surrogatepass")).digest()


def is_secret(text: str) -> bool:
    """Return whether a text has the form of a secret."""
    return _SECRET.fullmatch(text) is not None


def shown_part(secret: str) -> str:
    """Return the beginning of a secret, by which people recognize it, such as "cs-x7Qa…"."""
    return f"{secret[:_SHOWN]}…"


def check_name(name: str) -> str:
    """Return a name of a key, or of its lane.

    Raises:
        InvalidKey: it is no name; the text does not repeat what may be a secret (L8).
    """
    if name.startswith(SECRET_START):
        raise InvalidKey("a name cannot begin with cs-, as secrets do; give the key another name")
    if name.startswith(_ID_START):
        raise InvalidKey("a name cannot begin with k_, as ids do; give the key another name")
    if not _NAME.fullmatch(name):
        raise InvalidKey(f"a name must have {_NAME_RULE}, not {name!r:.80}")
    return name


def _is_name(_: object, field: "attrs.Attribute[str]", value: str) -> None:
    instance_of(str)(None, field, value)
    try:
        check_name(value)
    except InvalidKey as error:
        if field.name == "name":
            raise
        raise InvalidKey(f"{field.name}: {error}") from None


def _are_patterns(
    _: object, field: "attrs.Attribute[tuple[str, ...]]", value: tuple[str, ...]
) -> None:
    deep_iterable(instance_of(str))(None, field, value)
    if not value:
        raise InvalidKey('models must have at least one pattern; "*" is every model')
    if not all(pattern.strip() for pattern in value):
        raise InvalidKey("models cannot have an empty pattern")


def _are_allowable(_: object, __: object, value: tuple[str, ...] | None) -> None:
    for word in value or ():
        if word not in ALLOWABLE:
            raise InvalidKey(f"allow knows {', '.join(ALLOWABLE)}, and not {word!r:.40}")


def _is_finite(
    check: Callable[[object, "attrs.Attribute[float]", float], None],
) -> Callable[[object, "attrs.Attribute[float]", float], None]:
    def validate(key: object, field: "attrs.Attribute[float]", value: float) -> None:
        check(key, field, value)
        if not value < inf:  # NaN, too
            raise InvalidKey(f"{field.name} must be a finite number, not {value!r}")

    return validate


_ABOVE_ZERO = _is_finite(gt(0))


def _models(value: Iterable[str]) -> tuple[str, ...]:
    return listed(value, "models")


def _budgets(value: Iterable[str]) -> tuple[str, ...]:
    return listed(value, "budgets")


def _allow(value: Iterable[str] | None) -> tuple[str, ...] | None:
    return None if value is None else listed(value, "allow")


@attrs.frozen(kw_only=True)
class KeyTerms:
    """What a key may use.

    Args:
        name: the name of the key, for people; the tenant that budgets and costs are for.
        lane: the lane in which its calls wait; by default one of its own, which has its name.
        weight: the share of its lane in the provider's limits, relative to those of other lanes.
        rpm: requests a minute of the key's own; None for no limit beside the provider's.
        tpm: tokens a minute of the key's own.
        in_flight: the most calls that the key may have in flight at a time.
        models: patterns of the models that it may use, such as "gpt-5*".
        budgets: what may be spent, such as "25/day", "100/month" or "500" in total, in USD.
        allow: what its calls may use without asking, of `ALLOWABLE`; None for what the settings
            file allows every key.
        is_admin: whether the key may also see the gateway's page.

    Raises:
        ValueError: a value is out of its range; the message names it.
        TypeError: a value has the wrong type; the message names it.
    """

    name: str = attrs.field(validator=_is_name)
    lane: str = attrs.field(
        default=attrs.Factory(lambda self: self.name, takes_self=True), validator=_is_name
    )
    weight: float = attrs.field(default=1.0, validator=_ABOVE_ZERO)
    rpm: float | None = attrs.field(default=None, validator=optional(_ABOVE_ZERO))
    tpm: float | None = attrs.field(default=None, validator=optional(_ABOVE_ZERO))
    in_flight: int | None = attrs.field(default=None, validator=optional([instance_of(int), gt(0)]))
    models: tuple[str, ...] = attrs.field(
        default=("*",), converter=_models, validator=_are_patterns
    )
    budgets: tuple[str, ...] = attrs.field(
        default=(), converter=_budgets, validator=deep_iterable(instance_of(str))
    )
    allow: tuple[str, ...] | None = attrs.field(
        default=None,
        converter=_allow,
        validator=_are_allowable,
    )
    is_admin: bool = attrs.field(default=False, validator=instance_of(bool))
    _ledger_budgets: tuple[Budget, ...] = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        found = tuple(budget_of(text, tenant=self.name) for text in self.budgets)
        object.__setattr__(self, "_ledger_budgets", found)
        periods = [budget.period for budget in found]
        if len(set(periods)) < len(periods):
            raise InvalidKey("a key has at most one budget a day, one a month and one in total")

    @property
    def allowed(self) -> frozenset[Shared] | None:
        """`allow` as `CallContext.allowed` takes it; None for what the settings file allows."""
        return None if self.allow is None else frozenset(cast("tuple[Shared, ...]", self.allow))

    @property
    def has_limits(self) -> bool:
        """Whether the key has limits of its own."""
        return self.rpm is not None or self.tpm is not None or self.in_flight is not None

    def values(self) -> dict[str, Any]:
        """Return the values of the terms alone, by name, to make others of them."""
        return {
            field.name: getattr(self, field.name) for field in attrs.fields(KeyTerms) if field.init
        }

    def may_use(self, model: str) -> bool:
        """Return whether the key may use a model.

        Args:
            model: the name of the model, as the client gives it.
        """
        return any(fnmatchcase(model, pattern) for pattern in self.models)

    def ledger_budgets(self) -> tuple[Budget, ...]:
        """Return the budgets as the ledger takes them: of the tenant that has the key's name."""
        return self._ledger_budgets


@attrs.frozen(kw_only=True)
class ApiKey(KeyTerms):
    """A key without its secret, which no one has but its owner.

    Args:
        id: the id of the key, such as "k_3f9a1c0b77de".
        prefix: the beginning of its secret, by which people recognize it, such as "cs-x7Qa…".
        created_at: when it was created, in Unix seconds.
        expires_at: when it ends, in Unix seconds; None for never.
        revoked_at: when it was revoked, in Unix seconds; None if it was not.
    """

    id: str
    prefix: str
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None

    def is_valid(self, at: float) -> bool:
        """Return whether calls with the key are accepted.

        Args:
            at: Unix time in seconds.
        """
        return self.revoked_at is None and (self.expires_at is None or at < self.expires_at)
