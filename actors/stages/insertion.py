"""Where stages of a program's own stand in the way of a call. Pure (R14).

    cache -> batcher -> ledger -> router -> prompt_cache -> limiter -> requester
                                    |
                                    +-----> batches

A stage stands before, after or instead of one of these. The cache, the ledger, the batches and the
prompt cache are there only if the settings ask for them.
"""

import re
from collections.abc import Callable, Collection, Iterable
from functools import partial
from inspect import signature
from itertools import chain, count
from typing import Literal, TypeAlias, cast, get_args, overload

import attrs

from ...runtime import Actor, Ref
from ..calls import Complete, Stream

StageName = Literal[
    "cache", "batcher", "ledger", "router", "prompt_cache", "limiter", "requester", "batches"
]
"""A stage of a troupe, by the name of its actor."""

FollowedStage = Literal["cache", "batcher", "ledger", "router", "prompt_cache", "limiter"]
"""A stage that another one follows."""

CallActor: TypeAlias = Actor[Complete | Stream]
"""An actor that takes calls. One that takes other messages, too, is such an actor."""

STAGE_NAMES: tuple[StageName, ...] = get_args(StageName)
"""The names of all stages in their order; last those of the other ways."""

_CHAIN = STAGE_NAMES[:-1]
_ENDS = {
    "requester": "it sends calls to the provider",
    "batches": "it sends calls to the provider's Batch API",
}
_SETTING = {
    "cache": "cache=CachePolicy()",
    "ledger": "ledger=LedgerPolicy()",
    "batches": "batches=BatchApiPolicy()",
    "prompt_cache": "a vendor that has a prompt cache, and a `prompt_caching` other than off",
}


@attrs.frozen(kw_only=True)
class Insertion:
    """A stage of a program's own and where it stands; `insert` makes one.

    Args:
        make: makes an incarnation of the actor; it gets the ref of the next stage.
        side: on which side of the other stage it stands, or that it replaces it.
        of: the name of the other stage.
        name: the name of the actor; empty for that of its class.
        concurrency: messages that the actor handles at a time; None for the default.
    """

    make: Callable[..., CallActor]
    side: Literal["before", "after", "instead_of"]
    of: StageName
    name: str
    concurrency: int | None = None

    def __str__(self) -> str:
        return f"insert({_title(self.make)}, {self.side}={self.of!r})"

    def made(self, *to: Ref) -> Actor:
        """Make an incarnation of the actor.

        Args:
            *to: the next stage; nothing for an actor that stands instead of the requester.

        Raises:
            TypeError: it cannot be a stage: it is no actor, or does not handle calls.
        """
        made = cast("Actor", self.make(*to))
        if not isinstance(cast("object", made), Actor):
            raise TypeError(f"{self}: the factory returned {made!r:.60}, which is no actor")
        _check_handlers(str(self), type(made))
        return made


@overload
def insert(
    make: Callable[[Ref], CallActor],
    *,
    before: StageName,
    name: str = "",
    concurrency: int | None = None,
) -> Insertion: ...


@overload
def insert(
    make: Callable[[Ref], CallActor],
    *,
    after: FollowedStage,
    name: str = "",
    concurrency: int | None = None,
) -> Insertion: ...


@overload
def insert(
    make: Callable[[], CallActor],
    *,
    instead_of: Literal["requester"],
    name: str = "",
    concurrency: int | None = None,
) -> Insertion: ...


@overload
def insert(
    make: Callable[[Ref], CallActor],
    *,
    instead_of: FollowedStage,
    name: str = "",
    concurrency: int | None = None,
) -> Insertion: ...


def insert(
    make: Callable[..., CallActor],
    *,
    before: StageName | None = None,
    after: StageName | None = None,
    instead_of: StageName | None = None,
    name: str = "",
    concurrency: int | None = None,
) -> Insertion:
    """Return a stage of your own for `TroupeSettings.stages`.

        TroupeSettings(endpoint=endpoint, stages=[insert(Redactor, after="batcher")])

    The factory is called for each incarnation, with the ref of the next stage. Further arguments
    are passed by keyword with `functools.partial`, as ``insert(partial(Redactor, vault=vault),
    after="batcher")``; they are the same objects after a crash and a restart.

    Args:
        make: the class of the actor, or another factory of it: a `Stage`, or any actor that handles
            `Complete` and `Stream`. Instead of the requester, it is called without a ref.
        before: the name of the stage that follows it. Give one of the three.
        after: the name of the stage that it follows.
        instead_of: the name of the stage that it replaces.
        name: the name of the actor in the tree of the runtime; empty for that of its class.
        concurrency: messages that the actor handles at a time; None for 1 or, instead of the
            requester, for as many as may be in flight.

    Raises:
        TypeError: not exactly one of the three is given, the actor does not handle calls or has
            no place for pieces of streams, or it cannot be made with the ref alone.
        ValueError: there is no such stage, or nothing can stand there; the message names them. Or
            `name` has a "/", or `concurrency` is below 1.
    """
    if isinstance(cast("object", make), Actor):
        kind = type(make).__name__
        raise TypeError(
            f"insert needs what makes the stage at each start, not an object of {kind}: "
            f"give {kind}, or functools.partial({kind}, ...) with its arguments"
        )
    if not callable(cast("object", make)):
        raise TypeError(f"insert needs the class of an actor, or a factory of it, not {make!r:.60}")
    title = _title(make)
    given = {"before": before, "after": after, "instead_of": instead_of}
    sides = [(side, of) for side, of in given.items() if of is not None]
    if len(sides) != 1:
        raise TypeError(f"insert({title}, ...) needs one of before=, after= and instead_of=")
    ((side, of),) = sides
    if of not in STAGE_NAMES:
        from difflib import get_close_matches  # noqa: PLC0415  # rarely used

        near = get_close_matches(str(of), STAGE_NAMES, 1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise ValueError(
            f"insert({title}, {side}={of!r}): there is no such stage{hint}; the stages are "
            f"{', '.join(STAGE_NAMES)} (stages of your own at one place follow each other "
            "in the order of the list)"
        )
    inserted = Insertion(
        make=make,
        side=cast("Literal['before', 'after', 'instead_of']", side),
        of=of,
        name=name or _snake_case(title),
        concurrency=concurrency,
    )
    if side == "after" and of in _ENDS:
        raise ValueError(
            f"{inserted}: no stage stands after the {of}, because {_ENDS[of]}; use before={of!r}"
        )
    if (side, of) == ("instead_of", "batches"):
        raise ValueError(
            f"{inserted}: no stage replaces the batches; TroupeSettings.routes adds another route"
        )
    cls: object = make.func if isinstance(make, partial) else make
    if isinstance(cls, type):
        _check_handlers(str(inserted), cls)
    _check_call(inserted)
    if "/" in name:
        raise ValueError(f"{inserted}: the name of an actor has no '/', got {name!r:.60}")
    if concurrency is not None and (type(concurrency) is not int or concurrency < 1):
        raise ValueError(
            f"{inserted}: concurrency must be a whole number of at least 1, not {concurrency!r}"
        )
    return inserted


def _named(inserted: Iterable[Insertion]) -> tuple[Insertion, ...]:
    """Return stages with the names of their actors, each of them once."""
    taken: set[str] = {*STAGE_NAMES, "composer"}
    found: list[Insertion] = []
    for one in inserted:
        numbered = (f"{one.name}_{number}" for number in count(2))
        name = next(name for name in chain((one.name,), numbered) if name not in taken)
        taken.add(name)
        found.append(attrs.evolve(one, name=name))
    return tuple(found)


@attrs.frozen
class StageChain:
    """The stages of a troupe in their order, with those of the program.

    Args:
        present: the names of the built-in stages that the settings ask for.
        inserted: the stages of the program; the names of their actors become unique.
        parts_at_router: whether calls go several ways from the router.

    Raises:
        ValueError: a stage cannot stand where it is to stand; the message names it.
    """

    present: Collection[StageName]
    inserted: tuple[Insertion, ...] = attrs.field(default=(), converter=_named)
    parts_at_router: bool = False

    def __attrs_post_init__(self) -> None:
        replaced: dict[StageName, Insertion] = {}
        for one in self.inserted:
            if one.of not in self.present:
                names = ", ".join(name for name in STAGE_NAMES if name in self.present)
                raise ValueError(
                    f"{one}: these settings have no {one.of}, which needs {_SETTING[one.of]}; "
                    f"the stages are {names}"
                )
            if one.of == "router" and one.side != "before" and self.parts_at_router:
                raise ValueError(
                    f"{one}: calls part at the router, and some go to a batch or another route; "
                    "use before='router' for all calls, or before='limiter' for those sent live"
                )
            if one.side == "instead_of" and replaced.setdefault(one.of, one) is not one:
                raise ValueError(f"{one}: {replaced[one.of]} replaces the same stage")

    def replacing(self, name: StageName) -> Insertion | None:
        """Return the stage that stands instead of a built-in one; None if that one is there.

        Args:
            name: the name of the built-in stage.
        """
        places = (one for one in self.inserted if (one.side, one.of) == ("instead_of", name))
        return next(places, None)

    def leading_to(self, name: StageName) -> tuple[Insertion, ...]:
        """Return the stages between a built-in one and the one before it, in their order.

        Args:
            name: the name of the built-in stage that follows them.
        """
        if name not in self.present:
            return ()
        index = _CHAIN.index(name) if name in _CHAIN else 0  # nothing follows what leads to batches
        ahead = [one for one in _CHAIN[:index] if one in self.present]
        places = (("after", ahead[-1] if ahead else ""), ("before", name))
        return tuple(
            one for place in places for one in self.inserted if (one.side, one.of) == place
        )

    def following(self, name: StageName) -> StageName | None:
        """Return the built-in stage that follows another one; None for the last of its way.

        Args:
            name: the name of the stage before it.
        """
        if name == "batches":
            return None
        behind = _CHAIN[_CHAIN.index(name) + 1 :]
        return next((one for one in behind if one in self.present), None)


def _title(make: Callable[..., object]) -> str:
    inner: object = make.func if isinstance(make, partial) else make
    return str(getattr(inner, "__name__", type(inner).__name__))


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().strip("_<>") or "stage"


def _check_handlers(where: str, cls: type) -> None:
    known = (cls if issubclass(cls, Actor) else Actor).handlers
    for kind in (Complete, Stream):
        handler = next((known[base] for base in kind.__mro__ if base in known), None)
        if handler is None:
            raise TypeError(f"{where}: {cls.__name__} has no handler for {kind.__name__}")
        if kind is Stream and not handler.takes_slot:
            raise TypeError(
                f"{where}: the handler of {cls.__name__} for Stream has no place for pieces; use "
                "@defers(Stream) and forward the message, or @streams(Stream) and send them"
            )


def _check_call(inserted: Insertion) -> None:
    """Check that the factory can be called as it will be: with the next stage, or with nothing."""
    is_last = (inserted.side, inserted.of) == ("instead_of", "requester")
    try:
        wanted = signature(inserted.make)
    except (ValueError, TypeError):  # it does not tell its parameters
        return
    try:
        wanted.bind(*() if is_last else ("to",))
    except TypeError as error:
        given = "nothing" if is_last else "the ref of the next stage alone"
        raise TypeError(
            f"{inserted} calls it with {given}: {error}; functools.partial gives it more"
        ) from None
