"""Stages of a program's own, as calls from asyncio, from threads and of bulk runs meet them."""

import asyncio

import pytest
from door_fakes import Provider, request, settings_for

from callsheet import aio, sync
from callsheet.actors import BadRequest, Response, Stage, insert, replace_text
from callsheet.runtime import ActorCrashed


class Coding(Stage):
    """Hides a name on the way out, and shows it on the way back."""

    async def outgoing(self, request, context):
        text = request.messages[-1].content
        if "refuse" in text:
            raise BadRequest("refused by a stage")
        if "crash" in text:
            raise ZeroDivisionError("bug")
        return replace_text(request, lambda text: text.replace("Ada", "NAME"))

    async def incoming(self, response, context):
        return replace_text(response, lambda text: text.replace("NAME", "Ada"))


@pytest.fixture
def provider():
    return Provider()


@pytest.fixture
def settings(provider):
    return settings_for(provider, stages=[insert(Coding, before="batcher")])


def test_calls_from_asyncio_go_through_a_stage(provider, settings):
    async def main():
        async with aio.open_troupe(settings) as troupe:
            assert (await troupe.complete(request("say Ada"))).text == "Ada"
            async with troupe.stream(request("say Ada")) as items:
                assert [item.text async for item in items] == ["Ada", "Ada"]
            assert (await troupe.explain(request("say Ada"))).route == "live"
            with pytest.raises(BadRequest, match="by a stage"):
                await troupe.complete(request("refuse"))
            with pytest.raises(ActorCrashed):
                await troupe.complete(request("crash"))
            assert (await troupe.complete(request("say Ada"))).text == "Ada"

    asyncio.run(main())
    assert set(provider.seen) == {"say NAME"}


def test_calls_without_asyncio_go_through_a_stage(provider, settings):
    with sync.open_troupe(settings) as troupe:
        assert troupe.complete(request("say Ada")).text == "Ada"
        with troupe.stream(request("say Ada")) as items:
            *_, whole = items
        assert isinstance(whole, Response)
        assert whole.text == "Ada"
    assert set(provider.seen) == {"say NAME"}


def test_rows_of_a_bulk_run_go_through_a_stage(provider, settings, tmp_path):
    rows = [(str(number), request(f"say Ada {number}")) for number in range(50)]
    with sync.bulk(rows, tmp_path / "out.jsonl", settings) as results:
        assert [result.response.text for result in results] == [f"Ada {n}" for n in range(50)]
    assert all("Ada" not in text for text in provider.seen)
