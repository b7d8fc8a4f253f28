"""Bodies and streams as the providers send them, and functions that decode them."""

import json

from callsheet.actors import ChatMessage, Request
from callsheet.actors.vendors.sse import SseParser

HI = (ChatMessage("user", "Hi"),)


def chat(**more):
    return Request(**({"model": "m", "messages": HI} | more))


def chat_body(*texts, **more):
    body = {
        "id": "chatcmpl-x1",
        "object": "chat.completion",
        "created": 1750000000,
        "model": "gpt-5.6",
        "choices": [
            {
                "index": index,
                "message": {"role": "assistant", "content": text, "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
            for index, text in enumerate(texts)
        ],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
        "service_tier": "default",
    }
    return body | more


def chunk(text=None, *, index=0, reason=None, **more):
    delta = {} if text is None else {"content": text}
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}
    return {
        "id": "chatcmpl-x1",
        "object": "chat.completion.chunk",
        "created": 1750000000,
        "model": "gpt-5.6",
        "choices": [choice],
    } | more


def sse(*events, done="[DONE]"):
    """Return the bytes of a stream; a text is sent unchanged, any other value as JSON."""
    lines = [e if isinstance(e, str) else json.dumps(e) for e in (*events, *filter(None, [done]))]
    return "".join(f"data: {line}\n\n" for line in lines).encode()


def named(*events):
    """Return the bytes of a stream whose events are named by their types, as Anthropic's."""
    return "".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in events).encode()


def read_stream(form, request, pieces):
    """Return the deltas and the whole response of a stream in these chunks."""
    parser, decoder, deltas = SseParser(), form.stream_decoder(request), []
    for piece in pieces:
        for event in parser.feed(piece):
            deltas += decoder.feed(event)
    for event in parser.end():
        deltas += decoder.feed(event)
    return deltas, decoder.end()


def texts_of(deltas, count=1):
    return ["".join(delta.text for delta in deltas if delta.index == at) for at in range(count)]
