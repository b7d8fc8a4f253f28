"""Stages for tests that change nothing, each in another way, and one that changes texts."""

import attrs
import trio

from callsheet.actors import Complete, Delta, Stage, Stream, replace_text
from callsheet.runtime import Actor, defers


class Idle(Stage):
    """Overrides nothing."""


class Copying(Stage):
    """Passes on an equal request that is another object."""

    async def outgoing(self, request, context):
        return attrs.evolve(request)


class Waiting(Stage):
    """Passes both on after a checkpoint."""

    async def outgoing(self, request, context):
        await trio.lowlevel.checkpoint()
        return request

    async def incoming(self, response, context):
        await trio.lowlevel.checkpoint()
        return response


class Watching(Stage):
    """Lets everything return through it, piece by piece."""

    async def incoming(self, response, context):
        return response

    def incoming_pieces(self, pieces, context):
        return pieces


class Joining(Stage):
    """Changes the size of pieces alone."""

    async def incoming_pieces(self, pieces, context):
        held = ""
        async for piece in pieces:
            held += piece.text
            if len(held) > 5:
                yield Delta(held)
                held = ""
        if held:
            yield Delta(held)


class Forwarding(Actor):
    """An ordinary actor that forwards calls."""

    def __init__(self, to):
        self.to = to

    @defers(Complete)
    async def complete(self, message, slot):
        await slot.forward(self.to, message)

    @defers(Stream)
    async def stream(self, message, slot):
        await slot.forward(self.to, message)


PASSING = (Idle, Copying, Waiting, Watching, Joining, Forwarding)


class Shouting(Stage):
    """Shows which way texts went: requests in upper case, responses with a mark."""

    async def outgoing(self, request, context):
        return replace_text(request, str.upper)

    async def incoming(self, response, context):
        return replace_text(response, lambda text: f"{text}!")
