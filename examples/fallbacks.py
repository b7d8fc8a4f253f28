"""Fall back to a second provider while the first one is overloaded.

Both are built-in providers. The first refuses every request as overloaded. A call tries it as often
as its retry budget allows, and sends the last request of the budget to the fallback, with the
fallback's model. By then the circuit breaker of the first provider is open, so the next calls go to
the fallback at once.
"""

import trio

from callsheet import (
    Request,
    RetryPolicy,
    Troupe,
    TroupeSettings,
    open_builtin_provider,
    open_troupe,
)
from callsheet.actors import BreakerPolicy, Target
from callsheet.simulator import Faults, ProviderSettings

QUESTIONS = ["What is a mailbox?", "What is a supervisor?", "What is a nursery?"]


async def answer(troupe: Troupe, question: str) -> None:
    response = await troupe.complete(Request.of(question, model="gpt-5.4-mini"), timeout=30)
    requests = "1 request" if response.http_requests == 1 else f"{response.http_requests} requests"
    print(f"{question} {response.model} at {response.host}, after {requests}")


async def main() -> None:
    overloaded = ProviderSettings(faults=Faults({"503": 1.0}))
    async with (
        open_builtin_provider(overloaded) as first,
        open_builtin_provider() as second,
    ):
        settings = TroupeSettings(
            endpoint=first,
            fallbacks=[Target(second, model="gpt-5.4-nano")],
            retry=RetryPolicy(max_attempts=4),
            breaker=BreakerPolicy(consecutive=3),
        )
        async with open_troupe(settings) as troupe:
            for question in QUESTIONS:
                await answer(troupe, question)
            statistics = await troupe.request_statistics()
        for host, breaker in statistics.breakers:
            print(f"{host}: {breaker.failed} of {breaker.begun} failed, breaker {breaker.state}")


if __name__ == "__main__":
    trio.run(main)
