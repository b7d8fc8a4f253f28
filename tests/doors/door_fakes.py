"""A troupe behind a door, and a provider in the same process that does what the prompt says."""

import json
import threading
import time

import httpx
import trio

from callsheet.actors import Endpoint, Limits, Request, TroupeSettings

MODEL = "gpt-4o"
SOON_S = 20.0  # for what another thread does on a busy machine


def request(prompt="say Hello", **more):
    return Request.of(prompt, model=MODEL, **more)


class Provider(httpx.AsyncBaseTransport):
    """Does what the last message says; counts what is in flight.

    - ``say TEXT`` answers with the text at once; ``say TEXT after S`` after some seconds.
    - ``hold`` never answers.
    - ``fail STATUS`` refuses.
    - ``count N every S`` streams N pieces.
    - ``die`` raises SystemExit.
    """

    def __init__(self):
        self.in_flight = 0
        self.begun = 0
        self.pieces = 0  # that were sent
        self.seen = []  # {prompt} of each request, in order

    async def handle_async_request(self, sent):
        body = json.loads(b"".join([part async for part in sent.stream]))
        prompt = body["messages"][-1]["content"]
        self.seen.append(prompt)
        self.begun += 1
        self.in_flight += 1
        try:
            return await self._answer(body, prompt.split())
        except BaseException:
            self.in_flight -= 1
            raise

    async def _answer(self, body, words):
        match words:
            case ["say", *text, "after", seconds]:
                await trio.sleep(float(seconds))
            case ["say", *text]:
                pass
            case ["count", number, "every", seconds]:
                pieces = [f"{at} " for at in range(int(number))]
                return self._response(_events(pieces), gap=float(seconds))
            case ["fail", status]:
                error = {"error": {"message": "Sorry.", "type": "bad", "param": None, "code": None}}
                return self._response([json.dumps(error)], int(status))
            case ["die"]:
                raise SystemExit("the provider takes the thread with it")
            case _:
                await trio.sleep_forever()
        if body.get("stream"):
            return self._response(_events([" ".join(text)]))
        message = {"role": "assistant", "content": " ".join(text)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return self._response([self.whole(choice)])

    @staticmethod
    def whole(choice):
        """The body of a response that is not streamed."""
        usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
        whole = {"id": "1", "object": "chat.completion", "model": MODEL, "choices": [choice]}
        return json.dumps(whole | {"usage": usage})

    def _response(self, parts, status=200, gap=0.0):
        kind = "text/event-stream" if parts[0].startswith("data") else "application/json"
        return httpx.Response(
            status, headers={"content-type": kind}, stream=_Parts(self, parts, gap)
        )


class _Parts(httpx.AsyncByteStream):
    def __init__(self, provider, parts, gap):
        self._provider, self._parts, self._gap = provider, parts, gap
        self._is_open = True

    async def __aiter__(self):
        for part in self._parts:
            if self._gap:
                await trio.sleep(self._gap)
            self._provider.pieces += 1
            yield part.encode()

    async def aclose(self):
        if self._is_open:
            self._is_open = False
            self._provider.in_flight -= 1


def _events(texts):
    choices = [{"index": 0, "delta": {"content": text}} for text in texts]
    choices.append({"index": 0, "delta": {}, "finish_reason": "stop"})
    events = [json.dumps({"id": "1", "model": MODEL, "choices": [it]}) for it in choices]
    return [f"data: {event}\n\n" for event in (*events, "[DONE]")]


def settings_for(provider, **more):
    more = {"limits": Limits(in_flight=64)} | more
    endpoint = Endpoint("http://provider/v1", api_key="k")
    return TroupeSettings(endpoint=endpoint, transport=provider, **more)


def wait_until(condition, seconds=SOON_S):
    """Block until something that another thread does has happened."""
    ends_at = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends_at, "it has not happened"
        time.sleep(0.005)


def open_threads():
    """The Trio threads of doors."""
    return [it for it in threading.enumerate() if it.name.startswith("callsheet ")]
