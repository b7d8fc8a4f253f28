"""The environment of a recipe's templates: Jinja2's sandbox, with a bound on its work.

A template is rendered in the event loop, where nothing can interrupt it: no deadline, no Ctrl-C.
So each turn of a loop and each call looks at the processor time that is left, and no operation may
make a value that is too large.
"""

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, cast, final

from jinja2 import StrictUndefined, nodes
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

MAX_RENDER_S: Final = 0.5
_MAX_ITEMS = 10_000_000  # characters of a text, or items of a list, that a product may have
_MAX_BITS = 100_000  # of a whole number
_ITEMS = (str, bytes, list, tuple)


class TooMuchWork(Exception):
    """A template takes too long to render, or makes a value that is too large."""


@final
class RenderTime:
    """The processor time that is left for rendering, such as that of all templates of a post.

    Args:
        seconds: seconds of processor time of the thread that renders.
    """

    def __init__(self, seconds: float = MAX_RENDER_S) -> None:
        self._seconds = seconds
        self._left_s = seconds
        self._until = 0.0

    @contextmanager
    def running(self) -> Generator[None]:
        """Count the time of the block.

        Raises:
            TooMuchWork: no time was left at a turn of a loop, at a call, or at the beginning.
        """
        began = time.thread_time()
        self._until = began + self._left_s
        token = _render_time.set(self)
        try:
            self.check()
            yield
        finally:
            _render_time.reset(token)
            self._left_s -= time.thread_time() - began

    def check(self) -> None:
        """Raise `TooMuchWork` if no time is left."""
        if time.thread_time() >= self._until:
            raise TooMuchWork(
                f"rendering takes more than {self._seconds:g} s of processor time; make its loops "
                "shorter"
            )


_render_time: ContextVar[RenderTime | None] = ContextVar("render_time", default=None)


def _check() -> None:
    left = _render_time.get()
    if left is not None:
        left.check()


@final
class _TimedIterable:
    """An iterable that looks at the time that is left before each item."""

    def __init__(self, items: Iterable[object]) -> None:
        self._items = items

    def __iter__(self) -> Iterator[object]:
        for item in self._items:
            _check()
            yield item

    def __len__(self) -> int:
        return len(self._items)  # type: ignore[arg-type]  # a TypeError is what `len` raises


class _Bounding(NodeTransformer):
    """Makes loops and filters look at the time, and concatenations at their size."""

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802  # Jinja's name
        self.generic_visit(node)
        node.iter = nodes.Filter(node.iter, _TIMED, [], [], None, None, lineno=node.lineno)
        return node

    def visit_Filter(self, node: nodes.Filter) -> nodes.Filter:  # noqa: N802  # Jinja's name
        self.generic_visit(node)
        if node.node is not None:  # a block has none
            node.node = nodes.Filter(node.node, _CHECKED, [], [], None, None, lineno=node.lineno)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Filter:  # noqa: N802  # Jinja's name
        self.generic_visit(node)
        texts = nodes.List(node.nodes, lineno=node.lineno)
        return nodes.Filter(texts, _JOINED, [], [], None, None, lineno=node.lineno)


_TIMED, _CHECKED, _JOINED = "timed", "checked", "joined"


def _checked(value: object) -> object:
    _check()
    return value


def _joined(values: Iterable[object]) -> str:
    texts = [str(value) for value in values]
    if sum(map(len, texts)) > _MAX_ITEMS:
        raise TooMuchWork("a result of ~ is too large")
    return "".join(texts)


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """A sandbox whose templates end within the time of `RenderTime`."""

    intercepted_binops = frozenset({"+", "*", "**"})

    def __init__(self, finalize: Callable[..., object]) -> None:
        super().__init__(
            autoescape=False,  # the output is a prompt or Markdown, never HTML
            undefined=StrictUndefined,
            finalize=finalize,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        filters = cast("dict[str, object]", self.filters)
        filters |= {_TIMED: _TimedIterable, _CHECKED: _checked, _JOINED: _joined}

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        found: nodes.Template = _Bounding().visit(tree)
        return found

    # Jinja declares these arguments as `Any`, and the overrides must take what it passes.
    def call(
        __self,  # noqa: N805  # as in Jinja2: any name may be a keyword of the call
        __context: Context,  # noqa: PYI063
        __obj: Any,  # noqa: ANN401
        *args: Any,  # noqa: ANN401
        **kwargs: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Call a function or a macro from a template."""
        _check()
        return super().call(__context, __obj, *args, **kwargs)

    def call_filter(self, name: str, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """Call a filter for an item of a list."""
        _check()
        return super().call_filter(name, *args, **kwargs)

    def call_test(self, name: str, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """Call a test for an item of a list."""
        _check()
        return super().call_test(name, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:  # noqa: ANN401
        """Add, multiply or raise to a power, unless the result is too large."""
        if _SIZES[operator](left, right) > 1:
            raise TooMuchWork(f"a result of {operator} is too large")
        return super().call_binop(context, operator, left, right)


def _size_of_sum(left: object, right: object) -> float:
    """Return the size of a sum as a share of the largest that is allowed."""
    if isinstance(left, _ITEMS) and isinstance(right, _ITEMS):
        return (len(cast("Sized", left)) + len(cast("Sized", right))) / _MAX_ITEMS
    return 0.0


def _size_of_product(left: object, right: object) -> float:
    """Return the size of a product as a share of the largest that is allowed."""
    if isinstance(left, int) and isinstance(right, int):
        return (left.bit_length() + right.bit_length()) / _MAX_BITS
    for items, times in ((left, right), (right, left)):
        if isinstance(items, _ITEMS) and isinstance(times, int):
            return len(cast("Sized", items)) * times / _MAX_ITEMS
    return 0.0


def _size_of_power(left: object, right: object) -> float:
    if isinstance(left, int) and isinstance(right, int) and right > 0:
        return left.bit_length() * right / _MAX_BITS
    return 0.0


_SIZES: dict[str, Callable[[object, object], float]] = {
    "+": _size_of_sum,
    "*": _size_of_product,
    "**": _size_of_power,
}
