"""One reading of a running troupe: its actors, calls, limits, spend and errors. Frozen values.

A reading travels as JSON, so its values are texts, numbers, and sequences of them. Amounts of USD
are texts with all their digits, durations are seconds, and what has no limit is null.
"""

from collections.abc import Sequence
from typing import Literal

import attrs

FORMAT = 1
"""The version of the form of a reading. A later one may add members under the same number."""


QueueState = Literal["in flight", "waiting"]
"""Whether a call is in flight, or waits for the limiter."""

LimitSource = Literal["set", "learned", "found"]
"""Where a limit is from: the program, the provider's responses, or trying."""


@attrs.frozen(kw_only=True)
class ActorReading:
    """One actor or supervisor.

    Args:
        path: the names from the root down to it, joined with "/".
        kind: the name of its class, "supervisor", or "" if it is not known.
        state: "starting", "running", "restarting", "draining", "stopping" or "stopped".
        restarts: how often it was started again, the members of a pool included.
        members: how many members a pool has; null for others.
        depth: messages that wait in the mailbox.
        capacity: messages that may wait in the mailbox; 0 for a supervisor, which has none.
        oldest_s: seconds that the oldest message has waited; null if none waits.
        senders: tasks that wait for room in the mailbox.
        deferred: messages whose reply the actor has deferred.
        in_progress: messages that its handlers work on.
        handled: messages whose handler returned.
        failed: messages whose handler raised an error.
    """

    path: str
    kind: str
    state: str
    restarts: int = 0
    members: int | None = None
    depth: int = 0
    capacity: int = 0
    oldest_s: float | None = None
    senders: int = 0
    deferred: int = 0
    in_progress: int = 0
    handled: int = 0
    failed: int = 0


@attrs.frozen(kw_only=True)
class LaneReading:
    """The calls of one lane.

    Args:
        name: the name of the lane; "" for calls without one.
        in_flight: calls in flight.
        waiting: calls that wait for the limiter.
        next_s: seconds until its next call has its turn, by estimate; null if none waits, or if the
            time is not known.
    """

    name: str
    in_flight: int
    waiting: int
    next_s: float | None = None


@attrs.frozen(kw_only=True)
class CallReading:
    """One call.

    Args:
        call: the id of the call.
        post: the id of its post; null if it belongs to none.
        step: the name of the post's step; null without a post.
        lane: the lane of the call.
        model: the model that it requests.
        state: "in flight", or "waiting" for the limiter.
        seconds: how long it is in this state.
        turn_s: seconds until its turn, by estimate; null if it is in flight, or if the time is not
            known.
    """

    call: str
    post: str | None
    step: str | None
    lane: str
    model: str
    state: QueueState
    seconds: float
    turn_s: float | None = None


@attrs.frozen(kw_only=True)
class LimitReading:
    """One limit and its use.

    Args:
        subject: the model, or group of models, and the member of a pool; "" for all calls.
        dimension: what is limited: "requests", "tokens", "input_tokens", "output_tokens" or "usd"
            in a period, or calls "in_flight".
        limit: the amount; null without a limit.
        per_s: the period in seconds; null for calls in flight.
        used: the amount that is not available now; null if it is not known.
        use: the same as a share of what may be used at once, from 0 to 1; at 1 calls wait. Null if
            it is not known.
        source: "set" by the program, "learned" from the provider's responses, or "found" by trying.
        others_per_s: the amount that other clients use in a second, by estimate.
    """

    subject: str
    dimension: str
    limit: float | None
    per_s: float | None
    used: float | None
    use: float | None
    source: LimitSource
    others_per_s: float = 0.0


@attrs.frozen(kw_only=True)
class EndpointReading:
    """One endpoint.

    Args:
        name: its host and, in a pool, the name of its key.
        breaker: the state of its circuit breaker: "closed", "open" or "half_open".
        again_s: seconds until the breaker lets a call through; null if it does, or waits for one.
        opened: how often the breaker has opened.
        connections: open connections; null if the transport does not count them.
        idle: open connections without a request; null as for `connections`.
    """

    name: str
    breaker: str
    again_s: float | None
    opened: int
    connections: int | None = None
    idle: int | None = None


@attrs.frozen(kw_only=True)
class PauseReading:
    """A pause after the provider has refused calls.

    Args:
        subject: the model, or group of models, and the member of a pool.
        seconds: seconds until calls are sent again.
    """

    subject: str
    seconds: float


@attrs.frozen(kw_only=True)
class ModelSpend:
    """What the calls of one model have cost.

    Args:
        model: the model that responded.
        calls: the number of responses.
        input_tokens: tokens of prompts.
        output_tokens: tokens of responses.
        known_usd: the cost in USD of responses with a known cost.
        unpriced: responses without a known price.
    """

    model: str
    calls: int
    input_tokens: int
    output_tokens: int
    known_usd: str
    unpriced: int


@attrs.frozen(kw_only=True)
class BudgetReading:
    """One budget of the ledger.

    Args:
        name: what it is for, such as "team-a 2026-11-26"; "" for everything.
        used_usd: USD that are spent, reserved or possibly billed.
        left_usd: USD that are left.
    """

    name: str
    used_usd: str
    left_usd: str


@attrs.frozen(kw_only=True)
class SpendReading:
    """What calls have cost.

    Args:
        source: "ledger": all that the ledger records, which may be of earlier programs, too;
            "calls": the responses since the troupe was opened, if it has no ledger.
        known_usd: the cost in USD of responses with a known cost.
        reserved_usd: the most that calls in flight can cost; null without a ledger.
        maybe_usd: the most that attempts without a response may have cost; null without a ledger.
        maybe: attempts that may have been billed without a response; without a ledger, those of
            cancelled calls are missing.
        unknown_usd: the most that responses without a known usage may have cost; null without a
            ledger.
        unpriced: responses whose cost is not known.
        saved_usd: what cheaper tiers and the caches of the provider and of this program have saved.
        models: the cost by model, the dearest first.
        budgets: the budgets of the ledger.
    """

    source: Literal["ledger", "calls"]
    known_usd: str
    reserved_usd: str | None
    maybe_usd: str | None
    maybe: int
    unknown_usd: str | None
    unpriced: int
    saved_usd: str
    models: Sequence[ModelSpend]
    budgets: Sequence[BudgetReading] = ()


@attrs.frozen(kw_only=True)
class ErrorReading:
    """An error of calls, or a crash of an actor, without secrets.

    Args:
        kind: the class of the exception.
        text: the message of the exception, of the latest one.
        retried: attempts that ended so and were followed by another one.
        failed: calls that ended so.
        seconds: seconds since the last of them.
        call: the id of the call of the last one; "" for a crash.
        actor: the path of the actor that crashed; "" for an error of calls.
        crashed: how often the actor crashed so, of the last 50 crashes; 0 for an error of calls.
    """

    kind: str
    text: str
    retried: int
    failed: int
    seconds: float
    call: str
    actor: str = ""
    crashed: int = 0


@attrs.frozen(kw_only=True)
class CacheReading:
    """The cache of responses.

    Args:
        hits: requests that were answered from the cache.
        misses: cacheable requests that went on.
        stored: responses that were stored.
        saved_usd: the cost in USD of the responses of all hits, as far as it is known.
        entries: responses in the store or, without one, in memory.
        bytes: the bytes that they take.
    """

    hits: int
    misses: int
    stored: int
    saved_usd: str
    entries: int
    bytes: int


@attrs.frozen(kw_only=True)
class SharingReading:
    """Calls that share others.

    Args:
        joined: requests that were answered by the call of an identical request.
        combined: calls that were sent for several requests.
        waiting: requests that wait for others to be combined with.
        followers: calls that wait for another one to fill the provider's cache.
    """

    joined: int
    combined: int
    waiting: int
    followers: int


@attrs.frozen(kw_only=True)
class BatchesReading:
    """Batches at the provider.

    Args:
        new: batches that are not submitted yet.
        running: batches at the provider, those included that may be.
        ended: batches whose results are being read.
        gathering: requests that are not in a batch yet.
        submitted: requests that wait for a batch.
        answered: requests that a batch has answered.
        failed: requests that have failed in a batch.
        live: requests that were sent live, for any reason.
    """

    new: int
    running: int
    ended: int
    gathering: int
    submitted: int
    answered: int
    failed: int
    live: int


@attrs.frozen(kw_only=True)
class WorkerReading:
    """A process that shares limits, budgets, responses or rows with others.

    Args:
        host: the name of its machine.
        pid: the id of the process.
        program: the name of the file that was started.
        in_flight: calls in flight.
        max_in_flight: the most calls in flight of this process; null without a bound.
        waiting: calls that wait for the limiter.
        done: calls that have ended since it started.
        calls_per_s: calls that ended in a second lately.
        cost_usd: what its ledger records in USD; null without one.
        use: the use of its busiest limit, from 0 to 1; null if none is known.
        pause_s: seconds of the longest pause after refusals; 0 without one.
        missing: the stages that did not report in time.
    """

    host: str
    pid: int
    program: str
    in_flight: int = 0
    max_in_flight: int | None = None
    waiting: int = 0
    done: int = 0
    calls_per_s: float = 0.0
    cost_usd: str | None = None
    use: float | None = None
    pause_s: float = 0.0
    missing: Sequence[str] = ()


@attrs.frozen(kw_only=True)
class RunReading:
    """A run that several processes work on.

    Args:
        name: the name of the run.
        state: "running", "paused", "draining" or "ended".
        holder: the process that writes OUTPUT; "" while there is none.
        waiting: rows that no worker has.
        taken: rows in the hands of workers.
        answered: answers that are not in OUTPUT yet.
        workers: the processes that work on it.
    """

    name: str
    state: str
    holder: str = ""
    waiting: int = 0
    taken: int = 0
    answered: int = 0
    workers: int = 0


@attrs.frozen(kw_only=True)
class Reading:
    """A troupe, and the runtime that it runs in, at one moment.

    Args:
        at: the time in seconds on the program's clock, whose zero has no meaning.
        in_flight: calls in flight.
        max_in_flight: the most calls in flight at a time.
        waiting: calls that wait for the limiter.
        done: calls that were in flight and have ended, since the limiter started.
        actors: the tree of actors, each before those below it.
        lanes: the lanes with calls, the busiest first.
        calls: calls in flight, the oldest first, then calls that wait, in the order of their turns.
        limits: each limit and its use.
        pauses: pauses after refusals.
        endpoints: the state of each endpoint.
        errors: the errors of calls and the crashes of actors, the latest first.
        spend: what calls have cost; null if it is not known now.
        cache: the cache of responses; null without one.
        sharing: calls that share others; null if it is not known now.
        batches: batches at the provider; null without the Batch API.
        left_out: how many entries each sequence lacks that is too long to be reported whole.
        missing: the stages that did not report in time, so that what they know is missing.
        workers: the processes that share a server, if this is a reading of all of them.
        runs: the runs on that server.
    """

    at: float
    in_flight: int = 0
    max_in_flight: int | None = None
    waiting: int = 0
    done: int = 0
    actors: Sequence[ActorReading] = ()
    lanes: Sequence[LaneReading] = ()
    calls: Sequence[CallReading] = ()
    limits: Sequence[LimitReading] = ()
    pauses: Sequence[PauseReading] = ()
    endpoints: Sequence[EndpointReading] = ()
    errors: Sequence[ErrorReading] = ()
    spend: SpendReading | None = None
    cache: CacheReading | None = None
    sharing: SharingReading | None = None
    batches: BatchesReading | None = None
    left_out: dict[str, int] = attrs.field(factory=dict[str, int])
    missing: Sequence[str] = ()
    workers: Sequence[WorkerReading] = ()
    runs: Sequence[RunReading] = ()
