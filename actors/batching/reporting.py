"""The events of calls that share a call, for an observer that wants them."""

from typing import final

import trio

from ...runtime import ReplySlot
from ..calls import Complete
from ..events import CallEvent, Observer, stages_of
from ..responses import Response
from .members import BatchMember


@final
class SharingEvents:
    """Reports which calls share a call, and the start and the end of each combined call.

    Args:
        observer: called with "joined", "combined" and "split", if it wants these events.
    """

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._observed = stages_of(observer)

    def joined(self, member: BatchMember | None, message: Complete) -> None:
        """Report that a call follows the first call of a member.

        Args:
            member: the member that it has joined.
            message: the call that follows.
        """
        if member is None or "joined" not in self._observed:
            return
        self._observer(
            CallEvent(
                stage="joined",
                at=trio.current_time(),
                context=message.context,
                model=message.request.model,
                leader=member.waiters[0].message.context,
            )
        )

    def combined(self, message: Complete) -> None:
        """Report that a combined call is sent.

        Args:
            message: the combined call.
        """
        if "combined" not in self._observed:
            return
        self._observer(
            CallEvent(
                stage="combined",
                at=trio.current_time(),
                context=message.context,
                model=message.request.model,
                request=message.request,
            )
        )

    def split(self, message: Complete, call: ReplySlot[Response] | None) -> None:
        """Report the end of a combined call when it ends.

        Args:
            message: the combined call.
            call: its slot; None if the next stage has not taken it.
        """
        if "split" not in self._observed:
            return

        def report(slot: ReplySlot[Response] | None) -> None:
            failure = None if slot is None else slot.error
            response = None if slot is None else slot.value
            self._observer(
                CallEvent(
                    stage="split",
                    at=trio.current_time(),
                    context=message.context,
                    model=message.request.model,
                    attempt=0 if response is None else response.http_requests,
                    error=None if failure is None else str(failure),
                    response=response,
                    failure=failure,
                    is_cancelled=failure is None and response is None,
                )
            )

        if call is None:
            report(None)
        else:
            call.on_settled(report)
