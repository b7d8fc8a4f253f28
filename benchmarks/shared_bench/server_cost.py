"""What a question costs a real server: CPU time, bytes and memory."""

from collections.abc import Sequence

import attrs
import trio

from callsheet.actors import ValkeyStores
from callsheet.actors.rate_limit.shared import LimitAsk
from shared_bench.server import PrivateServer

__all__ = ["AskCost", "cost_of"]

_ASKERS = 8  # connections with a question under way
_SETTLE_S = 0.1


@attrs.frozen
class AskCost:
    """The cost of a question on average.

    Args:
        script_us: CPU time of the script, in microseconds.
        all_us: CPU time of the server, reading and writing included, in microseconds.
        bytes_in: bytes of the question.
        bytes_out: bytes of the answer.
        memory: bytes of memory that the state of all workers takes.
        per_s: questions a second that were sent.
    """

    script_us: float
    all_us: float
    bytes_in: float
    bytes_out: float
    memory: int
    per_s: float


@attrs.frozen
class _Look:
    """The counts of the server at one moment."""

    calls: int
    script_s: float
    cpu_s: float
    bytes_in: int
    bytes_out: int
    memory: int

    @classmethod
    def at(cls, server: PrivateServer) -> "_Look":
        calls, script_s = server.scripts()
        cpu, stats, memory = server.info("cpu"), server.info("stats"), server.info("memory")
        return cls(
            calls,
            script_s,
            float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"]),
            int(stats["total_net_input_bytes"]),
            int(stats["total_net_output_bytes"]),
            int(memory["used_memory"]),
        )


def cost_of(server: PrivateServer, asks: Sequence[LimitAsk], per_s: float) -> AskCost:
    """Put questions to a server, at the pace at which they came, and return what each costs.

    Args:
        server: the server, which has no state yet.
        asks: the questions; those of a worker in order.
        per_s: questions a second.
    """
    before = _Look.at(server)
    took_s = trio.run(_put, server.url, asks, per_s)
    after = _Look.at(server)
    count = after.calls - before.calls
    return AskCost(
        script_us=(after.script_s - before.script_s) / count * 1e6,
        all_us=(after.cpu_s - before.cpu_s) / count * 1e6,
        bytes_in=(after.bytes_in - before.bytes_in) / count,
        bytes_out=(after.bytes_out - before.bytes_out) / count,
        memory=after.memory - before.memory,
        per_s=count / took_s,
    )


async def _put(url: str, asks: Sequence[LimitAsk], per_s: float) -> float:
    """Put the questions at equal intervals, and return how long it took in seconds."""
    by_worker: dict[str, str] = {}  # {worker: the epoch that it knows}
    stores = ValkeyStores(url)
    start = trio.current_time() + _SETTLE_S

    async def put(own: Sequence[tuple[float, LimitAsk]]) -> None:
        store = stores.limits("benchmark")
        async with store.open():
            for at, ask in own:
                await trio.sleep_until(at)
                epoch = by_worker.get(ask.worker, "")
                grant = await store.ask(attrs.evolve(ask, epoch=epoch, seen=0))
                by_worker[ask.worker] = grant.epoch

    names = sorted({ask.worker for ask in asks})
    parts: list[list[tuple[float, LimitAsk]]] = [[] for _ in range(_ASKERS)]
    for number, ask in enumerate(asks):
        parts[names.index(ask.worker) % _ASKERS].append((start + number / per_s, ask))
    async with trio.open_nursery() as nursery:
        for part in parts:
            nursery.start_soon(put, part)
    return trio.current_time() - start
