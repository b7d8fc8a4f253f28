"""Send a prompt for each row of a data frame of pandas or polars, and add the answers as columns.

Neither library is needed, or imported: a data frame is used through its own methods.
"""

import warnings
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

import attrs

from ..actors import Json, TroupeSettings, class_of_schema, default_recipe
from ..endpoints import choose_endpoint, open_endpoint
from .answer_schema import schema_class
from .bulk import bulk
from .reading.bodies import RequestBuilder
from .reading.columns import ColumnReader
from .reading.errors import InputError
from .reading.rows import rows_of
from .reading.settings import ReadSettings
from .settings import BulkSettings
from .tables.shape import TableLimits, TableShape

_BUILT_IN = "the built-in provider"
_MADE_UP = (
    f"no provider is configured, and {_BUILT_IN} makes the answers up; set OPENAI_API_KEY, or give "
    "troupe="
)

FrameT = TypeVar("FrameT")
"""A data frame of pandas or polars."""


async def bulk_dataframe(
    frame: FrameT,
    *,
    output: str | Path,
    template: str,
    system: str | None = None,
    schema: str | Mapping[str, object] | None = None,
    returns: type[object] | None = None,
    model: str | None = None,
    troupe: TroupeSettings | None = None,
    settings: BulkSettings | None = None,
    reading: ReadSettings | None = None,
) -> FrameT:
    """Send a prompt for each row of a data frame, and return the frame with the answers.

        labels = await bulk_dataframe(
            reviews, output="labels.csv", template="{{ text }}", schema="label: good|bad"
        )

    The new columns are those of a table of `bulk`: `text`, or the fields of the schema; then
    `cost_usd`, `input_tokens`, `output_tokens` and `error`. A name that is taken gets the prefix
    ``answer_``. The answers are in OUTPUT as well: the same call continues after any end, and sends
    only rows that have no answer there.

    Args:
        frame: a `DataFrame` of pandas or polars.
        output: the path of the output file, as for `bulk`.
        template: a Jinja2 template of the prompt, over the columns.
        system: a Jinja2 template of the system message.
        schema: the fields of each response, in the short form, or a JSON schema.
        returns: the class of each answer, as in `Request`; its members are the new columns.
        model: the model; by default the provider's usual one.
        troupe: the endpoint, the limits and the policies; by default the provider of the
            environment, as for `callsheet run`, or else the built-in one.
        settings: the settings of the run.
        reading: further settings of the requests, such as `max_tokens`; the arguments above
            take precedence.

    Raises:
        BulkRefused: the run was not started; the text has the reason and the remedy.
        BulkStopped: the run ended before its last row; OUTPUT has what was answered.
        TypeError: the frame is no data frame, or `returns` has no JSON schema.
        ValueError: the schema, the template or the columns are not valid.
    """
    if schema is not None:
        if returns is not None:
            raise ValueError("schema and returns exclude each other: the class has a schema")
        returns = _class_of(schema)
    columns = _columns(frame)
    if returns is None and reading is not None:
        returns = reading.returns
    shape = TableShape(TableLimits("the data frame"), columns, returns)
    async with _provider(troupe) as (chosen, name):
        given = reading or ReadSettings()
        named = given.model or given.chat_model
        reading = attrs.evolve(
            given,
            template=template,
            system=system or given.system,
            returns=returns,
            model=model or named or _usual_model(chosen, is_chosen=troupe is not None),
            carries_columns=True,
        )
        _check_template(reading, columns, next(_records(frame, columns), None))
        rows = shape.fitted(rows_of(_records(frame, columns), reading))
        found: dict[int, list[object]] = {}
        async with bulk(rows, output, chosen, settings, provider=name) as results:
            async for result in results:
                response = result.response if result.error is None else None
                found[result.number] = shape.values(None, result.event, response)
    numbers = sorted(found)
    answers = {
        name: [found[number][at] for number in numbers]
        for at, name in enumerate(shape.columns)
        if at >= len(columns)
    }
    return cast("FrameT", _joined(frame, answers))


@asynccontextmanager
async def _provider(
    troupe: TroupeSettings | None,
) -> AsyncGenerator[tuple[TroupeSettings, str | None]]:
    """Provide the settings of a troupe, and the name of the built-in provider if it is used."""
    if troupe is not None:
        yield troupe, None
        return
    choice = choose_endpoint()
    if choice.endpoint is None:
        warnings.warn(_MADE_UP, stacklevel=2)
    async with open_endpoint(choice) as endpoint:
        yield TroupeSettings(endpoint=endpoint), _BUILT_IN if choice.endpoint is None else None


def _usual_model(troupe: TroupeSettings, *, is_chosen: bool) -> str:
    """Return the model of rows that name none, as `callsheet run` chooses it."""
    vendor = troupe.endpoint.vendor
    is_named = is_chosen or vendor.name != "compatible"  # which the built-in provider is, too
    usual = vendor.model if is_named else default_recipe().model
    if usual is None:
        raise ValueError(f"{vendor.title} has no default model; give model=")
    return usual


# -------------------------------------------------------------------- data frames


def _class_of(schema: str | Mapping[str, object]) -> type[object]:
    if isinstance(schema, str):
        return schema_class(schema)
    return class_of_schema(cast("Mapping[str, Json]", schema))  # as JSON has no other values


def _columns(frame: Any) -> list[str]:  # noqa: ANN401  # of either library
    """Return the names of the columns.

    Raises:
        TypeError: the object is no data frame.
        ValueError: two columns have the same name.
    """
    rows: object = getattr(frame, "iter_rows", None) or getattr(frame, "itertuples", None)
    if not callable(rows) or not hasattr(frame, "columns"):
        hint = "; collect it first" if hasattr(frame, "collect") else ""
        kind = type(frame).__name__
        raise TypeError(f"frame must be a DataFrame of pandas or polars, not {kind}{hint}")
    names = [str(name) for name in frame.columns]
    if double := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f'two columns are named "{double}"; rename one of them')
    return names


def _check_template(
    reading: ReadSettings, columns: list[str], first: dict[str, object] | None
) -> None:
    """Check that the frame has the columns of the template, before each of its rows fails.

    Raises:
        ValueError: a column is missing, or the template uses none by mistake.
    """
    try:
        reader = ColumnReader(RequestBuilder(reading), reading, names_options=False)
        reader.check(columns, "the data frame", first)
    except InputError as error:
        raise ValueError(str(error)) from None
    if reader.why_constant:
        raise ValueError(reader.why_constant)


def _records(frame: Any, columns: list[str]) -> Iterator[dict[str, object]]:  # noqa: ANN401  # of either library
    rows: Iterable[tuple[object, ...]] = (
        frame.iter_rows()
        if hasattr(frame, "iter_rows")
        else frame.itertuples(index=False, name=None)
    )
    for row in rows:
        yield dict(zip(columns, map(_plain, row), strict=True))


def _plain(value: object) -> object:
    """Return a value of NumPy as one of Python, and one that is missing as None."""
    kind = type(value)
    if kind.__name__ in ("NAType", "NaTType"):
        return None
    if kind.__module__ == "numpy":
        convert: Callable[[], object] = getattr(value, "tolist", lambda: value)
        value = convert()
    if isinstance(value, list | tuple):  # also arrays of arrays, as pandas reads nested Parquet
        return [_plain(item) for item in cast("Iterable[object]", value)]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in cast("dict[object, object]", value).items()}
    return None if isinstance(value, float) and value != value else value  # noqa: PLR0124  # NaN


def _joined(frame: Any, answers: Mapping[str, list[object]]) -> Any:  # noqa: ANN401  # of either library
    """Return a frame with further columns."""
    if hasattr(frame, "iter_rows"):
        return frame.hstack(type(frame)(answers, strict=False))
    found = frame.copy()
    for name, values in answers.items():
        found[name] = values
    return found
