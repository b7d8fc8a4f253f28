"""How a door ends: each call that is open is settled, and nothing hangs or goes on unseen."""

import asyncio
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import anyio
import pytest
import trio
from door_fakes import SOON_S, Provider, open_threads, request, settings_for, wait_until

from callsheet import aio, sync
from callsheet.actors import Stage, insert
from callsheet.aio import DoorClosed
from callsheet.runtime import (
    ActorCrashed,
    ActorStopped,
    RestartIntensityExceeded,
    RestartPolicy,
)

HERE = Path(__file__).parent
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
EXIT = """
    class Slow(Provider):
        async def aclose(self):
            with trio.CancelScope(shield=True):
                await trio.sleep(0.2)
            print("closed")

    opening = sync.open_troupe(settings_for(Slow()))
    troupe = opening.__enter__()
    print(troupe.complete(request()).text)
"""
EXIT_WITH_FILES = """
    import tempfile
    from pathlib import Path
    from callsheet.actors import CachePolicy, LedgerPolicy

    folder = Path(tempfile.mkdtemp(dir=FOLDER))
    stages = dict(
        ledger=LedgerPolicy(path=folder / "ledger"), cache=CachePolicy(path=folder / "cache")
    )
    opening = sync.open_troupe(settings_for(Provider(), **stages))
    print(opening.__enter__().complete(request(max_tokens=5)).text)
    print(len([*folder.iterdir()]) > 2)
    print(folder)
"""
INTERRUPT = """
    import asyncio, os, signal
    from callsheet import aio

    class Closing(Provider):
        async def aclose(self):
            print("closed")

    async def main():
        provider = Closing()
        async with aio.open_troupe(settings_for(provider)) as troupe:
            call = asyncio.ensure_future(troupe.complete(request("hold")))
            while not provider.in_flight:
                await asyncio.sleep(0.01)
            asyncio.get_running_loop().call_later(0.1, signal.raise_signal, signal.SIGINT)
            await call

    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        print("interrupted")
"""
PROGRAMS = (EXIT, EXIT_WITH_FILES, INTERRUPT)
IMPORTS = f"""
import os, sys, time, trio
from callsheet import aio, sync
sys.path.insert(0, {str(HERE)!r})
from door_fakes import Provider, request, settings_for
"""
# Its own exit is that of the interpreter, with all that runs then.
FORK = """
if os.fork() == 0:
    exec(PROGRAM)
    sys.exit()
_, status = os.wait()
print(f"--- {status}", flush=True)
assert status == 0
"""


def run_programs(folder, *texts):
    """Run each program in a fork of one fresh process, and return the lines that it prints."""
    programs = [FORK.replace("PROGRAM", repr(textwrap.dedent(text))) for text in texts]
    run = subprocess.run(
        [sys.executable, "-c", "".join([IMPORTS, f"FOLDER = {str(folder)!r}\n", *programs])],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return [printed.splitlines() for printed in run.stdout.split("--- 0\n")[:-1]]


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """What the programs print: to import Callsheet takes longer than all the rest of each."""
    folder = tmp_path_factory.mktemp("programs")
    return dict(zip(PROGRAMS, run_programs(folder, *PROGRAMS), strict=True))


# ------------------------------------------------------------------------------ the Trio thread


def test_each_open_call_is_settled_when_the_thread_dies():
    async def main():
        provider = Provider()
        with pytest.raises(SystemExit, match="takes the thread with it"):
            async with aio.open_troupe(settings_for(provider)) as troupe:
                calls = [troupe.complete(request("hold")) for _ in range(5)]
                open_calls = [asyncio.ensure_future(call) for call in calls]
                await asyncio.to_thread(wait_until, lambda: provider.in_flight == 5)
                with pytest.raises(DoorClosed):
                    await troupe.complete(request("die"))
                for call in open_calls:
                    with pytest.raises(DoorClosed):
                        await call
                await asyncio.to_thread(wait_until, lambda: not open_threads())
                with pytest.raises(DoorClosed, match="the troupe is closed") as caught:
                    await troupe.complete(request())
                assert isinstance(caught.value.__cause__, SystemExit)

    asyncio.run(main())


def test_each_open_call_gets_one_error_when_an_actor_crashes_too_often():
    class Broken(Stage):
        async def outgoing(self, request, context):
            if "crash" in request.messages[-1].content:
                raise ZeroDivisionError("a bug")
            return request

    provider = Provider()
    settings = settings_for(provider, stages=[insert(Broken, before="batcher")])
    never = RestartPolicy(max_restarts=0)

    async def main():
        with pytest.raises(RestartIntensityExceeded):
            async with aio.open_troupe(settings, restarts=never) as troupe:
                calls = [asyncio.ensure_future(troupe.complete(request("hold"))) for _ in range(5)]
                await asyncio.to_thread(wait_until, lambda: provider.in_flight == 5)
                with pytest.raises(ActorCrashed):
                    await troupe.complete(request("crash"))
                for call in calls:
                    with pytest.raises(DoorClosed, match="is stopped") as caught:
                        await call
                    assert isinstance(caught.value.__cause__, ActorStopped)
                await asyncio.to_thread(wait_until, lambda: not open_threads())
                with pytest.raises(DoorClosed, match=r"after RestartIntensityExceeded: .* a bug"):
                    await troupe.complete(request())

    asyncio.run(main())


def test_each_open_call_is_settled_after_an_internal_error_of_trio():
    provider = Provider()
    with (
        pytest.raises(trio.TrioInternalError),
        sync.open_troupe(settings_for(provider)) as troupe,
        troupe.stream(request("hold")) as pieces,
    ):
        wait_until(lambda: provider.in_flight == 1)
        troupe._door.thread.post(lambda: 1 / 0)
        with pytest.raises(DoorClosed) as caught:
            next(pieces)
    assert isinstance(caught.value.__cause__, trio.TrioInternalError)


def test_each_thread_that_waits_is_woken_when_the_thread_dies():
    errors = []
    provider = Provider()

    def ask(troupe):
        with pytest.raises(DoorClosed) as caught:
            troupe.complete(request("hold"))
        errors.append(caught.value)

    with pytest.raises(SystemExit), sync.open_troupe(settings_for(provider)) as troupe:
        threads = [threading.Thread(target=ask, args=(troupe,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        wait_until(lambda: provider.in_flight == 3)
        with pytest.raises(DoorClosed):
            troupe.complete(request("die"))
        for thread in threads:
            thread.join(SOON_S)
    assert len({id(error) for error in errors}) == 3


# ------------------------------------------------------------------------------ the event loop


def test_the_calls_of_a_loop_that_was_closed_end_at_the_provider():
    provider = Provider()
    with sync.open_troupe(settings_for(provider)) as inner:
        troupe = aio.AsyncioTroupe(aio_door(inner))
        loop = asyncio.new_event_loop()
        task = loop.create_task(troupe.complete(request("hold")))
        loop.call_later(0.1, loop.stop)
        loop.run_forever()
        wait_until(lambda: provider.in_flight == 1)
        loop.close()
        wait_until(lambda: provider.in_flight == 0)
        assert inner.complete(request()).text == "Hello"
        task._log_destroy_pending = False  # it is what the test is about


def aio_door(troupe):
    from callsheet.aio.bridge import AsyncioDoor

    return AsyncioDoor(troupe._door.thread)


def test_an_opening_is_used_for_one_block_at_a_time():
    of_threads = sync.open_troupe(settings_for(Provider()))

    async def main():
        of_asyncio = aio.open_troupe(settings_for(Provider()))
        for _ in range(2):
            async with of_asyncio as troupe:
                with pytest.raises(RuntimeError, match="this troupe is open already"):
                    await of_asyncio.__aenter__()
                assert (await troupe.complete(request())).text == "Hello"

    for _ in range(2):
        with of_threads as troupe:
            with pytest.raises(RuntimeError, match="this troupe is open already"):
                of_threads.__enter__()
            assert troupe.complete(request()).text == "Hello"
    asyncio.run(main())
    wait_until(lambda: not open_threads())


def test_a_troupe_that_is_dropped_without_its_end_is_closed_with_a_warning():
    provider = Provider()

    async def main():
        troupe = await aio.open_troupe(settings_for(provider)).__aenter__()
        assert (await troupe.complete(request())).text == "Hello"

    with pytest.warns(ResourceWarning, match="the troupe was not closed"):
        asyncio.run(main())
    wait_until(lambda: not open_threads())


@pytest.mark.slow
def test_a_block_whose_coroutine_is_thrown_away_ends_its_thread():
    async def main():
        opening = aio.open_troupe(settings_for(Provider()))
        await opening.__aenter__()
        gc.collect()  # the block has no name for its troupe, and it stays open all the same
        await opening.__aexit__(GeneratorExit, GeneratorExit(), None)

    asyncio.run(main())
    wait_until(lambda: not open_threads())


# ---------------------------------------------------------------------------------- the process


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_is_refused_with_a_sentence():
    def in_the_child(queue):
        try:
            troupe.complete(request())
        except DoorClosed as error:
            queue.put(str(error))

    provider = Provider()
    with sync.open_troupe(settings_for(provider)) as troupe:
        context = multiprocessing.get_context("fork")
        queue = context.SimpleQueue()
        child = context.Process(target=in_the_child, args=(queue,))
        child.start()
        child.join(SOON_S)
        assert queue.get() == ("this troupe was opened in another process; open one after the fork")
        assert troupe.complete(request()).text == "Hello"


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_leaves_the_block_and_its_streams_without_a_wait():
    """As a child that returns from the function in which it was forked."""
    provider = Provider()
    with sync.open_troupe(settings_for(provider)) as troupe:
        with troupe.stream(request("hold")) as pieces:
            wait_until(lambda: provider.in_flight == 1)
            child = os.fork()
            if child == 0:
                signal.alarm(20)
                code = 1
                try:
                    next(pieces)
                except DoorClosed:
                    code = 0
                finally:
                    pieces.__exit__(None, None, None)
                    troupe._door.thread.stop(at_once=False)
                    troupe._door.thread.ended.wait()
                    os._exit(code)
        _, status = os.waitpid(child, 0)
        assert status == 0
        assert troupe.complete(request()).text == "Hello"


@needs_fork
def test_the_exit_of_the_interpreter_closes_what_is_open(printed):
    assert printed[EXIT] == ["Hello", "closed"]


@needs_fork
def test_the_exit_of_the_interpreter_closes_the_ledger_and_the_cache(printed):
    """In Python 3.12, no thread can be started then."""
    text, were_open, folder = printed[EXIT_WITH_FILES]
    assert (text, were_open) == ("Hello", "True")
    assert {path.name for path in Path(folder).iterdir()} == {"cache", "ledger"}


@pytest.mark.slow
@needs_fork
def test_the_exit_of_the_interpreter_does_not_wait_for_calls(tmp_path):
    text = (
        EXIT
        + """
    import threading
    ask = threading.Thread(target=troupe.complete, args=[request("hold")], daemon=True)
    ask.start()
    time.sleep(0.2)
    print("over")
    """
    )
    assert run_programs(tmp_path, text) == [["Hello", "over", "closed"]]


@needs_fork
def test_an_interrupt_of_an_asyncio_program_closes_the_troupe(printed):
    assert printed[INTERRUPT] == ["closed", "interrupted"]


def test_a_scope_of_anyio_that_is_cancelled_closes_the_troupe():
    """Such a scope cancels its task again at each wait."""
    provider = Provider()

    async def main():
        with anyio.move_on_after(0.2) as scope:
            async with aio.open_troupe(settings_for(provider)) as troupe:
                await troupe.complete(request("hold"))
        assert scope.cancelled_caught
        async with aio.open_troupe(settings_for(provider)) as troupe:
            with anyio.move_on_after(0.2) as scope:
                async with troupe.stream(request("hold")) as pieces:
                    await anext(pieces)
            assert scope.cancelled_caught
            await asyncio.to_thread(wait_until, lambda: provider.in_flight == 0)

    asyncio.run(main())
    assert provider.in_flight == 0
