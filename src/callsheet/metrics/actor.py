"""The actor that stands for the metrics in a troupe: they are read while it runs."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar, final

import attrs
import trio

from ..actors import Troupe
from ..runtime import Actor
from ..serving import Listen, serve
from .server import LIMITS, PATHS, ScrapeApp

T = TypeVar("T")


@final
@attrs.frozen(eq=False)
class OpenTroupe:
    """A troupe that can be read. Make it in the troupe's own run of Trio.

    Args:
        troupe: the troupe to read.
    """

    troupe: Troupe
    _token: trio.lowlevel.TrioToken = attrs.field(
        factory=trio.lowlevel.current_trio_token, init=False
    )

    @property
    def is_own_run(self) -> bool:
        """Whether the current thread runs the troupe."""
        if not trio.lowlevel.in_trio_run():
            return False
        return trio.lowlevel.current_trio_token() is self._token

    def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run some work in the troupe's own run, and block until it has ended.

        Args:
            work: an async function.

        Raises:
            trio.RunFinishedError, trio.Cancelled: the run has ended.
        """
        return trio.from_thread.run(work, trio_token=self._token)


@final
@attrs.define
class Attachment:
    """The troupes that an object measures.

    Args:
        targets: the open troupes by their names; "" is that of a troupe without a prefix.
        address: the address at which one of them answers scrapes; "" if none does.
    """

    targets: dict[str, OpenTroupe] = attrs.field(factory=dict[str, OpenTroupe])
    address: str = ""

    @property
    def is_own_run(self) -> bool:
        """Whether the current thread runs the troupes."""
        return any(target.is_own_run for target in self.targets.values())

    def add(self, name: str, target: OpenTroupe) -> None:
        """Measure another troupe.

        Args:
            name: the name of the troupe.
            target: the troupe, which is open.

        Raises:
            ValueError: one of the same name is measured, or one in another run of Trio.
        """
        if name in self.targets or (self.targets and not self.is_own_run):
            raise ValueError(
                "these metrics are of another troupe that is open; use one for each, or give the "
                "troupes of one runtime different prefixes"
            )
        self.targets[name] = target


@final
class MetricsActor(Actor):
    """Lets the metrics of its troupe be read as long as it runs, and answers scrapes.

    It has a place in the tree so that the readings end with the troupe, and so that a failure of
    the server is seen there. It handles no messages.

    Args:
        attachment: what it sets while it runs.
        name: the name of the troupe.
        target: the troupe to read.
        app: what answers the scrapes.
        listen: where to answer them; None to answer none. The first of several troupes does.
    """

    def __init__(
        self,
        attachment: Attachment,
        name: str,
        target: OpenTroupe,
        app: ScrapeApp,
        listen: Listen | None,
    ) -> None:
        self._attachment = attachment
        self._name = name
        self._target = target
        self._app = attrs.evolve(app, paths=PATHS)
        self._listen = listen
        self._is_serving = False

    async def started(self) -> None:
        """Begin to be read, and to answer scrapes.

        Raises:
            ValueError: the metrics belong to another troupe that is open.
            CannotServe: nothing can listen at the address.
        """
        attachment = self._attachment
        attachment.add(self._name, self._target)
        if self._listen is not None and not attachment.address:
            run = partial(serve, self._app, self._listen, limits=LIMITS)
            try:
                serving = await self.nursery.start(run)
            except BaseException:
                del attachment.targets[self._name]
                raise
            attachment.address = str(serving.listen)
            self._is_serving = True

    async def stopped(self) -> None:
        """Let it be read no more."""
        attachment = self._attachment
        if attachment.targets.get(self._name) is self._target:
            del attachment.targets[self._name]
        if self._is_serving:
            attachment.address = ""
