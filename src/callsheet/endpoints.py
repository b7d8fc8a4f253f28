"""Which provider a run talks to: the one that is configured, or else the built-in one."""

import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from functools import partial

import attrs

from .actors import Endpoint
from .provider import Provider, ProviderSettings, serve
from .runtime import open_collapsing_nursery

__all__ = ["Choice", "choose_endpoint", "open_builtin_provider", "open_endpoint"]

_OPENAI = "https://api.openai.com/v1"


@attrs.frozen
class Choice:
    """A provider, and where the choice came from; no endpoint stands for the built-in one."""

    endpoint: Endpoint | None
    reason: str

    def describe(self, endpoint: Endpoint) -> str:
        """One line that says whom the run talks to."""
        if self.endpoint is None:
            return (
                f"Provider: built in, at {endpoint.base_url} in this process "
                "(set OPENAI_BASE_URL or --base-url for another one)"
            )
        return f"Provider: {endpoint.base_url} ({self.reason})"


def choose_endpoint(
    base_url: str | None = None, environ: Mapping[str, str] | None = None
) -> Choice:
    """`base_url` if given, else OPENAI_BASE_URL; OpenAI if only OPENAI_API_KEY is set; else none.

    Args:
        base_url: up to and with the version, such as ``http://127.0.0.1:8080/v1``.
        environ: the environment; by default the process's. A variable that is empty is not set.

    Raises:
        ValueError: a URL or a key makes no sense; the message names where it stands.
    """
    environ = os.environ if environ is None else environ
    key = environ.get("OPENAI_API_KEY", "").strip() or None
    url, reason = base_url, "--base-url"
    if url is None:
        url, reason = environ.get("OPENAI_BASE_URL", "").strip() or None, "OPENAI_BASE_URL"
    if url is None and key is not None:
        url, reason = _OPENAI, "OPENAI_API_KEY is set"
    if url is None:
        return Choice(None, "nothing is configured")
    try:
        return Choice(Endpoint(url, key), reason)
    except ValueError as error:
        name = "OPENAI_API_KEY" if str(error).startswith("api_key") else reason
        raise ValueError(f"{name}: {error}") from None


@asynccontextmanager
async def open_endpoint(choice: Choice | None = None) -> AsyncGenerator[Endpoint]:
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
    settings: ProviderSettings | None = None,
) -> AsyncGenerator[Endpoint]:
    """Serve the built-in provider on a free port of this machine for as long as the block runs.

    Args:
        settings: its latency, limits and faults; answers take 1 to 3 s by default.
    """
    async with open_collapsing_nursery() as nursery:
        base_url = await nursery.start(partial(serve, Provider(settings or ProviderSettings())))
        yield Endpoint(base_url)
        nursery.cancel_scope.cancel()
