"""Measure the cost of the workloads W4 and W5, and the time of a burst (W3).

The provider counts a token for four characters. By o200k_base, OpenAI's tokenizer, packing takes
0.22 of W4 where the provider bills 0.20: the instruction has 200 tokens instead of 248, and the
number and the line break of an answer 2.0 instead of 0.9, while the label itself has 1.0 instead of
1.9. (Both were counted for the three seeds, with the calls that the benchmark makes.)
"""

from collections.abc import Sequence
from math import ceil

import attrs
import trio

from callsheet import Endpoint, Limits, Request, Response, TroupeSettings, open_troupe
from callsheet.actors import BatchApiPolicy
from callsheet.compare.run import run_mode
from callsheet.compare.workloads import make_workload
from cost_bench.provider import Bill, read_bill, reset, running_provider

__all__ = ["SEEDS", "EmbeddingFigures", "ReviewFigures", "burst", "embeddings", "reviews"]

_DAY_S = 86_400.0
_SCALE = 0.1
_BRIEF = "Label the sentiment as positive, negative or neutral."
SEEDS = (0, 1, 2)  # of the reviews
_MOST_TEXTS, _MOST_TOKENS = 2_048, 300_000  # the most that OpenAI accepts in one call


@attrs.frozen
class ReviewFigures:
    """W4 in each way.

    Args:
        each: the bill of one call for each review, by plain HTTP.
        joined: the bill where identical requests share a call.
        live: the bill where requests are also packed.
        batch: the bill where requests are packed and sent by the Batch API.
        each_brief: the bill of one call for each review, with an instruction of eight words.
        packed_brief: the same work where requests may be packed.
        same_live: number of labels of `live` that equal those of the single calls.
        same_batch: number of labels of `batch` that equal those of the single calls.
        labels: number of labels.
    """

    each: Bill
    joined: Bill
    live: Bill
    batch: Bill
    each_brief: Bill
    packed_brief: Bill
    same_live: int
    same_batch: int
    labels: int


@attrs.frozen
class EmbeddingFigures:
    """W5.

    Args:
        bill: the provider's counts.
        texts: number of texts.
        fewest: the smallest number of HTTP requests that the endpoint's limits allow.
    """

    bill: Bill
    texts: int
    fewest: int


async def reviews(seed: int) -> ReviewFigures:
    """Label a thousand reviews in every way, and with an instruction of eight words.

    Args:
        seed: determines the reviews.
    """
    workload = make_workload("reviews", seed)
    requests = [item for item in workload.items if isinstance(item, Request)]
    alone = [attrs.evolve(request, packable=False) for request in requests]
    patient = [attrs.evolve(request, deadline=_DAY_S) for request in requests]
    brief = [_under(_BRIEF, request) for request in requests]
    lone = [attrs.evolve(request, packable=False, cacheable=False) for request in brief]
    unlike = [attrs.evolve(request, cacheable=False) for request in brief]
    async with running_provider(_SCALE) as base_url:
        single = await run_mode("staged", workload, base_url, time_scale=_SCALE)
        each = await read_bill(base_url)
        expected = [str(result["answer"]) for result in single.results]
        batch_answers, batch = await _answers(base_url, patient)
        _, each_brief = await _answers(base_url, lone)
    async with running_provider(1.0) as base_url:  # shared calls depend on what is in flight
        _, joined = await _answers(base_url, alone)
        live_answers, live = await _answers(base_url, requests)
        _, packed_brief = await _answers(base_url, unlike)
    return ReviewFigures(
        each,
        joined,
        live,
        batch,
        each_brief,
        packed_brief,
        _same(expected, live_answers),
        _same(expected, batch_answers),
        len(expected),
    )


def _under(instruction: str, request: Request) -> Request:
    system, *more = request.messages
    return attrs.evolve(request, messages=[attrs.evolve(system, content=instruction), *more])


def _same(expected: Sequence[str], answers: Sequence[Response]) -> int:
    return sum(label == answer.text for label, answer in zip(expected, answers, strict=True))


async def embeddings() -> EmbeddingFigures:
    """Embed ten thousand texts, each with a request of its own."""
    requests = [item for item in make_workload("embeddings").items if isinstance(item, Request)]
    async with running_provider(1.0) as base_url:
        _, bill = await _answers(base_url, requests)
    fewest = max(ceil(len(requests) / _MOST_TEXTS), ceil(bill.usage.input_tokens / _MOST_TOKENS))
    return EmbeddingFigures(bill, len(requests), fewest)


async def burst() -> float:
    """Return the wall time of twelve concurrent headlines, divided by that of the slowest call."""
    requests = [
        Request.of(f'A headline about "{topic}".', model="gpt-5.4-nano", max_tokens=50)
        for topic in make_workload("headlines").items
    ]
    async with running_provider(1.0) as base_url:
        settings = TroupeSettings(endpoint=Endpoint(base_url))
        async with open_troupe(settings) as troupe:
            start = trio.current_time()
            answers: list[Response] = []

            async def ask(request: Request) -> None:
                answers.append(await troupe.complete(request))

            async with trio.open_nursery() as nursery:
                for request in requests:
                    nursery.start_soon(ask, request)
            wall_s = trio.current_time() - start
    return wall_s / max(answer.seconds for answer in answers)


async def _answers(base_url: str, requests: Sequence[Request]) -> tuple[list[Response], Bill]:
    await reset(base_url)
    settings = TroupeSettings(
        endpoint=Endpoint(base_url),
        limits=Limits(in_flight=100),
        batches=BatchApiPolicy(dialect="openai", gather_s=0.5, poll_s=0.5),
    )
    found: dict[int, Response] = {}
    async with open_troupe(settings) as troupe, trio.open_nursery() as nursery:

        async def ask(place: int, request: Request) -> None:
            found[place] = await troupe.complete(request)

        for place, request in enumerate(requests):
            nursery.start_soon(ask, place, request)
    return [found[place] for place in range(len(requests))], await read_bill(base_url)
