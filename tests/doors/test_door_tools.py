"""Tools of programs that use a door: where they run, and how they end."""

import asyncio
import contextvars
import threading

import pytest
import trio
import trio.lowlevel
from door_fakes import MODEL, Provider, settings_for

from callsheet import aio, sync
from callsheet.actors import Request, ToolRunTimedOut

user = contextvars.ContextVar("user", default="none")


class Weather(Provider):
    """Requests one call of the tool of the request, and answers with its result."""

    async def _answer(self, body, words):
        last = body["messages"][-1]
        if last["role"] == "tool":
            return await super()._answer(body, ["say", *last["content"].split()])
        name = body["tools"][0]["function"]["name"]
        call = {"id": "1", "type": "function", "function": {"name": name, "arguments": "{}"}}
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
        return self._response([self.whole(choice)])


def asking(tool):
    return Request.of("Weather?", model=MODEL, tools=[tool])


def run(main):
    async def opened():
        async with aio.open_troupe(settings_for(Weather())) as troupe:
            return await main(troupe)

    return asyncio.run(opened())


def test_an_async_tool_runs_in_the_loop_and_context_of_the_caller():
    async def main(troupe):
        loop = asyncio.get_running_loop()

        async def weather() -> str:
            await asyncio.sleep(0.01)
            assert asyncio.get_running_loop() is loop
            return f"rain for {user.get()}"

        user.set("Ada")
        assert (await troupe.run_tools(asking(weather))).text == "rain for Ada"

    run(main)


def test_a_tool_that_is_not_async_runs_in_a_thread():
    threads = []

    def weather() -> str:
        threads.append(threading.current_thread())
        return f"sun for {user.get()}"

    async def main(troupe):
        user.set("Bob")
        assert (await troupe.run_tools(asking(weather))).text == "sun for Bob"

    run(main)
    assert threads[0] is not threading.main_thread()


def test_a_decorator_may_hide_that_a_tool_is_async():
    async def main(troupe):
        async def inner() -> str:
            await asyncio.sleep(0)
            return "snow"

        def weather() -> object:
            return inner()

        assert (await troupe.run_tools(asking(weather))).text == "snow"

    run(main)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("no such town"), "Error: ValueError: no such town"),
        (asyncio.CancelledError(), "Error: RuntimeError: the tool was cancelled"),
    ],
)
def test_an_error_of_an_async_tool_goes_to_the_model(error, words):
    async def main(troupe):
        async def weather() -> str:
            raise error

        done = await troupe.run_tools(asking(weather))
        assert done.text == words

    run(main)


@pytest.mark.parametrize("how", ["timeout", "cancel"])
def test_an_async_tool_is_cancelled_with_its_run(how):
    async def main(troupe):
        ended, begun = asyncio.Event(), asyncio.Event()

        async def weather() -> str:
            begun.set()
            try:
                await asyncio.sleep(60)
            finally:
                ended.set()

        if how == "timeout":
            with pytest.raises(ToolRunTimedOut):
                await troupe.run_tools(asking(weather), timeout=0.5)
        else:
            task = asyncio.ensure_future(troupe.run_tools(asking(weather)))
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await asyncio.wait_for(ended.wait(), 10)

    run(main)


def test_tools_of_plain_programs_run_in_trio_or_in_threads():
    async def rain() -> str:
        await trio.lowlevel.checkpoint()
        return "rain"

    def sun() -> str:
        return "sun"

    with sync.open_troupe(settings_for(Weather())) as troupe:
        assert troupe.run_tools(asking(rain)).text == "rain"
        assert troupe.run_tools(asking(sun)).text == "sun"
