"""Each store of shared limits behaves the same: in memory, and on a server."""

from contextlib import asynccontextmanager

import pytest
import trio
from valkey_server import valkey_server

from callsheet.actors.rate_limit.shared import (
    LaneDemand,
    LeaseAsk,
    LimitAsk,
    PlacesAsk,
    SharedRate,
    SharedRefusal,
)
from callsheet.actors.shared import MemoryStores, stores_at
from callsheet.actors.storage import StorageError
from callsheet.actors.valkey import UnsuitableServer


class InMemory:
    """Two processes with a store in memory."""

    def __init__(self):
        shared = MemoryStores()
        self.stores = [shared.limits("endpoint"), shared.limits("endpoint")]
        self.another = shared.limits("another endpoint")

    def go_away(self):
        self.stores[0].away = True

    def come_back(self):
        self.stores[0].away = False

    def lose_state(self):
        self.stores[0].lose_state()


class OnServer:
    """Two processes with a store on a server, each with a connection of its own."""

    def __init__(self, server):
        self._server = server
        self.stores = [stores_at(server.url).limits("endpoint") for _ in range(2)]
        self.another = stores_at(server.url).limits("another endpoint")

    def go_away(self):
        self._server.kill()

    def come_back(self):
        self._server.start()

    def lose_state(self):
        self._server.clear()


@asynccontextmanager
async def opened(kind, **options):
    if kind == "memory":
        shop = InMemory()
        yield shop
        return
    with valkey_server(**options) as server:
        shop = OnServer(server)
        async with shop.stores[0].open(), shop.stores[1].open(), shop.another.open():
            yield shop


both = pytest.mark.parametrize(
    "kind", ["memory", pytest.param("server", marks=pytest.mark.sockets)]
)


def asked(worker, number, amount=0.0, **rest):
    return LimitAsk(
        worker=worker,
        number=number,
        rates=(SharedRate("limit", 0.001, 10.0),),  # refills too slowly to matter
        leases=(LeaseAsk("model", {"limit": amount}, {"limit": 1.0}),) if amount else (),
        lanes=(LaneDemand("model", "lane", 1.0, 5.0),),
        **rest,
    )


@both
async def test_processes_lease_from_one_limit(kind):
    async with opened(kind) as shop:
        one, other = shop.stores
        first = await one.ask(asked("one", 1, 8.0))
        again = await one.ask(asked("one", 1, 8.0))
        second = await other.ask(asked("other", 1, 8.0))
        assert first.workers == 1
        assert first.leases[0].amount == 5.0  # half of what is there
        assert [lease.amount for lease in again.leases] == [5.0]
        assert second.workers == 2
        assert second.epoch == first.epoch
        assert second.leases[0].at_once == pytest.approx(5.0, abs=0.01)
        assert second.leases[0].amount == pytest.approx(1.25, abs=0.01)
        assert second.weights == {("model", "lane"): 0.5}
        assert second.parts == {"model": 0.5}
        assert (await shop.another.ask(asked("one", 1, 8.0))).workers == 1


@both
async def test_news_of_a_refusal_reaches_the_others(kind):
    async with opened(kind) as shop:
        one, other = shop.stores
        await one.ask(asked("one", 1))
        await other.ask(asked("other", 1))
        woken = []

        async def wait():
            woken.append(await other.wait_for_news())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked(0.05)
            refusal = SharedRefusal("model", "too_fast", 30.0, 1.0)
            await one.ask(asked("one", 2, refusals=(refusal,)))
        grant = await other.ask(asked("other", 2))
        assert woken == [True]
        assert [(each.scope, each.why) for each in grant.refusals] == [("model", "too_fast")]
        assert grant.refusals[0].pause_s == pytest.approx(30.0, abs=0.5)
        assert grant.refusals[0].age_s == pytest.approx(1.0, abs=0.5)
        assert not await other.wait_for_news()


@both
async def test_places_are_never_given_twice(kind):
    async with opened(kind) as shop:
        one, other = shop.stores
        wish = (PlacesAsk("model", 3.0, 0, 2),)
        assert (await one.ask(asked("one", 1, places=wish))).places == {"model": 2}
        assert (await other.ask(asked("other", 1, places=wish))).places == {"model": 1}
        await one.ask(asked("one", 2, leaves=True))
        assert (await other.ask(asked("other", 2, places=wish))).places == {"model": 2}


@both
async def test_a_store_that_is_away_says_so_and_comes_back(kind):
    async with opened(kind) as shop:
        store = shop.stores[0]
        shop.go_away()
        with pytest.raises(StorageError):
            await store.ask(asked("one", 1, 5.0))
        shop.come_back()
        grant = await store.ask(asked("one", 1, 5.0))
        assert [lease.amount for lease in grant.leases] == [5.0]


@both
async def test_a_store_that_lost_its_state_has_another_epoch(kind):
    async with opened(kind) as shop:
        store = shop.stores[0]
        before = await store.ask(asked("one", 1, 5.0))
        shop.lose_state()
        after = await store.ask(asked("one", 2, 5.0, epoch=before.epoch, seen=before.seen))
        assert after.epoch != before.epoch
        assert after.leases[0].at_once == 0.0  # it begins empty


async def test_answers_of_a_store_in_memory_can_be_lost_and_late(autojump_clock):
    store = MemoryStores().limits("endpoint")
    store.delay_s, store.loses_answers = 0.1, True
    start = trio.current_time()
    with pytest.raises(StorageError, match="its answer was lost; ask again"):
        await store.ask(asked("one", 1, 5.0))
    assert trio.current_time() - start == pytest.approx(0.1, abs=0.01)
    store.loses_answers = False
    assert (await store.ask(asked("one", 1, 5.0))).leases
    assert (await store.ask(asked("one", 2, 5.0))).leases[0].at_once == pytest.approx(5.0, abs=0.01)


@pytest.mark.sockets
async def test_a_server_that_may_forget_keys_is_refused():
    async with opened("server") as shop:
        assert shop.stores[0].name.startswith("the shared server unix://")
    with valkey_server(maxmemory="100mb", **{"maxmemory-policy": "allkeys-lru"}) as server:
        store = stores_at(server.url).limits("endpoint")
        with pytest.raises(UnsuitableServer, match="maxmemory-policy noeviction"):
            async with store.open():
                pass
