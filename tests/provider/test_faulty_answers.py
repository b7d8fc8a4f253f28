import httpx
import pytest
import trio
import trio.testing
from provider_client import connected

from callsheet.provider import Faults


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_an_error_status_on_demand(autojump_clock, status):
    async with connected() as client:
        response = await client.chat(headers={"x-callsheet-fault": f"{status}; retry-after=7"})
        fine = await client.chat()
    assert response.status_code == status
    assert response.headers["retry-after"] == "7"
    assert response.json()["error"]["message"]
    assert fine.status_code == 200


async def test_a_reset_is_a_read_error(autojump_clock):
    async with connected() as client:
        with pytest.raises(httpx.ReadError):
            await client.chat(headers={"x-callsheet-fault": "reset"})
        assert client.provider.stats.broken == 1


async def test_a_stall_lasts_until_the_client_gives_up(autojump_clock):
    async with connected(timeout=20.0) as client:
        start = trio.current_time()
        with pytest.raises(httpx.ReadTimeout):
            await client.chat(headers={"x-callsheet-fault": "stall"})
        assert trio.current_time() - start == 20.0
        await trio.testing.wait_all_tasks_blocked()
        assert client.provider.stats.cancelled == 1


async def test_a_stall_may_end_in_a_reset(autojump_clock):
    async with connected(faults=Faults({"stall": 1.0}, stall_s=30.0)) as client:
        start = trio.current_time()
        with pytest.raises(httpx.ReadError):
            await client.chat()
        assert trio.current_time() - start == 30.0


@pytest.mark.parametrize("stream", [False, True])
async def test_a_truncated_body_breaks_off(autojump_clock, stream):
    async with connected() as client:
        with pytest.raises(httpx.RemoteProtocolError, match="complete message body"):
            await client.chat(stream=stream, headers={"x-callsheet-fault": "truncate"})
        assert client.provider.stats.broken == 1
        assert client.provider.stats.output_tokens > 0


async def test_a_malformed_body_is_html_or_half_a_json(autojump_clock):
    async with connected() as client:
        html = await client.chat(headers={"x-callsheet-fault": "malformed"})
        half = await client.chat(headers={"x-callsheet-fault": "malformed; body=json"})
    assert (html.status_code, half.status_code) == (200, 200)
    assert html.text.startswith("<!DOCTYPE html>")
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        half.json()


async def test_a_slow_body_trickles_but_is_whole(autojump_clock):
    async with connected(timeout=5.0) as client:
        start = trio.current_time()
        response = await client.chat(headers={"x-callsheet-fault": "slow"})
        pieces = -(-len(response.content) // 64)
        assert trio.current_time() - start == pytest.approx(1.0 + 0.5 * (pieces - 1))
    assert response.json()["choices"]


async def test_an_unknown_fault_is_a_400_that_lists_the_known(autojump_clock):
    async with connected() as client:
        response = await client.chat(headers={"x-callsheet-fault": "flood"})
    assert response.status_code == 400
    assert "unknown fault 'flood'; there are 401, 429" in response.json()["error"]["message"]


async def test_ok_in_the_header_overrules_the_rates(autojump_clock):
    async with connected(faults=Faults({"500": 1.0})) as client:
        assert (await client.chat()).status_code == 500
        assert (await client.chat(headers={"x-callsheet-fault": "ok"})).status_code == 200


async def test_faults_by_rate_are_the_same_for_a_seed(autojump_clock):
    async def statuses(seed):
        async with connected(seed=seed, faults=Faults({"500": 0.5})) as client:
            return [(await client.chat()).status_code for _ in range(30)]

    first = await statuses(1)
    assert first == await statuses(1)
    assert first != await statuses(2)
    assert set(first) == {200, 500}
