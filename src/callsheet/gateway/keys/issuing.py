"""What creating and revoking keys does to those that a store has. Pure (R14)."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

import attrs

from .key import (
    SECRET_START,
    ApiKey,
    InvalidKey,
    KeyTerms,
    new_id,
    new_secret,
    shown_part,
)

GRACE_S = 86_400.0
"""Seconds for which a key that is replaced stays valid, so that its users can take the new one."""


@attrs.frozen
class IssuedKey:
    """A new key with its secret, which is not stored and cannot be read again.

    Args:
        key: the key without its secret.
        secret: what its owner sends with each call; see L8.
        replaced: the earlier keys of the same name, which end soon.
    """

    key: ApiKey
    secret: str = attrs.field(repr=False)
    replaced: tuple[ApiKey, ...] = ()


@attrs.frozen(kw_only=True)
class KeyWish:
    """A key that is to be created.

    Args:
        terms: what the key may use.
        expires_at: when it ends, in Unix seconds; None for never.
        replace: whether it takes the place of the valid keys of the same name. They get its
            terms, as they are the same tenant, and end after `grace_s`.
        grace_s: seconds for which replaced keys stay valid.
    """

    terms: KeyTerms
    expires_at: float | None = None
    replace: bool = False
    grace_s: float = GRACE_S

    def new_key(self, now: float) -> IssuedKey:
        """Return the key with a new secret.

        Args:
            now: Unix time in seconds.

        Raises:
            InvalidKey: it would have expired already.
        """
        if self.expires_at is not None and self.expires_at <= now:
            raise InvalidKey("the key would have expired before its first call; give a later time")
        secret = new_secret()
        key = ApiKey(
            **self.terms.values(),
            id=new_id(),
            prefix=shown_part(secret),
            created_at=now,
            expires_at=self.expires_at,
        )
        return IssuedKey(key, secret)

    def replaced(
        self, named: Iterable[ApiKey], names: Iterable[str], now: float
    ) -> tuple[ApiKey, ...]:
        """Return the keys of the same name as they are afterwards.

        Args:
            named: the keys of the same name, the oldest first.
            names: the names of all keys.
            now: Unix time in seconds.

        Raises:
            InvalidKey: the name is in use; or, with `replace`, is not.
        """
        name = self.terms.name
        former = [key for key in named if key.is_valid(now)]
        if former and not self.replace:
            raise InvalidKey(
                f"there is a key {name} already ({former[-1].id}); give another name, "
                "or --replace to issue a new secret, or revoke it first"
            )
        if self.replace and not former:
            raise InvalidKey(f"there is no valid key {name} to replace{_near(name, names)}")
        return tuple(self._ending(key, now + self.grace_s) for key in former)

    def _ending(self, key: ApiKey, at: float) -> ApiKey:
        ends = at if key.expires_at is None else min(at, key.expires_at)
        return attrs.evolve(key, **self.terms.values(), expires_at=ends)


def revoked(
    which: str, meant: Sequence[ApiKey], names: Iterable[str], now: float
) -> tuple[ApiKey, ...]:
    """Return keys as they are when they are revoked.

    Args:
        which: the name of keys, the id of one, or its secret.
        meant: the keys that it names.
        names: the names of all keys.
        now: Unix time in seconds.

    Raises:
        InvalidKey: none of them is valid; the text shows no secret (L8).
    """
    found = tuple(attrs.evolve(key, revoked_at=now) for key in meant if key.is_valid(now))
    if found:
        return found
    is_hidden = which.startswith(SECRET_START)  # a part of a secret, too
    shown = "with that secret" if is_hidden else f"{which!r:.80}"
    if meant:
        raise InvalidKey(f"the key {shown} has ended already; nothing is to be revoked")
    near = "" if is_hidden else _near(which, names)
    raise InvalidKey(f"there is no key {shown}{near}; give a name or an id")


def _near(name: str, names: Iterable[str]) -> str:
    near = get_close_matches(name, [*names], 1)
    return f'; did you mean "{near[0]}"?' if near else ""
