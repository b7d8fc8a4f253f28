"""Gathers calls into batches, and lets identical ones share a call."""

from decimal import Decimal

import attrs
import trio

from ..runtime import (
    Actor,
    ActorStopped,
    Message,
    Ref,
    ReplySlot,
    Settlement,
    Timer,
    defers,
    handles,
)
from .batch import BatchFormer, Batching
from .messages import Complete, Response, Stream, Usage
from .sharing import sharing_key

__all__ = ["BatcherActor"]


@attrs.define(eq=False)
class _Member:
    """One who asked, and what for."""

    message: Complete
    slot: ReplySlot[Response]


@attrs.define(eq=False)
class _Shared:
    """A call that several identical requests wait for; the first of them gives it its ids."""

    key: str
    members: list[_Member]
    call: ReplySlot[Response] | None = None


@attrs.frozen
class _Due(Message[None]):
    """The time of the batch that is being gathered has come."""


class BatcherActor(Actor):
    """Hands calls on in batches, each member for itself (L5).

    A member whose asker has gone leaves its batch before it is sent; one that fails, fails alone.
    Requests that are declared cacheable and are identical share one call while it is under way;
    it is cancelled when the last of those who wait for it has gone, and each of them keeps a
    deadline of its own; the call has the latest of them.

    Args:
        to: where the calls go next.
        batching: when a batch goes.
    """

    def __init__(self, to: Ref, batching: Batching | None = None) -> None:
        self._to = to
        self._former: BatchFormer[_Member | _Shared] = BatchFormer(batching or Batching())
        self._shared: dict[str, _Shared] = {}  # {sharing key: the call under way}
        self._timer: Timer | None = None

    @defers(Complete)
    async def gather(self, message: Complete, slot: ReplySlot[Response]) -> None:
        """Take one call in."""
        member = _Member(message, slot)
        key = sharing_key(message.request)
        if key is None:
            self._former.add(member, trio.current_time())
            slot.on_settled(lambda _: self._former.discard(member))
        else:
            self._join(key, member)
        await self._send_due()

    @defers(Stream)
    async def pass_on(self, message: Stream, slot: ReplySlot[None]) -> None:
        """Hand on at once a call whose asker wants to see it being written."""
        await slot.forward(self._to, message)

    @handles(_Due)
    async def due(self, message: _Due) -> None:  # noqa: ARG002  # it only says when
        """Send what is due."""
        self._timer = None
        await self._send_due()

    async def draining(self) -> None:
        """Send what is left: nothing more will come."""
        await self._send_due(draining=True)

    async def _send_due(self, *, draining: bool = False) -> None:
        while batch := self._former.take(trio.current_time(), draining=draining):
            for member in batch.members:
                if isinstance(member, _Shared):
                    await self._send_shared(member)
                else:
                    await member.slot.forward(self._to, member.message)
        if len(self._former) and self._timer is None:
            self._timer = self.send_at(self._former.due_at, _Due())

    def _join(self, key: str, member: _Member) -> None:
        shared = self._shared.get(key)
        if shared is None:
            shared = self._shared[key] = _Shared(key, [member])
            self._former.add(shared, trio.current_time())
        else:
            shared.members.append(member)
            if shared.call is not None:
                shared.call.postpone(member.slot.deadline)
        member.slot.on_settled(lambda _: self._leave(shared, member))

    def _leave(self, shared: _Shared, member: _Member) -> None:
        if member not in shared.members:
            return  # the call has ended, and with it everybody's wait
        shared.members.remove(member)
        if not shared.members:
            self._forget(shared)
            if shared.call is None:
                self._former.discard(shared)
            else:
                shared.call.cancel()  # nobody waits for it any more: stop paying for it

    def _forget(self, shared: _Shared) -> None:
        if self._shared.get(shared.key) is shared:
            del self._shared[shared.key]

    async def _send_shared(self, shared: _Shared) -> None:
        if not shared.members:
            return
        message = shared.members[0].message
        try:
            latest = max(member.slot.deadline for member in shared.members)
            shared.call = await self._to.submit(message, deadline=latest)
        except ActorStopped as error:
            self._forget(shared)
            for member in list(shared.members):
                member.slot.fail(error)
            return
        if not shared.members:  # the last one left while there was no room
            shared.call.cancel()
        for member in shared.members:  # some may have come meanwhile
            shared.call.postpone(member.slot.deadline)
        shared.call.on_settled(lambda call: self._share(shared, call))

    def _share(self, shared: _Shared, call: ReplySlot[Response]) -> None:
        """The call has ended: so it has for everybody."""
        self._forget(shared)
        members, shared.members = shared.members, []
        for position, member in enumerate(members):
            if call.settlement is not Settlement.REPLIED or call.value is None:
                if call.error is not None:
                    member.slot.fail(call.error)
            elif position == 0:
                member.slot.reply(call.value)
            else:
                free = attrs.evolve(
                    call.value,
                    usage=Usage(),
                    cost_usd=Decimal(0),
                    http_requests=0,
                    seconds=0.0,
                    route="joined",
                )
                member.slot.reply(free)
