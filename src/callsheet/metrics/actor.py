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
    """The troupe that an object measures.

    Args:
        target: the troupe; None if none is open.
        address: the address at which it answers scrapes; "" if it does not.
    """

    target: OpenTroupe | None = None
    address: str = ""


@final
class MetricsActor(Actor):
    """Lets the metrics of its troupe be read as long as it runs, and answers scrapes.

    It has a place in the tree so that the readings end with the troupe, and so that a failure of
    the server is seen there. It handles no messages.

    Args:
        attachment: what it sets while it runs.
        target: the troupe to read.
        app: what answers the scrapes.
        listen: where to answer them; None to answer none.
    """

    def __init__(
        self,
        attachment: Attachment,
        target: OpenTroupe,
        app: ScrapeApp,
        listen: Listen | None,
    ) -> None:
        self._attachment = attachment
        self._target = target
        self._app = attrs.evolve(app, paths=PATHS)
        self._listen = listen

    async def started(self) -> None:
        """Begin to be read, and to answer scrapes.

        Raises:
            ValueError: the metrics belong to another troupe that is open.
            CannotServe: nothing can listen at the address.
        """
        if self._attachment.target is not None:
            raise ValueError("these metrics are of another troupe that is open; use one for each")
        if self._listen is not None:
            serving = await self.nursery.start(
                partial(serve, self._app, self._listen, limits=LIMITS)
            )
            self._attachment.address = str(serving.listen)
        self._attachment.target = self._target

    async def stopped(self) -> None:
        """Let it be read no more."""
        if self._attachment.target is self._target:
            self._attachment.target = None
            self._attachment.address = ""
