"""The rows of each section of `callsheet top`, as texts. Pure (R14)."""

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from math import inf

from ..actors import (
    ActorReading,
    CallReading,
    LaneReading,
    LimitReading,
    Reading,
    SpendReading,
)
from ..wording import amount, percent
from .section import Column, ScreenRow, Section, Style, age, count, soon, usd
from .view import SectionName
from .worker_tables import runs_section, workers_section

_FULL = 0.999
_PERIODS = {1.0: "a second", 60.0: "a minute", 3600.0: "an hour", 86_400.0: "a day"}


def section_of(name: SectionName, reading: Reading, sort: str) -> Section:
    """Return one section of a reading.

    Args:
        name: the name of the section.
        reading: the reading to show.
        sort: the order of its rows, one of `SORTS`.
    """
    return _MAKERS[name](reading, sort)


def _calls(reading: Reading, sort: str) -> Section:
    orders: Mapping[str, Callable[[CallReading], tuple[float, str]]] = {
        "time": lambda call: (-call.seconds, ""),
        "lane": lambda call: (0.0, call.lane),
        "model": lambda call: (0.0, call.model),
    }
    calls = sorted(reading.calls, key=orders[sort]) if sort in orders else list(reading.calls)
    named_waiting = sum(call.state == "waiting" for call in calls)
    words = f"{reading.in_flight:,} in flight, {reading.waiting:,} waiting"
    if named_waiting < reading.waiting:
        words += f" (the next {named_waiting:,} are listed)"
    return Section(
        "Calls",
        words,
        (
            Column("call", is_flexible=True),
            Column("state"),
            Column("for", is_number=True),
            Column("turn", is_number=True),
            Column("lane", rank=1),
            Column("model", rank=2),
            Column("post", rank=4),
            Column("step", rank=3),
        ),
        tuple(_call(call) for call in calls),
        "no call is in flight or waits",
    )


def _call(call: CallReading) -> ScreenRow:
    is_waiting = call.state == "waiting"
    turn = soon(call.turn_s) if is_waiting else ""
    lane, model = call.lane or "-", call.model
    cells = (call.call, call.state, age(call.seconds), turn, lane, model)
    return ScreenRow((*cells, call.post or "", call.step or ""), "busy" if is_waiting else "good")


def _lanes(reading: Reading, sort: str) -> Section:
    orders: Mapping[str, Callable[[LaneReading], tuple[float, str]]] = {
        "turn": lambda lane: (inf if lane.next_s is None else lane.next_s, lane.name),
        "name": lambda lane: (0.0, lane.name),
    }
    lanes = sorted(reading.lanes, key=orders[sort]) if sort in orders else list(reading.lanes)
    return Section(
        "Lanes",
        f"{len(lanes) + reading.left_out.get('lanes', 0):,} with calls",
        (
            Column("lane", is_flexible=True),
            Column("in flight", is_number=True),
            Column("waiting", is_number=True),
            Column("next turn", is_number=True),
        ),
        tuple(
            ScreenRow(
                (
                    lane.name or "(no lane)",
                    f"{lane.in_flight:,}",
                    f"{lane.waiting:,}",
                    soon(lane.next_s) if lane.waiting else "",
                ),
                "busy" if lane.waiting else "good",
            )
            for lane in lanes
        ),
        "no lane has a call",
    )


def _limits(reading: Reading, sort: str) -> Section:
    limits = list(reading.limits)
    if sort == "use":
        limits.sort(key=lambda limit: -1.0 if limit.use is None else limit.use, reverse=True)
    pauses = [
        ScreenRow(
            ("pause after refusals", one.subject or "all calls", "", "", soon(one.seconds)), "bad"
        )
        for one in reading.pauses
    ]
    full = sum(limit.use is not None and limit.use >= _FULL for limit in limits)
    return Section(
        "Limits",
        f"{len(limits):,}" + (f", {full:,} used up now" if full else ""),
        (
            Column("limit", is_flexible=True),
            Column("of"),
            Column("used", is_number=True),
            Column("use", is_number=True),
            Column("source", rank=1),
        ),
        (*pauses, *map(_limit, limits)),
        "no limit is known",
    )


def _limit(limit: LimitReading) -> ScreenRow:
    use = limit.use
    style: Style = "dim" if use is None else ("busy" if use >= _FULL else "good")
    used = "" if limit.used is None else _quantity(limit, limit.used)
    share = "" if use is None else percent(use)
    others = f", others {amount(limit.others_per_s)}/s" if limit.others_per_s else ""
    source = f"{limit.source}{others}"
    return ScreenRow(
        (_limit_words(limit), limit.subject or "all calls", used, share, source), style
    )


def _limit_words(limit: LimitReading) -> str:
    what = limit.dimension.replace("_", " ").replace("usd", "USD")
    if limit.dimension == "in_flight":
        return "calls in flight: no limit" if limit.limit is None else f"{limit.limit:,g} in flight"
    if limit.limit is None or limit.per_s is None:
        return f"{what}: no limit"
    period = _PERIODS.get(limit.per_s) or f"in {age(limit.per_s)}"
    return f"{_quantity(limit, limit.limit)} {what} {period}"


def _quantity(limit: LimitReading, value: float) -> str:
    if limit.dimension == "usd":
        return f"{value:,.4f}".rstrip("0").rstrip(".")
    return amount(round(value, 1))


def _tree(reading: Reading, sort: str) -> Section:
    orders: Mapping[str, Callable[[ActorReading], int]] = {
        "waiting": lambda one: one.depth + one.deferred + one.senders,
        "handled": lambda one: one.handled,
        "restarts": lambda one: one.restarts,
    }
    is_tree = sort not in orders
    actors = list(reading.actors)
    if not is_tree:
        actors.sort(key=orders[sort], reverse=True)
    more = reading.left_out.get("actors", 0)
    restarts = sum(one.restarts for one in actors)
    words = f"{len(actors) + more:,} actors and supervisors"
    words += f", {restarts:,} restarts" if restarts != 1 else ", 1 restart"
    return Section(
        "Tree",
        words,
        (
            Column("actor", is_flexible=True),
            Column("class", rank=2),
            Column("state", rank=1),
            Column("mailbox", is_number=True),
            Column("oldest", is_number=True, rank=5),
            Column("deferred", is_number=True, rank=4),
            Column("working", is_number=True, rank=3),
            Column("handled", is_number=True),
            Column("failed", is_number=True, rank=3),
            Column("restarts", is_number=True, rank=1),
        ),
        tuple(_actor(one, is_tree=is_tree) for one in actors),
        "no actor is known",
    )


def _actor(one: ActorReading, *, is_tree: bool) -> ScreenRow:
    depth, name = one.path.count("/"), one.path.rpartition("/")[2]
    style: Style = "" if one.state == "running" else "bad"
    if one.restarts:
        style = "bad"
    elif one.depth or one.senders:
        style = "busy"
    elif one.kind == "supervisor":
        style = "dim"
    mailbox = f"{one.depth:,}/{one.capacity:,}" if one.capacity else ""
    if one.senders:
        mailbox += f" +{one.senders:,}"
    kind = one.kind or "?"
    return ScreenRow(
        (
            "  " * depth + name if is_tree else one.path,
            kind if one.members is None else f"{one.members} x {kind}",
            one.state,
            mailbox,
            age(one.oldest_s),
            count(one.deferred),
            count(one.in_progress),
            "" if one.kind == "supervisor" else f"{one.handled:,}",
            count(one.failed),
            count(one.restarts),
        ),
        style,
    )


def _spend(reading: Reading, sort: str) -> Section:
    spend = reading.spend
    columns = (
        Column("model", is_flexible=True),
        Column("calls", is_number=True),
        Column("input", is_number=True, rank=1),
        Column("output", is_number=True, rank=1),
        Column("cost", is_number=True),
        Column("unpriced", is_number=True, rank=2),
    )
    if spend is None:
        return Section("Spend", "unknown", columns, (), "what calls have cost is not known now")
    models = list(spend.models)
    if sort == "calls":
        models.sort(key=lambda one: -one.calls)
    elif sort == "model":
        models.sort(key=lambda one: one.model)
    rows = [
        ScreenRow(
            (
                one.model,
                f"{one.calls:,}",
                f"{one.input_tokens:,}",
                f"{one.output_tokens:,}",
                usd(one.known_usd),
                count(one.unpriced),
            ),
            "bad" if one.unpriced else "",
        )
        for one in models
    ]
    for one in spend.budgets:
        name = f"budget {one.name or 'of everything'}: {usd(one.left_usd)} left"
        rows.append(ScreenRow((name, "", "", "", usd(one.used_usd), ""), "dim"))
    return Section("Spend", ", ".join(_spend_words(spend)), columns, tuple(rows), "no response yet")


def _spend_words(spend: SpendReading) -> Iterator[str]:
    since = "in the ledger" if spend.source == "ledger" else "since the start"
    yield f"{usd(spend.known_usd)} {since}"
    if spend.unpriced:
        most = "" if spend.unknown_usd is None else f" (at most {usd(spend.unknown_usd)})"
        yield f"{spend.unpriced:,} of unknown cost{most}"
    if spend.maybe:
        most = "" if spend.maybe_usd is None else f" (at most {usd(spend.maybe_usd)})"
        yield f"{spend.maybe:,} maybe billed{most}"
    if spend.reserved_usd is not None and Decimal(spend.reserved_usd):
        yield f"{usd(spend.reserved_usd)} reserved"
    if Decimal(spend.saved_usd):
        yield f"{usd(spend.saved_usd)} saved"


def _errors(reading: Reading, sort: str) -> Section:
    errors = list(reading.errors)
    if sort == "count":
        errors.sort(key=lambda one: one.retried + one.failed + one.crashed, reverse=True)
    counts = (
        (sum(one.failed for one in errors), "call failed", "calls failed"),
        (sum(one.retried for one in errors), "attempt retried", "attempts retried"),
        (sum(one.crashed for one in errors), "crash", "crashes"),
    )
    return Section(
        "Errors",
        ", ".join(f"{n:,} {one if n == 1 else more}" for n, one, more in counts if n) or "none",
        (
            Column("error"),
            Column("failed", is_number=True),
            Column("retried", is_number=True),
            Column("crashed", is_number=True),
            Column("ago", is_number=True),
            Column("message", is_flexible=True),
            Column("call", rank=1),
        ),
        tuple(
            ScreenRow(
                (
                    one.kind or "?",
                    count(one.failed),
                    count(one.retried),
                    count(one.crashed),
                    age(one.seconds),
                    f"{one.actor}: {one.text}" if one.actor else one.text,
                    one.call,
                ),
                "bad" if one.failed or one.crashed else "busy",
            )
            for one in errors
        ),
        "no call has had an error, and no actor has crashed",
    )


def _endpoints(reading: Reading, sort: str) -> Section:  # noqa: ARG001  # one order
    states = {"closed": "well", "open": "out", "half_open": "being tried"}
    return Section(
        "Endpoints",
        f"{len(reading.endpoints):,}",
        (
            Column("endpoint", is_flexible=True),
            Column("state"),
            Column("tried again", is_number=True),
            Column("times out", is_number=True, rank=1),
            Column("connections", is_number=True),
            Column("idle", is_number=True, rank=1),
        ),
        tuple(
            ScreenRow(
                (
                    one.name,
                    states.get(one.breaker, one.breaker),
                    "" if one.again_s is None else soon(one.again_s),
                    count(one.opened),
                    "" if one.connections is None else f"{one.connections:,}",
                    "" if one.idle is None else f"{one.idle:,}",
                ),
                "good" if one.breaker == "closed" else "bad",
            )
            for one in reading.endpoints
        ),
        "no endpoint is known",
    )


def _cache(reading: Reading, sort: str) -> Section:  # noqa: ARG001  # one order
    rows: list[tuple[str, str]] = []
    if (cache := reading.cache) is not None:
        share = cache.hits / (cache.hits + cache.misses) if cache.hits + cache.misses else 0.0
        rows += [
            ("answered from the cache", f"{cache.hits:,} ({percent(share)})"),
            ("not in the cache", f"{cache.misses:,}"),
            ("saved by the cache", usd(cache.saved_usd)),
            ("responses in the cache", f"{cache.entries:,} of {cache.bytes / 1e6:,.1f} MB"),
        ]
    if (sharing := reading.sharing) is not None:
        rows += [
            ("joined an identical call", f"{sharing.joined:,}"),
            ("calls that were combined", f"{sharing.combined:,}"),
            ("wait to be combined", f"{sharing.waiting:,}"),
            ("wait for the provider's cache", f"{sharing.followers:,}"),
        ]
    if (batches := reading.batches) is not None:
        rows += [
            ("batches at the provider", f"{batches.running:,}"),
            ("batches not submitted", f"{batches.new:,}"),
            ("batches being read", f"{batches.ended:,}"),
            ("requests in batches", f"{batches.submitted:,}"),
            ("requests being gathered", f"{batches.gathering:,}"),
            ("answered by batches", f"{batches.answered:,}"),
            ("failed in batches", f"{batches.failed:,}"),
            ("sent live instead", f"{batches.live:,}"),
        ]
    return Section(
        "Cache",
        "the cache, shared calls and batches",
        (Column("what", is_flexible=True), Column("how many", is_number=True)),
        tuple(ScreenRow(cells) for cells in rows),
        "nothing is known of the cache, shared calls and batches",
    )


_MAKERS: Mapping[SectionName, Callable[[Reading, str], Section]] = {
    "Calls": _calls,
    "Lanes": _lanes,
    "Limits": _limits,
    "Tree": _tree,
    "Spend": _spend,
    "Errors": _errors,
    "Endpoints": _endpoints,
    "Cache": _cache,
    "Workers": workers_section,
    "Runs": runs_section,
}
