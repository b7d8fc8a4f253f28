"""The options of `callsheet keys`: their types, and those that name the key store."""

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from click.types import StringParamType

from ..config import CONFIG_VARIABLE, SHARED_URL_VARIABLE
from ..gateway.keys import SHARED_KEYS, default_key_store
from ..gateway.keys.report import moment
from .sections import option

_SPAN = re.compile(r"([0-9]{1,6})\s*([smhdw])|0")
_SPANS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
wall_clock: Callable[[], float] = time.time
"""By which keys expire, as Unix time in seconds."""


class CommaTexts(StringParamType):
    """Texts with commas between them."""

    def convert(
        self,
        value: Any,  # noqa: ANN401  # click's
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Any:  # noqa: ANN401  # texts, where click expects one
        """Split a value at its commas."""
        texts = super().convert(value, param, ctx).split(",")
        return tuple(text.strip() for text in texts if text.strip())


class KeyPlaceOption(StringParamType):
    """The path of a key store, or "shared" for the keys on the server that replicas share."""

    def convert(
        self,
        value: Any,  # noqa: ANN401  # click's
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Any:  # noqa: ANN401  # a path or "shared", where click expects a text
        """Return the place. A file whose name is "shared" is written "./shared"."""
        text = super().convert(value, param, ctx)
        return text if text == SHARED_KEYS else Path(text)


class TimeAhead(StringParamType):
    """A time in the future, or now: a span from now, or a day."""

    def convert(
        self,
        value: Any,  # noqa: ANN401  # click's
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Any:  # noqa: ANN401  # a number, where click expects a text
        """Return Unix time in seconds.

        Raises:
            click.BadParameter: the value is no time, or it has passed.
        """
        text, now = super().convert(value, param, ctx).strip(), wall_clock()
        try:
            if span := _SPAN.fullmatch(text.lower()):
                at = now + int(span[1] or 0) * _SPANS_S[span[2] or "s"]
            else:
                day = datetime.fromisoformat(text)
                at = (day if day.tzinfo is not None else day.replace(tzinfo=UTC)).timestamp()
            moment(at)
        except (ValueError, OverflowError):
            self.fail(f"{text!r:.40} is no span such as 12h or 30d, and no day.", param, ctx)
        if at < now:
            self.fail(f"{moment(at)} has passed.", param, ctx)
        return at


def store_options(command: Callable[..., object]) -> Callable[..., object]:
    """Add `--store`, `--shared` and `--config` to a command."""
    for one in (
        option(
            "--config",
            section="Store",
            metavar="FILE",
            type=click.Path(dir_okay=False, readable=False),
            help="The settings file of the gateway, whose [keys] store is the key store. Default: "
            f"${CONFIG_VARIABLE}, or none.",
        ),
        option(
            "--shared",
            section="Store",
            metavar="URL",
            help="The keys on this Valkey or Redis server, which the replicas of a gateway share, "
            f"such as valkey://host:6379. ${SHARED_URL_VARIABLE} with --store shared hides "
            "a password from other users.",
        ),
        option(
            "--store",
            section="Store",
            metavar="FILE",
            type=KeyPlaceOption(),
            help="The key store: a file, or shared for the keys on the server of the settings "
            "file. Default: that of the settings file, or "
            f"{default_key_store().name} in your data folder.",
        ),
    ):
        command = one(command)
    return command
