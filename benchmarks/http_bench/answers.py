"""The provider's responses, as bytes that are made once: a completion, complete or streamed."""

import json
from collections.abc import Iterator

from http_bench.call import ANSWER, MODEL, PIECES

__all__ = ["BAD_REQUEST", "STREAMED", "WHOLE"]

_ABOUT = {"id": "chatcmpl-benchmark", "created": 1_700_000_000, "model": MODEL}
_USAGE = {
    "prompt_tokens": 45,
    "completion_tokens": 21,
    "total_tokens": 66,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
}
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
    yield "[DONE]"


def _streamed() -> bytes:
    head = (
        b"HTTP/1.1 200 OK\r\n"
        b"content-type: text/event-stream; charset=utf-8\r\n"
        b"transfer-encoding: chunked\r\n" + _HEADERS + b"\r\n"
    )
    events = (f"data: {event}\n\n".encode() for event in _events())
    return head + b"".join(b"%x\r\n%b\r\n" % (len(event), event) for event in events) + b"0\r\n\r\n"


WHOLE, STREAMED = _whole(), _streamed()
BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
