"""What a call does with the provider's prompt cache, and what the last stage reports of it."""

from typing import Protocol

from .messages import Request
from .responses import ResultT_co, Usage


class PromptCacheUse(Protocol):
    """The plan of one call, and where its progress is reported.

    `PromptCacheActor` puts it on the message. It belongs to no incarnation of an actor. The
    endpoint is named by its label, such as "api.openai.com key 2". What happens at another endpoint
    than the one it was made for, or with another model, changes no cache there.
    """

    @property
    def wants_stream(self) -> bool:
        """Whether other calls wait for the beginning of the response, or may do so soon."""
        ...

    def request_at(self, endpoint: str, request: Request[ResultT_co]) -> Request[ResultT_co]:
        """Return the request with the marks and the key of the plan; the same one if it has none.

        Args:
            endpoint: the label of the endpoint that the request is sent to.
            request: the request with the model that is used there.
        """
        ...

    def sent(self, endpoint: str, model: str) -> None:
        """Report that an attempt is being sent.

        Args:
            endpoint: the label of the endpoint that it is sent to.
            model: the model that is requested there.
        """
        ...

    def began(self, endpoint: str, model: str) -> None:
        """Report that a response has begun. It may be reported more than once.

        Args:
            endpoint: the label of the endpoint that sends it.
            model: the model that was requested there.
        """
        ...

    def held_back(self) -> None:
        """Report that the provider's limit has refused an attempt, and that another one waits."""
        ...

    def ended(self, endpoint: str, model: str, usage: Usage | None) -> None:
        """Report that a response is complete.

        Args:
            endpoint: the label of the endpoint that sent it.
            model: the model that was requested there.
            usage: the tokens that the provider reports; None if it reports none that can be true.
        """
        ...

    def refused(self, reason: str) -> None:
        """Report that the provider refuses the marks or the key, and is asked without them.

        It is believed when the response without them begins.

        Args:
            reason: the words of the refusal.
        """
        ...
