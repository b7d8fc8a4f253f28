"""Many tasks use one client while its server is killed, hangs and comes back, and are cancelled."""

import gc
import time
from random import Random

import pytest
import trio
from valkey_server import valkey_server

from callsheet.actors.valkey import (
    ServerAway,
    ServerScript,
    ServerUrl,
    client,
    open_valkey,
    pool,
)

ADD = ServerScript("return redis.call('INCRBY', KEYS[1], ARGV[1])")
LIMIT_S = 0.3


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
async def test_every_command_ends_in_time_and_the_client_works_after_it(seed, monkeypatch):
    monkeypatch.setattr(client, "_COMMAND_S", LIMIT_S)
    monkeypatch.setattr(client, "_HINT_S", 0.05)
    monkeypatch.setattr(client, "_PING_S", 0.2)
    monkeypatch.setattr(pool, "_OPEN_S", LIMIT_S)
    random = Random(seed)
    with valkey_server(appendonly="yes") as server:
        url = ServerUrl.parse(server.url)
        done, sure, slowest, heard = [0], [0], [0.0], [0]
        async with open_valkey(url) as valkey, valkey.hints("news") as hints:

            async def ask(own):
                while True:
                    before = time.perf_counter()
                    with trio.move_on_after(own.choice([0.001, 0.01, 5])) as scope:
                        try:
                            if own.random() < 0.1:
                                await valkey.command("BLPOP", "none", 0.05, wait_s=0.05)
                            elif own.random() < 0.1:
                                await valkey.command("PUBLISH", "news", "x")
                            else:
                                await valkey.run(ADD, ["n"], [1])
                                sure[0] += 1
                            done[0] += 1
                        except ServerAway:
                            await trio.sleep(own.uniform(0, 0.05))
                    if not scope.cancelled_caught:
                        slowest[0] = max(slowest[0], time.perf_counter() - before)

            async def listen():
                while True:
                    heard[0] += await hints.wait() is not None

            async with trio.open_nursery() as nursery:
                nursery.start_soon(listen)
                for _ in range(30):
                    nursery.start_soon(ask, Random(random.random()))
                for _ in range(12):
                    await trio.sleep(random.uniform(0.1, 0.8))
                    if random.random() < 0.5:
                        server.stop()
                        await trio.sleep(random.uniform(0, 0.8))
                        server.go_on()
                    else:
                        server.kill()
                        await trio.sleep(random.uniform(0, 0.8))
                        await trio.to_thread.run_sync(server.start)
                await trio.sleep(0.5)
                nursery.cancel_scope.cancel()
            before = done[0], heard[0]
            assert min(before) > 10
            counted = int(await valkey.command("GET", "n"))
            assert counted >= sure[0]  # what was told as done is done; the rest is not known
            async with trio.open_nursery() as nursery:
                for _ in range(100):
                    nursery.start_soon(valkey.command, "PING")
            gc.collect()
            assert len(server.cli("CLIENT", "LIST").splitlines()) <= 40
        await trio.sleep(0.1)
        assert len(server.cli("CLIENT", "LIST").splitlines()) == 1
        assert slowest[0] < LIMIT_S + 0.5
