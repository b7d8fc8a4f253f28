"""Measure the wire formats: to write a body, to read a body, and to read an event of a stream.

    python benchmarks/wire.py [--rounds 9]

Figures are microseconds of CPU time, the least of the rounds, because the least has the least
disturbance by other processes.
"""

import time
from collections.abc import Callable

import click

from callsheet import Request
from callsheet.actors.json_value import Json
from callsheet.actors.vendors.decoding import dumps, loads
from callsheet.actors.vendors.openai_chat import OpenAIChat
from callsheet.actors.vendors.sse import SseParser

_EVENTS = 2000
_REQUEST = Request.of("Why does backpressure matter?", model="gpt-5.6", max_tokens=200)
_FORM = OpenAIChat()


def _chunk(reason: str | None) -> dict[str, Json]:
    choice: Json = {"index": 0, "delta": {"content": " hello"}, "finish_reason": reason}
    return {
        "id": "chatcmpl-x1",
        "object": "chat.completion.chunk",
        "created": 1750000000,
        "model": "gpt-5.6",
        "choices": [choice],
        "usage": None,
    }


_EVENT = b"data: " + dumps(_chunk(None)) + b"\n\n"
_STREAM = _EVENT * (_EVENTS - 1) + b"data: " + dumps(_chunk("stop")) + b"\n\n"
_BODY = dumps(
    {
        "model": "gpt-5.6",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "hello " * 200},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 12, "completion_tokens": 200},
    }
)


def write() -> None:
    """Encode the bodies of `_EVENTS` requests."""
    for _ in range(_EVENTS):
        dumps(_FORM.encode(_REQUEST, stream=False))


def read() -> None:
    """Decode `_EVENTS` complete responses."""
    for _ in range(_EVENTS):
        _FORM.decode(loads(_BODY), _REQUEST)


def split_alone() -> None:
    """Split a stream into its events, one event in each piece of bytes."""
    parser = SseParser()
    for _ in range(_EVENTS):
        parser.feed(_EVENT)


def split_together() -> None:
    """Split a stream into its events, many in each piece, as when the reader falls behind."""
    parser = SseParser()
    for at in range(0, len(_STREAM), 16384):
        parser.feed(_STREAM[at : at + 16384])


def parse() -> None:
    """Decode only the JSON of each event, for comparison."""
    for _ in range(_EVENTS):
        loads(_EVENT[6:-2])


def stream() -> None:
    """Decode a whole stream to its response, one event in each piece of bytes."""
    parser, decoder = SseParser(), _FORM.stream_decoder(_REQUEST)
    for at in range(0, len(_STREAM), len(_EVENT)):
        for event in parser.feed(_STREAM[at : at + len(_EVENT)]):
            decoder.feed(event)
    decoder.end()


def _least_us(run: Callable[[], None], rounds: int) -> float:
    least = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        run()
        least = min(least, time.process_time() - start)
    return least / _EVENTS * 1e6


@click.command()
@click.option("--rounds", type=click.IntRange(1), default=9, show_default=True)
def main(rounds: int) -> None:
    """Print the cost of each operation."""
    for name, run in (
        ("write a request's body", write),
        ("read a complete response", read),
        ("an event, JSON alone", parse),
        ("an event to its data, one in a piece", split_alone),
        ("an event to its data, many in a piece", split_together),
        ("an event to its delta, all steps", stream),
    ):
        print(f"{name:<40} {_least_us(run, rounds):6.2f} us")


if __name__ == "__main__":
    main()
