"""Runs that are shared through a queue in memory, with small workers, on the virtual clock."""

from contextlib import asynccontextmanager
from functools import partial

import attrs
import trio
from bulk_rows import URL, row, rows, stage

from callsheet.actors import CallFailed, Endpoint, TroupeSettings, open_troupe
from callsheet.bulk.shared.memory import MemoryQueue
from callsheet.bulk.shared.queue import BEAT_S, RowAnswer
from callsheet.bulk.shared.sharing import SharedRun
from callsheet.bulk.shared.wire import CallEnd, decode_call, encode_end
from callsheet.runtime import AskFailed

INSTRUCTION = (
    "Classify the product review that follows. Answer with one label only: positive, negative or "
    "neutral."
)


@attrs.define(eq=False)
class SharedStage:
    """A provider, and one queue that every run and every worker uses.

    Args:
        stage: opens runs.
        queue: the queue, from the holder's side.
        told: what the user was told.
        works: whether the process that writes OUTPUT is a worker, too.
    """

    stage: object
    queue: MemoryQueue
    told: list = attrs.field(factory=list)
    works: bool = False

    @property
    def shared(self):
        return SharedRun(place="memory", queue=self._queue, works=self.works, told=self.told.append)

    def _queue(self, name):
        self.queue._run.name = name
        return self.queue

    def open(self, rows, output, **more):
        return self.stage.open(rows, output, shared=self.shared, **more)

    async def run(self, rows, output, **more):
        """Run to the end, and return the results."""
        async with self.open(rows, output, **more) as results:
            return [result async for result in results]

    async def work(self, name, *, most=4, troupe=None, sent=None):
        """Take rows, send them, and hand in the answers, until this is cancelled.

        Args:
            name: the name of the worker.
            most: the rows in hand.
            troupe: further settings of its troupe.
            sent: gets the ids of the calls that it sends.
        """
        given = {"endpoint": Endpoint(URL, None, "openai"), "transport": self.stage.transport}
        settings = TroupeSettings(**given | (troupe or {}))
        queue = self.queue.another()
        room = trio.Semaphore(most)
        async with open_troupe(settings) as made, trio.open_nursery() as nursery:
            nursery.start_soon(self._beat, queue, name)
            while True:
                await room.acquire()
                reply = await queue.take(name, 1, wait_s=5)
                if not reply.rows:
                    room.release()
                for taken in reply.rows:
                    send = partial(self._send, made, queue, name, taken, room=room, sent=sent)
                    nursery.start_soon(send)

    async def _send(self, troupe, queue, name, taken, *, room, sent):
        request, context = decode_call(taken.row.body)
        if sent is not None:
            sent.append(context.call)
        try:
            slot = await troupe.submit(request, context=context)
            outcome = await slot.wait()
        except (CallFailed, AskFailed) as error:
            outcome = error
        body = encode_end(CallEnd(outcome, name))
        await queue.answer(name, [RowAnswer(taken.entry, taken.row.key, body)])
        room.release()

    async def _beat(self, queue, name):
        while True:
            await queue.beat(name, b"", [])
            await trio.sleep(BEAT_S)


@asynccontextmanager
async def shared_stage(**settings):
    async with stage(**settings) as opened:
        yield SharedStage(opened, MemoryQueue())


@asynccontextmanager
async def workers(shared, count=2, **more):
    """Workers that work until the block ends."""
    async with trio.open_nursery() as nursery:
        for number in range(1, count + 1):
            nursery.start_soon(partial(shared.work, f"worker-{number}", **more))
        yield nursery
        nursery.cancel_scope.cancel()


async def mortal_worker(shared, most, task_status, **more):
    """Work as `SharedStage.work` does, until the scope is cancelled that `start` returns."""
    with trio.CancelScope() as scope:
        task_status.started(scope)
        await shared.work("mortal", most=most, **more)


async def dying_run(shared, output, count, task_status, **more):
    """Run until the scope is cancelled that `start` returns, and leave rows in the queue."""
    with trio.CancelScope() as scope:
        task_status.started(scope)
        async with shared.open(rows(count), output, **more) as run:
            await run.wait()


def reviews(count):
    """Rows with one short instruction, which a call can have many of."""
    more = {"system": INSTRUCTION, "max_tokens": 5, "temperature": 0}
    words = "Came in two days. I love it. (order {})"
    return [row(at, words.format(at), **more) for at in range(1, count + 1)]
