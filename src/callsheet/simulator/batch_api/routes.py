"""Route the calls that control files and batches."""

from collections.abc import Iterator
from functools import partial

from ..middleware import FaultMiddleware
from ..settings import ProviderSettings
from ..vendor import SimulatedVendor
from .anthropic import MessageBatches
from .context import HttpRoute, RouteHandler
from .files import Files
from .openai import OpenAIBatches


class BatchEndpoints:
    """The endpoints of files and batches of both vendors.

    Args:
        settings: the provider's settings.
        middleware: checks and counts requests.
        openai: the simulated API of OpenAI.
        anthropic: the simulated API of Anthropic.
    """

    def __init__(
        self,
        settings: ProviderSettings,
        middleware: FaultMiddleware,
        openai: SimulatedVendor,
        anthropic: SimulatedVendor,
    ) -> None:
        self._is_together = settings.batches.dialect == "together"
        self._openai = openai
        self._anthropic = anthropic
        self._files = Files(settings, middleware.stats)
        self._batches = OpenAIBatches(settings, openai, middleware, self._files)
        self._messages = MessageBatches(settings, anthropic, middleware)

    def route(self, path: str) -> HttpRoute | None:
        """Return the handlers of a path, or None."""
        files, batches, messages = self._files, self._batches, self._messages
        handlers: dict[str, RouteHandler] = {}
        match path.split("/")[1:]:
            case "v1", "files":
                handlers = {"GET": files.listed, "POST": files.upload}
            case "v1", "files", "upload" if self._is_together:
                handlers = {"POST": files.upload}
            case "v1", "files", name:
                handlers = {
                    "GET": partial(files.show, name),
                    "DELETE": partial(files.delete, name),
                }
            case "v1", "files", name, "content":
                handlers = {"GET": partial(files.content, name)}
            case "v1", "batches":
                handlers = {"GET": batches.listed, "POST": batches.create}
            case "v1", "batches", name:
                handlers = {"GET": partial(batches.show, name)}
            case "v1", "batches", name, "cancel":
                handlers = {"POST": partial(batches.cancel, name)}
            case "v1", "messages", "batches":
                handlers = {"GET": messages.listed, "POST": messages.create}
            case "v1", "messages", "batches", name:
                handlers = {
                    "GET": partial(messages.show, name),
                    "DELETE": partial(messages.delete, name),
                }
            case "v1", "messages", "batches", name, "cancel":
                handlers = {"POST": partial(messages.cancel, name)}
            case "v1", "messages", "batches", name, "results":
                handlers = {"GET": partial(messages.results, name)}
            case _:
                return None
        is_anthropic = path.startswith("/v1/messages/")
        return HttpRoute(self._anthropic if is_anthropic else self._openai, handlers)

    def catch_up(self, clock: float) -> Iterator[None]:
        """Process all lines that are due, and yield after each few of them."""
        yield from self._batches.catch_up(clock)
        yield from self._messages.catch_up(clock)
