"""The identity of an endpoint: all that decides which server answers, and no key (L8, L12).

It looks like ``https://api.openai.com/v1#openai-project:proj_1``. Caches and journals contain it.
"""

from collections.abc import Collection, Mapping
from hashlib import sha256
from urllib.parse import quote

import httpx

from ..redaction import looks_like_key, names_secret, replace_keys

# Headers that name the caller or its trace. Every program and every call may have others.
_OF_THE_CALLER = frozenset({
    "baggage",
    "http-referer",
    "referer",
    "traceparent",
    "tracestate",
    "user-agent",
    "x-request-id",
    "x-title",
})  # fmt: skip
# Headers and parameters whose values are no secret. Others appear as a digest.
_SHOWN = frozenset({
    "anthropic-beta",
    "anthropic-version",
    "api-version",
    "openai-beta",
    "openai-organization",
    "openai-project",
    "x-goog-user-project",
})  # fmt: skip


def identity_of(
    base_url: str,
    *,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    named: Mapping[str, str | None],
    secret_names: Collection[str],
) -> str:
    """Return a text that is the same for two endpoints only if the same server answers both.

    A key is in it neither as itself nor as a digest, so that a new key changes nothing. The one
    exception is a key in the path of the URL, where it cannot be told from a name: of that there is
    a digest.

    Args:
        base_url: the base URL; its user name and password are left out.
        query: the parameters of every URL.
        headers: the headers of every request, by name in lower case.
        named: what else decides, such as the Unix socket, by name; None is left out.
        secret_names: further names of headers and parameters that contain a key, in lower case.
    """
    url = httpx.URL(base_url)
    host = url.netloc.decode("ascii").rpartition("@")[2]
    path = replace_keys(url.raw_path.decode("ascii"), _digest)
    parameters = [
        f"{quote(name, safe='')}={value}" for name, value in _public(query, secret_names).items()
    ]
    more = [f"{name}={_quoted(value)}" for name, value in named.items() if value is not None]
    more += [f"{name}:{value}" for name, value in _public(headers, secret_names).items()]
    return "".join((
        f"{url.scheme}://{host}{path}",
        f"?{'&'.join(parameters)}" if parameters else "",
        *(f"#{part}" for part in more),
    ))  # fmt: skip


def _public(values: Mapping[str, str], secret_names: Collection[str]) -> dict[str, str]:
    """Return what may be read by all, in the order of the names."""
    return {
        name: _quoted(value) if name.lower() in _SHOWN and not looks_like_key(value)
        else _digest(value)
        for name, value in sorted(values.items())
        if name.lower() not in _OF_THE_CALLER
        and name.lower() not in secret_names
        and not names_secret(name.lower())
    }  # fmt: skip


def _quoted(value: str) -> str:
    return quote(value, safe="/:@,+ ")


def _digest(value: str) -> str:
    return sha256(value.encode(errors="surrogatepass")).hexdigest()[:16]
