"""Claims of calls: only one process has one, and the script of the server agrees with the table."""

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from valkey_server import valkey_server

from callsheet.actors.cache import CachePolicy, ValkeyCache
from callsheet.actors.cache.claims import FREE_S, LEASE_S, ClaimAsk, ClaimTable
from callsheet.actors.cache.store import CacheEntry
from callsheet.actors.valkey import ServerUrl, open_valkey

OWNERS, CLAIMS = st.sampled_from("ABC"), st.sampled_from("xy")
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["claim", "claim", "renew", "release", "free", "expire"]), OWNERS, CLAIMS
    ),
    max_size=40,
)
NOW = 1_700_000_000.0


class Model:
    """What a claim is, in other words: who has it, and until when."""

    def __init__(self):
        self.now = 0.0
        self.held = {}  # {claim: (owner, until)}

    def owner(self, claim):
        owner, until = self.held.get(claim, (None, 0.0))
        return owner if until > self.now else None


@given(STEPS, st.lists(st.floats(0, 4), min_size=40, max_size=40))
def test_one_process_at_most_has_a_claim_and_only_until_its_lease_ends(steps, pauses):
    table, model, waiting = ClaimTable(), Model(), set()
    for (step, owner, claim), pause in zip(steps, pauses, strict=False):
        model.now += pause
        before = model.owner(claim)
        if before is None:
            waiting.discard(claim)
        if step == "claim":
            state = table.claim(claim, owner, model.now)
            expected = {None: "mine", owner: "mine", "": "free"}.get(before, "elsewhere")
            assert state == expected
            if state == "mine":
                model.held[claim] = (owner, model.now + LEASE_S)
            elif state == "elsewhere":
                waiting.add(claim)
        elif step == "renew":
            table.renew(claim, owner, model.now)
            if before in (None, owner):
                model.held[claim] = (owner, model.now + LEASE_S)
        elif step in ("release", "free"):
            is_awaited = table.release(claim, owner, model.now, free=step == "free")
            assert is_awaited == (before == owner and claim in waiting)
            if before == owner:
                model.held[claim] = ("", model.now + (FREE_S if step == "free" else 0.0))
                waiting.discard(claim)
        else:
            model.now = max([model.now, model.held.get(claim, ("", 0.0))[1]])
    assert len(table) <= 2


@given(STEPS)
def test_to_repeat_a_question_changes_nothing(steps):
    once, twice = ClaimTable(), ClaimTable()
    for step, owner, claim in steps:
        if step == "claim":
            state = once.claim(claim, owner, 0.0)
            assert twice.claim(claim, owner, 0.0) == twice.claim(claim, owner, 0.0) == state
        elif step == "renew":
            for table in (once, twice, twice):
                table.renew(claim, owner, 0.0)
        elif step in ("release", "free"):
            for table in (once, twice, twice):
                table.release(claim, owner, 0.0, free=step == "free")


# ------------------------------------------------------------------ the script


@pytest.fixture(scope="module")
def server():
    with valkey_server() as running:
        yield running


def same_on_the_server(server, steps):
    """Take the same steps in the table and on the server; the answers have to agree."""

    async def main():
        url = ServerUrl(socket=str(server.socket))
        stores = {owner: ValkeyCache(url, CachePolicy(path=None)) for owner in "ABC"}
        async with open_valkey(url) as client, trio.open_nursery() as nursery:
            await client.command("FLUSHALL")
            for store in stores.values():
                await nursery.start(holding, store)
            table, now = ClaimTable(), 0.0
            for step, owner, claim in steps:
                store = stores[owner]
                if step == "claim":
                    [state] = await store.claim([ClaimAsk(claim, ("none",))])
                    assert state == table.claim(claim, owner, now)
                elif step == "renew":
                    await store.renew([claim])
                    table.renew(claim, owner, now)
                elif step == "expire":
                    await client.command("FLUSHALL")
                    now += LEASE_S
                else:
                    await store.release([claim], free=step == "free")
                    table.release(claim, owner, now, free=step == "free")
            nursery.cancel_scope.cancel()

    trio.run(main)


async def holding(store, task_status):
    async with store.session():
        task_status.started()
        await trio.sleep_forever()


@settings(max_examples=12)
@given(STEPS)
def test_the_script_agrees_with_the_table(server, steps):
    same_on_the_server(server, steps)


@pytest.mark.slow
@given(STEPS)
def test_the_script_agrees_with_the_table_in_many_examples(server, steps):
    same_on_the_server(server, steps)


async def test_leases_and_ends_on_a_server(server):
    server.clear()
    url = ServerUrl(socket=str(server.socket))
    one, other = (ValkeyCache(url, CachePolicy(path=None)) for _ in range(2))
    async with one.session(), other.session():
        ask = [ClaimAsk("x", ("x", "y"))]
        assert await one.claim(ask) == ["mine"]
        assert 9000 < int(server.cli("PTTL", "callsheet:cache:c:x")) <= 10_000
        while not await ends_of(other, one):  # until the subscription has begun
            pass
        server.cli("PEXPIRE", "callsheet:cache:c:x", "100")
        assert await other.claim(ask) == ["elsewhere"]
        await one.renew(["x"])
        assert 9000 < int(server.cli("PTTL", "callsheet:cache:c:x")) <= 10_000
        await one.put_many([CacheEntry("y", b"value", NOW)], [], NOW)
        assert await other.claim(ask) == ["stored"]
        await one.release(["x"], free=False)
        assert await other.wait_for_ends() == ("x",)
        await one.clear()
        assert await other.claim(ask) == ["mine"]
        await other.release(["x"], free=True)
        assert await one.claim(ask) == ["free"]
        assert 2000 < int(server.cli("PTTL", "callsheet:cache:c:x")) <= 3000


async def ends_of(waiting, owner):
    await owner.claim([ClaimAsk("began", ("began",))])
    await waiting.claim([ClaimAsk("began", ("began",))])
    await owner.release(["began"], free=False)
    with trio.move_on_after(0.05):
        return await waiting.wait_for_ends()
