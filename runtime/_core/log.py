"""Where the runtime and the actors log: `logging`, or structlog if the application set it up.

A fault of the application's logging (a handler or a processor that raises) must not crash a
supervisor or an actor (R17). It is written to stderr, as `logging` itself does.
"""

import logging
import sys
import traceback
from typing import Protocol, final

import structlog


class Logger(Protocol):
    """What `get_logger` returns; structlog's own loggers have these methods as well."""

    def debug(self, event: str, /, **fields: object) -> None:
        """Log an event at the level "debug"."""
        ...

    def info(self, event: str, /, **fields: object) -> None:
        """Log an event at the level "info"."""
        ...

    def warning(self, event: str, /, **fields: object) -> None:
        """Log an event at the level "warning"."""
        ...

    def error(self, event: str, /, **fields: object) -> None:
        """Log an event at the level "error"."""
        ...


def get_logger(name: str) -> Logger:
    """Return a logger that writes where the application's own configuration says.

    Once the application has called `structlog.configure`, events go to structlog. Else they go to
    the logger `name` of `logging`, with the event and its fields as text, and with the attributes
    `event` (the event's name) and `fields` (a dictionary) in the record. Nothing is written to
    standard output unless the application has configured that.

    Args:
        name: the name of the logger.
    """
    return _Log(name)


@final
class _Log:
    def __init__(self, name: str) -> None:
        self._name = name
        self._plain = logging.getLogger(name)

    def debug(self, event: str, /, **fields: object) -> None:
        self._write("debug", logging.DEBUG, event, fields)

    def info(self, event: str, /, **fields: object) -> None:
        self._write("info", logging.INFO, event, fields)

    def warning(self, event: str, /, **fields: object) -> None:
        self._write("warning", logging.WARNING, event, fields)

    def error(self, event: str, /, **fields: object) -> None:
        self._write("error", logging.ERROR, event, fields)

    def _write(self, method: str, level: int, event: str, fields: dict[str, object]) -> None:
        try:
            if structlog.is_configured():
                getattr(structlog.stdlib.get_logger(self._name), method)(event, **fields)
            elif self._plain.isEnabledFor(level):
                extra = {"event": event, "fields": fields}
                self._plain.log(level, "%s", _text(event, fields), extra=extra, stacklevel=3)
        except Exception as error:  # noqa: BLE001  # a fault of the log costs no actor (R17)
            _report(event, error)


def _text(event: str, fields: dict[str, object]) -> str:
    """Return an event and its fields as text; an exception's traceback stands on its own lines."""
    words = [event, *(f"{key}={value!r}" for key, value in fields.items() if key != "exception")]
    text = " ".join(words)
    exception = fields.get("exception")
    return text if exception is None else f"{text}\n{str(exception).rstrip()}"


def _report(event: str, error: Exception) -> None:
    """Write to stderr that an event could not be logged, without the locals of the frames (L8)."""
    try:
        trace = "".join(traceback.format_exception(error))
        sys.stderr.write(f"the event {event} could not be logged\n{trace}")
    except Exception:  # noqa: BLE001, S110  # stderr may be closed or missing; nothing is left
        pass


def log_callback_error(where: str, error: Exception) -> None:
    """Log what a callback of the user has raised, as text without the locals of the frames (L8)."""
    get_logger("callsheet.runtime").error(
        "callback_failed", where=where, exception="".join(traceback.format_exception(error))
    )


def log_error_without_caller(path: str, message: object, error: Exception) -> None:
    """Log an error for which no caller waits.

    Args:
        path: path of the actor.
        message: the message, or the name of its type.
        error: the error that a caller would get.
    """
    name = message if isinstance(message, str) else type(message).__name__
    get_logger("callsheet.runtime").warning(
        "error_without_caller", actor=path, message=name, error=error
    )
