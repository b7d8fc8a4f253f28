"""Show a program in a terminal until the user quits."""

import os
import signal
from contextlib import ExitStack
from typing import final

import trio
from rich.console import Console, Group
from rich.live import Live

from ..actors import Reading, ServerUrl, shown_url
from ..runtime import open_collapsing_nursery
from .keys import key_mode, read_keys
from .screen import rows_beyond, screen
from .source import AdminKey, NoReading, open_source, shows_workers
from .view import SECTIONS, SHARED_SECTIONS, View
from .watching import Watched

_EVERY_S = 1.0
_FRAME_S = 1 / 20  # the least time between two drawings
_WITHIN_S = 10.0
_SIGNALS = ("SIGTERM", "SIGHUP", "SIGWINCH", "SIGTSTP", "SIGCONT")  # Windows has one of them


async def read_once(where: str, admin: AdminKey | None = None) -> Reading:
    """Return one reading of a program.

    Args:
        where: the path of its inspection socket, or the URL of a gateway or of a shared server.
        admin: the admin key of the gateway; None for none.

    Raises:
        NoReading: there is none; the message says why.
    """
    with trio.move_on_after(_WITHIN_S):
        async with open_source(where, admin) as source:
            return await source.read()
    raise NoReading(_late(where))


def _late(where: str) -> str:
    """Return a sentence for what does not answer in time, without secrets (L8)."""
    within = f"within {_WITHIN_S:g} s"
    if shows_workers(where):
        return (
            f"the shared server {ServerUrl.parse(where)} has not given its reports and runs "
            f"{within}; it, the network or this machine is too busy: try again later"
        )
    where = shown_url(where) if "://" in where else where
    return (
        f"the program at {where} has given no reading {within}; it is stopped, or it or this "
        "machine is too busy: try again later"
    )


async def show(
    where: str, console: Console, keyboard: int | None, admin: AdminKey | None = None
) -> None:
    """Show a program until the user quits. When it ends, wait until it starts again.

    Args:
        where: the path of its inspection socket, or the URL of a gateway or of a shared server.
        console: the terminal to draw on.
        keyboard: the file descriptor of the terminal that sends keys; None for no keys.
        admin: the admin key of the gateway; None for none.

    Raises:
        NoReading: there is nothing to show at the start; the message says why.
    """
    await read_once(where, admin)
    await TopScreen(where, console, keyboard, admin).run()


@final
class TopScreen:
    """The screen of `callsheet top`, and the tasks that keep it up to date.

    Args:
        where: the path of the inspection socket, or the URL of a gateway or of a shared server.
        console: the terminal to draw on.
        keyboard: the file descriptor of the terminal that sends keys; None for no keys.
        admin: the admin key of the gateway; None for none.
    """

    def __init__(
        self, where: str, console: Console, keyboard: int | None, admin: AdminKey | None = None
    ) -> None:
        self._where = where
        self._admin = admin
        self._console = console
        self._keyboard = keyboard
        sections = SHARED_SECTIONS if shows_workers(where) else SECTIONS
        self._view = View(sections[0], sections=sections)
        self._watched = Watched()
        self._changed = trio.Event()
        self._modes = ExitStack()  # of the terminal, while the screen is shown
        self._live = Live(
            console=console,
            get_renderable=self.draw,
            auto_refresh=False,
            screen=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def draw(self) -> Group:
        """Return the screen as it is now."""
        (width, height), now = self._console.size, trio.current_time()
        lines = screen(self._watched, self._view, width=width, height=height, now=now)
        encoding = self._console.encoding
        for line in lines:  # a terminal may not have all characters
            line.plain = line.plain.encode(encoding, "replace").decode(encoding)
        return Group(*lines)

    async def run(self) -> None:
        """Show the screen until the user quits."""
        self._enter()
        try:
            async with open_collapsing_nursery() as nursery:
                nursery.start_soon(self._watch)
                nursery.start_soon(self._draw_changes)
                nursery.start_soon(self._act_on_signals, nursery.cancel_scope)
                if self._keyboard is not None:
                    nursery.start_soon(self._act_on_keys, self._keyboard, nursery.cancel_scope)
        finally:
            self._modes.close()

    def _enter(self) -> None:
        if self._keyboard is not None:
            self._modes.enter_context(key_mode(self._keyboard))
        self._modes.enter_context(self._live)

    async def _watch(self) -> None:
        """Read the program each second; after its end, wait for the next one."""
        watched = self._watched
        while True:
            try:
                async with open_source(self._where, self._admin) as source:
                    while True:
                        watched.asked_at = trio.current_time()
                        reading = await source.read()
                        watched.asked_at = None
                        if not self._view.is_paused:
                            watched.add(source.program, reading)
                            self._changed.set()
                        await trio.sleep(_EVERY_S)
            except NoReading as error:
                watched.problem = str(error)
                self._changed.set()
            await trio.sleep(_EVERY_S)

    async def _draw_changes(self) -> None:
        while True:
            with trio.move_on_after(_EVERY_S):  # the time without a reply goes on
                await self._changed.wait()
            self._changed = trio.Event()
            self._live.refresh()
            await trio.sleep(_FRAME_S)

    async def _act_on_keys(self, keyboard: int, whole: trio.CancelScope) -> None:
        while keys := await read_keys(keyboard):
            width, height = self._console.size
            for key in keys:
                rows = rows_beyond(self._watched, self._view, width=width, height=height)
                self._view = self._view.after(key, rows)
            if self._view.has_quit:
                whole.cancel()
            self._changed.set()

    async def _act_on_signals(self, whole: trio.CancelScope) -> None:
        numbers = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]
        with trio.open_signal_receiver(*numbers) as signals:
            async for number in signals:
                name = signal.Signals(number).name
                if name in ("SIGTERM", "SIGHUP"):
                    whole.cancel()
                elif name == "SIGTSTP":
                    self._modes.close()
                    os.kill(os.getpid(), signal.SIGSTOP)
                    self._enter()
                self._changed.set()
