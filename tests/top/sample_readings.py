"""Readings of programs that are busy, idle, deep, or have strange names."""

from callsheet.actors import (
    ActorReading,
    BatchesReading,
    BudgetReading,
    CacheReading,
    CallReading,
    EndpointReading,
    ErrorReading,
    InspectedProgram,
    LaneReading,
    LimitReading,
    ModelSpend,
    PauseReading,
    Reading,
    SharingReading,
    SpendReading,
)

PROGRAM = InspectedProgram(callsheet=1, pid=4711, program="service.py")
STRANGE = ("数据标注", "émoji 🎭", "عربي", "\x1b[2J\x07red\n[bold]", "x" * 200, "")


def call_of(number, name="job", state="waiting", turn_s=None):
    return CallReading(
        call=f"{name}-{number}",
        post="ships",
        step="outline",
        lane=name,
        model="gpt-5-nano",
        state=state,
        seconds=number / 10,
        turn_s=turn_s,
    )


def actor_of(path, **more):
    return ActorReading(
        **({"kind": "Worker", "state": "running", "capacity": 64} | more), path=path
    )


def busy(names=("nightly", "interactive")):
    return Reading(
        at=100.0,
        in_flight=8,
        max_in_flight=8,
        waiting=1000,
        done=500,
        actors=[
            actor_of("app", kind="supervisor", capacity=0),
            actor_of("app/limiter", deferred=1000, handled=1500),
            actor_of("app/fragile", restarts=3, failed=3, state="restarting"),
            actor_of("app/pool", members=4, depth=12, senders=2, oldest_s=1.25),
        ],
        lanes=[
            LaneReading(name=name, in_flight=4, waiting=500, next_s=number + 0.5)
            for number, name in enumerate(names)
        ],
        calls=[
            *(call_of(number, names[0], "in flight") for number in range(8)),
            *(call_of(number, name, turn_s=number / 5) for number in range(50) for name in names),
        ],
        limits=[
            LimitReading(
                subject="",
                dimension="in_flight",
                limit=8,
                per_s=None,
                used=8,
                use=1.0,
                source="set",
            ),
            LimitReading(
                subject="gpt-5-nano",
                dimension="input_tokens",
                limit=200_000,
                per_s=60.0,
                used=1234.5,
                use=0.4,
                source="learned",
                others_per_s=12.5,
            ),
        ],
        pauses=[PauseReading(subject="gpt-5-nano", seconds=2.4)],
        endpoints=[
            EndpointReading(name="api.example", breaker="open", again_s=3.0, opened=2),
            EndpointReading(
                name="b.example", breaker="closed", again_s=None, opened=0, connections=4, idle=1
            ),
        ],
        errors=[
            ErrorReading(
                kind="RateLimited",
                text="provider returned 429: slow down",
                retried=12,
                failed=1,
                seconds=4.0,
                call="job-7",
            ),
            ErrorReading(
                kind="ValueError",
                text="no such page",
                retried=0,
                failed=0,
                seconds=9.0,
                call="",
                actor="troupe/redactor",
                crashed=2,
            ),
        ],
        spend=SpendReading(
            source="ledger",
            known_usd="12.3456",
            reserved_usd="0.5",
            maybe_usd="0.25",
            maybe=3,
            unknown_usd="0.1",
            unpriced=2,
            saved_usd="1.5",
            models=[
                ModelSpend(
                    model="gpt-5-nano",
                    calls=500,
                    input_tokens=123_456,
                    output_tokens=7_890,
                    known_usd="12.3456",
                    unpriced=2,
                )
            ],
            budgets=[BudgetReading(name="team-a", used_usd="12.5", left_usd="37.5")],
        ),
        cache=CacheReading(
            hits=30, misses=70, stored=70, saved_usd="0.2", entries=70, bytes=1_500_000
        ),
        sharing=SharingReading(joined=5, combined=2, waiting=1, followers=0),
        batches=BatchesReading(
            new=1, running=2, ended=0, gathering=3, submitted=4, answered=5, failed=0, live=6
        ),
    )


IDLE = Reading(at=1.0)
UNLIMITED = Reading(
    at=1.0,
    max_in_flight=100,
    limits=[
        LimitReading(
            subject="",
            dimension="in_flight",
            limit=None,
            per_s=None,
            used=3,
            use=None,
            source="set",
        )
    ],
)
DEEP = Reading(
    at=1.0,
    actors=[actor_of("/".join(f"level-{at}" for at in range(depth))) for depth in range(1, 60)],
)
SILENT = Reading(at=1.0, missing=["limits", "turns"])
READINGS = {
    "busy": busy(),
    "strange": busy(STRANGE),
    "idle": IDLE,
    "unlimited": UNLIMITED,
    "deep": DEEP,
    "silent": SILENT,
}
