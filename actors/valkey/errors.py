"""The errors of a shared server: each names the server, the reason and the remedy."""

import ssl
from errno import errorcode
from os import strerror
from typing import ClassVar, cast

from ..storage import StorageError

NEWER = "use Valkey, or Redis 6 or later"
ONE_SERVER = "give the URL of a server without cluster mode"
_CERTIFICATE = (
    "check the certificate and the host name in the URL; SSL_CERT_FILE names further authorities"
)
_LOG_IN = (
    "put user:password@ (or :password@) before the host in its URL; CALLSHEET_SHARED_URL keeps "
    "such a URL off the command line"
)
_CUT_OFF = (ssl.SSLEOFError, ssl.SSLZeroReturnError)  # such as a server that ends meanwhile
_PASSES = ("OOM", "MISCONF", "LOADING", "BUSY", "MASTERDOWN", "NOREPLICAS")


class ServerAway(StorageError):
    """The server does not answer, or not in time. Whether it did what was asked is unknown.

    Scripts are safe to repeat, so the caller asks again.
    """

    default_remedy: ClassVar[str] = "start the server, or check the URL and the network"


class UnsuitableServer(StorageError):
    """The server answers, but must not be used for this: to try again does not help.

    Its version is too old, the password is wrong, or it may forget what must not be lost.
    """

    default_remedy: ClassVar[str] = "change the configuration of the server, or give another URL"


def translation(name: str, error: Exception) -> StorageError:
    """Return the error of ours for one of the server, of coredis or of the operating system.

    Args:
        name: what the server is and where, without secrets (L8).
        error: the error, or a group, of which the first one counts.
    """
    from coredis import exceptions  # noqa: PLC0415  # needs the extra

    while isinstance(error, ExceptionGroup):
        error = cast("ExceptionGroup[Exception]", error).exceptions[0]
    text = _first_line(error)
    cause = error.__cause__
    if isinstance(cause, ssl.SSLError) and not isinstance(cause, _CUT_OFF):
        reason = getattr(cause, "verify_message", "") or getattr(cause, "reason", "") or str(cause)
        return UnsuitableServer(name, f"there is no TLS connection: {reason}", _CERTIFICATE)
    if isinstance(error, exceptions.MovedError | exceptions.AskError):
        return UnsuitableServer(name, f"it is a cluster ({text})", ONE_SERVER)
    if isinstance(error, exceptions.AuthenticationRequiredError):
        text = "it wants a password, and none is given"
    for kind, remedy in (
        (exceptions.AuthenticationRequiredError, _LOG_IN),
        (exceptions.AuthenticationError, "check the user name and password in the URL"),
        (exceptions.AuthorizationError, "give the user of the URL the right to do this"),
        (exceptions.UnknownCommandError, NEWER),
        (exceptions.InvalidResponse, "give the URL of a Valkey or Redis server"),
    ):
        if isinstance(error, kind):
            return UnsuitableServer(name, text, remedy)
    if isinstance(error, exceptions.ConnectionError | OSError):
        return ServerAway(name, _reason_of_system(error) or text)
    passes = exceptions.ReadOnlyError | exceptions.ClusterDownError | exceptions.TryAgainError
    if isinstance(error, passes) or text.startswith(_PASSES):
        return ServerAway(name, text, "make room for it, or wait")
    return UnsuitableServer(name, text)


def _reason_of_system(error: BaseException) -> str:
    """Return what the operating system says of a connection; "" if it says nothing."""
    cause: BaseException | None = error
    reason = ""
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno is not None:
            is_usual = cause.errno in errorcode  # the text of others has no address in it
            reason = strerror(cause.errno) if is_usual else cause.strerror or reason
        cause = cause.__cause__
    return f"it cannot be reached: {reason}" if reason else ""


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
