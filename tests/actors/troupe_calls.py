"""Calls to a whole troupe whose provider is a script."""

from functools import partial

from fakes import MODEL, URL

from callsheet.actors import Endpoint, Request, TroupeSettings


def settings_for(transport, **more):
    return TroupeSettings(endpoint=Endpoint(URL), transport=transport, **more)


def completing(troupe, *prompts, cacheable=False, **more):
    return [
        partial(
            troupe.complete,
            Request.of(prompt, model=MODEL, cacheable=cacheable),
            call=prompt,
            **more,
        )
        for prompt in prompts
    ]


def text_of(outcome):
    return getattr(outcome, "text", outcome)
