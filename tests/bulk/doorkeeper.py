"""Somebody between a run and its provider, who holds a call back at the moment a test wants."""

import http.client
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import attrs

PATIENCE_S = 30.0


@attrs.define(eq=False)
class Held:
    """A call that is held back at a moment of it, once.

    Args:
        call: a pattern of method and path, such as "POST /v1/batches$".
        moment: "before" it goes to the provider, "after" the provider has answered it and before
            the answer goes on, or in the middle of that: "half" of the body.
    """

    call: str
    moment: str
    reached: threading.Event = attrs.field(factory=threading.Event)
    released: threading.Event = attrs.field(factory=threading.Event)

    def wait(self):
        """Until a call is there."""
        if not self.reached.wait(PATIENCE_S):
            raise TimeoutError(f"no {self.call}")

    def release(self):
        """What waits goes no further: whoever made the call is dead."""
        self.released.set()


class Doorkeeper(ThreadingHTTPServer):
    """Passes calls on to a provider.

    Args:
        target: the provider's base URL.

    Attributes:
        calls: method and path of each that has come.
        refuse: what is said to a body instead of the provider's answer, status and text; None for
            what goes on.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, target):
        super().__init__(("127.0.0.1", 0), _Door)
        self.target = target
        self.calls = []
        self.refuse = _nobody
        self._held = []

    @property
    def base_url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"

    def hold(self, call, moment):
        """The next such call is held back."""
        held = Held(call, moment)
        self._held.append(held)
        return held

    def pause(self, call, moment):
        """Whether a call goes no further, for whoever made it has died at this moment."""
        for held in list(self._held):
            if held.moment == moment and re.match(held.call, call):
                self._held.remove(held)
                held.reached.set()
                held.released.wait(PATIENCE_S)
                return True
        return False

    def handle_error(self, request, client_address):
        pass  # who called has died


def _nobody(_):
    return None


def _nobody(_):
    return None


class _Door(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        call = f"{self.command} {self.path}"
        self.server.calls.append(call)
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if (said := self.server.refuse(body)) is not None:
            self._answer(said[0], {"content-type": "application/json"}, said[1])
        elif not self.server.pause(call, "before"):
            status, headers, content = self._ask(body)
            if self.server.pause(call, "after"):
                self.close_connection = True
            else:
                self._answer(status, headers, content, call)
        else:
            self.close_connection = True

    do_POST = do_DELETE = do_GET  # noqa: N815  # their names are given

    def _ask(self, body):
        """What the provider says."""
        place = urlsplit(self.server.target)
        connection = http.client.HTTPConnection(place.hostname, place.port, timeout=PATIENCE_S)
        try:
            headers = {name: value for name, value in self.headers.items() if name != "Connection"}
            connection.request(self.command, self.path, body, headers)
            said = connection.getresponse()
            kept = {
                name: value
                for name, value in said.getheaders()
                if name.lower() not in ("content-length", "transfer-encoding", "connection")
            }
            return said.status, kept, said.read()
        finally:
            connection.close()

    def _answer(self, status, headers, content, call=""):
        self.send_response(status)
        for name, value in {**headers, "content-length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        half = len(content) // 2
        self.wfile.write(content[:half])
        if self.server.pause(call, "half"):
            self.close_connection = True
        else:
            self.wfile.write(content[half:])

    def log_message(self, *_):
        pass


@contextmanager
def doorkeeper(target):
    """One at a door of its own."""
    with Doorkeeper(target) as door:
        thread = threading.Thread(target=door.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield door
        finally:
            for held in door._held:
                held.release()
            door.shutdown()
            thread.join()
