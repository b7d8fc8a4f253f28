"""Calls that go through a stage of the program are traced as all others, and texts as sent."""

import attrs
import pytest
from fakes import MODEL, Reply, Script, completion_json
from tracing import Telemetry, chat

from callsheet.actors import Delta, Stage, insert, open_troupe

SECRET, HIDDEN = "Ada Lovelace", "NAME-1"


class Hiding(Stage):
    """Takes a name out of the prompt, and puts it back into the response."""

    async def outgoing(self, request, context):
        (message,) = request.messages
        hidden = attrs.evolve(message, content=message.content.replace(SECRET, HIDDEN))
        return attrs.evolve(request, messages=(hidden,))

    async def incoming(self, response, context):
        return attrs.evolve(response, text=response.text.replace(HIDDEN, SECRET))

    async def incoming_pieces(self, pieces, context):
        text = "".join([piece.text async for piece in pieces])
        yield Delta(text.replace(HIDDEN, SECRET))


@pytest.mark.parametrize("place", ["batcher", "router", "limiter"])
@pytest.mark.parametrize("is_streamed", [False, True])
async def test_what_a_stage_has_taken_out_is_not_recorded(autojump_clock, place, is_streamed):
    telemetry = Telemetry(content=True)
    script = Script(Reply(body=completion_json(f"Dear {HIDDEN}")))
    settings = telemetry.settings(script, stages=[insert(Hiding, before=place)])
    async with open_troupe(settings) as troupe:
        with telemetry.tracer.start_as_current_span("caller"):
            request = chat(f"Greet {SECRET}", deadline=60.0)
            if is_streamed:
                async with troupe.stream(request, call="a") as items:
                    async for _ in items:
                        pass
                response = items.response
            else:
                response = await troupe.complete(request, call="a")
    assert SECRET in response.text
    assert telemetry.tree() == [["caller", [f"chat {MODEL}", "POST"]]]
    attributes = telemetry.call("a").attributes
    assert HIDDEN in attributes["gen_ai.input.messages"]
    assert HIDDEN in attributes["gen_ai.output.messages"]
    assert SECRET not in str(dict(attributes))
    assert repr(telemetry.observer) == "<OpenTelemetry: 0 calls open>"
