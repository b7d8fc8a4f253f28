"""A proxy between a run and its provider that holds a call back at a point the test chooses."""

import http.client
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import attrs

PATIENCE_S = 30.0


@attrs.define(eq=False)
class HeldCall:
    """A call that is held back once, at one point of its processing.

    Args:
        call: a pattern of method and path, such as "POST /v1/batches$".
        moment: "before" the call is sent to the provider, "after" the provider has responded and
            before the response is passed on, or "half": after half of the body was passed on.
    """

    call: str
    moment: str
    reached: threading.Event = attrs.field(factory=threading.Event)
    released: threading.Event = attrs.field(factory=threading.Event)

    def wait(self):
        """Wait until a call is held."""
        if not self.reached.wait(PATIENCE_S):
            raise TimeoutError(f"no {self.call}")

    def release(self):
        """Drop the held call; its client has been killed."""
        self.released.set()


class HoldingProxy(ThreadingHTTPServer):
    """Passes calls on to a provider.

    Args:
        target: the provider's base URL.

    Attributes:
        calls: the method and the path of each call so far.
        refuse: returns the status and the text to respond with instead of the provider, from the
            body of a call; None to pass the call on.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, target):
        super().__init__(("127.0.0.1", 0), _ProxyHandler)
        self.target = target
        self.calls = []
        self.refuse = _refuse_none
        self._held = []

    @property
    def base_url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"

    def hold(self, call, moment):
        """Hold the next such call back."""
        held = HeldCall(call, moment)
        self._held.append(held)
        return held

    def pause(self, call, moment):
        """Hold a matching call; return True if it is to be dropped: its client was killed."""
        for held in list(self._held):
            if held.moment == moment and re.match(held.call, call):
                self._held.remove(held)
                held.reached.set()
                held.released.wait(PATIENCE_S)
                return True
        return False

    def handle_error(self, request, client_address):
        pass  # the client was killed


def _refuse_none(_):
    return None


class _ProxyHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        call = f"{self.command} {self.path}"
        self.server.calls.append(call)
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if (response := self.server.refuse(body)) is not None:
            self._answer(response[0], {"content-type": "application/json"}, response[1])
        elif not self.server.pause(call, "before"):
            status, headers, content = self._forward(body)
            if self.server.pause(call, "after"):
                self.close_connection = True
            else:
                self._answer(status, headers, content, call)
        else:
            self.close_connection = True

    do_POST = do_DELETE = do_GET  # noqa: N815  # names that http.server requires

    def _forward(self, body):
        """Send the call to the provider and return its response."""
        place = urlsplit(self.server.target)
        connection = http.client.HTTPConnection(place.hostname, place.port, timeout=PATIENCE_S)
        try:
            headers = {name: value for name, value in self.headers.items() if name != "Connection"}
            connection.request(self.command, self.path, body, headers)
            response = connection.getresponse()
            kept = {
                name: value
                for name, value in response.getheaders()
                if name.lower() not in ("content-length", "transfer-encoding", "connection")
            }
            return response.status, kept, response.read()
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
def holding_proxy(target):
    """Run a proxy in a thread."""
    with HoldingProxy(target) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield proxy
        finally:
            for held in proxy._held:
                held.release()
            proxy.shutdown()
            thread.join()
