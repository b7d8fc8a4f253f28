"""An actor of another Trio run uses a door from a thread."""

from math import inf

import attrs
import pytest
import trio
from door_fakes import Provider, request, settings_for

from callsheet import sync
from callsheet.runtime import Actor, Message, handles, open_runtime


@attrs.frozen
class Say(Message[str]):
    text: str


class Sayer(Actor):
    def __init__(self, troupe):
        self.troupe = troupe

    @handles(Say)
    async def say(self, message):
        asked = request(f"say {message.text}")
        return (await trio.to_thread.run_sync(self.troupe.complete, asked)).text


@pytest.mark.parametrize("timeout", [30, inf])
def test_the_deadline_of_its_message_is_of_another_clock(timeout):
    """So it does not end the call; the clocks of two runs have nothing in common (R4)."""

    async def main(troupe):
        async with open_runtime("app") as runtime:
            sayer = await runtime.spawn("sayer", lambda: Sayer(troupe))
            return await sayer.ask(Say("hello"), timeout=timeout)

    with sync.open_troupe(settings_for(Provider())) as troupe:
        for _ in range(5):  # each run has a clock of its own
            assert trio.run(main, troupe) == "hello"
