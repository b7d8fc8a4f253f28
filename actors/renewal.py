"""The wait between two attempts of a call."""

from collections.abc import Callable

import trio

from ..runtime import ActorCrashed, AskFailed, AskTimedOut
from .failures import Refusal
from .permit import Permit

__all__ = ["renew"]


async def renew(
    permit: Permit | None, refusal: Refusal, *, until: float, deadline: Callable[[], float]
) -> None:
    """Wait until then, and for the limiter to let one more attempt through.

    Args:
        permit: the call's; without one nobody limits it.
        refusal: what the last attempt failed with.
        until: on Trio's clock.
        deadline: of the call, on the same; it may be moved meanwhile (R4).

    Raises:
        Refusal: there is no other attempt. Its error is that of the last one, and says why.
    """
    error = refusal.error
    if permit is None:
        await trio.sleep_until(until)
    while permit is not None:
        delay = max(0.0, until - trio.current_time())
        try:
            await permit.renew(delay=delay, throttled=refusal.throttled)
            break
        except AskTimedOut:
            if deadline() <= trio.current_time():  # else it was postponed
                raise Refusal(error.but("the deadline has passed")) from None
        except ActorCrashed:
            pass  # what waited there was not started; its next incarnation takes it up
        except AskFailed as stopped:
            text = f"there is no other attempt, because {stopped}"
            raise Refusal(error.but(text)) from None
