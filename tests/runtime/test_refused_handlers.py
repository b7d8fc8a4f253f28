"""A class of an actor that cannot work fails when it is made."""

from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs
import pytest
from handled_messages import Base, Count, Get, GetMore, Lines, Put

from callsheet.runtime import Actor, Message, ReplySlot, StreamSink, defers, handles, streams

if TYPE_CHECKING:
    from only.known.to.checkers import Unknown  # type: ignore[import-not-found]

T = TypeVar("T")


def refused(*names: str) -> Any:
    return pytest.raises(TypeError, match=".*".join(names))


def test_a_declared_message_without_a_handler_is_refused() -> None:
    with refused("Wrong", "Count"):

        class Wrong(Base, Actor[Get | Count]):
            pass

    with refused("Removed", "Get"):

        class Declared(Actor[Get]):
            @handles(Get)
            async def get(self, message: Get) -> str:
                return ""

        class Removed(Declared):
            get = None  # type: ignore[assignment]


def test_a_static_or_class_method_is_refused() -> None:
    for kind in (staticmethod, classmethod):

        async def get(message: Get) -> str:
            return ""

        with refused("Wrong.get", "Get", kind.__name__):
            type("Wrong", (Base,), {"get": kind(get)})
        with refused("Wrong.get", "Get", kind.__name__):
            type("Wrong", (Actor,), {"get": kind(handles(Get)(get))})  # type: ignore[arg-type]


def test_a_method_that_is_not_async_is_refused() -> None:
    with refused("Wrong.get", "Get", "async"):

        class Wrong(Base):
            def get(self, message: Get) -> str:  # type: ignore[override]
                return ""

    async def items(self: Actor, message: Lines, sink: object) -> Any:
        yield 1

    with refused("Wrong.items", "Lines", "async"):
        type("Wrong", (Actor,), {"items": streams(Lines)(items)})  # type: ignore[arg-type]


def test_a_method_with_other_parameters_is_refused() -> None:
    async def none(self: Actor) -> str:
        return ""

    async def two(self: Actor, message: Get, slot: object) -> str:
        return ""

    async def keyword(self: Actor, message: Get, *, more: int) -> str:
        return ""

    for method in (none, two, keyword):
        with refused("Wrong.get", "Get", "must take"):
            type("Wrong", (Actor,), {"get": handles(Get)(method)})  # type: ignore[arg-type]

    async def without_slot(self: Actor, message: Get) -> None:
        return

    with refused("Wrong.get", "Get", "slot"):
        type("Wrong", (Actor,), {"get": defers(Get)(without_slot)})  # type: ignore[arg-type]


def test_a_value_that_is_no_method_is_refused() -> None:
    with refused("Wrong.get", "Get", "must be a method"):
        type("Wrong", (Base,), {"get": 5})
    with refused("Wrong.get", "Get", "must be a method"):
        type("Wrong", (Base,), {"get": property()})


def test_a_decorator_for_what_is_no_message_is_refused() -> None:
    async def get(self: Actor, message: Get) -> str:
        return ""

    with refused("Wrong.get", "int", "Message"):
        type("Wrong", (Actor,), {"get": handles(int)(get)})  # type: ignore[arg-type]


def test_a_stream_of_a_message_without_items_is_refused() -> None:
    async def get(self: Actor, message: Get, sink: StreamSink[str]) -> None:
        return

    with refused("Wrong.get", "Get", "StreamOf"):
        type("Wrong", (Actor,), {"get": streams(Get)(get)})  # type: ignore[arg-type]


def test_two_handlers_of_one_type_in_one_class_are_refused() -> None:
    with refused("Wrong", "two handlers", "Get"):

        class Wrong(Actor):
            @handles(Get)
            async def one(self, message: Get) -> str:
                return ""

            @handles(Get)
            async def two(self, message: Get) -> str:
                return ""

    with refused("Twice", "two handlers", "Get"):

        class Twice(Actor):
            @handles(Get)
            @handles(Get)
            async def get(self, message: Get) -> str:
                return ""


def test_two_handlers_of_one_name_for_other_types_are_refused() -> None:
    class Mixin:
        @handles(Count)  # type: ignore[type-var]
        async def get(self, message: Count) -> int:
            return 0

    with refused("Wrong.get", "Get", "Mixin.get", "Count"):
        type("Wrong", (Mixin, Base), {})


def test_an_annotation_of_the_message_that_disagrees_is_refused() -> None:
    async def put(self: Actor, message: Put) -> str:
        return ""

    async def narrower(self: Actor, message: "GetMore") -> str:
        return ""

    for method in (put, narrower):
        with refused("Wrong.get", "Get", "message"):
            type("Wrong", (Actor,), {"get": handles(Get)(method)})  # type: ignore[arg-type]
        with refused("Wrong.get", "Get", "message"):
            type("Wrong", (Base,), {"get": method})


def test_an_annotation_of_the_reply_that_disagrees_is_refused() -> None:
    async def number(self: Actor, message: Get) -> int:
        return 0

    async def nothing(self: Actor, message: Count) -> None:
        return

    with refused("Wrong.get", "Get", "int", "str"):
        type("Wrong", (Actor,), {"get": handles(Get)(number)})  # type: ignore[arg-type]
    with refused("Wrong.count", "Count", "None", "int"):
        type("Wrong", (Actor,), {"count": handles(Count)(nothing)})  # type: ignore[arg-type]


def test_annotations_that_are_wider_or_cannot_be_checked_are_accepted() -> None:
    @attrs.frozen
    class Box(Message[T], Generic[T]):
        pass

    @attrs.frozen
    class Ratio(Message[float]):
        pass

    async def wide(self: Actor, message: Message[str]) -> str:
        return ""

    async def unknown(self: Actor, message: "Unknown") -> "Unknown":
        return ""

    async def union(self: Actor, message: Get | Put) -> str | None:
        return ""

    async def anything(self: Actor, message: Any) -> Any:
        return ""

    async def bare(self, message):  # type: ignore[no-untyped-def]
        return ""

    async def variable(self: Actor, message: Box[T]) -> T:
        raise NotImplementedError

    async def whole(self: Actor, message: Ratio) -> int:
        return 1

    async def deferred(self: Actor, message: Get, slot: ReplySlot[str]) -> None:
        return

    for method in (wide, unknown, union, anything, bare):
        made = type("Right", (Actor,), {"get": handles(Get)(method)})  # type: ignore[arg-type]
        assert made.handlers[Get].call is method  # type: ignore[attr-defined]
    type("Right", (Actor,), {"get": handles(Box)(variable)})  # type: ignore[type-abstract]
    type("Right", (Actor,), {"get": handles(Ratio)(whole)})
    type("Right", (Actor,), {"get": defers(Get)(deferred)})


def test_more_that_cannot_work_fails_when_the_class_is_made():
    with pytest.raises(TypeError, match=r"Bare\.add: the decorator needs the type of message"):

        class Bare(Actor):
            @handles
            async def add(self, message: Get) -> str: ...

    for kind in (classmethod, staticmethod):
        with pytest.raises(TypeError, match=r"Shared\.add, .* must be a plain method"):

            class Shared(Actor):
                @handles(Get)
                @kind
                async def add(self, message: Get) -> str: ...

    with pytest.raises(TypeError, match=r"Sync\.started is a hook of actors"):

        class Sync(Actor):
            def started(self) -> None: ...

    with pytest.raises(TypeError, match=r"Typo\.stoped: did you mean stopped\?"):

        class Typo(Actor):
            async def stoped(self) -> None: ...

    with pytest.raises(TypeError, match=r"Hook\.stop replaces Actor\.stop, .*, draining, stopped$"):

        class Hook(Actor):
            async def stop(self) -> None: ...

    with pytest.raises(TypeError, match=r"Named\.watch replaces Actor\.watch, which actors use"):

        class Named(Actor):
            @handles(Get)
            async def watch(self, message: Get) -> str: ...

    for raises in (("KeyError",), (BaseException,), KeyError):
        with pytest.raises(TypeError, match=r"Junk\.add, the handler of Get, (declares|needs)"):

            class Junk(Actor):
                @handles(Get, raises=raises)
                async def add(self, message: Get) -> str: ...

    with pytest.raises(TypeError, match=r"Named\.handlers: actors use this name"):

        class Named(Actor):
            handlers = None

    with pytest.raises(TypeError, match="declares int in Actor"):

        class Number(Actor[int]): ...
