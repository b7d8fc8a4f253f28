"""The errors of a shared server: each names the server, the reason and the remedy."""

from typing import ClassVar

from ..storage import StorageError


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
