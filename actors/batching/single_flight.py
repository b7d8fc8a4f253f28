"""Single flight: identical requests share one call, and every caller gets its response."""

from ...runtime import ReplySlot
from ..errors import BudgetExceeded, CallFailed
from ..messages import Request
from ..responses import Response
from .agreement import answers_agree
from .cost_shares import free_of_charge
from .members import BatchMember, BudgetHolder, Waiter, error_of


class SingleFlight:
    """The members that are under way, and the callers that wait for them (L5).

    A waiter whose caller has gone leaves its member. A member without waiters leaves its batch,
    and its calls are cancelled.

    Attributes:
        joined: number of requests that joined the call of an identical one.
    """

    def __init__(self) -> None:
        self._by_key: dict[str, BatchMember] = {}
        self.joined = 0

    def find(self, key: str | None) -> BatchMember | None:
        """Return the member under way that has this key, if there is one."""
        return None if key is None else self._by_key.get(key)

    def join(self, key: str | None, waiter: Waiter) -> bool:
        """Let a waiter share the call of an identical request, if one is under way in time."""
        member = self.find(key)
        if member is None or not member.may_join(waiter):
            return False
        self.joined += 1
        self._add_waiter(member, waiter)
        return True

    def start(self, request: Request, key: str | None, waiter: Waiter) -> BatchMember:
        """Return a new member with one waiter."""
        member = BatchMember(request, key, [])
        if key is not None:
            self._by_key[key] = member
        self._add_waiter(member, waiter)
        return member

    def reply(self, member: BatchMember, response: Response) -> None:
        """Give all waiters the response; the first one bears its cost."""
        for place, waiter in enumerate(self._finish(member)):
            waiter.slot.reply(response if place == 0 else free_of_charge(response))
        member.release()

    def fail(self, member: BatchMember, error: Exception) -> None:
        """Give all waiters the error; the first one bears what the member has cost."""
        for place, waiter in enumerate(self._finish(member)):
            waiter.slot.fail(error if place else member.spent.on_failure(error))
        member.release()

    def refuse(self, member: BatchMember, error: BudgetExceeded, payer: BudgetHolder) -> bool:
        """Give the error of a budget to the waiters that have the same budgets as who was to pay.

        Args:
            member: the member whose call was refused.
            error: the refusal of the budget.
            payer: who was to pay for the call.

        Returns:
            Whether other waiters are left, whose budgets may pay for the member.
        """
        refused = [waiter for waiter in member.waiters if waiter.payer == payer]
        if len(refused) == len(member.waiters):
            self.fail(member, error)
            return False
        member.call = None
        for waiter in refused:
            waiter.slot.fail(error)  # it leaves the member
        return True

    def conclude(self, member: BatchMember) -> None:
        """Give the waiters the response, once both the combined call and the check have ended.

        The response of the check counts, if it has one.
        """
        check, combined_response = member.check, member.combined_response
        if not member.is_split or (check is not None and not check.done):
            return
        own = member.check_response()
        if check is not None and member.combined is not None:
            agreement = member.combined.group.agreement
            if combined_response is None or own is None:
                agreement.checks.without_result()
            else:
                agreement.check(agrees=answers_agree(combined_response, own))
        if own is not None:
            spent = member.spent
            if combined_response is not None:
                spent = spent.plus(combined_response)
            self.reply(member, spent.on(own))
        elif combined_response is not None:
            spent = member.spent
            if check is not None and isinstance(check.error, CallFailed):
                spent = spent.plus_failure(check.error)
            self.reply(member, spent.on(combined_response))
        elif check is not None:
            self.fail(member, error_of(check))

    def use_check(self, member: BatchMember, error: Exception | None) -> None:
        """End a member for which the combined call has no response, by its check if it has one.

        Args:
            member: the member that lacks a response.
            error: what a member without a check fails with; None leaves it under way.
        """
        member.is_split = True
        if member.check is not None:
            self.conclude(member)
        elif error is not None:
            self.fail(member, error)

    def _add_waiter(self, member: BatchMember, waiter: Waiter) -> None:
        member.add(waiter)

        def left(_: ReplySlot[Response]) -> None:
            self._leave(member, waiter)

        waiter.slot.on_settled(left)

    def _leave(self, member: BatchMember, waiter: Waiter) -> None:
        if waiter not in member.waiters:
            return  # its slot was settled by `reply` or `fail`
        member.remove(waiter)
        if member.waiters:
            return
        self._forget(member)
        if member.group is not None:
            member.group.former.discard(member)
        for call in (member.call, member.check):
            if call is not None:
                call.cancel()  # without waiters it would only cost money
        combined = member.combined
        if combined is not None and combined.call is not None and not combined.has_waiters:
            combined.call.cancel()

    def _finish(self, member: BatchMember) -> list[Waiter]:
        self._forget(member)
        waiters, member.waiters = member.waiters, []
        return waiters

    def _forget(self, member: BatchMember) -> None:
        if member.key is not None and self._by_key.get(member.key) is member:
            del self._by_key[member.key]
