"""A gateway without sockets: its app on the virtual clock, and clients that may go away."""

import json
from contextlib import asynccontextmanager

import attrs
import httpx
import trio

from callsheet.actors import VENDORS, Endpoint, TroupeSettings
from callsheet.gateway.opening import cast_gateway
from callsheet.gateway.settings import GatewaySettings, ModelRoute
from callsheet.runtime import open_runtime
from callsheet.simulator import Provider, ProviderSettings
from callsheet.simulator.inprocess import ProviderTransport

MODEL, CLAUDE = "gpt-5-nano", "claude-haiku-4-5"
CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"


def chat(text="Hi", **more):
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], **more}


def message(text="Hi", **more):
    return {
        "model": CLAUDE,
        "max_tokens": 50,
        "messages": [{"role": "user", "content": text}],
        **more,
    }


@attrs.define(eq=False)
class Answer:
    """What the gateway has sent so far in answer to one request."""

    status: int = 0
    headers: dict[str, str] = attrs.field(factory=dict)
    body: bytes = b""
    is_complete: bool = False

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def events(self):
        """The data of the events of a stream, decoded where it is JSON; comments are left out."""
        found = []
        for block in self.body.decode().split("\n\n"):
            data = [line[5:].strip() for line in block.splitlines() if line.startswith("data:")]
            if data:
                found.append(data[0] if data[0] == "[DONE]" else json.loads("\n".join(data)))
        return found

    @property
    def comments(self):
        return [one for one in self.body.decode().split("\n\n") if one.startswith(":")]


@attrs.define(eq=False)
class AppClient:
    """A client of an ASGI app."""

    app: object
    headers: dict[str, str] = attrs.field(factory=dict)

    async def ask(
        self, path, body=None, *, method="POST", headers=None, leaves_after=None, answer=None
    ):
        """Send a request and return the answer; the client goes away after some seconds, if any."""
        answer = answer or Answer()
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        messages = [] if body is None else [{"type": "http.request", "body": raw}]
        messages = messages or [{"type": "http.request", "body": b""}]

        async def receive():
            if messages:
                return messages.pop(0)
            if leaves_after is None:
                await trio.sleep_forever()
            await trio.sleep(leaves_after)
            return {"type": "http.disconnect"}

        async def send(event):
            if event["type"] == "http.response.start":
                answer.status = event["status"]
                answer.headers = {
                    name.decode().lower(): value.decode() for name, value in event["headers"]
                }
                return
            answer.body += event.get("body", b"")
            answer.is_complete = not event.get("more_body", False)

        given = {"host": "127.0.0.1:4000", **self.headers, **(headers or {})}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(name.lower().encode(), it.encode()) for name, it in given.items()],
            "client": ("127.0.0.1", 5),
            "server": ("127.0.0.1", 4000),
            "state": {},
        }
        await self.app(scope, receive, send)
        return answer


@attrs.define(eq=False)
class Kit:
    """An open gateway with the provider behind it."""

    gateway: object
    client: AppClient
    provider: Provider
    transport: httpx.AsyncBaseTransport

    @property
    def stats(self):
        return self.provider.stats


def settings_of(transport, *, troupe=None, **more):
    """Return the settings of a gateway for OpenAI and Anthropic."""
    usual = {"transport": transport, "max_waiting_calls": 100_000}
    usual |= troupe or {}
    openai = Endpoint("http://provider/v1", "sk-provider", vendor=VENDORS["openai"])

    anthropic = Endpoint("http://provider/v1", "sk-ant-provider", vendor=VENDORS["anthropic"])
    return GatewaySettings(
        troupes={
            "main": TroupeSettings(endpoint=openai, **usual),
            "claude": TroupeSettings(endpoint=anthropic, **usual),
        },
        routes=[
            ModelRoute(name=MODEL, troupe="main"),
            ModelRoute(name="text-embedding-3-small", troupe="main"),
            ModelRoute(name="fast", troupe="main", model=MODEL),
            ModelRoute(name="claude-*", troupe="claude"),
        ],
        **more,
    )


@asynccontextmanager
async def open_kit(provider=None, *, troupe=None, **more):
    """Open a gateway over the built-in provider, which responds after 1 s unless told otherwise."""
    provider = Provider(provider or ProviderSettings(latency_s=(1.0, 1.0)))
    async with ProviderTransport(provider) as transport:
        settings = settings_of(transport, troupe=troupe, **more)
        lists_nothing = httpx.MockTransport(lambda _: httpx.Response(404))
        async with (
            open_runtime("gateway") as runtime,
            httpx.AsyncClient(transport=lists_nothing) as client,
        ):
            gateway, app = await cast_gateway(runtime, settings, client)
            yield Kit(gateway, AppClient(app), provider, transport)
