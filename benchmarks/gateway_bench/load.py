"""The clients: a process of its own, which also reads the CPU time and the memory of the server.

    python -m gateway_bench.load --url http://127.0.0.1:4000/v1 --key cs-... --clients 100 ...

prints the measurements of one window as JSON. Each client sends its next call when it has the
response to the last one. They begin evenly spread over the time that one call takes, so that calls
do not come in bursts. A key that is given several times has as many clients as each other key.
"""

import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from itertools import count
from typing import final
from urllib.parse import urlsplit

import attrs
import click
import trio

from bench_kit.processes import cpu_s_of
from gateway_bench.processes import resident_bytes_of
from gateway_bench.wire import ClientConnection

__all__ = ["Window"]

_MODEL = "gpt-4o-mini"
_SYSTEM = "You are the host of a dinner. Be brief."
_PAUSE_S = 0.2  # after an error, so that a server that is down is not called in a busy loop


@attrs.frozen
class Window:
    """The measurements of one server in one window.

    Args:
        calls: number of complete responses.
        wall_s: length in seconds.
        cpu_s: CPU seconds of the server's processes.
        resident_bytes: their memory at the end of the window, in bytes.
        added_p50_s: the median of what a call took beyond the provider's time, in seconds.
        added_p99_s: the 99th percentile of that.
        first_p50_s: the median time to the first event or the head, in seconds.
        failures: number of calls that failed, by status or by the name of the error.
        by_key: number of complete responses for each key, in their order.
    """

    calls: int
    wall_s: float
    cpu_s: float
    resident_bytes: int
    added_p50_s: float
    added_p99_s: float
    first_p50_s: float
    failures: dict[str, int]
    by_key: tuple[int, ...]

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds of a call."""
        return self.cpu_s / self.calls * 1e3


@attrs.frozen(kw_only=True)
class Plan:
    """What the clients do.

    Args:
        url: the URL of the server up to and including the version.
        keys: the keys that they use in turn.
        clients: number of clients.
        streams: whether they request streams.
        max_tokens: the bound on each response; None for no bound.
        provider_s: seconds that the provider takes for a response.
        warm_up_s: seconds before the window.
        window_s: seconds of the window.
        max_calls: number of calls after which the window ends before its time; None for no bound.
    """

    url: str
    keys: Sequence[str]
    clients: int
    streams: bool
    max_tokens: int | None
    provider_s: float
    warm_up_s: float
    window_s: float
    max_calls: int | None = None

    def body(self, number: int) -> bytes:
        """Return the body of a call; no two calls have the same.

        Args:
            number: the number of the call.
        """
        body: dict[str, object] = {
            "model": _MODEL,
            "messages": [
                {"role": "system", "content": _SYSTEM},
                {"role": "user", "content": f"Say hello to guest {number} by the window."},
            ],
        }
        if self.max_tokens is not None:
            body["max_tokens"] = self.max_tokens
        if self.streams:
            body["stream"] = True
        return json.dumps(body).encode()


@final
class Clients:
    """Calls until the window is over.

    Args:
        plan: what the clients do.
        pids: the processes of the server.
    """

    def __init__(self, plan: Plan, pids: Sequence[int]) -> None:
        self._plan = plan
        self._pids = pids
        self._numbers = count(1)
        self._is_open = False  # the window
        self._has_enough = trio.Event()
        self._added: list[float] = []
        self._first: list[float] = []
        self._failures: Counter[str] = Counter()
        self._by_key = [0] * len(plan.keys)

    async def run(self) -> Window:
        """Make the calls, and return the measurements."""
        plan = self._plan
        async with trio.open_nursery() as nursery:
            for number in range(plan.clients):
                nursery.start_soon(self._keep_calling, number)
            await trio.sleep(plan.warm_up_s)
            began, cpu_began = time.perf_counter(), self._cpu_s()
            self._is_open = True
            with trio.move_on_after(plan.window_s):
                await self._has_enough.wait()
            self._is_open = False
            wall_s, cpu_s = time.perf_counter() - began, self._cpu_s() - cpu_began
            memory = sum(map(resident_bytes_of, self._pids))
            nursery.cancel_scope.cancel()
        if len(self._added) < 2:  # noqa: PLR2004  # quantiles need two
            raise RuntimeError(f"no call succeeded in {wall_s:.1f} s: {dict(self._failures)}")
        return Window(
            calls=len(self._added),
            wall_s=wall_s,
            cpu_s=cpu_s,
            resident_bytes=memory,
            added_p50_s=statistics.median(self._added),
            added_p99_s=statistics.quantiles(self._added, n=100)[98],
            first_p50_s=statistics.median(self._first),
            failures=dict(self._failures),
            by_key=tuple(self._by_key),
        )

    def _cpu_s(self) -> float:
        return sum(map(cpu_s_of, self._pids))

    async def _keep_calling(self, number: int) -> None:
        plan, url = self._plan, urlsplit(self._plan.url)
        at = number % len(plan.keys)
        headers = [("authorization", f"Bearer {plan.keys[at]}"), ("accept", "*/*")]
        connection = ClientConnection(
            url.hostname or "", url.port or 80, f"{url.path}/chat/completions", headers
        )
        await trio.sleep(plan.provider_s * number / plan.clients)
        while True:
            try:
                answer = await connection.post(plan.body(next(self._numbers)))
            except (OSError, EOFError, trio.BrokenResourceError) as error:
                self._fail(type(error).__name__)
                await trio.sleep(_PAUSE_S)
                continue
            if not self._is_open:
                continue
            if answer.is_complete:
                self._added.append(answer.seconds - plan.provider_s)
                self._first.append(answer.first_s)
                self._by_key[at] += 1
                if len(self._added) == plan.max_calls:
                    self._has_enough.set()
            else:
                self._fail(str(answer.status))
                await trio.sleep(_PAUSE_S)

    def _fail(self, why: str) -> None:
        if self._is_open:
            self._failures[why] += 1


@click.command()
@click.option("--url", required=True)
@click.option("--key", "keys", multiple=True, required=True)
@click.option("--clients", type=click.IntRange(1), required=True)
@click.option("--streams", is_flag=True)
@click.option("--max-tokens", type=int)
@click.option("--provider-s", type=float, required=True)
@click.option("--warm-up-s", type=float, required=True)
@click.option("--window-s", type=float, required=True)
@click.option("--max-calls", type=int)
@click.option("--pid", "pids", type=int, multiple=True, help="A process of the server.")
def main(pids: tuple[int, ...], **plan: object) -> None:
    """Call a server for one window, and print the measurements as JSON."""
    window = trio.run(Clients(Plan(**plan), pids).run)  # type: ignore[arg-type]  # click's values
    json.dump(attrs.asdict(window), sys.stdout)


if __name__ == "__main__":
    main()
