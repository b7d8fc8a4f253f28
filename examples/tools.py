"""Let a model call Python functions, side by side, until it can answer.

A function's docstring and annotations tell the model what it does and what it takes. The model
writes the arguments, which are validated; the functions run here; the model gets their results.
The built-in provider calls each tool that the question names, with arguments by its schema.

    python examples/tools.py [PROVIDER]

PROVIDER is "builtin" by default; "openai" sends the calls to OpenAI, with OPENAI_API_KEY.
"""

import sys
from typing import Literal

import attrs
import trio

from callsheet import Request, TroupeSettings, open_endpoint, open_troupe

PROVIDER = sys.argv[1] if len(sys.argv) > 1 else "builtin"


@attrs.frozen
class Weather:
    """The weather of a city at one moment."""

    city: str
    degrees: float
    unit: str


async def get_weather(city: str, unit: Literal["celsius", "fahrenheit"] = "celsius") -> Weather:
    """Tell the present weather of a city.

    Args:
        city: the name of the city, in English
        unit: the unit of the temperature
    """
    await trio.sleep(0.1)  # an async function runs in this thread, so that it can be cancelled
    return Weather(city, 9.5 if unit == "celsius" else 49.1, unit)


def get_population(city: str) -> int:
    """Tell how many people live in a city.

    Args:
        city: the name of the city, in English
    """
    return 1_000 * len(city)  # any other function runs in a thread


async def main() -> None:
    request = Request.of(
        "Write two sentences about Oslo. Use get_weather and get_population.",
        model="gpt-5.4-nano",
        tools=[get_weather, get_population],
        max_tokens=200,
    )
    async with (
        open_endpoint(PROVIDER) as endpoint,
        open_troupe(TroupeSettings(endpoint=endpoint)) as troupe,
    ):
        run = await troupe.run_tools(request, max_rounds=4, max_cost_usd="0.05", timeout=60)
    for result in run.results:
        print(f"{result.call.name}({result.call.arguments}) -> {result.text}")
    print(f"\n{run.text}\n")
    print(f"-- {len(run.rounds)} rounds, {run.usage.total_tokens} tokens, {run.cost_usd} USD")


if __name__ == "__main__":
    trio.run(main)
