"""From a program: rows without hand-made keys, and data frames of pandas and polars."""

import csv
import json
from datetime import timedelta
from typing import Literal

import attrs
import pytest
from bulk_rows import MODEL, URL, on_the_spot, row, stage

from callsheet.actors import Endpoint, Request, TroupeSettings
from callsheet.bulk import (
    BulkRefused,
    BulkSettings,
    BulkStopped,
    ReadSettings,
    bulk,
    bulk_dataframe,
)
from callsheet.bulk import dataframe as dataframe_module
from callsheet.bulk.answer_schema import schema_class
from callsheet.bulk.reading.rows import rows_of

READING = ReadSettings(model=MODEL, template="Say {{ what }}.", max_tokens=20)
REVIEWS = {"text": ["Good.", 'Bad, "really"', "=1+1"], "stars": [5, 1, 3]}
MEASURED = ["cost_usd", "input_tokens", "output_tokens", "error"]


@attrs.frozen
class Label:
    label: Literal["good", "bad"]
    score: float


def request(text, **more):
    return Request.of(text, model=MODEL, max_tokens=20, **more)


def test_rows_of_all_kinds_get_ids_and_keys():
    given = [row(1), request("a"), ("x", request("a")), {"what": "b"}, {"id": "y", "what": "c"}]
    found = list(rows_of(given, READING))
    assert [one.custom_id for one in found] == ["r-1", "row-2", "x", "row-4", "y"]
    assert found[3].request.messages[0].content == "Say b."
    assert len({one.key for one in found}) == 5
    urls = {one.url for one in rows_of([Request.embedding("a", model="e"), request("a")])}
    assert urls == {"/v1/embeddings", "/v1/chat/completions"}


def test_a_key_does_not_depend_on_the_place_of_a_row():
    """L7: the response is found again when rows are inserted or removed."""
    one, other = request("a"), request("b")
    before = [it.key for it in rows_of([one, one, other])]
    assert [it.key for it in rows_of([other, one, one])] == [before[2], *before[:2]]


def test_a_row_that_is_none_is_said_to_be_where_it_is():
    twice = list(rows_of([("x", request("a")), ("x", request("b"))]))
    assert "row 1 has the id 'x' already" in twice[1].reason
    (bad,) = rows_of([{"other": 1}], READING)
    assert "the row lacks a value that the template needs" in bad.reason
    for wrong in ("text", (1, request("a")), ("x", "text")):
        with pytest.raises(TypeError, match="row 2 must be a Request, an id with a Request"):
            list(rows_of([request("a"), wrong]))


async def test_a_run_of_requests_continues(tmp_path, autojump_clock):
    output = tmp_path / "out.jsonl"
    async with stage() as provider:
        await provider.run([request("a"), request("b")], output)
        results = await provider.run([request("new"), request("a"), request("b")], output)
        assert provider.requests == 3
    assert [one.custom_id for one in results] == ["row-1", "row-2", "row-3"]


async def test_dicts_become_a_table_of_their_columns(tmp_path, autojump_clock):
    output = tmp_path / "out.csv"
    async with stage() as provider:
        settings = TroupeSettings(
            endpoint=Endpoint(URL, None, "openai"), transport=provider.transport
        )
        rows = [{"what": "a", "n": 1}, {"what": "b", "n": 2}]
        async with bulk(rows, output, settings, reading=READING, in_thread=on_the_spot) as run:
            await run.wait()
    with output.open(newline="") as file:
        assert [one["n"] for one in csv.DictReader(file)] == ["1", "2"]


# -------------------------------------------------------------------- data frames


class PandasLike:
    """What is used of a data frame of pandas."""

    def __init__(self, columns):
        self.data = dict(columns)

    @property
    def columns(self):
        return list(self.data)

    def itertuples(self, *, index, name):
        assert (index, name) == (False, None)
        return zip(*self.data.values(), strict=True)

    def copy(self):
        return PandasLike(self.data)

    def __setitem__(self, name, values):
        self.data[name] = values


class PolarsLike:
    """What is used of a data frame of polars."""

    def __init__(self, columns, *, strict=True):
        self.data = dict(columns)

    @property
    def columns(self):
        return list(self.data)

    def iter_rows(self):
        return zip(*self.data.values(), strict=True)

    def hstack(self, other):
        return PolarsLike(self.data | other.data)


def frame_of(kind, columns):
    if kind in ("pandas", "polars"):
        return pytest.importorskip(kind).DataFrame(columns)
    return {"pandas-like": PandasLike, "polars-like": PolarsLike}[kind](columns)


def data_of(frame):
    if isinstance(frame, PandasLike | PolarsLike):
        return frame.data
    return {name: list(frame[name]) for name in frame.columns}


@pytest.fixture
def send(monkeypatch):
    """Sends a data frame to a provider, and counts its requests."""
    counts = []

    async def run(frame, output, **more):
        async with stage() as provider:
            settings = TroupeSettings(
                endpoint=Endpoint(URL, None, "openai"), transport=provider.transport
            )
            monkeypatch.setattr(
                dataframe_module,
                "bulk",
                lambda *given, **named: bulk(*given, **named, in_thread=on_the_spot),
            )
            given = {"template": "{{ text }}", "troupe": settings, "model": MODEL}
            try:
                return await bulk_dataframe(frame, output=output, **given | more)
            finally:
                counts.append(provider.requests)

    run.counts = counts
    return run


KINDS = pytest.mark.parametrize("kind", ["pandas", "polars", "pandas-like", "polars-like"])


@KINDS
async def test_answers_are_new_columns_of_a_data_frame(tmp_path, send, kind, autojump_clock):
    frame = frame_of(kind, REVIEWS)
    found = await send(frame, tmp_path / "out.csv", returns=Label)
    assert type(found) is type(frame)
    assert list(frame.columns) == ["text", "stars"]
    assert list(found.columns) == ["text", "stars", "label", "score", *MEASURED]
    data = data_of(found)
    assert data["text"] == REVIEWS["text"]
    assert set(data["label"]) <= {"good", "bad"}
    assert all(isinstance(score, float) for score in data["score"])
    again = await send(frame, tmp_path / "out.csv", returns=Label)
    assert data_of(again)["label"] == data["label"]
    assert send.counts == [3, 0]


@KINDS
async def test_a_text_beside_a_text_and_a_row_that_failed(tmp_path, send, kind, autojump_clock):
    frame = frame_of(kind, {"text": ["a", "", "c"]})
    found = data_of(await send(frame, tmp_path / "out.jsonl"))
    assert list(found) == ["text", "answer_text", *MEASURED]
    assert found["error"][1] == "BadRow: the prompt is empty"
    assert found["answer_text"][0]
    assert found["answer_text"][2]


@KINDS
async def test_a_data_frame_without_rows_gets_the_columns(tmp_path, send, kind, autojump_clock):
    found = await send(frame_of(kind, {"text": []}), tmp_path / "out.csv", schema="label: a|b")
    assert list(found.columns) == ["text", "label", *MEASURED]


async def test_a_schema_may_be_a_json_schema(tmp_path, send, autojump_clock):
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    found = await send(PandasLike({"text": ["a"]}), tmp_path / "out.csv", schema=schema)
    assert isinstance(found.data["n"][0], int)
    assert json.loads((tmp_path / "out.csv").read_text().splitlines()[1].split(",")[1])


async def test_missing_values_are_empty(tmp_path, send, autojump_clock):
    frame = frame_of("pandas", {"text": ["a", None], "n": [float("nan"), 1.0]})
    found = await send(frame, tmp_path / "out.csv", template="{{ text or 'none' }} {{ n }}")
    assert list(found["error"]) == [None, None]
    with (tmp_path / "out.csv").open(newline="") as file:
        assert [(one["text"], one["n"]) for one in csv.DictReader(file)] == [("a", ""), ("", "1.0")]


async def test_values_without_a_form_in_json_keep_no_answer_from_its_row(
    tmp_path, send, autojump_clock
):
    numpy = pytest.importorskip("numpy")
    took, nested = timedelta(days=1, hours=6), numpy.array([1, {"b": numpy.array([2])}], object)
    frame = PandasLike({"text": ["a"], "took": [took], "nested": [nested], "of": [{(1, 2): took}]})
    output = tmp_path / "out.csv"
    found = await send(frame, output, template="{{ text }} {{ nested[1]['b'] }}")
    assert found.data["error"] == [None]
    with output.open(newline="") as file:
        (record,) = csv.DictReader(file)
    assert record["took"] == "1 day, 6:00:00"
    assert record["nested"] == '[1, {"b": [2]}]'
    assert record["of"] == '{"[1, 2]": "1 day, 6:00:00"}'
    assert record["answer_text"] == found.data["answer_text"][0]


async def test_settings_of_the_requests_stay_where_no_argument_replaces_them(
    tmp_path, send, autojump_clock
):
    frame, output = PandasLike({"text": ["a"]}), tmp_path / "out.csv"
    await send(frame, output, system="Be brief.", schema="label: a|b", model=MODEL)
    reading = ReadSettings(system="Be brief.", returns=schema_class("label: a|b"), model=MODEL)
    found = await send(frame, output, reading=reading, model=None)
    assert list(found.data) == ["text", "label", *MEASURED]
    assert send.counts == [1, 0]


@pytest.mark.sockets
async def test_an_address_of_ones_own_has_the_model_of_the_command(
    tmp_path, monkeypatch, quick_provider
):
    monkeypatch.setenv("OPENAI_BASE_URL", quick_provider)
    frame = PandasLike({"text": ["a"]})
    found = await bulk_dataframe(frame, output=tmp_path / "out.csv", template="{{ text }}")
    assert found.data["error"] == [None]


async def test_what_is_no_data_frame_is_refused(tmp_path, send, autojump_clock):
    with pytest.raises(TypeError, match="frame must be a DataFrame of pandas or polars, not dict"):
        await send({"text": ["a"]}, tmp_path / "out.csv")
    with pytest.raises(ValueError, match="schema and returns exclude each other"):
        await send(PandasLike(REVIEWS), tmp_path / "out.csv", schema="a", returns=Label)


async def test_a_column_that_is_missing_is_named_before_a_row_is_sent(
    tmp_path, send, autojump_clock
):
    frame, output = PandasLike(REVIEWS), tmp_path / "out.csv"
    missing = (
        'the data frame has no column "Text" for the template, it has text, stars; write text$'
    )
    with pytest.raises(ValueError, match=missing):
        await send(frame, output, template="{{ Text }}")
    with pytest.raises(ValueError, match='no column "rules" for the system'):
        await send(frame, output, system="{{ rules }}")
    assert not output.exists()
    found = await send(frame, output, template="{{ rules | default(text) }}")
    assert found.data["error"] == [None] * 3


async def test_a_prompt_without_a_column_is_refused(tmp_path, send, autojump_clock):
    with pytest.raises(ValueError, match=r"uses no column, .* a column stands in two braces$"):
        await send(PandasLike(REVIEWS), tmp_path / "out.csv", template="Label {text}")


async def test_an_output_that_is_not_written_is_refused(tmp_path, send, autojump_clock):
    with pytest.raises(BulkRefused, match=r"a file named \.xls is not written; name it .jsonl"):
        await send(PandasLike(REVIEWS), tmp_path / "out.xls")
    assert send.counts == [0]


async def test_a_run_that_ends_early_says_so(tmp_path, send, autojump_clock):

    with pytest.raises(BulkStopped):
        await send(
            PandasLike(REVIEWS), tmp_path / "out.csv", settings=BulkSettings(max_cost="0.000000001")
        )


@pytest.mark.sockets
async def test_answers_that_are_made_up_come_with_a_warning(tmp_path, monkeypatch):
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    frame = PandasLike({"text": ["a"]})
    with pytest.warns(UserWarning, match="the built-in provider makes the answers up"):
        found = await bulk_dataframe(
            frame, output=tmp_path / "out.csv", template="{{ text }}", schema="label: good|bad"
        )
    assert found.data["label"][0] in ("good", "bad")
