"""How the workers of a shared run open their troupe: settings as text, without secrets.

Keys never travel (L8): the text names the variables of the environment that a worker reads. Headers
and parameters whose values are secret are left out, and so is what only Python code can be: a
transport, an observer, stages and strategies of a program's own.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import date, time
from decimal import Decimal
from typing import Any, cast

import attrs

from ...actors import (
    Batching,
    BreakerPolicy,
    Endpoint,
    HedgePolicy,
    Lane,
    Limits,
    Packing,
    PeakHours,
    Price,
    PriceBook,
    Rate,
    RetryPolicy,
    Target,
    ThrottlePolicy,
    TierPrice,
    Timeouts,
    TroupeSettings,
    default_prices,
    insert,
    vendor_named,
)
from .reserved import ReservedAttempts

CARD_VERSION = 1
"""The version of this format."""

_CLASSES: Mapping[str, type[attrs.AttrsInstance]] = {
    kind.__name__: kind
    for kind in (
        *(Batching, BreakerPolicy, HedgePolicy, Lane, Limits, Packing, PeakHours, Price, Rate),
        *(RetryPolicy, ThrottlePolicy, TierPrice, Timeouts),
    )
}
_TEXTS: Mapping[str, Callable[[str], object]] = {
    "Decimal": Decimal,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
}
_PARTS = (
    *("limits", "member_limits", "batching", "packing", "prompt_caching", "retry", "throttle"),
    *("breaker", "hedging", "timeouts", "max_in_flight", "streaming"),
)
_SHOWN = ("http2", "api", "deployment", "key_name", "weight", "uds")  # of an endpoint
_KIND = "$"


class NoKey(ValueError):
    """A worker has no API key for an endpoint; the text names the variables."""


def encode_card(
    troupe: TroupeSettings,
    *,
    ahead: int | None = None,
    has_budget: bool = False,
) -> bytes:
    """Return what a worker needs to make calls as the holder would.

    Args:
        troupe: the settings of the holder's troupe.
        ahead: the most rows that a worker has and that are not sent; None for few.
        has_budget: whether the holder reserves what each attempt can cost.
    """
    fields: dict[str, object] = {
        "version": CARD_VERSION,
        "ahead": ahead,
        "has_budget": has_budget,
        "endpoint": _endpoint_fields(troupe.endpoint),
        "fallbacks": [
            {"endpoint": _endpoint_fields(target.endpoint), "model": target.model}
            for target in troupe.fallbacks
        ],
        "prices": _price_fields(troupe.prices),
        "parts": {name: _plain(getattr(troupe, name)) for name in _PARTS},
    }
    return json.dumps(fields, separators=(",", ":")).encode()


def worker_settings(card: bytes, environ: Mapping[str, str]) -> TroupeSettings:
    """Return the settings of the troupe of a worker.

    Args:
        card: what `encode_card` returned.
        environ: the environment, which has the keys.

    Raises:
        NoKey: the environment has no key for an endpoint that the holder has one for.
        ValueError: it is no card, or one of another version of Callsheet.
    """
    fields = _read(card)
    try:
        return TroupeSettings(
            endpoint=_endpoint(fields["endpoint"], environ),
            fallbacks=tuple(
                Target(_endpoint(one["endpoint"], environ), one["model"])
                for one in fields["fallbacks"]
            ),
            prices=_prices(fields["prices"]),
            stages=(insert(ReservedAttempts, before="limiter"),) if fields["has_budget"] else (),
            **{name: _value(fields["parts"][name]) for name in _PARTS},
        )
    except NoKey:
        raise
    except (LookupError, TypeError, AttributeError, ArithmeticError, ValueError) as error:
        raise ValueError(f"the settings of the run cannot be read: {error}") from None


def rows_ahead(card: bytes) -> int | None:
    """Return the most rows that a worker should have and that are not sent; None for few.

    Args:
        card: what `encode_card` returned.

    Raises:
        ValueError: it is no card, or one of another version of Callsheet.
    """
    ahead: int | None = _read(card).get("ahead")
    return ahead


def _read(card: bytes) -> dict[str, Any]:
    try:
        fields: dict[str, Any] = json.loads(card)
        version = fields["version"]
    except (ValueError, LookupError, TypeError):
        raise ValueError("the run has no settings for workers that can be read") from None
    if version != CARD_VERSION:
        raise ValueError(
            f"the settings of the run have format {version}, and this Callsheet reads format "
            f"{CARD_VERSION}; use the same version of Callsheet on all machines"
        )
    return fields


# -------------------------------------------------------------------------------------- endpoints


def _endpoint_fields(endpoint: Endpoint) -> dict[str, object]:
    vendor = endpoint.vendor
    variables = (endpoint.key_variable, *vendor.key_variables)
    return {
        "url": endpoint.shown_url,
        "vendor": vendor.name,
        "has_key": endpoint.api_key is not None,
        "key_variables": list(dict.fromkeys(filter(None, variables))),
        "headers": endpoint.shown_headers,
        "query": endpoint.shown_query,
        "shown": {name: getattr(endpoint, name) for name in _SHOWN},
        "members": [_endpoint_fields(member) for member in endpoint.members],
    }


def _endpoint(fields: Mapping[str, Any], environ: Mapping[str, str]) -> Endpoint:
    if members := fields["members"]:
        return Endpoint.pool([_endpoint(member, environ) for member in members])
    vendor, key = vendor_named(fields["vendor"]), None
    if fields["has_key"]:
        key = _first(fields["key_variables"], environ)
        if key is None and vendor.tokens is not None:
            key = _first(vendor.tokens.variables, environ)
            vendor = attrs.evolve(vendor, key_header="authorization", key_prefix="Bearer ")
        if key is None:
            names = " or ".join(fields["key_variables"])
            remedy = f"set {names}" if names else "give its key"
            raise NoKey(f"the run uses {vendor.title} with an API key; {remedy}")
    return Endpoint(
        fields["url"],
        key,
        vendor,
        headers=fields["headers"],
        query=fields["query"],
        **fields["shown"],
    )


def _first(names: Iterable[str], environ: Mapping[str, str]) -> str | None:
    """Return the value of the first of these variables that is set."""
    return next((value for name in names if (value := environ.get(name, "").strip())), None)


# ----------------------------------------------------------------------------------------- prices


def _price_fields(prices: PriceBook) -> dict[str, object]:
    """Return in what a table of prices differs from the one that each Callsheet contains."""
    usual = default_prices().models
    return {
        "vendor": prices.vendor,
        "as_of": prices.as_of,
        "source": prices.source,
        "usual_as_of": default_prices().as_of,
        "models": {
            name: _plain(price)
            for name, price in prices.models.items()
            if (known := usual.get(name)) is not price and known != price
        },
    }


def _prices(fields: Mapping[str, Any]) -> PriceBook:
    usual = default_prices()
    models = {name: cast("Price", _value(price)) for name, price in fields["models"].items()}
    return PriceBook(
        {**usual.models, **models} if models else usual.models,
        fields["as_of"],
        fields["source"],
        vendor=fields["vendor"],
        is_checked=True,
    )


# ----------------------------------------------------------------------------------------- values


def _plain(value: object) -> object:
    """Return a setting as JSON."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value
    if isinstance(value, Decimal | date | time):
        return {_KIND: type(value).__name__, "text": str(value)}
    if isinstance(value, Mapping):
        items = cast("Mapping[str, object]", value).items()
        return {_KIND: "Mapping", "items": [(name, _plain(item)) for name, item in items]}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in cast("Iterable[object]", value)]
    kind = type(value)
    if _CLASSES.get(kind.__name__) is not kind:
        raise TypeError(f"{value!r:.60} cannot be given to the workers of a shared run")
    return {
        _KIND: kind.__name__,
        "fields": {
            field.alias: _plain(getattr(value, field.name))
            for field in attrs.fields(_CLASSES[kind.__name__])
            if field.init
        },
    }


def _value(plain: object) -> Any:  # noqa: ANN401  # of any setting
    if isinstance(plain, list):
        return tuple(_value(item) for item in cast("list[object]", plain))
    if not isinstance(plain, dict):
        return plain
    fields = cast("dict[str, Any]", plain)
    kind = fields[_KIND]
    if kind == "Mapping":
        return {name: _value(item) for name, item in fields["items"]}
    if (read := _TEXTS.get(kind)) is not None:
        return read(fields["text"])
    return _CLASSES[kind](**{name: _value(item) for name, item in fields["fields"].items()})
