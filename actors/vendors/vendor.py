"""What a vendor is: the data by which its API is called. Its rows are in `catalog`. Pure (R14)."""

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import attrs

from ..messages import Api, Task
from .format import UnsupportedField, WireFormat

if TYPE_CHECKING:  # loaded with the Batch API stage
    from .batch_dialect import BatchDialect


@attrs.frozen(kw_only=True)
class AccessTokens:
    """Access tokens that a vendor takes besides keys, as ``Authorization: Bearer``.

    Args:
        prefix: how a token begins, unlike a key.
        variables: environment variables for a token, which may begin in another way, as those of
            gateways do; used if none for a key is set.
        headers: further headers of requests with such a token.
    """

    prefix: str
    variables: tuple[str, ...]
    headers: Mapping[str, str] = attrs.field(hash=False)


def _in_lower_case(names: Mapping[str, str]) -> Mapping[str, str]:
    return {name.lower(): usual.lower() for name, usual in names.items()}


@attrs.frozen(kw_only=True)
class Vendor:
    """A vendor of an API, and how its API is called.

    Args:
        name: the name in settings, such as "openai".
        title: the name in texts, such as "OpenAI".
        formats: wire formats, by the task of a request.
        responses: the wire format of OpenAI's Responses; None if the vendor does not have that API,
            or if nothing is known about it.
        base_url: address of the API up to and including the version; None if each customer has
            another address.
        other_urls: further addresses of the same API.
        key_variables: environment variables for the API key; the first that is set is used.
        url_variables: environment variables for another base URL.
        needs_key: whether the API at `base_url` requires a key.
        key_header: the header that contains the key, in lower case.
        key_prefix: the text before the key in that header.
        tokens: access tokens that are sent in another header than a key; None for none.
        headers: further headers of every request.
        limit_headers: {name of a header of a limit or a wait: the usual name for it}, where a
            vendor has other names than "x-ratelimit-remaining-requests" or "retry-after". With
            "-minute" or "-day" at its end, the usual name states the period.
        version_path: the path that is appended to a URL without a path.
        tiers: service tiers that a chat may request, besides the usual one, and their prices as
            factors of the usual ones. They are used where the price of a model is not known.
        tier_field: the member of the body that names the tier.
        price_list: the vendor whose prices apply, in price files; "" for a server that anyone can
            run: what is known there are the prices of the makers of models.
        reports_cost: whether `cost` in its `usage` is what it charges in USD.
        counts_cached_tokens: whether tokens of a prompt that are read from its cache count towards
            its limits.
        model: the default chat model: small, and without an announced shutdown; None if each
            customer has other models.
        batches: the Batch API, or the name of a supported one, such as "openai"; None if the vendor
            has none, or an unsupported one.
    """

    name: str
    title: str
    formats: Mapping[Task, WireFormat] = attrs.field(hash=False, repr=False)
    responses: WireFormat | None = attrs.field(default=None, hash=False, repr=False)
    base_url: str | None = None
    other_urls: tuple[str, ...] = ()
    key_variables: tuple[str, ...] = ()
    url_variables: tuple[str, ...] = ()
    needs_key: bool = True
    key_header: str = "authorization"
    key_prefix: str = "Bearer "
    tokens: AccessTokens | None = None
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str], hash=False)
    limit_headers: Mapping[str, str] = attrs.field(
        factory=dict[str, str], converter=_in_lower_case, hash=False
    )
    version_path: str = ""
    tiers: Mapping[str, Decimal] = attrs.field(factory=dict[str, Decimal], hash=False)
    tier_field: str = "service_tier"
    price_list: str = ""
    reports_cost: bool = False
    counts_cached_tokens: bool = True
    model: str | None = None
    _batches: "BatchDialect | str | None" = attrs.field(default=None, repr=False, alias="batches")

    @property
    def batches(self) -> "BatchDialect | None":
        """The Batch API; None if the vendor has none, or an unsupported one.

        Raises:
            ValueError: the name of the Batch API is unknown.
        """
        from .batch_catalog import dialect_named  # noqa: PLC0415  # few programs use a Batch API

        return dialect_named(self._batches) if isinstance(self._batches, str) else self._batches

    def format_for(self, task: Task, api: Api | None = None) -> WireFormat:
        """Return the wire format for a task.

        Args:
            task: the task of a request.
            api: the API for a chat; None for the usual one.

        Raises:
            UnsupportedField: the vendor does not support the task or the API.
        """
        form = self.formats.get(task)
        if form is None:
            why = f"it supports {' and '.join(self.formats)}"
            raise UnsupportedField(f"task={task!r}", self.title, why)
        if task != "chat" or api is None:
            return form
        if api == "chat" and form != self.responses:
            return form
        if api == "responses" and self.responses is not None:
            return self.responses
        raise UnsupportedField(f"api={api!r}", self.title)

    def whole_url(self, url: str) -> str:
        """Return `url` as a base URL: with `version_path` appended if it has no path.

        Args:
            url: the URL of a server, with or without a path.
        """
        bare = url.strip().rstrip("/")
        return bare + self.version_path if urlsplit(bare).path == "" else bare
