"""What a failed request says about money: whether the server may have worked on it."""

import httpx

__all__ = ["StaleConnection", "may_have_run"]

_BEFORE_SENDING = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,  # what was sent of it, if anything, was no whole request
)


class StaleConnection(httpx.RemoteProtocolError):
    """A kept connection was closed by the server before one byte of an answer came.

    Mostly the server had closed it for being idle while the request was on its way, and never saw
    the request (RFC 9112, section 9.3.1). But it may also have died over the request. Nobody can
    know, and so nothing is sent again here; how long it took tells the two apart in practice.

    Attributes:
        reused: always True: the connection had carried a request before.
        whole: whether the whole request had been handed to the operating system. If not, the
            server cannot have acted upon it.
        seconds: from the start of sending to the end. An idle connection's end shows within a
            round trip; a server that dies over a request has worked on it first.
    """

    reused = True

    def __init__(
        self,
        message: str,
        *,
        whole: bool,
        seconds: float,
        request: httpx.Request | None = None,
    ) -> None:
        super().__init__(message, request=request)
        self.whole = whole
        self.seconds = seconds


def may_have_run(error: httpx.RequestError) -> bool:
    """Whether the server may have acted upon a request that failed so, and charge for it (L3).

    False is certain: no connection was made, or no whole request was sent over it.

    Args:
        error: what sending the request, or reading its answer, raised.
    """
    if isinstance(error, StaleConnection):
        return error.whole
    return not isinstance(error, _BEFORE_SENDING)
