"""Opens connections: TCP, and TLS over it where the URL says https."""

import ssl
from collections.abc import Awaitable, Callable
from math import inf
from typing import Literal, cast, final

import httpx
import trio

from .connection import close_now
from .pool import Origin
from .streams import SocketStream, TlsStream

__all__ = ["Connector", "OpenStream", "Verify"]

OpenStream = Callable[[str, int], Awaitable[trio.abc.Stream]]
Verify = Literal["certifi", "system"] | ssl.SSLContext
_ALPN = "http/1.1"
_BUFFER_BYTES = 64 * 1024


@final
class Connector:
    """Opens streams to origins.

    Args:
        open_stream: connects to a host and port.
        verify: who vouches for servers: the authorities that come with certifi (or that
            SSL_CERT_FILE or SSL_CERT_DIR in the environment has), those of the system, or a
            context's.

    Raises:
        ValueError: `verify` is none of these.
    """

    def __init__(self, open_stream: OpenStream, verify: Verify) -> None:
        given = cast("object", verify)  # callers may not check types
        if given not in ("certifi", "system") and not isinstance(given, ssl.SSLContext):
            raise ValueError(f'verify must be "certifi", "system" or an SSLContext, not {verify!r}')
        self._open_stream = open_stream
        self._verify: Verify = verify
        self._buffer = bytearray(_BUFFER_BYTES)

    async def connect(self, origin: Origin, seconds: float | None) -> trio.abc.Stream:
        """Open a stream, which carries HTTP/1.1.

        Args:
            origin: scheme, host and port.
            seconds: for all of it; None for as long as it takes.

        Raises:
            httpx.ConnectError: there is nobody, or somebody else.
            httpx.ConnectTimeout: it took too long.
        """
        scheme, host, port = origin
        deadline = inf if seconds is None else trio.current_time() + seconds
        with trio.CancelScope(deadline=deadline):
            try:
                stream = await self._open_stream(host, port)
                if isinstance(stream, trio.SocketStream):
                    stream = SocketStream(stream, self._buffer)
                return await self._secure(stream, host) if scheme == "https" else stream
            except (OSError, ValueError, trio.BrokenResourceError) as error:
                # ValueError: what the name of the host has in it cannot be looked up.
                raise httpx.ConnectError(
                    f"cannot connect to {host}:{port}: {_reason(error)}"
                ) from error
        raise httpx.ConnectTimeout(f"cannot connect to {host}:{port} within {seconds:g} s")

    async def _secure(self, stream: trio.abc.Stream, host: str) -> trio.abc.Stream:
        secure: trio.abc.Stream = stream
        try:
            if isinstance(stream, SocketStream):
                secure = tls = TlsStream(stream, self._context(), host)
                _check_protocol(await tls.handshake(), host)
            else:
                secure = layer = trio.SSLStream(
                    stream, self._context(), server_hostname=host, https_compatible=True
                )
                await layer.do_handshake()
                _check_protocol(layer.selected_alpn_protocol(), host)
        except BaseException:
            await close_now(secure)
            raise
        return secure

    def _context(self) -> ssl.SSLContext:
        """Made once, and only if there is TLS: it takes 20 ms to read the authorities."""
        if not isinstance(self._verify, ssl.SSLContext):
            is_system = self._verify == "system"
            context = ssl.create_default_context() if is_system else httpx.create_ssl_context()
            context.set_alpn_protocols([_ALPN])
            self._verify = context
        return self._verify


def _check_protocol(chosen: str | None, host: str) -> None:
    if chosen not in (None, _ALPN):
        raise httpx.ConnectError(
            f"{host} speaks {chosen}, which the TLS context offers; let it offer {_ALPN} only"
        )


def _reason(error: Exception) -> str:
    """What went wrong, below what Trio has wrapped around it."""
    cause = error.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"{cause.verify_message}; if its authority is to be trusted, say so with `verify`"
    if isinstance(cause, ExceptionGroup):  # one for each address that was tried
        return str(cast("ExceptionGroup[Exception]", cause).exceptions[0])
    return str(cause or error) or "the connection broke"
