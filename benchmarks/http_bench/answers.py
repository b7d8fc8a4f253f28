"""The provider's responses, as bytes that are made once: a completion, complete or streamed.

The streamed one is in segments: the head, and one for each event, as real streams arrive.
"""

import json
from collections.abc import Iterator

from http_bench.call import ANSWER, MODEL, PIECES

__all__ = ["BAD_REQUEST", "SEGMENTS", "STREAMED", "WHOLE", "response_to"]

_ABOUT = {"id": "chatcmpl-benchmark", "created": 1_700_000_000, "model": MODEL}
_USAGE = {
    "prompt_tokens": 45,
    "completion_tokens": 21,
    "total_tokens": 66,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
}
_LAST = "[DONE]"
_HEADERS = (
    b"date: Wed, 01 Jan 2025 00:00:00 GMT\r\n"
    b"openai-processing-ms: 50\r\n"
    b"openai-version: 2020-10-01\r\n"
    b"x-request-id: req_benchmark\r\n"
    b"x-ratelimit-limit-requests: 30000000\r\n"  # a limit that never binds
    b"x-ratelimit-remaining-requests: 29999999\r\n"
    b"x-ratelimit-reset-requests: 0s\r\n"
)


def _whole() -> bytes:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": ANSWER, "refusal": None},
        "logprobs": None,
        "finish_reason": "stop",
    }
    completion = {**_ABOUT, "object": "chat.completion", "choices": [choice], "usage": _USAGE}
    body = json.dumps(completion).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
    return head % len(body) + _HEADERS + b"\r\n" + body


def _events() -> Iterator[str]:
    def event(choices: list[dict[str, object]], usage: object = None) -> str:
        chunk = {**_ABOUT, "object": "chat.completion.chunk", "choices": choices, "usage": usage}
        return json.dumps(chunk)

    def choice(delta: dict[str, str], finish_reason: str | None = None) -> list[dict[str, object]]:
        return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}]

    yield event(choice({"role": "assistant", "content": ""}))
    for piece in PIECES:
        yield event(choice({"content": piece}))
    yield event(choice({}, "stop"))
    yield event([], _USAGE)
    yield _LAST


def _segments() -> Iterator[bytes]:
    yield (
        b"HTTP/1.1 200 OK\r\n"
        b"content-type: text/event-stream; charset=utf-8\r\n"
        b"transfer-encoding: chunked\r\n" + _HEADERS + b"\r\n"
    )
    for event in _events():
        text = f"data: {event}\n\n".encode()
        end = b"0\r\n\r\n" if event == _LAST else b""
        yield b"%x\r\n%b\r\n" % (len(text), text) + end


WHOLE, SEGMENTS = _whole(), tuple(_segments())
STREAMED = b"".join(SEGMENTS)
BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


def response_to(request: bytes) -> bytes:
    """Return the response to a request in one segment, streamed if the request says so."""
    is_streamed = b'"stream": true' in request or b'"stream":true' in request
    return STREAMED if is_streamed else WHOLE
