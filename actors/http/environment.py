"""Read the proxy and the certificate authorities that the environment sets.

Each mistake is a `ValueError` whose one line names the variable, without passwords (L8).
"""

import ipaddress
import os
import re
import ssl
import urllib.request
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

import httpx

from ..redaction import shown_url
from ..vendors import Endpoint

_SCHEMES = {scheme: scheme for scheme in ("http", "https", "socks5", "socks5h")}
_SCHEMES["socks"] = "socks5"  # as desktops write it
_PORTS = {"http": 80, "https": 443}
_MAX_PORT = 65535
_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")  # each a file or a folder
_HASHED = re.compile(r"[0-9a-f]{8}\.\d+")  # the name of a certificate in a folder for OpenSSL


def check_environment(endpoint: Endpoint, environ: Mapping[str, str] | None = None) -> None:
    """Check the proxy and the authorities that the connections to an endpoint would use.

    Args:
        endpoint: the endpoint to connect to.
        environ: the environment; by default that of the process.

    Raises:
        ValueError: one of them cannot be used. The message names the variable, or `proxy`.
    """
    proxy = proxy_of(endpoint, environ)
    is_secure = httpx.URL(endpoint.base_url).scheme == "https" or proxy.startswith("https:")
    if is_secure and endpoint.ssl_context is None:
        _authorities(os.environ if environ is None else environ)


def proxy_of(endpoint: Endpoint, environ: Mapping[str, str] | None = None) -> str:
    """Return the URL of the proxy on the way to an endpoint; "" for none.

    Args:
        endpoint: the endpoint; its own proxy precedes those of the environment, and none is used
            for an endpoint on this machine.
        environ: the environment; by default that of the process.

    Raises:
        ValueError: the proxy cannot be used. The message names the variable, or `proxy`.
    """
    if endpoint.proxy is not None:
        return _usable("proxy", endpoint.proxy) if endpoint.proxy else ""
    if endpoint.is_loopback:
        return ""
    return environment_proxy(endpoint.base_url, environ)


def environment_proxy(url: str, environ: Mapping[str, str] | None = None) -> str:
    """Return the URL of the proxy that the environment sets for a URL; "" for none.

    HTTPS_PROXY or HTTP_PROXY, by the scheme of the URL, then ALL_PROXY; in lower case first, as
    curl reads them. NO_PROXY has the hosts without a proxy: names with their subdomains, addresses,
    networks such as 10.0.0.0/8, each with an optional port, or "*". Where no variable is set, the
    proxy of the system applies on macOS and Windows.

    Args:
        url: the URL to connect to.
        environ: the environment; by default that of the process.

    Raises:
        ValueError: a variable that applies is malformed; the message names it.
    """
    parts = httpx.URL(url)
    if environ is None:
        environ = os.environ
        if not any(name.lower().endswith("_proxy") for name in environ):
            return _system_proxy(parts)
    names = [f"{parts.scheme}_proxy", "all_proxy"]
    if parts.scheme == "http" and "REQUEST_METHOD" in environ:
        names.remove("http_proxy")  # in a CGI script the client sets it, by the header Proxy
    for name in names:
        found, value = _variable(name, environ)
        if value:
            return "" if _is_direct(parts, environ) else _usable(found, value)
    return ""


def _variable(name: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """Return the spelling of a variable and its value; the one in lower case first."""
    if name in environ:
        return name, environ[name].strip()
    for found, value in environ.items():
        if found.lower() == name:
            return found, value.strip()
    return name, ""


def _system_proxy(url: httpx.URL) -> str:
    if urllib.request.proxy_bypass(url.host):
        return ""
    proxies = urllib.request.getproxies()  # empty on other systems
    found = proxies.get(url.scheme) or proxies.get("all")
    return _usable("the proxy in the settings of the system", found) if found else ""


def _usable(name: str, value: str) -> str:
    """Return the URL of a proxy with a scheme that httpx knows.

    Raises:
        ValueError: it is no URL of a proxy; the message has the name.
    """
    shown = repr(shown_url(value))
    scheme, mark, rest = value.rpartition("://")
    scheme = scheme.lower() if mark else "http"  # 127.0.0.1:3128, as curl takes it
    if scheme.startswith("socks4"):
        raise ValueError(f"{name}: {shown} is a SOCKS 4 proxy; only socks5:// is supported")
    if scheme.startswith("socks") and find_spec("socksio") is None:
        raise ValueError(
            f"{name}: {shown} is a SOCKS proxy, which needs: pip install 'httpx[socks]'"
        )
    try:
        url = httpx.URL(f"{_SCHEMES[scheme]}://{rest}")
        is_one = bool(url.host) and (url.port is None or 0 < url.port <= _MAX_PORT)
    except (KeyError, ValueError, httpx.InvalidURL):
        is_one = False
    is_path = not mark and "/" in rest.rstrip("/")  # http//proxy:3128
    if not is_one or is_path or re.search(r"\s", rest):
        raise ValueError(f"{name}: {shown} is no proxy; write it like http://127.0.0.1:3128")
    return str(httpx.URL(f"{_SCHEMES[scheme]}://{rest}"))


def _is_direct(url: httpx.URL, environ: Mapping[str, str]) -> bool:
    """Return whether NO_PROXY has the host of a URL."""
    name, value = _variable("no_proxy", environ)
    host, port = url.host.lower().rstrip("."), url.port or _PORTS.get(url.scheme)
    for entry in filter(None, re.split(r"[\s,]+", value.lower())):
        wanted, wanted_port = _host_and_port(entry)
        if wanted_port is not None and wanted_port != port:
            continue
        if "/" in wanted:
            try:
                network = ipaddress.ip_network(wanted, strict=False)
            except ValueError:
                raise ValueError(
                    f"{name}: {entry!r:.60} is neither a host nor a network such as 10.0.0.0/8"
                ) from None
            address = _address(host)
            if address is not None and address in network:
                return True
        elif wanted in ("*", host) or host.endswith(f".{wanted.lstrip('*.')}"):
            return True
    return False


def _host_and_port(entry: str) -> tuple[str, int | None]:
    found = re.fullmatch(r"(?:\[(?P<six>[0-9a-f:.]+)\]|(?P<host>[^:]*))(?::(?P<port>\d+))?", entry)
    if found is None:
        return entry, None  # an IPv6 address without brackets
    host = found["six"] or found["host"].lstrip(".").rstrip(".")
    return host, int(found["port"]) if found["port"] else None


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def default_tls_context() -> ssl.SSLContext:
    """Return a TLS context that trusts the authorities of the environment, or else certifi's.

    SSL_CERT_FILE and SSL_CERT_DIR, or else REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE, replace certifi's.

    Raises:
        ValueError: a variable names no usable authorities; the message names it.
    """
    return _authorities(os.environ) or httpx.create_ssl_context(trust_env=False)


def _authorities(environ: Mapping[str, str]) -> ssl.SSLContext | None:
    """Return a context with the authorities that variables name; None if there are none.

    Raises:
        ValueError: see `default_tls_context`.
    """
    context = None
    for name, path in named_authorities(environ):
        _check_authorities(name, path)
        file, folder = (None, path) if path.is_dir() else (path, None)
        try:
            if context is None:
                context = ssl.create_default_context(cafile=file, capath=folder)
            else:
                context.load_verify_locations(cafile=file, capath=folder)
        except (OSError, ssl.SSLError) as error:
            why = "has no certificate" if isinstance(error, ssl.SSLError) else error.strerror
            raise ValueError(f"{name}: {str(path)!r:.200} {why}") from None
    return context


def named_authorities(environ: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    """Yield the files and folders of certificate authorities that variables name.

    Args:
        environ: the variables of the process.

    Yields:
        The variable, and the file or folder.
    """
    file = environ.get("SSL_CERT_FILE", "").strip()
    folders = environ.get("SSL_CERT_DIR", "").strip()
    if file or folders:
        if file:
            yield "SSL_CERT_FILE", Path(file)
        for folder in filter(None, folders.split(os.pathsep)):
            yield "SSL_CERT_DIR", Path(folder)
        return
    for name in _BUNDLES:
        if place := environ.get(name, "").strip():
            yield name, Path(place)
            return


def _check_authorities(name: str, path: Path) -> None:
    """Check what OpenSSL does not report: a folder without certificates that it would find."""
    shown = f"{name}: {str(path)!r:.200}"
    if not path.exists():
        raise ValueError(f"{shown} does not exist")
    if name == "SSL_CERT_FILE" and path.is_dir():
        raise ValueError(f"{shown} is a folder; SSL_CERT_DIR is for folders")
    if name == "SSL_CERT_DIR" and not path.is_dir():
        raise ValueError(f"{shown} is no folder; SSL_CERT_FILE is for files")
    if path.is_dir() and not any(_HASHED.fullmatch(one.name) for one in path.iterdir()):
        raise ValueError(f"{shown} has no certificates by their hash; run openssl rehash on it")
