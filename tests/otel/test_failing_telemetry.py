"""Telemetry that fails ends no call, and leaves nothing behind."""

import pytest
from fakes import MODEL, Reply, Script, completion_json, refusal
from opentelemetry.sdk.trace import SpanProcessor
from structlog.testing import capture_logs
from tool_fakes import ANSWER, CALL, Weather, asking, tool_of
from tracing import Telemetry, chat

from callsheet.actors import Recipe, Step, open_troupe

YES, TITLE = (Reply(body=completion_json(text)) for text in ("Yes", "Title"))
RECIPE = Recipe(name="post", model=MODEL, steps=(Step("title", "A {{ topic }}"),))


class Failing(SpanProcessor):
    """Raises an error at the start or at the end of each span."""

    def __init__(self, moment):
        self.moment = moment

    def on_start(self, span, parent_context=None):
        if self.moment == "start":
            raise RuntimeError("no room for spans")

    def on_end(self, span):
        if self.moment == "end":
            raise RuntimeError("no room for spans")


@pytest.mark.parametrize("moment", ["start", "end"])
async def test_a_span_processor_that_fails(autojump_clock, moment):
    telemetry = Telemetry()
    telemetry.tracers.add_span_processor(Failing(moment))
    script = Script(
        refusal(500),
        YES,
        TITLE,
        CALL,
        ANSWER,
    )
    with capture_logs() as logs:
        async with open_troupe(telemetry.settings(script, recipe=RECIPE)) as troupe:
            assert (await troupe.complete(chat())).text == "Yes"
            assert "Title" in (await troupe.compose("The sea")).markdown
            await troupe.run_tools(asking(tool_of(Weather())))
            assert all(actor.incarnation == 1 for actor in troupe.runtime.snapshot().actors)
    (logged,) = [log for log in logs if log["event"] == "telemetry_failed"]
    assert (logged["log_level"], logged["error"]) == ("warning", "no room for spans")
    assert repr(telemetry.observer) == "<OpenTelemetry: 0 calls open>"


async def test_a_meter_that_fails_leaves_the_spans(autojump_clock, monkeypatch):
    telemetry = Telemetry()

    def fail(*_args):
        raise RuntimeError("no room for metrics")

    monkeypatch.setattr(telemetry.observer._metrics, "ended", fail)
    async with open_troupe(telemetry.settings(Script(YES))) as troupe:
        assert (await troupe.complete(chat())).text == "Yes"
    assert telemetry.tree() == [[f"chat {MODEL}", "POST"]]
