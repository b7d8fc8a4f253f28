"""Who calls: the client of a request, by its API key."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

import attrs

from ..errors import Refusal, Refused
from ..keys import ApiKey, Tenant, Tenants, ValidKeys

_BEARER = "bearer "
_NOT_VALID = Refusal(
    status=401,
    kind="authentication",
    message="the API key is not valid: it is unknown, expired or revoked",
    code="invalid_api_key",
    should_retry=False,
)
_NOT_KNOWN = Refusal(
    status=503,
    kind="unavailable",
    message="the API key cannot be checked now, because the key store is away; try again",
    code="keys_unavailable",
    retry_after_s=5.0,
    should_retry=True,
)


@attrs.frozen
class Caller:
    """A client that may call.

    Args:
        key: its key; None where the gateway needs none.
        tenant: its own limits; None for no limits of its own.
    """

    key: ApiKey | None = None
    tenant: Tenant | None = None

    @property
    def id(self) -> str:
        """The id of its key; "" without keys."""
        return "" if self.key is None else self.key.id

    @property
    def name(self) -> str:
        """The name of its key; "" without keys."""
        return "" if self.key is None else self.key.name

    @property
    def lane(self) -> str:
        """The lane in which its calls wait."""
        return "" if self.key is None else self.key.lane

    def may_use(self, model: str) -> bool:
        """Return whether its key allows a model.

        Args:
            model: the name that the client uses.
        """
        return self.key is None or self.key.may_use(model)


def secret_in(headers: Mapping[str, str]) -> str:
    """Return the key that a client sent, in any of the usual headers; "" if it sent none.

    Anthropic's SDK sends ``x-api-key`` before version 2.0 and a bearer token since.

    Args:
        headers: the headers of the request, by names in lower case.
    """
    given = headers.get("authorization", "")
    if given[: len(_BEARER)].lower() == _BEARER:
        return given[len(_BEARER) :].strip()
    return headers.get("x-api-key") or headers.get("api-key") or ""


def comes_from_loopback(origin: str | None) -> bool:
    """Return whether no page sent a request, or one of this machine did.

    A browser sends a POST of any page that its user looks at to this machine, without a question if
    its body is called plain text. It names the page in `Origin`, also if the name of the page's
    host has come to point here (DNS rebinding).

    Args:
        origin: the value of the header `Origin`; None without one.
    """
    if origin is None:
        return True
    try:
        host = urlsplit(origin).hostname
        return host == "localhost" or (host is not None and ip_address(host).is_loopback)
    except ValueError:  # "null", for example
        return False


_OTHER_SITE: Final = Refusal(
    status=403,
    kind="permission",
    message="pages of other sites may not call a gateway without keys; give it a key store "
    "([keys] store)",
    code="other_site",
    should_retry=False,
)


@attrs.frozen
class Callers:
    """Finds the client of each request.

    Args:
        keys: the valid keys; None where every client may call.
        tenants: the limits of each key's own.
    """

    keys: ValidKeys | None
    tenants: Tenants

    def identify(self, headers: Mapping[str, str]) -> Caller:
        """Return the client of a request.

        Args:
            headers: the headers of the request, by names in lower case.

        Raises:
            Refused: it sent no key, or not one that is valid; or whether it is valid is not known,
                because the key store is away; or a page of another site sent it, where no key
                is needed.
        """
        keys = self.keys
        if keys is None:
            if not comes_from_loopback(headers.get("origin")):
                raise Refused(_OTHER_SITE)
            return Caller()
        secret = secret_in(headers)
        if not secret:
            raise Refused(
                Refusal(
                    status=401,
                    kind="authentication",
                    message="no API key was sent; send one as 'Authorization: Bearer cs-...'",
                    code="missing_api_key",
                    should_retry=False,
                )
            )
        key = keys.find(secret)
        if not keys.is_current:  # the key may have been revoked, or created, since then
            raise Refused(_NOT_KNOWN)
        if key is None:
            raise Refused(_NOT_VALID)
        return Caller(key, self.tenants.of(key))

    @contextmanager
    def calling(self, caller: Caller) -> Generator[None]:
        """End the work of a call when its key is revoked or expires; for `with`.

        Args:
            caller: the client of the call.

        Raises:
            Refused: the key is no longer valid.
        """
        if caller.key is None:
            yield
            return
        with self.tenants.call_of(caller.key) as scope:
            yield
        if scope.cancelled_caught:
            raise Refused(_NOT_VALID)
