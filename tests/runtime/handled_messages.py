"""Messages, and a class that handles one of them, for the tests of handlers."""

import attrs

from callsheet.runtime import Actor, Message, StreamOf, handles


@attrs.frozen
class Get(Message[str]):
    pass


@attrs.frozen
class GetMore(Get):
    pass


@attrs.frozen
class Put(Message[str]):
    pass


@attrs.frozen
class Count(Message[int]):
    pass


@attrs.frozen
class Lines(StreamOf[str]):
    pass


class Declared(Exception):
    pass


class Base(Actor):
    @handles(Get, raises=(Declared,), urgent=True, uninterruptible=True)
    async def get(self, message: Get) -> str:
        return "base"
