"""What actors say to each other: frozen values that name the type of their answer."""

from typing import Generic, TypeVar

__all__ = ["Message"]

R_co = TypeVar("R_co", covariant=True)


class Message(Generic[R_co]):
    """Base of every message; its type argument is the type of the answer.

    Subclasses are frozen attrs classes, so that a message may be read by several actors and
    replayed after a restart without anyone having changed it:

        @attrs.frozen
        class Greet(Message[str]):
            name: str

    ``await ref.ask(Greet("Ada"))`` is then a ``str`` to a type checker. A message that is only
    told, never asked, is a ``Message[None]``.
    """

    __slots__ = ()
