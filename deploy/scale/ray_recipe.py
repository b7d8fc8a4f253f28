"""Ask a model about each row of a data set with Ray Data, at one limit for all actors.

    pip install '.[valkey]' 'ray[data]'   # in a clone
    export CALLSHEET_SHARED_URL=valkey://cache.internal:6379 CALLSHEET_LIMITS_RPM=6000
    python deploy/scale/ray_recipe.py prompts.jsonl answers/ --actors 8

The rows of prompts.jsonl have a column `prompt`; answers/ gets the same rows with the columns
`answer` and `error`. Each actor of `map_batches` has a troupe of its own, in a thread that runs
Trio, and all of them share the limits, the budgets and the cached responses of the server. Each
node needs the variables, and the key of the provider, in its own environment: what Ray passes on to
its workers can be read on its dashboard.

Ray sends a batch to another actor if one dies. The requests are `cacheable`, so the answers that
came before are not paid for twice.
"""

import argparse
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import attrs
import ray

from callsheet import Request, load_settings
from callsheet.actors import CachePolicy, CallFailed
from callsheet.runtime import AskFailed
from callsheet.sync import open_troupe


class Ask:
    """One actor: answers batches of prompts.

    Args:
        model: the model to ask.
        max_concurrent: calls that the actor may have waiting and in flight at a time. What the
            provider gets is bounded by the shared limits.
    """

    def __init__(self, model: str, max_concurrent: int) -> None:
        settings = attrs.evolve(load_settings(), cache=CachePolicy(path=None))
        opened = ExitStack()  # until the process ends, which drains the troupe
        self._troupe = opened.enter_context(open_troupe(settings))
        self._threads = opened.enter_context(ThreadPoolExecutor(max_concurrent))
        self._opened = opened
        self._model = model

    def __call__(self, batch: dict[str, Any]) -> dict[str, Sequence[Any]]:
        """Answer all prompts of a batch at once."""
        ends = list(self._threads.map(self._answer, batch["prompt"]))
        answers, errors = zip(*ends, strict=True)
        return batch | {"answer": list(answers), "error": list(errors)}

    def _answer(self, prompt: str) -> tuple[str, str]:
        """Return the answer, or the reason why there is none: an error would end the whole job."""
        request = Request.of(str(prompt), model=self._model, cacheable=True)
        try:
            return self._troupe.complete(request).text, ""
        except (CallFailed, AskFailed) as error:
            return "", f"{type(error).__name__}: {error}"


def main() -> None:
    """Read the rows, ask, and write the answers."""
    parser = argparse.ArgumentParser(description="Ask a model about each row with Ray Data.")
    parser.add_argument("input", help="a JSONL file with a column `prompt`")
    parser.add_argument("output", help="a folder for the answers, as JSONL")
    parser.add_argument("--model", default="gpt-5.4-nano")
    parser.add_argument("--actors", type=int, default=2)
    parser.add_argument("--batch", type=int, default=64, help="rows of a batch")
    options = parser.parse_args()
    rows = ray.data.read_json(options.input, lines=True)
    answers = rows.repartition(4 * options.actors).map_batches(
        Ask,
        fn_constructor_kwargs={"model": options.model, "max_concurrent": options.batch},
        concurrency=options.actors,
        batch_size=options.batch,
        num_cpus=0.25,  # it waits for the provider most of the time
    )
    answers.write_json(options.output)


if __name__ == "__main__":
    main()
