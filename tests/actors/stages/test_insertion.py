"""Where a stage of a program's own can stand, and what is said where it cannot."""

from functools import partial

import pytest
from fakes import URL
from own_stages import Forwarding, Idle, Shouting

from callsheet.actors import (
    VENDORS,
    BatchApiPolicy,
    CachePolicy,
    Endpoint,
    LedgerPolicy,
    Stage,
    Stream,
    TroupeSettings,
    cast_troupe,
    insert,
)
from callsheet.actors.stages import STAGE_NAMES
from callsheet.runtime import Actor, handles, open_runtime

KEY = "sk-test-0123456789"
FULL = {"cache": CachePolicy(), "ledger": LedgerPolicy(), "batches": BatchApiPolicy()}


def settings_with(*stages, **more):
    endpoint = Endpoint(URL, KEY, VENDORS["openai"])
    return TroupeSettings(endpoint=endpoint, stages=stages, **more)


async def names_with(*stages, **more):
    """Return the names of the actors, the first stage first, without the composer."""
    async with open_runtime("troupe") as runtime:
        await cast_troupe(runtime, settings_with(*stages, **more))
        paths = [actor.path for actor in runtime.snapshot().actors]
    names = [path.removeprefix("troupe/") for path in paths]
    assert names[-1] == "composer"
    return names[-2::-1]


@pytest.mark.parametrize(
    ("side", "name", "stands"),
    [
        ("before", "cache", "own cache"),
        ("after", "cache", "cache own batcher"),
        ("before", "batcher", "cache own batcher"),
        ("after", "batcher", "batcher own ledger"),
        ("after", "ledger", "ledger own router"),
        ("before", "router", "ledger own router"),
        ("before", "batches", "router own batches"),
        ("before", "limiter", "prompt_cache own limiter"),
        ("before", "requester", "limiter own requester"),
        ("instead_of", "ledger", "batcher own router"),
    ],
)
async def test_a_stage_stands_where_it_is_inserted(autojump_clock, side, name, stands):
    names = await names_with(insert(Idle, **{side: name}, name="own"), **FULL)
    assert stands in " ".join(names)


async def test_places_are_there_without_the_optional_stages(autojump_clock):
    stages = [insert(Idle, after="batcher"), insert(Forwarding, after="router")]
    names = await names_with(*stages, prompt_caching="off")
    assert names == ["batcher", "idle", "router", "forwarding", "limiter", "requester"]


async def test_names_follow_from_classes_and_are_unique(autojump_clock):
    class Cache(Idle):
        pass

    once = insert(partial(Shouting), before="batcher")
    stages = [
        once,
        once,
        insert(Cache, before="batcher"),
        insert(lambda to: Idle(to), after="batcher"),  # noqa: PLW0108  # no class
    ]
    names = await names_with(*stages, prompt_caching="off")
    assert names[:4] == ["shouting", "shouting_2", "cache_2", "batcher"]
    assert names[4] == "lambda"


# ---------------------------------------------------------------------------------- refused


class Deaf(Actor):
    """Handles nothing."""


@pytest.mark.parametrize(
    ("sides", "message"),
    [
        (
            {"after": "bacher"},
            r"did you mean 'batcher'\?\); the stages are cache, batcher, ledger, ",
        ),
        (
            {"before": "redactor"},
            "no such stage; the stages are cache, .* in the order of the list",
        ),
        ({"after": "requester"}, "after the requester, because .*; use before='requester'"),
        ({"after": "batches"}, "because it sends calls to the provider's Batch API; use before="),
        ({"instead_of": "batches"}, "no stage replaces the batches; TroupeSettings.routes"),
    ],
)
def test_a_place_that_is_none_is_refused(sides, message):
    with pytest.raises(ValueError, match=r"insert\(Idle, .*" + message):
        insert(Idle, **sides)


@pytest.mark.parametrize("sides", [{}, {"before": "cache", "after": "batcher"}])
def test_exactly_one_place_is_given(sides):
    with pytest.raises(TypeError, match=r"insert\(Idle, ...\) needs one of before=, after= and"):
        insert(Idle, **sides)


def test_an_actor_that_handles_no_calls_is_refused_where_it_enters():
    for make in (Deaf, partial(Deaf)):
        with pytest.raises(TypeError, match="Deaf has no handler for Complete"):
            insert(make, before="batcher")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: Deaf(), "Deaf has no handler"),
        (lambda _: None, "returned None, which is no actor"),
    ],
)
async def test_what_a_factory_makes_is_checked_when_it_starts(make, message):
    with pytest.raises(TypeError, match=message):
        await names_with(insert(make, before="batcher"))


class Counting(Stage):
    """Has an argument of its own."""

    def __init__(self, to, most):
        super().__init__(to)
        self.most = most


class Orphan(Stage):
    """Forgets the next stage."""

    def __init__(self, to):
        pass


@pytest.mark.parametrize(
    ("make", "side", "message"),
    [
        (Counting, "before", r"with the ref of the next stage alone: missing .* 'most'; functools"),
        (lambda: None, "before", "with the ref of the next stage alone: too many positional arg"),
        (Idle, "instead_of", "with nothing: missing a required argument: 'to'"),
    ],
)
def test_what_cannot_be_made_as_a_stage_is_refused_where_it_enters(make, side, message):
    with pytest.raises(TypeError, match=r"insert\(.*\) calls it " + message):
        insert(make, **{side: "requester"})
    insert(partial(Counting, most=3), before="requester")


def test_a_stage_that_does_not_know_the_next_one_says_why():
    with pytest.raises(TypeError, match=r"Orphan.__init__ must call super\(\).__init__\(to\)"):
        _ = Orphan(None).to
    with pytest.raises(AttributeError, match="'Idle' object has no attribute 'too'"):
        _ = Idle(None).too


class Swallowing(Forwarding):
    """Asks for streams, and so gets no pieces that it could pass on."""

    stream = None

    @handles(Stream)
    async def ask_for_it(self, message: Stream) -> None:
        await self.to.ask(message)


def test_a_handler_that_would_lose_the_pieces_of_streams_is_refused():
    with pytest.raises(TypeError, match=r"Swallowing for Stream has no place for pieces; use @def"):
        insert(Swallowing, before="batcher")


def test_a_name_that_no_actor_can_have_is_refused():
    with pytest.raises(ValueError, match="the name of an actor has no '/', got 'a/b'"):
        insert(Idle, before="batcher", name="a/b")


@pytest.mark.parametrize("concurrency", [0, -1, 1.5, True])
def test_a_concurrency_that_is_none_is_refused(concurrency):
    with pytest.raises(ValueError, match=f"whole number of at least 1, not {concurrency}"):
        insert(Idle, before="batcher", concurrency=concurrency)


@pytest.mark.parametrize("name", ["cache", "ledger", "batches", "prompt_cache"])
def test_a_stage_that_the_settings_do_not_ask_for_is_no_place(name):
    with pytest.raises(
        ValueError, match=f"have no {name}, which needs .*; the stages are batcher, "
    ):
        settings_with(insert(Idle, before=name), prompt_caching="off")


def test_two_stages_do_not_replace_the_same_one():
    stages = [insert(Idle, instead_of="batcher"), insert(Shouting, instead_of="batcher")]
    with pytest.raises(
        ValueError, match=r"insert\(Shouting, .*: insert\(Idle, .*\) replaces the sa"
    ):
        settings_with(*stages)


@pytest.mark.parametrize("side", ["after", "instead_of"])
def test_no_stage_stands_where_calls_part(side):
    """A stage on one of two ways would miss calls, for example those with personal data."""
    with pytest.raises(ValueError, match=r"calls part at the router.*before='limiter' for those"):
        settings_with(insert(Idle, **{side: "router"}), batches=BatchApiPolicy())


def test_what_was_not_inserted_is_refused():
    with pytest.raises(TypeError, match=r"stages must be made by `insert`, .*, not <class"):
        settings_with(Idle)
    with pytest.raises(TypeError, match="stages must be a list, such as"):
        TroupeSettings(endpoint=Endpoint(URL), stages="batcher")
    with pytest.raises(TypeError, match="stages must be a list, such as"):
        TroupeSettings(endpoint=Endpoint(URL), stages=insert(Idle, after="batcher"))
    with pytest.raises(TypeError, match=r"not an object of Idle: give Idle, or functools\.partial"):
        insert(Idle(None), after="batcher")
    with pytest.raises(TypeError, match="needs the class of an actor, or a factory of it, not 'x"):
        insert("x", after="batcher")


def test_methods_of_a_stage_that_cannot_work_are_refused_where_it_is_defined():
    with pytest.raises(TypeError, match=r"Plain\.outgoing must be async"):
        type("Plain", (Stage,), {"outgoing": TroupeSettings})

    async def pieces(self, pieces, context):
        return pieces

    with pytest.raises(
        TypeError, match=r"Mute\.incoming_pieces must `yield`, or return the pieces"
    ):
        type("Mute", (Stage,), {"incoming_pieces": pieces})
    with pytest.raises(TypeError, match=r"Typo\.outgoin: did you mean outgoing\?"):
        type("Typo", (Stage,), {"outgoin": pieces})

    async def one(self, request):
        return request

    said = r"One\.outgoing must take self, the request and the context, not \(self, request\)"
    with pytest.raises(TypeError, match=said):
        type("One", (Stage,), {"outgoing": one})


def test_every_stage_has_a_name():
    assert set(STAGE_NAMES) > set(FULL)
    assert issubclass(Stage, Actor)
