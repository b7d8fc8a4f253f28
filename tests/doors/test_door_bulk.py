"""Bulk runs from asyncio and from plain programs."""

import asyncio
import json

import pytest
from door_fakes import Provider, request, settings_for, wait_until
from late_imports import import_when_used

from callsheet import aio, sync
from callsheet.bulk import BulkRefused, BulkStopped

pd = import_when_used("pandas")


@pytest.fixture
def output(tmp_path):
    return tmp_path / "out.jsonl"


def rows(number, prompt="say {}"):
    return [(str(at), request(prompt.format(at))) for at in range(number)]


def ids(path):
    return [json.loads(line)["custom_id"] for line in path.read_text().splitlines()]


def test_the_results_come_in_order(output):
    async def main():
        async with aio.bulk(rows(200), output, settings_for(Provider())) as results:
            found = [result async for result in results]
            assert results.progress().answered == 200
            assert results.is_complete
        return [result.response.text for result in found]

    assert asyncio.run(main()) == [str(number) for number in range(200)]
    assert ids(output) == [str(number) for number in range(200)]


def test_the_results_come_in_order_without_asyncio(output):
    with sync.bulk(rows(200), output, settings_for(Provider())) as results:
        texts = [result.response.text for result in results]
        assert results.progress().answered == 200
    assert texts == [str(number) for number in range(200)]


def test_a_run_is_controlled(output):
    async def main():
        provider = Provider()
        async with aio.bulk(rows(500, "say {} after 0.05"), output, settings_for(provider)) as run:
            run.pause()
            assert run.is_paused
            run.resume()
            assert not run.is_paused
            assert run.drain() >= 0
            with pytest.raises(BulkStopped):
                await run.wait()
            assert run.ending is not None
            assert not run.is_complete
        assert provider.in_flight == 0

    asyncio.run(main())


def test_a_cancelled_task_ends_its_run(output):
    provider = Provider()

    async def main():
        async with aio.bulk(rows(50, "hold {}"), output, settings_for(provider)) as results:
            async for _ in results:
                pass

    async def cancelled():
        task = asyncio.ensure_future(main())
        await asyncio.to_thread(wait_until, lambda: provider.in_flight > 0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert provider.in_flight == 0


def test_a_refused_run_is_refused(output):
    output.write_text("something else\n")

    async def main():
        with pytest.raises(BulkRefused):
            async with aio.bulk(rows(1), output, settings_for(Provider())):
                pass

    asyncio.run(main())
    with pytest.raises(BulkRefused), sync.bulk(rows(1), output, settings_for(Provider())):
        pass


def test_a_data_frame_gets_its_answers(tmp_path):
    frame = pd.DataFrame({"word": ["tea", "coffee"]})
    options = {"template": "say {{ word }}", "model": "gpt-4o"}

    async def main():
        return await aio.bulk_dataframe(
            frame, output=tmp_path / "a.csv", troupe=settings_for(Provider()), **options
        )

    assert list(asyncio.run(main())["text"]) == ["tea", "coffee"]
    answered = sync.bulk_dataframe(
        frame, output=tmp_path / "b.csv", troupe=settings_for(Provider()), **options
    )
    assert list(answered["text"]) == ["tea", "coffee"]
