"""What a call used is freed at its end, without the collector of cycles.

`callsheet serve` lets the collector run rarely. A call that left one cycle of objects with its
prompt would keep the prompt until then, and one that was in flight during a collection far longer.
"""

import gc
import io

import pytest
import trio
from gateway_kit import CHAT, MESSAGES, MODEL, chat, message, open_kit

from callsheet.gateway.request_log import RequestLog, line_writer
from callsheet.simulator import Faults, ProviderSettings

FAST = ProviderSettings(latency_s=(0.01, 0.01))
ROUNDS = 20


async def garbage_of(kit, path, body):
    """Make calls, and return how many objects they left in cycles."""
    kit.client.app = RequestLog(kit.client.app, line_writer(io.StringIO()))

    async def call():
        answer = await kit.client.ask(path, body)
        assert answer.status
        await trio.sleep(1)  # until all that works after a call has ended

    await call()
    gc.collect()
    gc.disable()
    try:
        for _ in range(ROUNDS):
            await call()
        return gc.collect()
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, chat()),
        (CHAT, chat(stream=True)),
        (MESSAGES, message(stream=True)),
        (MESSAGES, message(model=MODEL, stream=True)),
        (CHAT, {**chat(), "model": "none"}),
    ],
    ids=["whole", "streamed", "messages", "translated", "refused"],
)
async def test_a_call_leaves_no_reference_circle(autojump_clock, path, body):
    async with open_kit(FAST) as kit:
        assert await garbage_of(kit, path, body) < ROUNDS


@pytest.mark.parametrize(
    ("fault", "streams"),
    [
        ("401", False),
        ("429", True),
        ("reset_body", True),
        ("malformed", False),
        pytest.param("401", True, marks=pytest.mark.slow),
        pytest.param("429", False, marks=pytest.mark.slow),
        pytest.param("reset_body", False, marks=pytest.mark.slow),
        pytest.param("malformed", True, marks=pytest.mark.slow),
    ],
)
async def test_a_call_that_fails_leaves_no_reference_circle(autojump_clock, fault, streams):
    failing = ProviderSettings(latency_s=(0.01, 0.01), faults=Faults({fault: 1.0}))
    async with open_kit(failing) as kit:
        assert await garbage_of(kit, CHAT, chat(stream=streams)) < ROUNDS
