"""The certificate of a server, and encrypted connections."""

import ssl
from os import PathLike
from pathlib import Path
from typing import Final, final

import attrs

from ..actors import as_path
from .address import CannotServe

PROTOCOLS: Final = ("h2", "http/1.1")


def certificate_path(value: str | PathLike[str]) -> Path:
    """Return the path of a certificate.

    Args:
        value: a text or a path.

    Raises:
        TypeError: it is something else.
    """
    return _file(value, "certificate")


def key_path(value: str | PathLike[str]) -> Path:
    """Return the path of a private key.

    Args:
        value: a text or a path.

    Raises:
        TypeError: it is something else.
    """
    return _file(value, "key")


def _file(value: str | PathLike[str], name: str) -> Path:
    found = as_path(value, name)
    if found is None:
        raise TypeError(f"{name} must be a path, not None")
    return found


@final
@attrs.define(eq=False)
class Tls:
    """A certificate with its key. Connections use TLS 1.2 or newer.

    The files are read when a server starts, and again at each call of `load`.

    Args:
        certificate: the file of the certificate and those that it depends on (PEM).
        key: the file of the private key (PEM), without a password.
    """

    certificate: Path = attrs.field(converter=certificate_path, on_setattr=attrs.setters.frozen)
    key: Path = attrs.field(converter=key_path, on_setattr=attrs.setters.frozen)
    _context: ssl.SSLContext | None = attrs.field(default=None, init=False)

    @property
    def context(self) -> ssl.SSLContext:
        """What new connections use; the files are read if they never were.

        Raises:
            CannotServe: the files cannot be used.
        """
        if self._context is None:
            self.load()
            assert self._context is not None  # noqa: S101  # or it has raised
        return self._context

    def load(self) -> None:
        """Read the files; new connections use them from now on.

        Raises:
            CannotServe: the files cannot be used; new connections use the previous ones.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(PROTOCOLS)
        for path, mark, what in (
            (self.certificate, "CERTIFICATE-----", "certificate"),
            (self.key, "PRIVATE KEY-----", "private key"),
        ):
            _check(path, mark, what)
        try:
            context.load_cert_chain(self.certificate, self.key, password=_no_password)
        except (OSError, ValueError) as error:  # an SSLError is an OSError
            raise CannotServe(_mismatch(self.certificate, self.key, error)) from error
        self._context = context


def _no_password() -> str:
    """Refuse an encrypted key; OpenSSL would ask for its password at the terminal."""
    raise ValueError("it is encrypted; write it without a password: openssl pkey -in KEY -out FILE")


def _check(path: Path, mark: str, what: str) -> None:
    try:
        text = path.read_text(encoding="latin-1")
    except OSError as error:
        raise CannotServe(f"cannot read the {what} {path}: {error.strerror or error}") from error
    if mark not in text:
        raise CannotServe(f"{path} has no {what} in PEM form (-----BEGIN ...{mark})")


def _mismatch(certificate: Path, key: Path, error: Exception) -> str:
    reason = getattr(error, "reason", None)
    if reason == "KEY_VALUES_MISMATCH":
        return f"{key} is not the key of the certificate {certificate}"
    if isinstance(error, ValueError) and not isinstance(error, OSError):
        return f"cannot use the private key {key}: {error}"
    return f"cannot use the certificate {certificate} with the key {key}: {reason or error}"
