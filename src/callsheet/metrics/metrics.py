"""The metrics of a troupe, or of several in one runtime, for Prometheus."""

from collections.abc import Collection
from functools import partial
from typing import final

import attrs
import trio
from prometheus_client import CollectorRegistry
from starlette.concurrency import run_in_threadpool

from .._version import __version__
from ..actors import Answers, CallEvent, CallStage, PriceBook, Troupe, default_prices
from ..runtime import Runtime, Supervisor, open_collapsing_nursery
from ..serving import Listen
from ..serving import serve as serve_app
from .actor import Attachment, MetricsActor, OpenTroupe
from .calls import STAGES, CallCounts
from .exposition import Exposition, SampleCollector, expose
from .gauges import GaugeLabels, samples_of_stages, samples_of_tree
from .labels import BoundedLabels, without_generation
from .samples import Sample
from .server import LIMITS, PATHS, ScrapeApp

_MAX_LANES = 50
_MAX_ACTORS = 100


@final
class Metrics:
    """Counts what a troupe does, and reports it to Prometheus.

        metrics = Metrics(listen="127.0.0.1:9464")
        async with open_troupe(TroupeSettings(endpoint=endpoint, metrics=metrics)) as troupe:
            ...

    With `listen`, the troupe itself answers scrapes, also under `callsheet.aio` and
    `callsheet.sync`. A program with a web server mounts `app` in it, or returns an `exposition`.
    The counters belong to this object: they go on when it is used for another troupe afterwards.
    Several troupes of one runtime can have it at the same time: the counters are of all calls, and
    what the stages report has the label `troupe`, the prefix of `cast_troupe`. Where one troupe
    takes the place of another, as "main#2." does of "main.", the later one reports as "main".

    Args:
        models: names of models without a known price, such as local ones, that have a value of the
            label `model`. Names with a known price need not be here; all others are "other".
        lanes: names of lanes that have a value of the label `lane`, besides those in
            `Limits.lanes`; all others are "other".
        listen: the address at which the troupe answers scrapes, such as "127.0.0.1:9464", "[::1]:0"
            or "9464"; "" for none. Anyone who can connect can read the metrics.
        max_models: the most values of the label `model` besides "other".

    Raises:
        ValueError: `listen` is no address, or `max_models` is negative.
        TypeError: `listen` is no text, or `models` or `lanes` are not several names.

    Attributes:
        app: an ASGI app that answers scrapes at each path, under any event loop.
        registry: the registry for exporters of `prometheus_client`, which no other object shares.
            It is read in any thread but that of the troupe.
        stages: the stages of calls that it observes.
    """

    def __init__(
        self,
        *,
        models: Collection[str] = (),
        lanes: Collection[str] = (),
        listen: str = "",
        max_models: int = 50,
    ) -> None:
        for argument, names in (("models", models), ("lanes", lanes)):
            if isinstance(names, str) or not all(isinstance(name, str) for name in names):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise TypeError(f"{argument} must be a list of names, not {names!r:.60}")
        if max_models < 0:
            raise ValueError(f"max_models must be 0 or more, not {max_models}")
        self.stages: frozenset[CallStage] = STAGES
        self._listen = None if not listen else Listen.parse(listen)
        self._prices: dict[str, PriceBook] = {}  # {name of a troupe: its prices}
        self._lane_names = frozenset(lanes)
        self._models = BoundedLabels(self._has_price, max_models, models)
        lanes_label = BoundedLabels(lambda name: name in self._lane_names, _MAX_LANES)
        self._calls = CallCounts(self._models, lanes_label)
        self._labels = GaugeLabels(
            self._models, lanes_label, BoundedLabels(lambda _: True, _MAX_ACTORS)
        )
        self._attachment = Attachment()
        self.app = ScrapeApp(self.exposition)
        self.registry = CollectorRegistry()
        self.registry.register(SampleCollector(self._read_in_thread))

    def __repr__(self) -> str:
        count = len(self._attachment.targets)
        state = {0: "no troupe", 1: "a troupe"}.get(count, f"{count} troupes")
        return f"<Metrics of {state}, {self._calls.open} calls open>"

    @property
    def address(self) -> str:
        """The address at which the troupe answers scrapes now; "" if it does not."""
        return self._attachment.address

    async def exposition(self, accept: str = "") -> Exposition:
        """Return the metrics of this moment. It can be awaited under any event loop.

        Args:
            accept: the header `Accept` of the scrape: OpenMetrics if it names that, else the plain
                text format.
        """
        if not self._attachment.targets:
            return expose(self._samples(), accept)
        if self._attachment.is_own_run:
            return expose(await self._read(), accept)
        return await run_in_threadpool(self.exposition_in_thread, accept)

    def exposition_in_thread(self, accept: str = "") -> Exposition:
        """Return the metrics of this moment to a thread that runs no event loop.

        Args:
            accept: as for `exposition`.

        Raises:
            RuntimeError: the current thread is that of the troupe.
        """
        return expose(self._read_in_thread(), accept)

    def name_models(self, models: Collection[str]) -> None:
        """Give further models a value of the label `model`, as the argument `models` does.

        Args:
            models: names that the program chooses and not its callers, because each is a series.
        """
        self._models.reserve(models)

    # ------------------------------------------------------------------------- for the troupe

    def __call__(self, event: CallEvent) -> None:
        """Count one event of a call; see `TroupeMeter`."""
        self._calls.observe(event)

    async def attach(
        self,
        troupe: Troupe,
        *,
        place: Supervisor,
        prices: PriceBook,
        lanes: Collection[str],
    ) -> None:
        """Begin to measure a troupe; see `TroupeMeter`.

        Raises:
            ValueError: this object measures a troupe of the same name that is still open.
            CannotServe: nothing can listen at the address.
        """
        name = _troupe_of(place)
        self._prices[without_generation(name)] = prices
        self._lane_names |= frozenset(lanes)
        actor = partial(
            MetricsActor, self._attachment, name, OpenTroupe(troupe), self.app, self._listen
        )
        # A crash of it must end neither a call nor the troupe, so it is not restarted.
        await place.spawn("scrapes", actor, restart="temporary")

    # ------------------------------------------------------------------------------- readings

    def _read_in_thread(self) -> tuple[Sample, ...]:
        targets = tuple(self._attachment.targets.values())
        if not targets:
            return self._samples()
        if self._attachment.is_own_run:
            raise RuntimeError(
                "this would block the thread of the troupe; await `Metrics.exposition()` there"
            )
        try:
            return targets[0].run(self._read)
        except (trio.RunFinishedError, trio.Cancelled):  # the run has ended meanwhile
            return self._samples()

    async def _read(self) -> tuple[Sample, ...]:
        """Return the samples with what the stages report; called in the troupes' own run."""
        answers: dict[str, Answers] = {}

        async def ask(name: str, troupe: Troupe) -> None:
            answers[name] = await troupe.reader.ask()

        targets = dict(self._attachment.targets)
        async with open_collapsing_nursery() as nursery:
            for name, target in targets.items():
                nursery.start_soon(ask, name, target.troupe)
        found = [*self._samples()]
        trees: set[Runtime] = set()
        latest: dict[str, str] = {}  # {name of a troupe: the same with its generation}
        for name, target in targets.items():
            if self._attachment.targets.get(name) is not target:
                continue  # it has stopped meanwhile
            latest[without_generation(name)] = name
            runtime = target.troupe.runtime
            if runtime not in trees:
                found += samples_of_tree(runtime.snapshot(), self._labels)
            trees.add(runtime)
        for shown, name in latest.items():
            samples = samples_of_stages(answers[name], self._labels)
            found += (attrs.evolve(one, troupe=shown) for one in samples) if shown else samples
        return tuple(found)

    def _samples(self) -> tuple[Sample, ...]:
        """Return the samples that need no troupe."""
        names = tuple(dict.fromkeys(map(without_generation, self._attachment.targets)))
        return (
            Sample("callsheet_build", (__version__,), 1),
            *(Sample("callsheet_troupe_open", (), 1, troupe=name) for name in names),
            *(() if names else (Sample("callsheet_troupe_open", (), 0),)),
            *self._calls.samples(),
        )

    def _has_price(self, model: str) -> bool:
        books = self._prices.values() or (default_prices(),)
        return any(book.price(model) is not None for book in books)


def _troupe_of(place: Supervisor) -> str:
    """Return the name of the troupe that has a place for its metrics: its prefix."""
    return place.name.removesuffix("metrics").rstrip("-_. ")


async def serve(
    metrics: Metrics,
    *,
    host: str = "127.0.0.1",
    port: int = 9464,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer scrapes under Trio until cancelled, for a program that has no web server.

        async with trio.open_nursery() as nursery:
            url = await nursery.start(serve, metrics)

    It ends with its nursery, and goes on over the troupes that are opened meanwhile.

    Args:
        metrics: what to report.
        host: the address to listen on. Anyone who can connect can read the metrics.
        port: the port; 0 for any free one.
        task_status: receives the URL to scrape, such as "http://127.0.0.1:9464/metrics".

    Raises:
        CannotServe: nothing can listen at the address; the text has the reason.
    """
    app = attrs.evolve(metrics.app, paths=PATHS)
    async with open_collapsing_nursery() as nursery:
        listen = Listen(host, port)
        serving = await nursery.start(partial(serve_app, app, listen, limits=LIMITS))
        task_status.started(f"{serving.url}{PATHS[0]}")
