"""Which provider a run talks to: the one that is configured, or else the built-in one."""

import os
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import attrs

from .actors import VENDORS, Endpoint, Vendor, vendor_at, vendor_named
from .runtime import open_collapsing_nursery

if TYPE_CHECKING:
    from .simulator import ProviderSettings

__all__ = ["EndpointChoice", "choose_endpoint", "open_builtin_provider", "open_endpoint"]


@attrs.frozen
class EndpointChoice:
    """A provider, and where the choice came from.

    Args:
        endpoint: where it is; None stands for the built-in one.
        reason: why this one.
        hint: what else could be chosen.
    """

    endpoint: Endpoint | None
    reason: str
    hint: str = ""

    def describe(self, endpoint: Endpoint) -> str:
        """One line that says whom the run talks to."""
        if self.endpoint is None:
            return (
                f"Provider: built in, at {endpoint.base_url} in this process "
                f"(set OPENAI_BASE_URL or --base-url for another one{self.hint})"
            )
        return f"Provider: {endpoint.vendor.title} at {endpoint.base_url} ({self.reason})"


def choose_endpoint(
    base_url: str | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    provider: str | None = None,
) -> EndpointChoice:
    """The provider of that name, at `base_url` or where the environment says that it is.

    Without a name: `base_url` if given, else OPENAI_BASE_URL; OpenAI if only OPENAI_API_KEY is set;
    else the built-in one. A key alone never chooses another vendor.

    Args:
        base_url: up to and with the version, such as ``http://127.0.0.1:8080/v1``.
        environ: the environment; by default the process's. A variable that is empty is not set.
        provider: the name of a vendor, such as "anthropic"; see `callsheet.actors.VENDORS`.

    Raises:
        ValueError: there is no such provider, it lacks an address or a key, or one of them makes
            no sense; the message names where it stands.
    """
    environ = os.environ if environ is None else environ
    if provider is not None:
        try:
            vendor = vendor_named(provider)
        except ValueError as error:
            raise ValueError(f"--provider: {error}") from None
        return _choice(vendor, base_url, environ, f"--provider {provider}")
    if base_url is not None:
        return _choice(vendor_at(base_url.strip().rstrip("/")), base_url, environ, "")
    if url := _value("OPENAI_BASE_URL", environ):
        # Whoever sets both says that the one is the key of the other, whosever address it is.
        vendor = vendor_at(url.rstrip("/"))
        variables = ("OPENAI_API_KEY", *vendor.key_variables)
        return _opened(vendor, url, "OPENAI_BASE_URL", variables, environ)
    if _value("OPENAI_API_KEY", environ):
        return _choice(VENDORS["openai"], None, environ, "OPENAI_API_KEY is set")
    return EndpointChoice(None, "nothing is configured", _hint(environ))


def _choice(
    vendor: Vendor, base_url: str | None, environ: Mapping[str, str], reason: str
) -> EndpointChoice:
    """A vendor at `base_url`, or where a variable of its own says, or at its own address."""
    url, source = base_url, "--base-url"
    if url is None:
        url, source = _first(vendor.url_variables, environ)
    if url is None:
        url, source = vendor.base_url, reason
    if url is None:
        variables = "".join(f" or set {name}" for name in vendor.url_variables)
        raise ValueError(
            f"{vendor.title} has no address that is the same for all; give --base-url{variables}"
        )
    return _opened(vendor, vendor.whole_url(url), source, vendor.key_variables, environ)


def _opened(
    vendor: Vendor, url: str, source: str, variables: Iterable[str], environ: Mapping[str, str]
) -> EndpointChoice:
    key, key_source = _first(variables, environ)
    if key is None and vendor.needs_key and url == vendor.base_url:
        names = " or ".join(vendor.key_variables)
        raise ValueError(f"{source}: {vendor.title} answers only those who have a key; set {names}")
    try:
        return EndpointChoice(Endpoint(url, key, vendor), source)
    except ValueError as error:
        name = key_source if str(error).startswith("api_key") else source
        raise ValueError(f"{name}: {error}") from None


def _first(names: Iterable[str], environ: Mapping[str, str]) -> tuple[str | None, str]:
    """The first of these variables that is set, and its name."""
    for name in names:
        if value := _value(name, environ):
            return value, name
    return None, ""


def _value(name: str, environ: Mapping[str, str]) -> str:
    return environ.get(name, "").strip()


def _hint(environ: Mapping[str, str]) -> str:
    """Whom a key in the environment would open."""
    for vendor in VENDORS.values():
        _, name = _first(vendor.key_variables, environ)
        if name:
            return f"; {name} is set: --provider {vendor.name} asks {vendor.title}"
    return ""


@asynccontextmanager
async def open_endpoint(choice: EndpointChoice | None = None) -> AsyncGenerator[Endpoint]:
    """The endpoint of a choice; the built-in provider's exists only within the block.

    Args:
        choice: by default what the environment says; see `choose_endpoint`.
    """
    choice = choose_endpoint() if choice is None else choice
    if choice.endpoint is not None:
        yield choice.endpoint
    else:
        async with open_builtin_provider() as endpoint:
            yield endpoint


@asynccontextmanager
async def open_builtin_provider(
    settings: "ProviderSettings | None" = None,
) -> AsyncGenerator[Endpoint]:
    """Serve the built-in provider on a free port of this machine for as long as the block runs.

    Args:
        settings: its latency, limits and faults; answers take 1 to 3 s by default.
    """
    # Its server takes 8 MB and a tenth of a second, which others need not spend.
    from .simulator import Provider, ProviderSettings, serve  # noqa: PLC0415

    async with open_collapsing_nursery() as nursery:
        base_url = await nursery.start(partial(serve, Provider(settings or ProviderSettings())))
        yield Endpoint(base_url)
        nursery.cancel_scope.cancel()
