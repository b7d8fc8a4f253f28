"""Choose and open the provider of a run: a configured one, or else the built-in one."""

import os
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import attrs

from .actors import VENDORS, Endpoint, Vendor, check_environment, trio_block, vendor_at
from .runtime import get_logger, open_collapsing_nursery

if TYPE_CHECKING:
    from .simulator import ProviderSettings


_OPENAI_HEADERS = {  # {header: variables, the usual one first}
    "openai-organization": ("OPENAI_ORG_ID", "OPENAI_ORGANIZATION"),
    "openai-project": ("OPENAI_PROJECT_ID", "OPENAI_PROJECT"),
}

BUILTIN = "builtin"
"""The name of the built-in provider, for `--provider` and `open_endpoint`."""

_log = get_logger("callsheet.endpoints")


@attrs.frozen
class ExtraHeaders:
    """Further headers of every request.

    Args:
        shown: name in lower case and value of each header.
        secret: those whose values must not be shown (L8).
    """

    shown: Mapping[str, str] = attrs.field(factory=dict[str, str])
    secret: Mapping[str, str] = attrs.field(factory=dict[str, str], repr=False)

    def of(self, endpoint: Endpoint) -> Endpoint:
        """Return an endpoint with these headers; they replace those that it has.

        Args:
            endpoint: the endpoint without them.
        """
        if not (self.shown or self.secret):
            return endpoint
        headers = {**endpoint.headers, **self.shown, **self.secret}
        return attrs.evolve(
            endpoint, headers=headers, secret_names={*endpoint.secret_names, *self.secret}
        )


@attrs.frozen
class EndpointChoice:
    """A provider, and the reason why it was chosen.

    Args:
        endpoint: the endpoint of the provider; None for the built-in provider, which has an
            address only while it runs.
        reason: the option or the variable that chose it.
        hint: for the built-in provider, how to choose another one; may be empty.
        headers: further headers for the built-in provider; the endpoint of another one has them.
    """

    endpoint: Endpoint | None
    reason: str
    hint: str = ""
    headers: ExtraHeaders = attrs.field(factory=ExtraHeaders)

    def describe(self, endpoint: Endpoint) -> str:
        """Describe in one line which provider a run uses, and why.

        Args:
            endpoint: where the provider is, the built-in one included.
        """
        if self.endpoint is None:
            return f"Provider: {BUILTIN} at {endpoint.shown_url} ({self.reason}{self.hint})"
        return f"Provider: {endpoint.vendor.title} at {endpoint.shown_url} ({self.reason})"


def choose_endpoint(
    base_url: str | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    provider: str | None = None,
    headers: ExtraHeaders | None = None,
) -> EndpointChoice:
    """Choose a provider by its name, by its address, or by the environment.

    With a name, that provider, at `base_url` or at the address in its own variable. Without a name,
    `base_url` if it is given; else OPENAI_BASE_URL; else OpenAI if OPENAI_API_KEY is set; else the
    built-in provider. The key of another vendor in the environment never chooses that vendor.
    OPENAI_ORG_ID and OPENAI_PROJECT_ID become headers where OpenAI's own variables apply.

    Args:
        base_url: the URL of the API, version included, such as ``http://127.0.0.1:8080/v1``.
        environ: the environment; by default that of the process. An empty variable counts as unset.
        provider: "builtin", which ignores the environment, or the name of a vendor, such as
            "anthropic"; `callsheet.actors.VENDORS` has all of them.
        headers: further headers of every request.

    Raises:
        ValueError: the provider is unknown, its address or its key is missing, or one of them, a
            proxy or a certificate authority of the environment is malformed. The message names the
            option or the variable.
    """
    choice = _chosen(base_url, os.environ if environ is None else environ, provider, _COMMAND)
    headers = headers or ExtraHeaders()
    if choice.endpoint is None:
        return attrs.evolve(choice, headers=headers)
    check_environment(choice.endpoint, environ)
    return attrs.evolve(choice, endpoint=headers.of(choice.endpoint))


@attrs.frozen
class _Wording:
    """How a command or a program names a provider, for the errors.

    Args:
        place: what takes the name.
        named: how a provider is named; `{}` stands for the name.
        address: how a provider gets an address; `{}` stands for the name.
    """

    place: str
    named: str
    address: str


_COMMAND = _Wording("--provider", "--provider {}", "give --base-url")
_PROGRAM = _Wording("open_endpoint", "open_endpoint('{}')", "use Endpoint(url, vendor='{}')")


def _chosen(
    base_url: str | None, environ: Mapping[str, str], provider: str | None, wording: _Wording
) -> EndpointChoice:
    if provider == BUILTIN:
        if base_url is not None:
            raise ValueError(
                f"--base-url: --provider {BUILTIN} runs in this process and has no other address; "
                "remove one of the two options"
            )
        return EndpointChoice(None, wording.named.format(BUILTIN))
    if provider is not None:
        if provider not in VENDORS:
            names = ", ".join((BUILTIN, *VENDORS))
            raise ValueError(f"{wording.place}: {provider!r:.60} is unknown; choose one of {names}")
        reason = wording.named.format(provider)
        return _choice(VENDORS[provider], base_url, environ, reason, wording)
    if base_url is not None:
        return _choice(vendor_at(base_url.strip().rstrip("/")), base_url, environ, "", wording)
    if url := _value("OPENAI_BASE_URL", environ):
        # A user who sets both variables states that the key belongs to that address.
        vendor = vendor_at(url.rstrip("/"))
        variables = ("OPENAI_API_KEY", *vendor.key_variables)
        return _opened(vendor, url, "OPENAI_BASE_URL", variables, environ)
    if _value("OPENAI_API_KEY", environ):
        return _choice(VENDORS["openai"], None, environ, "OPENAI_API_KEY is set", wording)
    return EndpointChoice(None, "no provider is configured", _hint(environ))


def _choice(
    vendor: Vendor,
    base_url: str | None,
    environ: Mapping[str, str],
    reason: str,
    wording: _Wording,
) -> EndpointChoice:
    """Choose a vendor at `base_url`, at the URL in its own variable, or at its public URL."""
    url, source = base_url, "--base-url"
    if url is None:
        url, source = _first(vendor.url_variables, environ)
    if url is None:
        url, source = vendor.base_url, reason
    if url is None:
        variables = "".join(f" or set {name}" for name in vendor.url_variables)
        address = wording.address.format(vendor.name)
        raise ValueError(f"{vendor.title} has no default URL; {address}{variables}")
    # A URL that cannot be parsed stays as it is: `Endpoint` raises the error, with the reason.
    with suppress(ValueError):
        url = vendor.whole_url(url)
    return _opened(vendor, url, source, vendor.key_variables, environ)


def _opened(
    vendor: Vendor, url: str, source: str, variables: Iterable[str], environ: Mapping[str, str]
) -> EndpointChoice:
    key, key_source = _first(variables, environ)
    if key is None and vendor.tokens is not None:
        key, key_source = _first(vendor.tokens.variables, environ)
        if key is not None:
            vendor = attrs.evolve(vendor, key_header="authorization", key_prefix="Bearer ")
    if key is None and vendor.needs_key and url == vendor.base_url:
        names = " or ".join(vendor.key_variables)
        raise ValueError(f"{source}: {vendor.title} needs an API key; set {names}")
    headers: dict[str, str] = {}
    if vendor.name == "openai" or source == "OPENAI_BASE_URL":
        headers = _openai_headers(environ)
    try:
        endpoint = Endpoint(url, key, vendor, headers=headers, key_variable=key_source)
        return EndpointChoice(endpoint, source)
    except ValueError as error:
        name = key_source if str(error).startswith("api_key") else source
        raise ValueError(f"{name}: {error}") from None


def _openai_headers(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of organisation and project that OpenAI's variables set.

    Raises:
        ValueError: a value cannot be sent in a header; the message names the variable.
    """
    headers: dict[str, str] = {}
    for header, names in _OPENAI_HEADERS.items():
        value, name = _first(names, environ)
        if value is None:
            continue
        if not (value.isascii() and value.isprintable()):
            raise ValueError(f"{name} has characters that cannot be sent in a header")
        headers[header] = value
    return headers


def _first(names: Iterable[str], environ: Mapping[str, str]) -> tuple[str | None, str]:
    """Return the value and the name of the first of these variables that is set."""
    for name in names:
        if value := _value(name, environ):
            return value, name
    return None, ""


def _value(name: str, environ: Mapping[str, str]) -> str:
    return environ.get(name, "").strip()


def _hint(environ: Mapping[str, str]) -> str:
    """Name the vendor whose key is in the environment."""
    for vendor in VENDORS.values():
        _, name = _first(vendor.key_variables, environ)
        if name:
            return f"; {name} is set: --provider {vendor.name} uses {vendor.title}"
    return "; --provider or --base-url chooses one"


@trio_block
async def open_endpoint(provider: EndpointChoice | str | None = None) -> AsyncGenerator[Endpoint]:
    """Open the endpoint of a provider. The built-in provider runs until the block ends.

    Args:
        provider: "builtin", the name of a vendor, such as "openai", or what `choose_endpoint`
            returned. By default the environment decides, as `choose_endpoint` describes. If that
            comes to the built-in provider, the log has a warning, because its texts are made up:
            name the provider in a program that must not run without its key.

    Raises:
        ValueError: see `choose_endpoint`.
        RuntimeError: the current thread does not run Trio; the message says what to use.
    """
    if provider is None:
        provider = choose_endpoint()
        if provider.endpoint is None:
            _log.warning(
                "builtin_provider",
                reason="neither OPENAI_API_KEY nor OPENAI_BASE_URL is set",
                effect="its texts are made up",
                remedy="set one of them, or name the provider: open_endpoint('openai')",
            )
    elif isinstance(provider, str):
        provider = _chosen(None, os.environ, provider, _PROGRAM)
        if provider.endpoint is not None:
            check_environment(provider.endpoint, None)
    if provider.endpoint is not None:
        yield provider.endpoint
    else:
        async with open_builtin_provider() as endpoint:
            yield provider.headers.of(endpoint)


@trio_block
async def open_builtin_provider(
    settings: "ProviderSettings | None" = None,
) -> AsyncGenerator[Endpoint]:
    """Serve the built-in provider on a free port of the loopback interface until the block ends.

    Args:
        settings: its latency, limits and faults; by default a response takes 1 to 3 seconds.

    Raises:
        RuntimeError: the current thread does not run Trio; the message says what to use.
    """
    # The server takes 8 MB and 0.1 s to import, so a run against another provider leaves it out.
    from .simulator import Provider, ProviderSettings, serve  # noqa: PLC0415

    async with open_collapsing_nursery() as nursery:
        base_url = await nursery.start(partial(serve, Provider(settings or ProviderSettings())))
        yield Endpoint(base_url)
        nursery.cancel_scope.cancel()
