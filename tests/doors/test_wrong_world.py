"""Called in the wrong kind of program, a function says in one sentence what to use."""

import asyncio

import pytest
import trio
from door_fakes import Provider, settings_for

import callsheet
from callsheet import aio, sync
from callsheet.bulk import bulk

ELSEWHERE = "under asyncio, import it from callsheet.aio, in a plain program from callsheet.sync"


def openings(module):
    """What the module opens."""
    return [module.open_troupe(settings_for(Provider())), module.open_builtin_provider()]


async def enter(opening):
    async with opening:
        pass


def under_asyncio(opening):
    asyncio.run(enter(opening))


def under_trio(opening):
    trio.run(enter, opening)


def in_a_coroutine_without_a_loop(opening):
    enter(opening).send(None)


def with_(opening):
    with opening:
        pass


@pytest.mark.parametrize("opening", [*openings(callsheet), callsheet.open_endpoint()])
def test_what_needs_trio_names_the_doors_under_asyncio(opening):
    with pytest.raises(RuntimeError, match=ELSEWHERE):
        under_asyncio(opening)


def test_a_bulk_run_names_the_doors_under_asyncio(tmp_path):
    with pytest.raises(RuntimeError, match=rf"this bulk runs under Trio; {ELSEWHERE}"):
        under_asyncio(bulk([], tmp_path / "out.jsonl", settings_for(Provider())))


@pytest.mark.parametrize("opening", openings(callsheet))
def test_what_needs_trio_names_the_door_for_plain_programs(opening):
    with pytest.raises(RuntimeError, match=r"for `with`, import it from callsheet.sync"):
        with_(opening)


@pytest.mark.parametrize("opening", openings(aio))
def test_what_needs_asyncio_names_the_others(opening):
    with pytest.raises(RuntimeError, match=r"needs asyncio; under Trio, import it from callsheet"):
        under_trio(opening)
    with pytest.raises(
        RuntimeError, match=r"needs asyncio; in a plain program, use callsheet.sync"
    ):
        in_a_coroutine_without_a_loop(opening)
    with pytest.raises(RuntimeError, match=r"for `with`, import it from callsheet.sync"):
        with_(opening)


@pytest.mark.parametrize("opening", openings(sync))
def test_what_blocks_names_the_others(opening):
    with pytest.raises(RuntimeError, match=r"from callsheet under Trio, or from callsheet.aio"):
        under_trio(opening)
    with pytest.raises(RuntimeError, match=r"from callsheet under Trio, or from callsheet.aio"):
        under_asyncio(opening)


@pytest.mark.parametrize(("module", "block"), [(aio, "async with"), (sync, "with")])
def test_what_is_used_without_its_block_names_the_block(module, block):
    troupe, provider = openings(module)
    with pytest.raises(
        AttributeError, match=rf"'complete': the troupe is what `{block} \.\.\. as`"
    ):
        _ = troupe.complete
    with pytest.raises(
        AttributeError, match=rf"'base_url': the provider is what `{block} \.\.\. as`"
    ):
        _ = provider.base_url
    assert not hasattr(troupe, "_repr_html_")
