"""Events of made-up calls, for tests of observers."""

from decimal import Decimal

from callsheet.actors.calls import CallContext
from callsheet.actors.events import CallEvent
from callsheet.actors.responses import Usage


def event(stage, at, call, *, post="p1", step=None, **more):
    """Return one event; the step of a post's call is named by the call's id unless given."""
    if post is not None and step is None:
        step = call.rpartition("/")[2].partition("[")[0]
    context = CallContext(call, post=post, step=step)
    return CallEvent(stage=stage, at=at, context=context, model="gpt-5.4-nano", **more)


def done(call, start, end, *, queued=0.0, post="p1", step=None, tokens=(40, 18), cost="0.00005"):
    """Return the events of a call whose first request succeeds after some seconds in a queue."""
    sent = start + queued
    ids = {"post": post, "step": step}
    usage = Usage(*tokens)
    price = None if cost is None else Decimal(cost)
    return [
        event("asked", start, call, **ids),
        event("queued", start, call, **ids),
        event("admitted", sent, call, **ids),
        event("sent", sent, call, attempt=1, **ids),
        event("answered", end, call, attempt=1, usage=usage, cost_usd=price, **ids),
    ]


def post_events(post="p1", start=0.0, scale=1.0):
    """Return the events of a whole post (W1): eleven calls, one retried, one queued."""
    times = {  # {call: (start, end)} in seconds
        "headline": (0.0, 1.92),
        "keywords": (0.0, 1.31),
        "image_prompt": (0.0, 2.74),
        "social_blurb": (0.0, 1.05),
        "conclusion": (0.0, 2.21),
        "intro": (1.92, 4.31),
        "outline": (4.31, 6.02),
        "meta_description": (4.31, 5.77),
        "sections[1]": (6.02, 7.41),
        "sections[2]": (6.02, 8.35),
        "sections[3]": (6.02, 8.02),
    }
    events = []
    for name, (begin, end) in times.items():
        call, at = f"{post}/{name}", start + begin * scale
        made = done(call, at, start + end * scale, post=post)
        if name == "conclusion":
            made = retried(call, at, start + end * scale, post=post)
        elif name == "social_blurb":
            made = done(call, at, start + end * scale, queued=0.4 * scale, post=post)
        events += made
    return sorted(events, key=lambda happened: happened.at)


def retried(call, start, end, *, post="p1", error="429 Too Many Requests"):
    """Return the events of a call whose second request succeeds."""
    span = end - start
    return [
        event("asked", start, call, post=post),
        event("sent", start, call, post=post, attempt=1),
        event(
            "retrying", start + span / 4, call, post=post, attempt=1, error=error, delay=span / 4
        ),
        event("sent", start + span / 2, call, post=post, attempt=2),
        event(
            "answered",
            end,
            call,
            post=post,
            attempt=2,
            usage=Usage(40, 18),
            cost_usd=Decimal("0.00005"),
        ),
    ]
