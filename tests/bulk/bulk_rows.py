"""Rows, a small reader, and a provider on the virtual clock, for tests of bulk runs."""

import hashlib
import json
import math
from contextlib import asynccontextmanager
from unittest.mock import patch

import attrs

from callsheet.actors import ChatMessage, Endpoint, Request, TroupeSettings
from callsheet.bulk import bulk
from callsheet.bulk.engine import reader
from callsheet.bulk.row import BadRow, Row
from callsheet.bulk.settings import BulkSettings
from callsheet.simulator.app import Provider
from callsheet.simulator.inprocess import ProviderTransport
from callsheet.simulator.settings import ProviderSettings

MODEL = "gpt-4o-mini"
URL = "http://provider/v1"


def row(number, prompt=None, *, custom_id=None, **more):
    prompt = f"Say {number}." if prompt is None else prompt
    custom_id = custom_id or f"r-{number}"
    request = Request.of(prompt, model=MODEL, **{"max_tokens": 20} | more)
    key = hashlib.blake2b(f"{custom_id}\n{prompt}".encode(), digest_size=16).digest()
    return Row(
        number=number,
        custom_id=custom_id,
        request=request,
        key=key,
        url="/v1/chat/completions",
    )


def rows(count, first=1):
    return [row(number) for number in range(first, first + count)]


def ids(*numbers):
    return [f"r-{number}" for number in numbers]


def read(path):
    """Return the rows of JSON Lines in the format of batches."""
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                given = json.loads(line)
                body = given["body"]
                yield Row(
                    number=number,
                    custom_id=given["custom_id"],
                    request=Request(
                        model=body["model"],
                        messages=[ChatMessage(**message) for message in body["messages"]],
                        max_tokens=body.get("max_tokens"),
                    ),
                    key=hashlib.blake2b(line.encode(), digest_size=16).digest(),
                    url=given["url"],
                )
            except (LookupError, TypeError, ValueError) as error:
                yield BadRow(number=number, reason=str(error), text=line[:80])


def write_input(path, count, *, first=1):
    with path.open("w", encoding="utf-8") as file:
        for number in range(first, first + count):
            body = {
                "model": MODEL,
                "messages": [{"role": "user", "content": f"Say {number}."}],
                "max_tokens": 20,
            }
            line = {
                "custom_id": f"r-{number}",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": body,
            }
            file.write(json.dumps(line) + "\n")


def lines_of(path):
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def ids_of(path):
    return [line["custom_id"] for line in lines_of(path)]


def bodies(output):
    """Return the response bodies by id, without the members that differ in every response."""
    anew = {"created": 0, "id": ""}
    return {line["custom_id"]: line["response"]["body"] | anew for line in lines_of(output)}


async def on_the_spot(function, /, *, abandon_on_cancel=False, limiter=None):
    """Run a function without a thread, for which the virtual clock would not wait."""
    if limiter is None:
        return function()
    async with limiter:
        return function()


@attrs.define(eq=False)
class Stage:
    """A provider, and runs that send to it.

    Args:
        wall_s: the wall clock, in seconds of Unix time.
    """

    provider: Provider
    transport: object
    wall_s: float = 1_800_000_000.0

    def open(self, rows, output, *, troupe=None, observers=(), **settings):
        given = {"endpoint": Endpoint(URL, None, "openai"), "transport": self.transport}
        return bulk(
            rows,
            output,
            TroupeSettings(**given | (troupe or {})),
            BulkSettings(**settings),
            observers=observers,
            in_thread=on_the_spot,
            wall_clock=lambda: self.wall_s,
        )

    async def run(self, rows, output, **more):
        """Run to the end, and return the results."""
        async with self.open(rows, output, **more) as results:
            return [result async for result in results]

    @property
    def requests(self):
        return self.provider.stats.requests


@asynccontextmanager
async def stage(**settings):
    """Open a provider. Rows are read as many at once as may be, however busy the machine is."""
    provider = Provider(ProviderSettings(**settings))
    async with ProviderTransport(provider) as transport:
        with patch.object(reader, "_PATIENCE_S", math.inf):
            yield Stage(provider, transport)
