"""What the settings of metrics and observers may be."""

import pytest
from fakes import MODEL, URL
from scraped import scrape, settings_with

from callsheet.actors import Endpoint, Request, TroupeSettings, open_troupe
from callsheet.metrics import Metrics


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"models": MODEL}, "models must be a list of names, not 'gpt-4o"),
        ({"models": [1]}, r"models must be a list of names, not \[1\]"),
        ({"lanes": "nightly"}, "lanes must be a list of names, not 'nightly'"),
        ({"listen": 9464}, 'an address is text such as "127.0.0.1:4000", not 9464'),
    ],
)
def test_a_setting_of_the_wrong_type_is_named(settings, words):
    with pytest.raises(TypeError, match=words):
        Metrics(**settings)


def test_there_is_room_for_no_fewer_than_no_models():
    with pytest.raises(ValueError, match="max_models must be 0 or more, not -1"):
        Metrics(max_models=-1)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"metrics": "127.0.0.1:9464"}, "metrics must be an object such as Metrics"),
        ({"metrics": Metrics}, "metrics must be an object such as Metrics"),
        ({"observer": 3}, "observer must be a function of a CallEvent, or several, not 3"),
        ({"observer": "log"}, "observer must be a function of a CallEvent, or several, not 'log'"),
        ({"observer": [print, None]}, "a function of a CallEvent, or several, not None"),
    ],
)
def test_what_cannot_observe_calls_is_refused(settings, words):
    with pytest.raises(TypeError, match=words):
        TroupeSettings(endpoint=Endpoint(URL), **settings)


async def test_a_name_that_is_no_text_does_not_fail_the_scrapes(autojump_clock):
    """A lone surrogate, as Python makes of bytes that are not UTF-8, cannot be encoded."""
    metrics = Metrics(models=["local\udc80", 'a "b"\n'], lanes=["night\udc80"])
    async with open_troupe(settings_with(metrics)) as troupe:
        await troupe.complete(Request.of("Hi", model='a "b"\n'), lane="night\udc80")
        seen = await scrape(metrics)
    assert seen("calls_total", 'a "b"\n', "answered") == 1
