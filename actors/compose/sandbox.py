"""The environment of a recipe's templates: Jinja2's sandbox, with a bound on its work.

A template is rendered in the event loop, where nothing can interrupt it: no deadline, no Ctrl-C.
So each turn of a loop and each call looks at the processor time that is left, and no operation may
make a value that is too large.
"""

import contextlib
import inspect
import json
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sized
from contextvars import ContextVar
from typing import Any, Final, cast, final

from jinja2 import StrictUndefined, nodes, pass_context
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from .growth import GROWING, TEXTS, format_size, method_size, text_size

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

    @contextlib.contextmanager
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
    """Makes loops look at the time, and concatenations at their size."""

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802  # Jinja's name
        self.generic_visit(node)
        node.iter = nodes.Filter(node.iter, _TIMED, [], [], None, None, lineno=node.lineno)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Filter:  # noqa: N802  # Jinja's name
        self.generic_visit(node)
        texts = nodes.List(node.nodes, lineno=node.lineno)
        return nodes.Filter(texts, _JOINED, [], [], None, None, lineno=node.lineno)


# {what a filter wants from Jinja: the attribute of the context, and the name of the parameter}
_PASSED = {"context": "context", "eval_context": "eval_ctx", "environment": "environment"}
_TIMED, _JOINED = "timed", "joined"


def _check_size(size: float, what: str) -> None:
    """Raise `TooMuchWork` if a value would have too many characters or items."""
    if size > _MAX_ITEMS:
        raise TooMuchWork(f"{what} is too large (more than {_MAX_ITEMS:,} characters or items)")


def _items_of(value: object) -> int:
    return len(cast("Sized", value)) if isinstance(value, _ITEMS) else 0


def _joined(values: list[object]) -> str:
    _check_size(text_size(values, _MAX_ITEMS), "a result of ~")
    return "".join(map(str, values))


def _bounded(name: str, function: Callable[..., object]) -> Callable[..., object]:
    """Return a filter that looks at the time, and at the size of its result before it makes it."""
    passes = getattr(getattr(function, "jinja_pass_arg", None), "name", "")
    parameters = inspect.signature(function).parameters.values()
    own = inspect.Signature([one for one in parameters if one.name not in _PASSED.values()])
    what = f"a result of the filter {name}"

    # Jinja computes filters of constants in advance, but not those that need the context.
    @pass_context
    def bounded(context: Context, value: object, *args: object, **named: object) -> object:
        _check()
        if name == "join" and isinstance(value, Iterator):
            value = list(cast("Iterator[object]", value))
        if name in TEXTS:
            _check_size(text_size(value, _MAX_ITEMS), what)
        if name in GROWING:
            with contextlib.suppress(TypeError):  # the function itself raises it
                given = own.bind(value, *args, **named).arguments
                _check_size(GROWING[name](value, given), what)
        passed: list[object] = []
        if passes:
            passed.append(context if passes == "context" else getattr(context, _PASSED[passes]))
        found = function(*passed, value, *args, **named)
        if isinstance(found, Iterator):
            return iter(_TimedIterable(cast("Iterator[object]", found)))
        _check_size(_items_of(found), what)
        return found

    return bounded


def _finalized(value: object) -> object:
    """Return what is written for the value of an expression: JSON, and not Python, in a prompt."""
    _check_size(text_size(value, _MAX_ITEMS), "an output")
    if value is None:
        return ""
    if isinstance(value, bool | dict | list):
        try:
            return json.dumps(value, ensure_ascii=False)
        except (TypeError, ValueError):  # it has a date, for example
            return cast("object", value)
    return value


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """A sandbox whose templates end within the time of `RenderTime`, and in bounded memory.

    Args:
        filters: more filters, by name.
    """

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, filters: Mapping[str, Callable[..., object]]) -> None:
        super().__init__(
            autoescape=False,  # the output is a prompt or Markdown, never HTML
            undefined=StrictUndefined,
            finalize=_finalized,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        del self.globals["lipsum"]  # it takes as long as its argument says
        every = cast("dict[str, Callable[..., object]]", self.filters)
        every |= filters
        every |= {name: _bounded(name, function) for name, function in every.items()}
        every |= {_TIMED: _TimedIterable, _JOINED: _joined}

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
        name: str = getattr(__obj, "__name__", "")
        method = getattr(__obj, "__wrapped__", __obj)  # `format` is wrapped by Jinja
        size = method_size(getattr(method, "__self__", None), name, args, kwargs)
        _check_size(size, f"a result of {name}()")
        return super().call(__context, __obj, *args, **kwargs)

    def call_filter(self, name: str, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """Call a filter for an item of a list."""
        _check()
        return super().call_filter(name, *args, **kwargs)

    @staticmethod
    def concat(pieces: Iterable[str]) -> str:
        """Join the pieces of an output, such as that of the template or of a macro."""
        found, size = list[str](), 0
        for piece in pieces:
            size += len(piece)
            _check_size(size, "the output")
            found.append(piece)
        return "".join(found)

    def call_test(self, name: str, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """Call a test for an item of a list."""
        _check()
        return super().call_test(name, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:  # noqa: ANN401
        """Add, multiply, format or raise to a power, unless the result is too large."""
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


def _size_of_format(left: object, right: object) -> float:
    return format_size(left, right) / _MAX_ITEMS


_SIZES: dict[str, Callable[[object, object], float]] = {
    "+": _size_of_sum,
    "*": _size_of_product,
    "**": _size_of_power,
    "%": _size_of_format,
}
