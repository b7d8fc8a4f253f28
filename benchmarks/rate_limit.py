"""How much of a provider's limit is used, and how often it is tripped.

    python benchmarks/rate_limit.py [--requests 200] [--rpm 600] [--burst 1]

The provider runs in a process of its own and enforces the limit over short spans, as providers may
do without saying so: no more than `--burst` seconds' worth of it at once. The baseline, in the same
run, is what is usually written: send everything at once, and on a 429 wait for as long as
Retry-After says and send again.
"""

from http import HTTPStatus

import click
import httpx
import trio

from callsheet import Endpoint, Limits, Request, TroupeSettings, open_troupe
from callsheet.actors import CallEvent
from callsheet.actors.wire import OpenAIChat
from callsheet.compare import open_provider

USED_AT_LEAST = 0.97


def request(number: int) -> Request:
    """A small one, each different."""
    return Request.of(f"Say hello to guest {number}.", model="gpt-3.5-turbo", max_tokens=20)


async def callsheet(base_url: str, requests: int, rpm: int) -> list[float]:
    """When each request went out."""
    sent: list[float] = []

    def observe(event: CallEvent) -> None:
        if event.stage == "sent":
            sent.append(event.at)

    settings = TroupeSettings(
        endpoint=Endpoint(base_url), limits=Limits(rpm=rpm, in_flight=requests), observer=observe
    )
    async with open_troupe(settings) as troupe, trio.open_nursery() as nursery:
        for number in range(requests):
            nursery.start_soon(troupe.complete, request(number))
    return sent


async def retry_on_429(base_url: str, requests: int) -> list[float]:
    """When each request went out that was let in."""
    sent: list[float] = []

    async def make(client: httpx.AsyncClient, number: int) -> None:
        while True:
            at = trio.current_time()
            body = OpenAIChat().encode(request(number), stream=False)
            response = await client.post("/chat/completions", json=body)
            if response.status_code != HTTPStatus.TOO_MANY_REQUESTS:
                response.raise_for_status()
                sent.append(at)
                return
            await trio.sleep(float(response.headers["retry-after"]))

    limits = httpx.Limits(max_connections=requests)
    async with (
        httpx.AsyncClient(
            base_url=base_url,
            limits=limits,
            timeout=None,  # noqa: S113  # it waits for as long as it takes
            trust_env=False,
        ) as client,
        trio.open_nursery() as nursery,
    ):
        for number in range(requests):
            nursery.start_soon(make, client, number)
    return sent


async def measure(requests: int, rpm: int, burst_s: float) -> bool:
    """Print a line for each of the two; whether ours is as good as it is to be."""
    is_good = True
    for name in ("callsheet", "retry on 429"):
        async with (
            open_provider(seed=0, time_scale=0.1, rpm=rpm, burst_s=burst_s) as base_url,
            httpx.AsyncClient(trust_env=False) as control,
        ):
            if name == "callsheet":
                sent = await callsheet(base_url, requests, rpm)
            else:
                sent = await retry_on_429(base_url, requests)
            root = base_url.removesuffix("/v1")
            stats = (await control.get(f"{root}/callsheet/stats")).json()
        span_s = max(sent) - min(sent)
        used = (requests - 1) / span_s / (rpm / 60)
        if name == "callsheet":
            is_good = used >= USED_AT_LEAST and stats["rejected"] == 0
        print(
            f"{name:>12}: {requests} requests in {span_s:.1f} s, {used:.3f} of the limit of {rpm} "
            f"a minute used, {stats['rejected']} times 429",
            flush=True,
        )
    return is_good


@click.command()
@click.option("--requests", default=200, show_default=True)
@click.option("--rpm", default=600, show_default=True)
@click.option("--burst", default=1.0, show_default=True, help="Seconds' worth of the limit.")
def main(requests: int, rpm: int, burst: float) -> None:
    """Measure the share of a limit that is used."""
    raise SystemExit(0 if trio.run(measure, requests, rpm, burst) else 1)


if __name__ == "__main__":
    main()
