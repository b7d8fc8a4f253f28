"""The keys of a terminal: their names by what the terminal sends, and the terminal's mode."""

import os
import re
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import trio

_SEQUENCE = re.compile(r"\x1b(?:\[[0-9;]*[A-Za-z~]|O[A-Za-z])|\x1b|.", re.DOTALL)
_NAMES = {
    "\x1b": "escape",
    "\t": "tab",
    "\x1b[Z": "backtab",
    "\x1b[5~": "pageup",
    "\x1b[6~": "pagedown",
    "\x1b[1~": "home",
    "\x1b[4~": "end",
    "\x1b[7~": "home",
    "\x1b[8~": "end",
}
_LETTERS = {"A": "up", "B": "down", "C": "right", "D": "left", "H": "home", "F": "end"}
_MAX_BYTES = 1024


def keys_in(sent: bytes) -> Iterator[str]:
    """Yield the name, or the character, of each key that a terminal has sent.

    Args:
        sent: what was read from the terminal.
    """
    for found in _SEQUENCE.findall(sent.decode(errors="replace")):
        text: str = found
        if len(text) == 1 or text in _NAMES:
            yield _NAMES.get(text, text)
        elif text[-1] in _LETTERS:
            yield _LETTERS[text[-1]]


async def read_keys(descriptor: int) -> list[str]:
    """Wait for keys and return them; an empty list at the end of the input.

    Args:
        descriptor: the file descriptor of a terminal in the mode of `key_mode`.
    """
    # Without O_NONBLOCK, which stdout would share with it.
    await trio.lowlevel.wait_readable(descriptor)
    try:
        return list(keys_in(os.read(descriptor, _MAX_BYTES))) or []
    except OSError:  # the terminal is gone
        return []


@contextmanager
def key_mode(descriptor: int) -> Generator[None]:
    """Let a terminal send each key at once, and not show it, while the block runs.

    Args:
        descriptor: the file descriptor of the terminal.
    """
    if sys.platform == "win32":
        yield
        return
    import termios  # noqa: PLC0415  # Windows has none
    import tty  # noqa: PLC0415

    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor, termios.TCSADRAIN)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
