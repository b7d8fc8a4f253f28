"""Choose the model, or the provider, by the length of a prompt.

`ByLength` is a stage that changes the model of short prompts. `LongElsewhere` is an ordinary actor:
it forwards long prompts to another troupe, which has its own endpoint, limits and retries, and all
others to the next stage.

    python examples/prompt_length.py [PROVIDER]

PROVIDER is "builtin" by default; "openai" sends the calls to OpenAI, with OPENAI_API_KEY.
"""

import sys
from functools import partial

import attrs
import trio

from callsheet import (
    Actor,
    CallContext,
    Limits,
    Ref,
    ReplySlot,
    Request,
    Response,
    Stage,
    TroupeSettings,
    cast_troupe,
    defers,
    insert,
    open_endpoint,
    open_runtime,
)
from callsheet.actors import Complete, Stream

PROVIDER = sys.argv[1] if len(sys.argv) > 1 else "builtin"
SHORT_CHARS, LONG_CHARS = 200, 2_000


def length_of(request: Request) -> int:
    return sum(len(message.content) for message in request.messages)


class ByLength(Stage):
    """Sends short prompts to a cheaper model."""

    def __init__(self, to: Ref[Complete | Stream], model: str) -> None:
        super().__init__(to)
        self.model = model

    async def outgoing(self, request: Request, context: CallContext) -> Request:
        is_short = length_of(request) < SHORT_CHARS
        return attrs.evolve(request, model=self.model) if is_short else request


class LongElsewhere(Actor[Complete | Stream]):
    """Forwards long prompts to another troupe. The reply goes straight back to the caller."""

    def __init__(self, to: Ref[Complete | Stream], elsewhere: Ref[Complete | Stream]) -> None:
        self.to = to
        self.elsewhere = elsewhere

    @defers(Complete)
    async def complete(self, message: Complete, slot: ReplySlot[Response]) -> None:
        await slot.forward(self._next(message.request), message)

    @defers(Stream)
    async def stream(self, message: Stream, slot: ReplySlot[None]) -> None:
        await slot.forward(self._next(message.request), message)

    def _next(self, request: Request) -> Ref[Complete | Stream]:
        return self.elsewhere if length_of(request) > LONG_CHARS else self.to


async def main() -> None:
    async with open_endpoint(PROVIDER) as endpoint, open_runtime("writers") as runtime:
        patient = TroupeSettings(endpoint=endpoint, limits=Limits(in_flight=2))  # or another one
        elsewhere = await cast_troupe(runtime, patient, prefix="long-")
        settings = TroupeSettings(
            endpoint=endpoint,
            stages=[
                insert(partial(LongElsewhere, elsewhere=elsewhere.first_stage), before="batcher"),
                insert(partial(ByLength, model="gpt-5.4-nano"), before="batcher"),
            ],
        )
        troupe = await cast_troupe(runtime, settings)
        for words in (5, 200, 1_000):
            prompt = f"Summarize in one sentence: {'tea ' * words}"
            request = Request.of(prompt, model="gpt-5.4-mini", max_tokens=60)
            plan = await troupe.explain(request)
            response = await troupe.complete(request, timeout=60)
            print(f"{words} words: {response.model}, {plan.usage.input_tokens} tokens expected")
        for name in ("limiter", "long-limiter"):
            handled = runtime.snapshot()[f"writers/{name}"].counts.handled
            print(f"{name} has handled {handled} messages")


if __name__ == "__main__":
    trio.run(main)
