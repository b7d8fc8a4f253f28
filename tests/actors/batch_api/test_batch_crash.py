"""A process that dies at any step: nothing is lost, nothing is sent twice, nothing is paid twice.

A death is simulated at each instant before and after each control call and each write of the
journal takes effect: the whole runtime is cancelled there. A new runtime, with the same journal and
provider, then gets the same requests. One test kills a real process repeatedly.
"""

import itertools
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from functools import partial

import h11
import httpx
import pytest
import trio
from batch_provider import MODEL, URL, BatchProvider, answer_text
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from callsheet.actors import CallContext, Complete, Endpoint, Request
from callsheet.actors.batch_api.actor import BatchApiActor, GetBatchApiStatistics
from callsheet.actors.batch_api.journal import Journal
from callsheet.actors.batch_api.journal_file import JournalFile
from callsheet.actors.batch_api.policy import BatchApiPolicy
from callsheet.runtime import Actor, handles, open_runtime

KINDS = ["openai", "together", "anthropic", "gemini", "mistral", "openrouter"]
SOME_KINDS = [*KINDS[:2], *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS[2:])]
PROMPTS = ["a", "b", "b", "c"]  # two requests are the same
MAX_REQUESTS = 3  # so that there are two batches


class NoLiveStage(Actor):
    """A live stage that no request should reach."""

    @handles(Complete)
    async def complete(self, message):
        raise AssertionError("it went live")


class Death:
    """Cancels everything at the step of a number.

    Args:
        at: the number; None for never.
    """

    def __init__(self, at):
        self.at = at
        self.steps = 0
        self.scope = trio.CancelScope()
        self.stores = []

    def open(self, path, account, keep_s):
        self.stores.append(JournalFile(path, account, keep_s, lambda: 0.0))
        self.stores[-1]._db.execute("pragma synchronous = off")  # the machine itself does not die
        return self.stores[-1]

    def bury(self):
        """What the operating system does: close what was open."""
        for store in self.stores:
            store.close()

    async def step(self, *_):
        self.steps += 1
        if self.steps == self.at:
            self.scope.cancel()
        if self.scope.cancel_called:
            await trio.sleep_forever()  # it is dead: nothing takes effect any more


def journal_in(path, death):
    async def run(function, /, *, limiter=None):  # as `InThread`
        await death.step()
        found = function()
        await death.step()
        return found

    def journal(_, account, keep_s):
        return Journal(lambda: death.open(path, account, keep_s), run)

    return journal


async def lifetime(provider, path, death, prompts=PROMPTS, *, seed="always the same"):
    """A process that sends requests, and the responses; it may die meanwhile."""
    found = []
    provider.hook = death.step
    with death.scope:
        async with open_runtime(seed=seed, drain_s=1.0) as runtime:
            to = await runtime.spawn("live", NoLiveStage)
            ref = await runtime.spawn(
                "batches",
                partial(
                    BatchApiActor,
                    to,
                    Endpoint(URL, "sk-1234567890", provider.kind),
                    BatchApiPolicy(max_requests=MAX_REQUESTS, settle_s=30.0),
                    transport=provider,
                    journal=journal_in(path, death),
                ),
                concurrency=8,
            )

            async def ask(prompt):
                request = Request.of(prompt, model=MODEL, deadline=86_400.0)
                answer = await ref.ask(Complete(request, CallContext(prompt)))
                found.append((prompt, answer.text))

            async with trio.open_nursery() as nursery:
                for prompt in prompts:
                    nursery.start_soon(ask, prompt)
                    await trio.sleep(0.01)
            counts = await ref.ask(GetBatchApiStatistics())
            assert (counts.live, counts.failed, counts.submitted) == (0, 0, 0)
            # A result that was delivered just before the process died is delivered once.
            assert counts.unclaimed <= len(PROMPTS) - len(prompts)
    death.bury()
    return found


def check(provider, found, prompts=PROMPTS):
    assert Counter(found) == Counter((prompt, answer_text(prompt)) for prompt in prompts)
    intents = [frozenset(custom_id for custom_id, _ in one.lines) for one in provider.batches]
    assert len(set(intents)) == len(intents)  # no intent was made twice
    custom_ids = list(itertools.chain.from_iterable(intents))
    assert len(set(custom_ids)) == len(custom_ids)
    assert Counter(provider.billed) == Counter(prompts)


@pytest.mark.parametrize(
    ("kind", "every"),
    [
        ("openai", 4),
        ("anthropic", 5),
        *(pytest.param(kind, 1, marks=pytest.mark.slow) for kind in (*KINDS, "groq")),
    ],
)
async def test_a_death_at_any_step_costs_nothing(kind, every, autojump_clock, tmp_path):
    async def dies_at(step):
        provider, path = BatchProvider(kind), tmp_path / f"journal-{step}"
        death = Death(step)
        found = await lifetime(provider, path, death)
        if death.scope.cancelled_caught:
            # Callers that got a response before the death do not send the request again.
            left = list((Counter(PROMPTS) - Counter(prompt for prompt, _ in found)).elements())
            found += await lifetime(provider, path, Death(None), left)
        try:
            check(provider, found)
        except AssertionError as error:
            error.add_note(f"after a death at step {step}")
            raise
        return death.scope.cancelled_caught

    step = 1
    while await dies_at(step):
        step += every
    last = step - 1
    while last > step - every and not await dies_at(last):
        last -= 1
    assert last >= 20


@pytest.mark.parametrize("kind", SOME_KINDS)
@settings(max_examples=6, deadline=None)
@given(deaths=st.lists(st.integers(1, 40), max_size=4))
def test_deaths_again_and_again_cost_nothing(kind, deaths, tmp_path_factory):
    async def main():
        provider = BatchProvider(kind)
        path = tmp_path_factory.mktemp("life") / "journal"
        found = []
        for at in [*deaths, None]:
            left = list((Counter(PROMPTS) - Counter(prompt for prompt, _ in found)).elements())
            found += await lifetime(provider, path, Death(at), left)
        check(provider, found)

    trio.run(main, clock=MockClock(autojump_threshold=0))


@pytest.mark.parametrize("kind", KINDS)
async def test_a_result_without_a_caller_is_kept_for_a_later_request(
    kind, autojump_clock, tmp_path
):
    """A batch is read to its end although no caller waits: it is paid for."""
    provider, path = BatchProvider(kind), tmp_path / "journal"
    death = Death(None)

    async def dies():
        await trio.sleep(20)
        death.scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(dies)
        await lifetime(provider, path, death, ["a"])
    assert (len(provider.batches), provider.billed) == (1, [])
    life = Death(None)
    provider.hook = life.step
    async with open_runtime() as runtime:
        to = await runtime.spawn("live", NoLiveStage)
        ref = await runtime.spawn(
            "batches",
            partial(
                BatchApiActor,
                to,
                Endpoint(URL, "sk-1234567890", kind),
                transport=provider,
                journal=journal_in(path, life),
            ),
        )
        await trio.sleep(1000)
        counts = await ref.ask(GetBatchApiStatistics())
        assert (counts.unclaimed, counts.batches) == (1, {})
    assert await lifetime(provider, path, Death(None), ["a"]) == [("a", "about a")]
    assert (provider.count("create"), provider.count("cancel")) == (1, 0)


async def test_a_foreign_batch_with_as_many_lines_is_not_taken_for_ours(autojump_clock, tmp_path):
    """Anthropic's list does not identify a batch; its results do."""
    provider = BatchProvider("anthropic")
    path = tmp_path / "journal"
    death = Death(None)

    async def stranger_comes_and_we_die(what="", when=""):
        if (what, when) == ("create", "before"):
            death.scope.cancel()
            for name in ("x", "y"):
                lines = [{"custom_id": f"{name}-0", "params": {"messages": [{"content": name}]}}]
                provider._create("/messages/batches", json.dumps({"requests": lines}).encode())
            await trio.sleep_forever()

    death.step = stranger_comes_and_we_die
    assert await lifetime(provider, path, death, ["a"]) == []
    assert len(provider.batches) == 2
    assert await lifetime(provider, path, Death(None), ["a"]) == [("a", "about a")]
    assert sorted(provider.billed) == ["a", "x", "y"]
    assert provider.count("cancel") == 0


# ---------------------------------------------------------------- a real process

PROGRAM = """
import sys
from functools import partial
import trio
from callsheet.actors import BatchApiActor, BatchApiPolicy, CallContext, Complete, Endpoint, Request
from callsheet.runtime import Actor, open_runtime

async def main(url, journal):
    policy = BatchApiPolicy(journal=journal, gather_s=0.05, poll_s=0.05, settle_s=1.0)
    async with open_runtime() as runtime:
        ref = await runtime.spawn(
            "batches",
            partial(BatchApiActor, None, Endpoint(url, None, "openai"), policy),
            concurrency=8,
        )
        async def ask(prompt):
            request = Request.of(prompt, model="gpt-4o", deadline=86400)
            print((await ref.ask(Complete(request, CallContext(prompt)))).text, flush=True)
        async with trio.open_nursery() as nursery:
            for prompt in sys.argv[3:]:
                nursery.start_soon(ask, prompt)

trio.run(main, *sys.argv[1:3])
"""


async def serve_connection(provider, stream):
    connection = h11.Connection(h11.SERVER)
    try:
        while True:
            request, body = None, b""
            while not isinstance(event := connection.next_event(), h11.EndOfMessage):
                if event is h11.NEED_DATA:
                    connection.receive_data(await stream.receive_some())
                elif isinstance(event, h11.Request):
                    request = event
                elif isinstance(event, h11.Data):
                    body += event.data
                else:
                    return
            asked = httpx.Request(
                request.method.decode(),
                f"http://provider{request.target.decode()}",
                headers=list(request.headers),
                content=body,
            )
            said = await provider.handle_async_request(asked)
            content = await said.aread()
            head = h11.Response(
                status_code=said.status_code, headers=[("content-length", str(len(content)))]
            )
            for event in (head, h11.Data(data=content), h11.EndOfMessage()):
                await stream.send_all(connection.send(event))
            connection.start_next_cycle()
    except (trio.BrokenResourceError, h11.ProtocolError):
        pass  # it was killed


@pytest.mark.slow
@pytest.mark.sockets
async def test_a_process_that_is_killed_again_and_again(tmp_path):
    provider = BatchProvider(batch_s=1000.0)
    victim = None
    kills = [
        ("upload", "after"),
        ("create", "after"),
        ("poll", "after"),
        ("fetch", "after"),
    ]

    async def kill(what, when):
        if kills and kills[0] == (what, when):
            kills.pop(0)
            if what == "poll":
                provider.batches[0].ends_at = trio.current_time()
            os.kill(victim.pid, signal.SIGKILL)
            await trio.to_thread.run_sync(victim.wait)

    provider.hook = kill
    found = []
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(
            partial(trio.serve_tcp, partial(serve_connection, provider), 0, host="127.0.0.1")
        )
        port = listeners[0].socket.getsockname()[1]
        with trio.fail_after(90):
            while True:
                left = sorted(set("abc") - {text[-1] for text in found})
                command = [sys.executable, "-c", PROGRAM, f"http://127.0.0.1:{port}/v1"]
                victim = subprocess.Popen(  # noqa: ASYNC220  # it is waited for in a thread
                    [*command, str(tmp_path / "journal"), *left], stdout=subprocess.PIPE, text=True
                )
                said, _ = await trio.to_thread.run_sync(victim.communicate)
                found += [line for line in said.split("\n")[:-1] if line.startswith("about")]
                if victim.returncode == 0:
                    break
                assert victim.returncode == -signal.SIGKILL
        nursery.cancel_scope.cancel()
    assert not kills
    assert sorted(found) == ["about a", "about b", "about c"]
    assert sorted(provider.billed) == ["a", "b", "c"]
    assert len(provider.batches) == 1
