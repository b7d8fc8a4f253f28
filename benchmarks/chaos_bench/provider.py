"""Run a provider that has a limit, and counts what it is asked for each row.

    python -m chaos_bench.provider --rpm 18000 --latency-s 0.1

It prints its port, and responds to chats whose last message names a row, as "row 17". A request
above the limit gets a 429. `GET /counts` returns its counts as JSON.
"""

import json
import re
import sys
import time
from collections import Counter, deque
from functools import partial
from http import HTTPStatus
from typing import final

import click
import trio

__all__ = ["INPUT_TOKENS", "MODEL", "OUTPUT_TOKENS", "answer_to"]

MODEL = "gpt-4o-mini"
INPUT_TOKENS, OUTPUT_TOKENS = 20, 50
_ROW = re.compile(rb"row (\d+)")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_READ = 1 << 16


def answer_to(row: int) -> str:
    """Return the text of the response to a row."""
    return f"answer {row}"


@final
class _Provider:
    """The limit and the counts.

    Args:
        per_s: requests a second.
        burst_s: what the limit allows in this time can be used at once.
        latency_s: seconds that a response takes.
    """

    def __init__(self, per_s: float, burst_s: float, latency_s: float) -> None:
        self._per_s, self._depth, self._latency_s = per_s, per_s * burst_s, latency_s
        self._level, self._last = self._depth, time.monotonic()
        self._taken: Counter[int] = Counter()
        self._refused = 0
        self._least = self._depth
        self._recent: deque[float] = deque()
        self._most = 0

    def counts(self) -> bytes:
        """Return the counts as JSON."""
        return json.dumps(
            {
                "taken": self._taken,
                "refused": self._refused,
                "most_in_a_second": self._most,
                "least_left": self._least,
            }
        ).encode()

    async def respond(self, head: bytes, body: bytes) -> tuple[HTTPStatus, bytes]:
        """Return the status and the body of a response."""
        if head.startswith(b"GET /counts"):
            return HTTPStatus.OK, self.counts()
        found = _ROW.findall(body)
        if not found:
            return HTTPStatus.BAD_REQUEST, b'{"error": {"message": "no row is named"}}'
        if not self._admits():
            error = {"message": "Rate limit reached", "type": "requests", "code": "rate_limit"}
            return HTTPStatus.TOO_MANY_REQUESTS, json.dumps({"error": error}).encode()
        row = int(found[-1])
        self._taken[row] += 1  # from here on it is billed, whether or not the response arrives
        await trio.sleep(self._latency_s)
        return HTTPStatus.OK, _completion(row)

    def _admits(self) -> bool:
        now = time.monotonic()
        self._recent.append(now)
        while self._recent[0] <= now - 1.0:
            self._recent.popleft()
        self._most = max(self._most, len(self._recent))
        self._level = min(self._depth, self._level + (now - self._last) * self._per_s)
        self._last = now
        self._least = min(self._least, self._level - 1.0)
        if self._level < 1.0:
            self._refused += 1
            return False
        self._level -= 1.0
        return True


def _completion(row: int) -> bytes:
    message = {"role": "assistant", "content": answer_to(row)}
    usage = {
        "prompt_tokens": INPUT_TOKENS,
        "completion_tokens": OUTPUT_TOKENS,
        "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
    }
    return json.dumps(
        {
            "id": f"chatcmpl-{row}",
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": MODEL,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": usage,
        }
    ).encode()


async def _serve(provider: _Provider, stream: trio.SocketStream) -> None:
    buffer = bytearray()
    try:
        while True:
            while (end := buffer.find(b"\r\n\r\n")) < 0 or len(buffer) < _whole(buffer, end):
                data = await stream.receive_some(_READ)
                if not data:
                    return
                buffer += data
            whole = _whole(buffer, end)
            head, body = bytes(buffer[:end]), bytes(buffer[end + 4 : whole])
            del buffer[:whole]
            status, answer = await provider.respond(head, body)
            start = f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\n"
            await stream.send_all(f"{start}content-length: {len(answer)}\r\n\r\n".encode() + answer)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # the client was killed


def _whole(buffer: bytearray, end: int) -> int:
    """Return the length of the first request, whose head ends there."""
    found = _LENGTH.search(buffer, 0, end)
    return end + 4 + (int(found[1]) if found else 0)


async def _run(provider: _Provider) -> None:
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        print(listeners[0].socket.getsockname()[1], flush=True)
        nursery.start_soon(partial(trio.serve_listeners, partial(_serve, provider), listeners))
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        nursery.cancel_scope.cancel()


@click.command()
@click.option("--rpm", type=click.FloatRange(1), required=True)
@click.option("--burst-s", type=click.FloatRange(0), default=1.0)
@click.option("--latency-s", type=click.FloatRange(0), default=0.1)
def main(*, rpm: float, burst_s: float, latency_s: float) -> None:
    """Respond until the standard input is closed."""
    trio.run(_run, _Provider(rpm / 60.0, burst_s, latency_s))


if __name__ == "__main__":
    main()
