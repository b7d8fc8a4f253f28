"""A tool that records its calls, and a provider that requests calls of it."""

import json

import trio
from fakes import MODEL, URL, Reply, Script, completion_json

from callsheet.actors import Endpoint, Request, Tool, TroupeSettings, open_troupe

ANSWER = Reply(body=completion_json("It rains."))


def function_call(call_id="call_1", name="get_weather", **arguments):
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"id": call_id, "type": "function", "function": function}


def requesting(*calls, reason="tool_calls", text=None, **more):
    """Return a response that requests calls of tools."""
    message = {"role": "assistant", "content": text, "tool_calls": list(calls)}
    choice = {"index": 0, "message": message, "finish_reason": reason}
    return Reply(body=completion_json(choices=[choice], **more))


CALL = requesting(function_call(city="Oslo"))


class Weather:
    """A tool that records its calls."""

    def __init__(self, seconds=0.0, result="rain", error=None):
        self.calls = []
        self.cancelled = 0
        self.active = 0
        self.most_active = 0
        self.seconds, self.result, self.error = seconds, result, error

    async def __call__(self, city="Oslo"):
        self.calls.append((city, trio.current_time()))
        self.active += 1
        self.most_active = max(self.most_active, self.active)
        try:
            await trio.sleep(self.seconds)
        except trio.Cancelled:
            self.cancelled += 1
            raise
        finally:
            self.active -= 1
        if self.error is not None:
            raise self.error
        return self.result


def tool_of(function, name="get_weather"):
    return Tool(name=name, function=function)


def asking(*tools, **more):
    return Request.of("How is the weather?", model=MODEL, tools=tools, max_tokens=99, **more)


def play(*lines, **settings):
    """Return a script and a troupe that follows it."""
    script = Script(*lines)
    endpoint = Endpoint(URL, vendor="compatible")
    return script, open_troupe(TroupeSettings(endpoint=endpoint, transport=script, **settings))


async def run(request, *lines, settings=None, **bounds):
    """Return the run, and the bodies that the provider received."""
    script, opening = play(*lines, **(settings or {}))
    async with opening as troupe:
        found = await troupe.run_tools(request, **bounds)
    return found, [json.loads(sent.body) for sent in script.sent]


def results_in(body):
    return [message["content"] for message in body["messages"] if message["role"] == "tool"]
