"""Handlers: the decorators that mark methods, and the table of a class, made with the class.

The rules are those of Python's methods. A method that overrides a handler is the handler, with the
options of the decorator that it overrides unless it has its own; bases and mixins count in the
order of the MRO; a handler that is overridden by None is removed. What cannot work is a TypeError
when the class is made.
"""

import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from types import SimpleNamespace
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

import attrs

from .reply import Message, ReplySlot
from .stream import StreamOf, StreamSink

A = TypeVar("A")  # an actor, or a mixin of one
M = TypeVar("M", bound="Message[object]")
R = TypeVar("R")
T = TypeVar("T")

_MARK = "__callsheet_handlers__"
_ALMOST = 0.9  # "outgoin" for "outgoing", but not "restarted" for "started"


@attrs.frozen
class Handler:
    """How an actor handles one type of message.

    Args:
        kind: the type of message.
        call: the method; called with the actor, the message and, if `takes_slot`, a slot or a sink.
        raises: declared errors, which are replies; any other exception crashes the actor (R8).
        defers: the method gets the reply slot and does not return the reply.
        streams: the method gets a sink for the items of the reply.
        uninterruptible: the method is not cancelled when the caller gives up.
        urgent: messages of this type bypass the mailbox and are handled before those in it.
        takes_slot: `defers` or `streams`, in one field because it is read for each message.
    """

    kind: type[Message[object]]
    call: Callable[..., Awaitable[object]]
    raises: tuple[type[Exception], ...] = ()
    defers: bool = False
    streams: bool = False
    uninterruptible: bool = False
    urgent: bool = False
    takes_slot: bool = False


class HandlerTable(dict[type["Message[object]"], Handler]):
    """The handlers of a class by type of message."""


def handles(
    kind: type[Message[R]],
    *,
    raises: tuple[type[Exception], ...] = (),
    uninterruptible: bool = False,
    urgent: bool = False,
) -> Callable[[Callable[[A, M], Awaitable[R]]], Callable[[A, M], Awaitable[R]]]:
    """Make a method the handler of one type of message; its return value is the reply.

    A subclass overrides the handler as any method, without the decorator, and removes it by setting
    the name to None. Several decorators on one method make it the handler of several types.

    Args:
        kind: the type of message. Messages of a subclass are handled by the same method unless the
            subclass has a handler of its own.
        raises: declared errors. They are replies: the caller's `ask` raises them, and the actor
            continues. Declare the errors of an outage, so that it spends no restarts (R10). Any
            other exception is a bug and crashes the actor (R8).
        uninterruptible: let the handler finish even if the caller is cancelled or its deadline
            passes.
        urgent: handle these messages before those in the mailbox, and accept them even if it is
            full. Use it for messages that the work in progress depends on, and whose number is
            bounded by something else.

    Raises:
        TypeError: at the definition of the class, if it has two handlers for one type, or if the
            method is not async, takes other parameters, or has annotations that disagree with
            `kind`.
    """
    _check_kind("handles", kind)

    def mark(method: Callable[[A, M], Awaitable[R]]) -> Callable[[A, M], Awaitable[R]]:
        handler = Handler(
            kind, method, raises=raises, uninterruptible=uninterruptible, urgent=urgent
        )
        return _mark(method, handler)

    return mark


def defers(
    kind: type[Message[R]], *, urgent: bool = False
) -> Callable[
    [Callable[[A, M, ReplySlot[R]], Awaitable[None]]],
    Callable[[A, M, ReplySlot[R]], Awaitable[None]],
]:
    """Make a method the handler of a message whose reply comes later, or from another actor.

    The method gets the message and its `ReplySlot`; its return does not send a reply. It is not
    interrupted when the caller gives up, so it cannot lose a slot halfway; ``slot.done`` and
    ``slot.on_settled`` report that. If the slot is neither filled nor forwarded, the caller waits
    until its deadline, or until this actor stops or crashes.

    Args:
        kind: the type of message.
        urgent: as for `handles`.
    """
    _check_kind("defers", kind)

    def mark(
        method: Callable[[A, M, ReplySlot[R]], Awaitable[None]],
    ) -> Callable[[A, M, ReplySlot[R]], Awaitable[None]]:
        handler = Handler(
            kind, method, defers=True, uninterruptible=True, urgent=urgent, takes_slot=True
        )
        return _mark(method, handler)

    return mark


def streams(
    kind: type[StreamOf[T]], *, raises: tuple[type[Exception], ...] = ()
) -> Callable[
    [Callable[[A, M, StreamSink[T]], Awaitable[None]]],
    Callable[[A, M, StreamSink[T]], Awaitable[None]],
]:
    """Make a method the handler of a message whose reply is a stream of items.

    The method gets the message and a `StreamSink`; ``await sink.send(item)`` waits while the
    consumer is behind. The stream ends when the method returns. The method is cancelled when the
    consumer leaves.

    Args:
        kind: the type of message.
        raises: declared errors, as for `handles`; the consumer's loop raises them.
    """
    _check_kind("streams", kind)

    def mark(
        method: Callable[[A, M, StreamSink[T]], Awaitable[None]],
    ) -> Callable[[A, M, StreamSink[T]], Awaitable[None]]:
        return _mark(method, Handler(kind, method, raises=raises, streams=True, takes_slot=True))

    return mark


def handlers_of(cls: type) -> HandlerTable:
    """Return the handlers of a class by type of message, those of its bases included.

    Args:
        cls: the class; its bases need not be actors.

    Raises:
        TypeError: a handler cannot work; the message names the class, the method and the type.
    """
    table: dict[type[Message[object]], tuple[str, Handler]] = {}
    for base in reversed(cls.__mro__):
        own: set[type[Message[object]]] = set()
        for name, value in vars(base).items():
            for handler in _marks(value):
                if not _is_message(handler.kind):
                    raise TypeError(
                        f"{cls.__name__}.{name} is marked as the handler of {handler.kind!r}, "
                        "which is not a subclass of Message"
                    )
                if handler.kind in own:
                    raise TypeError(f"{base.__name__} has two handlers for {handler.kind.__name__}")
                own.add(handler.kind)
                table[handler.kind] = name, handler
    found = ((kind, _resolve(cls, *entry)) for kind, entry in table.items())
    return HandlerTable((kind, handler) for kind, handler in found if handler is not None)


def check_declared(cls: type, actor: type, table: Mapping[type[Message[object]], Handler]) -> None:
    """Check that a class handles the messages that it declares by ``Actor[Add | Get]``.

    Args:
        cls: the class with the declaration, or with a base that has it.
        actor: the class `Actor` itself.
        table: the handlers of `cls` by type of message.

    Raises:
        TypeError: the class has no handler for a message that it or a base declares.
    """
    for base in _original_bases(cls):
        if get_origin(base) is not actor:
            continue
        (declared,) = get_args(base)
        for kind in get_args(declared) or (declared,):
            if isinstance(kind, type) and not _is_message(kind):
                raise TypeError(
                    f"{cls.__name__} declares {kind.__name__} in Actor[...], "
                    "which is not a subclass of Message"
                )
            if _is_message(kind) and kind is not Message and table.keys().isdisjoint(kind.__mro__):
                raise TypeError(
                    f"{cls.__name__} declares {kind.__name__} in Actor[...], "
                    "but has no handler for it"
                )


def _check_kind(decorator: str, kind: object) -> None:
    if inspect.isroutine(kind):
        raise TypeError(
            f"{kind.__qualname__}: the decorator needs the type of message, as `@{decorator}(Add)`"
        )


def _mark(method: T, handler: Handler) -> T:
    # A new tuple: `functools.wraps` copies the reference to the old one into a wrapper.
    setattr(method, _MARK, (handler, *_marks(method)))
    return method


def _marks(value: object) -> tuple[Handler, ...]:
    inner: object = getattr(value, "fget" if isinstance(value, property) else "__func__", value)
    marks = getattr(value, _MARK, ()) or getattr(inner, _MARK, ())
    return cast("tuple[Handler, ...]", marks) if isinstance(marks, tuple) else ()


def _is_message(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Message)


def _resolve(cls: type, name: str, handler: Handler) -> Handler | None:
    """Return the handler with the method that the class has under the name; None if removed."""
    owner = next(base for base in cls.__mro__ if name in vars(base))
    method = vars(owner)[name]
    if method is None:
        return None
    where = f"{cls.__name__}.{name}, the handler of {handler.kind.__name__},"
    marks = _marks(method)
    if marks:
        same = [mark for mark in marks if mark.kind is handler.kind]
        if not same:
            kinds = ", ".join(mark.kind.__name__ for mark in marks)
            raise TypeError(
                f"{where} is overridden by {owner.__name__}.{name}, which handles {kinds}; "
                "use another name, or a decorator for each type"
            )
        handler = same[0]
    for kind in (staticmethod, classmethod):
        if isinstance(method, kind):
            raise TypeError(f"{where} must be a plain method, not a {kind.__name__}")
    if not callable(method):
        raise TypeError(f"{where} must be a method, not {method!r}")
    call = method.__get__(None, cls) if hasattr(method, "__get__") else method
    _check_call(where, call, handler)
    _check_raises(where, handler.raises)
    if handler.streams and not issubclass(handler.kind, StreamOf):
        raise TypeError(f"{where} is made with `streams`, so the message must be a StreamOf")
    if inspect.isfunction(call) and not hasattr(call, "__wrapped__"):
        _check_annotations(where, call, handler)
    return attrs.evolve(handler, call=call)


def _check_call(where: str, call: Callable[..., object], handler: Handler) -> None:
    inner = inspect.unwrap(call)
    if inspect.isfunction(inner) and not (
        inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(inner)
    ):
        raise TypeError(f"{where} must be async: `async def`, without `yield`")
    try:
        signature = inspect.signature(call, follow_wrapped=False)
    except (TypeError, ValueError):
        return  # not written in Python
    try:
        signature.bind(*(None, None, None)[: 3 if handler.takes_slot else 2])
    except TypeError:
        more = ", and a slot or sink" if handler.takes_slot else ""
        raise TypeError(f"{where} must take self and the message{more}, not {signature}") from None


def _check_raises(where: str, raises: object) -> None:
    classes = cast("tuple[object, ...]", raises if isinstance(raises, tuple) else (raises,))
    for one in classes:
        if not (isinstance(one, type) and issubclass(one, Exception)):
            raise TypeError(f"{where} declares {one!r}, which is not a subclass of Exception")
    if not isinstance(raises, tuple):
        raise TypeError(f"{where} needs a tuple of errors, as `raises=(KeyError,)`")


def check_hooks(cls: type, names: Iterable[str]) -> None:
    """Check that the hooks which a class overrides are async.

    Raises:
        TypeError: a hook is not; the message names the class and the hook.
    """
    for name in names:
        hook = vars(cls).get(name)
        if hook is not None and not inspect.iscoroutinefunction(inspect.unwrap(hook)):
            raise TypeError(f"{cls.__name__}.{name} is a hook of actors, so it must be async")


def check_names(cls: type, names: Sequence[str]) -> None:
    """Check that a class has no method whose name is almost that of one that may be overridden.

    Nothing would call it, and a stage that is to take data out, for example, would leave it in.

    Raises:
        TypeError: a method has such a name; the message names it and the other one.
    """
    for name, value in vars(cls).items():
        if inspect.isfunction(value) and name not in names and not _marks(value):
            near = get_close_matches(name, names, n=1, cutoff=_ALMOST)
            if near and not any(name in vars(base) for base in cls.__mro__[1:]):
                raise TypeError(f"{cls.__name__}.{name}: did you mean {near[0]}?")


def check_kept(cls: type, base: type, names: Sequence[str]) -> None:
    """Check that a class replaces nothing of the base class but what may be overridden.

    A method `stop`, for example, would be no hook, and the actor could not stop itself any more.

    Raises:
        TypeError: it replaces a method or a property; the message names it.
    """
    for name in vars(cls):
        if name in vars(base) and name not in (*names, "handlers") and not name.startswith("_"):
            raise TypeError(
                f"{cls.__name__}.{name} replaces Actor.{name}, which actors use; take another "
                f"name, or override {', '.join(names)}"
            )


def _check_annotations(where: str, call: Callable[..., object], handler: Handler) -> None:
    names = [
        parameter.name
        for parameter in inspect.signature(call).parameters.values()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    message = _plain_class(call, names[1]) if len(names) > 1 else None
    if message is not None and not _is_subclass(handler.kind, message):
        raise TypeError(f"{where} has a message of type {message.__name__} in its annotation")
    if handler.takes_slot:
        return
    returned, reply = _plain_class(call, "return"), _reply_type(handler.kind)
    if returned is not None and reply is not None and not _is_subclass(returned, reply):
        raise TypeError(
            f"{where} returns {returned.__name__} by its annotation, "
            f"but the reply to the message is {reply.__name__}"
        )


# What type checkers accept in place of a class that is no base class.
_PROMOTED = {(int, float), (bool, float), (int, complex), (bool, complex), (float, complex)}


def _is_subclass(one: type, other: type) -> bool:
    try:
        return issubclass(one, other) or (one, other) in _PROMOTED
    except TypeError:
        return True  # such as a protocol that cannot be checked


def _plain_class(call: Callable[..., object], name: str) -> type | None:
    """Return the class that an annotation names; None for all other annotations."""
    annotations = getattr(call, "__annotations__", {})
    if name not in annotations:
        return None
    holder = SimpleNamespace(__annotations__={name: annotations[name]})
    try:
        hint = get_type_hints(holder, getattr(call, "__globals__", {}))[name]
    except Exception:  # noqa: BLE001  # a name that is known to type checkers only
        return None
    return _as_class(hint)


def _as_class(hint: object) -> type | None:
    is_class = isinstance(hint, type) and get_origin(hint) is None and hint is not Any
    return cast("type", hint) if is_class else None


def _reply_type(kind: type[Message[object]]) -> type | None:
    for base in _original_bases(kind):
        if get_origin(base) is Message:
            (reply,) = get_args(base)
            return _as_class(reply)
    return None


def _original_bases(kind: type) -> Iterator[object]:
    for base in kind.__mro__:
        yield from vars(base).get("__orig_bases__", ())
