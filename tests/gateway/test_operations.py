"""Health, readiness, metrics and readings of a gateway, and `callsheet top` at its URL."""

import json
from decimal import Decimal

import attrs
import httpx
import pytest
from starlette.applications import Starlette

from callsheet.actors import (
    BudgetReading,
    CallReading,
    ErrorReading,
    LaneReading,
    LimitReading,
    ModelSpend,
    Reading,
    SharingReading,
    SpendReading,
    combined_reading,
)
from callsheet.gateway.operations import operation_routes
from callsheet.gateway.page import TooManyAttempts
from callsheet.metrics import Exposition
from callsheet.top.source import AdminKey, NoReading, open_source

URL = "http://127.0.0.1:4000"


@attrs.define
class FakeGateway:
    """A gateway with the figures of a test."""

    missing: dict = attrs.field(factory=dict)
    key: str = ""
    exposes_metrics: bool = False
    has_extra: bool = True
    wait_s: float = 0.0

    async def not_ready(self):
        return self.missing

    def may_look(self, request):
        if self.wait_s:
            raise TooManyAttempts(self.wait_s)
        return (
            request.headers.get("authorization", "") == f"Bearer {self.key}" if self.key else True
        )

    async def exposition(self, accept):
        if not self.has_extra:
            raise ImportError("callsheet.metrics needs prometheus-client; pip install it")
        return Exposition(b"callsheet_calls_open 0.0\n", f"text/plain; asked={accept}")

    async def reading(self):
        return Reading(at=1.0, in_flight=2)


@pytest.fixture
def serve(monkeypatch):
    """Lets clients of httpx talk to a gateway in this process; returns one."""

    def served(gateway):
        transport = httpx.ASGITransport(Starlette(routes=operation_routes(gateway)))
        monkeypatch.setattr(httpx, "AsyncHTTPTransport", lambda: transport)
        return httpx.AsyncClient(transport=transport, base_url=URL)

    return served


async def test_health_is_that_of_the_process(serve):
    async with serve(FakeGateway(missing={"main": "its limiter is stopped"})) as client:
        response = await client.get("/healthz")
    assert (response.status_code, response.text) == (200, "ok\n")


@pytest.mark.parametrize("missing", [{}, {"draining": "the gateway is ending"}])
async def test_readiness_names_the_part_that_is_not_ready(serve, missing):
    async with serve(FakeGateway(missing=missing)) as client:
        response = await client.get("/readyz")
    assert response.status_code == (503 if missing else 200)
    assert response.json() == {"ready": not missing, "not_ready": missing}
    assert response.headers["cache-control"] == "no-store"


async def test_metrics_need_the_admin_key_unless_they_are_public(serve):
    gateway = FakeGateway(key="an-admin-key")
    async with serve(gateway) as client:
        refused = await client.get("/metrics")
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        headers = {"Authorization": "Bearer an-admin-key", "Accept": "text/plain"}
        shown = await client.get("/metrics", headers=headers)
        assert shown.text == "callsheet_calls_open 0.0\n"
        assert shown.headers["content-type"] == "text/plain; asked=text/plain"
        gateway.exposes_metrics = True
        assert (await client.get("/metrics")).status_code == 200


async def test_a_right_key_after_too_many_wrong_ones_has_to_wait(serve):
    """It is not called wrong, which it is not."""
    gateway = FakeGateway(key="an-admin-key", wait_s=7.5)
    async with serve(gateway) as client:
        for path in ("/metrics", "/api/top"):
            headers = {"Authorization": "Bearer an-admin-key"}
            refused = await client.get(path, headers=headers)
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "8")


async def test_metrics_without_the_extra_say_how_to_install_it(serve):
    async with serve(FakeGateway(has_extra=False)) as client:
        response = await client.get("/metrics")
    assert response.status_code == 404
    assert "needs prometheus-client" in response.text


@pytest.mark.parametrize("url", [URL, f"{URL}/", f"{URL}/v1", f"{URL}/ui"])
async def test_top_reads_a_gateway_at_any_of_its_urls(serve, url):
    serve(FakeGateway(key="an-admin-key"))
    async with open_source(url, AdminKey("ADMIN", "an-admin-key")) as source:
        reading = await source.read()
        assert (reading.in_flight, source.program.callsheet) == (2, 1)
        assert (await source.read()).at == 1.0


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", r"put its admin key into the environment: ADMIN=\.\.\."),
        ("another-key", "has another admin key than .ADMIN"),
    ],
)
async def test_top_says_which_variable_has_the_admin_key(serve, value, words):
    serve(FakeGateway(key="an-admin-key"))
    with pytest.raises(NoReading, match=words) as caught:
        async with open_source(URL, AdminKey("ADMIN", value)) as source:
            await source.read()
    assert "another-key" not in str(caught.value)  # L8
    assert "another-key" not in repr(AdminKey("ADMIN", "another-key"))


async def test_top_says_that_something_else_answers(monkeypatch):
    async def fail(request):
        raise httpx.ConnectError("All connection attempts failed")

    async def distrust(request):
        raise httpx.ConnectError("") from OSError("self-signed certificate")

    for answer, words in (
        (lambda _: httpx.Response(404), "with status 404 is no gateway of Callsheet"),
        (lambda _: httpx.Response(200, text="<html>"), "no inspection socket of Callsheet"),
        (fail, f"cannot read the gateway at {URL}: All connection attempts failed"),
        (distrust, f"cannot read the gateway at {URL}: self-signed certificate"),
    ):
        transport = httpx.MockTransport(answer)
        monkeypatch.setattr(httpx, "AsyncHTTPTransport", lambda it=transport: it)
        with pytest.raises(NoReading, match=words):
            async with open_source(URL) as source:
                await source.read()


async def test_top_refuses_what_is_no_url():
    with pytest.raises(NoReading, match="this is no URL of a gateway"):
        async with open_source("http://"):
            pass


# ------------------------------------------------------------------------------- one reading


def call(name, state, **more):
    return CallReading(
        call=name, post=None, step=None, lane="", model="m", state=state, **{"seconds": 1} | more
    )


def limit(subject):
    return LimitReading(
        subject=subject, dimension="requests", limit=1, per_s=1, used=0, use=0, source="set"
    )


def crash(seconds):
    return ErrorReading(
        kind="E", text="", retried=0, failed=0, seconds=seconds, call="", actor="a", crashed=1
    )


def spend(usd, *, source="calls", budgets=()):
    model = ModelSpend(
        model="m", calls=1, input_tokens=2, output_tokens=3, known_usd=usd, unpriced=0
    )
    return SpendReading(
        source=source,
        known_usd=usd,
        reserved_usd=None,
        maybe_usd="0.1",
        maybe=1,
        unknown_usd="0",
        unpriced=0,
        saved_usd="0",
        models=(model,),
        budgets=budgets,
    )


READINGS = {
    "main": Reading(
        at=1.0,
        in_flight=1,
        max_in_flight=5,
        lanes=(LaneReading(name="a", in_flight=1, waiting=0),),
        calls=(call("c1", "in flight"), call("c2", "waiting", turn_s=None)),
        limits=(limit(""), limit("gpt")),
        errors=(crash(2),),
        spend=spend("1.5"),
        sharing=SharingReading(joined=1, combined=2, waiting=3, followers=4),
        left_out={"actors": 2, "calls": 1},
        missing=("costs",),
    ),
    "spare": Reading(
        at=2.0,
        in_flight=2,
        max_in_flight=7,
        waiting=1,
        lanes=(
            LaneReading(name="b", in_flight=0, waiting=9),
            LaneReading(name="a", in_flight=1, waiting=1, next_s=0.5),
        ),
        calls=(call("c3", "in flight", seconds=9), call("c4", "waiting", turn_s=3)),
        errors=(crash(2), ErrorReading(kind="F", text="", retried=1, failed=0, seconds=1, call="")),
        spend=spend("2.25", budgets=(BudgetReading(name="$5", used_usd="1", left_usd="4"),)),
        left_out={"actors": 2},
    ),
}


def test_the_reading_of_a_single_troupe_is_left_as_it_is():
    reading = READINGS["main"]
    assert combined_reading({"main": reading}, is_one_ledger=False) is reading


def test_several_readings_are_one():
    one = combined_reading(READINGS, is_one_ledger=False)
    assert (one.at, one.in_flight, one.max_in_flight, one.waiting) == (2.0, 3, 12, 1)
    assert [(lane.name, lane.in_flight, lane.waiting, lane.next_s) for lane in one.lanes] == [
        ("b", 0, 9, None),
        ("a", 2, 1, 0.5),
    ]
    assert [each.call for each in one.calls] == ["c3", "c1", "c4", "c2"]
    assert [each.subject for each in one.limits] == ["main", "main: gpt"]
    assert [each.kind for each in one.errors] == ["F", "E"]  # a crash is that of the runtime
    assert one.sharing.joined == 1
    assert one.left_out == {"actors": 2, "calls": 1}
    assert one.missing == ["main: costs"]
    assert json.dumps(attrs.asdict(one))


def test_what_troupes_have_spent_is_added_unless_they_share_a_ledger():
    added = combined_reading(READINGS, is_one_ledger=True).spend  # of calls: each has its own
    assert (added.known_usd, added.maybe_usd, added.reserved_usd) == ("3.75", "0.2", None)
    (model,) = added.models
    assert (model.calls, model.known_usd) == (2, "3.75")
    assert [budget.name for budget in added.budgets] == ["$5"]
    ledger = spend("4", source="ledger")
    both = {name: attrs.evolve(one, spend=ledger) for name, one in READINGS.items()}
    assert combined_reading(both, is_one_ledger=True).spend is ledger
    assert Decimal(combined_reading(both, is_one_ledger=False).spend.known_usd) == 8
