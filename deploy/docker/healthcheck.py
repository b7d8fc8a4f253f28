"""Exit with 0 if the gateway of this container lives, and with 1 if it does not.

HEALTH_URL is the address to ask, if the gateway listens on another port or with TLS. The request
uses no proxy, whatever the environment says.
"""

import os
import ssl
import sys
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

URL = "http://127.0.0.1:4000/healthz"
TIMEOUT_S = 4.0


def connect(scheme: str, address: str) -> HTTPConnection:
    """Return a connection, with TLS if the scheme is https.

    The certificate has the name that clients use, and not that of this address, so it is not
    verified: the request leaves no machine and has no secret.
    """
    if scheme != "https":
        return HTTPConnection(address, timeout=TIMEOUT_S)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return HTTPSConnection(address, timeout=TIMEOUT_S, context=context)


def main() -> int:
    """Ask once, and return the exit status."""
    url = urlsplit(os.environ.get("HEALTH_URL") or URL)
    connection = connect(url.scheme, url.netloc)
    try:
        connection.request("GET", url.path or "/healthz")
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        print(f"{url.geturl()} does not respond: {error}")  # noqa: T201 - `docker inspect` has it
        return 1
    finally:
        connection.close()
    print(f"{url.geturl()} responds with status {status}")  # noqa: T201
    return 0 if status == HTTPStatus.OK else 1


if __name__ == "__main__":
    sys.exit(main())
