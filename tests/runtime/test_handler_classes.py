"""Handlers behave as Python's methods do."""

from abc import abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial, wraps
from typing import TypeVar

import attrs
import pytest
from handled_messages import Base, Count, Declared, Get, GetMore, Put

from callsheet.runtime import Actor, Askable, Message, Ref, handles, open_runtime

M = TypeVar("M", bound=Message[object])
T = TypeVar("T")


async def reply_of(factory: Callable[[], Actor[M]], message: Askable[Ref[M], T]) -> T:
    async with open_runtime("app") as runtime:
        ref = await runtime.spawn("actor", factory)
        return await ref.ask(message, timeout=1)


def louder(method: Callable[..., Awaitable[str]]) -> Callable[..., Awaitable[str]]:
    @wraps(method)
    async def wrapper(*args: object) -> str:
        return (await method(*args)).upper()

    return wrapper


async def test_an_override_without_the_decorator_is_the_handler_with_the_options_of_the_base() -> (
    None
):
    class Derived(Base):
        async def get(self, message: Get) -> str:
            return "derived, " + await super().get(message)

    assert await reply_of(Derived, Get()) == "derived, base"
    handler = Derived.handlers[Get]
    assert (handler.raises, handler.urgent, handler.uninterruptible) == ((Declared,), True, True)
    assert Base.handlers[Get].call is Base.get


async def test_an_override_with_a_decorator_has_its_own_options() -> None:
    class Derived(Base):
        @handles(Get)
        async def get(self, message: Get) -> str:
            return "derived"

    assert await reply_of(Derived, Get()) == "derived"
    assert not Derived.handlers[Get].urgent


async def test_a_mixin_that_is_no_actor_adds_and_overrides_handlers() -> None:
    class Mixin:
        async def get(self, message: Get) -> str:
            return "mixin"

        @handles(Count)  # type: ignore[type-var]
        async def count(self, message: Count) -> int:
            return 3

    class Derived(Mixin, Base):
        pass

    assert await reply_of(Derived, Get()) == "mixin"
    assert await reply_of(Derived, Count()) == 3


async def test_all_bases_count_in_the_order_of_the_mro() -> None:
    class Left(Actor):
        @handles(Get)
        async def left(self, message: Get) -> str:
            return "left"

    class Right(Actor):
        @handles(Get)
        async def right(self, message: Get) -> str:
            return "right"

        @handles(Put)
        async def put(self, message: Put) -> str:
            return "put"

    class Both(Left, Right):
        pass

    class Reversed(Right, Left):
        pass

    assert await reply_of(Both, Get()) == "left"
    assert await reply_of(Both, Put()) == "put"
    assert await reply_of(Reversed, Get()) == "right"


async def test_a_diamond_takes_the_override_of_the_other_branch() -> None:
    class Left(Base):
        pass

    class Right(Base):
        async def get(self, message: Get) -> str:
            return "right"

    class Both(Left, Right):
        pass

    assert await reply_of(Both, Get()) == "right"


async def test_one_method_handles_the_types_of_all_its_decorators() -> None:
    class Stacked(Actor):
        @handles(Get)
        @handles(Put, urgent=True)
        async def either(self, message: Get | Put) -> str:
            return type(message).__name__

    class Derived(Stacked):
        async def either(self, message: Get | Put) -> str:
            return "derived"

    assert await reply_of(Stacked, Get()) == "Get"
    assert await reply_of(Stacked, Put()) == "Put"
    assert [handler.urgent for handler in Stacked.handlers.values()] == [False, True]
    assert await reply_of(Derived, Put()) == "derived"


async def test_a_wrapper_around_a_handler_and_a_handler_around_a_wrapper() -> None:
    class Outside(Actor):
        @louder
        @handles(Get)
        async def get(self, message: Get) -> str:
            return "outside"

    class Inside(Actor):
        @handles(Get)
        @louder
        async def get(self, message: Get) -> str:
            return "inside"

    assert await reply_of(Outside, Get()) == "OUTSIDE"
    assert await reply_of(Inside, Get()) == "INSIDE"


async def test_none_removes_a_handler_and_a_subclass_may_bring_it_back() -> None:
    class Without(Base):
        get = None  # type: ignore[assignment]

    class Again(Without):
        async def get(self, message: Get) -> str:  # type: ignore[override]
            return "again"

    assert dict(Without.handlers) == {}
    assert await reply_of(Again, Get()) == "again"


async def test_a_subclass_may_handle_a_type_in_a_method_of_another_name() -> None:
    class Derived(Base):
        @handles(Get)
        async def other(self, message: Get) -> str:
            return "other"

    assert await reply_of(Derived, Get()) == "other"


async def test_an_abstract_handler_is_completed_by_a_subclass() -> None:
    class Abstract(Actor):
        @handles(Get)
        @abstractmethod
        async def get(self, message: Get) -> str: ...

    class Concrete(Abstract):
        async def get(self, message: Get) -> str:
            return "concrete"

    assert await reply_of(Concrete, Get()) == "concrete"


async def test_a_declared_message_may_be_handled_as_one_of_its_base() -> None:
    class Right(Actor[GetMore | Put]):
        @handles(Get)
        @handles(Put)
        async def get(self, message: Get | Put) -> str:
            return "right"

    assert await reply_of(Right, GetMore()) == "right"


@pytest.mark.parametrize("decorate", [attrs.define, attrs.frozen, dataclass, dataclass(slots=True)])
async def test_a_class_may_be_made_by_attrs_or_dataclass(decorate):
    @decorate
    class Named(Base):
        name: str

        async def get(self, message: Get) -> str:
            return f"{self.name}, {await Base.get(self, message)}"

    async with open_runtime("app") as runtime:
        for place in ("first", "second"):
            named = await runtime.spawn(place, partial(Named, place))
            assert await named.ask(Get(), timeout=1) == f"{place}, base"
        assert [one.class_name for one in runtime.snapshot().actors] == ["Named", "Named"]
