"""The plan of a call, as it travels with the message to the last stage."""

from typing import Any, Protocol, final

import attrs

from ...runtime import ReplySlot
from ..calls import Complete, Stream
from ..messages import Request
from ..responses import ResultT_co, Usage
from .leads import Lead, SentCall
from .planning import CachePlan


class UseListener(Protocol):
    """Receives what the last stage reports of calls. `PromptCacheActor` does."""

    def sent(self, use: "PlannedUse") -> None:
        """Note that a call is sent."""
        ...

    def began(self, use: "PlannedUse") -> None:
        """Note that the provider has read the prompt of a call."""
        ...

    def held_back(self, use: "PlannedUse") -> None:
        """Note that the provider's limit holds a call back that was sent."""
        ...

    def ended(self, use: "PlannedUse", usage: Usage | None) -> None:
        """Note that a call is answered, and the tokens that it took."""
        ...

    def moved(self, use: "PlannedUse") -> None:
        """Note that a call goes to another endpoint."""
        ...

    def refused(self, use: "PlannedUse", reason: str) -> None:
        """Note that the provider refuses what was added to a request."""
        ...

    def key_for(self, use: "PlannedUse") -> str:
        """Return the key with which a call is sent now; "" for none."""
        ...

    def refuses(self, use: "PlannedUse") -> bool:
        """Return whether the provider is known to refuse what would be added to a request."""
        ...


@attrs.frozen(eq=False)
class CacheCall:
    """A call whose prompt can be cached.

    Args:
        message: the message that came.
        slot: its reply slot.
        plan: what it does with the prompt cache.
        came_at: when it came, in seconds on Trio's clock.
    """

    message: Complete | Stream
    slot: ReplySlot[Any]
    plan: CachePlan
    came_at: float


@final
@attrs.define(eq=False, kw_only=True)
class PlannedUse:
    """A `PromptCacheUse`: the plan of one call that was sent, and the actor that made it.

    Args:
        call: the call, whether it leads, and whether it can read.
        endpoint: the label of the endpoint that the plan is for.
        model: the model there.
        listener: receives the reports; None when the incarnation that made the plan has ended.

    Attributes:
        key: the key with which the call is sent; "" for that of the plan.
        is_plain: whether nothing is added to the request, because the provider refuses it.
        refusal: the words in which the provider has refused what was added, until that is reported.
    """

    call: SentCall[CacheCall]
    endpoint: str
    model: str
    listener: UseListener | None
    key: str = attrs.field(default="", init=False)
    is_plain: bool = attrs.field(default=False, init=False)
    refusal: str = attrs.field(default="", init=False)

    @property
    def plan(self) -> CachePlan:
        """What the call does with the prompt cache."""
        return self.call.call.plan

    @property
    def lead(self) -> Lead[CacheCall] | None:
        """What the call leads, until it can be read or is lost."""
        lead = self.call.lead
        return None if lead is None or lead.is_over else lead

    @property
    def is_unmarked(self) -> bool:
        """Whether marks are left out: another call writes the beginning, and it is not there yet.

        The call has waited for that long enough, and a second write would cost more than none.
        """
        is_moved = self.key not in ("", self.plan.key)  # to where the beginning is
        return self.call.lead is None and not self.call.is_warm and not is_moved

    @property
    def wants_stream(self) -> bool:
        """See `PromptCacheUse`: who marks a beginning, or adds another key, expects it again."""
        lead, plan = self.lead, self.plan
        is_expected = plan.has_marks or (plan.key != "" and plan.number > 0)
        return lead is not None and (bool(lead.followers) or is_expected)

    def request_at(self, endpoint: str, request: Request[ResultT_co]) -> Request[ResultT_co]:
        """See `PromptCacheUse`."""
        if self._is_here(endpoint, request.model):
            if self.listener is not None and self.listener.refuses(self):
                self.is_plain = True
                return request
            if self.listener is not None:
                self.key = self.listener.key_for(self)
            return self.plan.applied(request, unmarked=self.is_unmarked, key=self.key)
        if self.listener is not None:
            self.listener.moved(self)
        return request

    def sent(self, endpoint: str, model: str) -> None:
        """See `PromptCacheUse`."""
        if self.listener is not None and self._is_here(endpoint, model):
            self.listener.sent(self)

    def began(self, endpoint: str, model: str) -> None:
        """See `PromptCacheUse`."""
        if self.listener is not None and self._is_here(endpoint, model):
            if self.refusal:
                self.listener.refused(self, self.refusal)
                self.refusal = ""
            self.listener.began(self)

    def held_back(self) -> None:
        """See `PromptCacheUse`."""
        if self.listener is not None:
            self.listener.held_back(self)

    def ended(self, endpoint: str, model: str, usage: Usage | None) -> None:
        """See `PromptCacheUse`."""
        if self.listener is not None and self._is_here(endpoint, model):
            self.listener.ended(self, usage)

    def refused(self, reason: str) -> None:
        """See `PromptCacheUse`."""
        self.is_plain, self.refusal = True, reason

    def _is_here(self, endpoint: str, model: str) -> bool:
        return endpoint == self.endpoint and model == self.model
