"""Tables: CSV and Parquet, and rows of columns in JSON Lines."""

import csv
import gzip
import io
import json
import sys
from datetime import date
from decimal import Decimal
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import ChatMessage
from callsheet.bulk.reading.errors import InputError
from callsheet.bulk.reading.opening import count_rows, open_rows
from callsheet.bulk.reading.settings import ReadSettings
from callsheet.bulk.row import BadRow, Row


@pytest.fixture
def put(tmp_path):
    def write(content, name="input.csv"):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.fixture
def put_parquet(tmp_path):
    def write(columns, **options):
        path = tmp_path / "input.parquet"
        pq.write_table(pa.table(columns), path, **options)
        return path

    return write


def read(source, **settings):
    with open_rows(source, ReadSettings(**{"model": "m"} | settings)) as rows:
        return list(rows)


def prompts(rows):
    assert all(isinstance(row, Row) for row in rows), rows
    return [row.request.messages[-1].content for row in rows]


@pytest.mark.parametrize(
    ("template", "whole"),
    [
        ("text", "{{ text }}"),
        ("Label: {text}.", "Label: {{ text }}."),
        ("Label: ${ text }", "Label: {{ text }}"),
        ("$text {Review Text}", '{{ text }} {{ row["Review Text"] }}'),
    ],
)
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_template_that_names_columns_without_the_marks_of_jinja_pays_for_nothing(
    tmp_path, template, whole, form
):
    path = tmp_path / f"in.{form}"
    record = {"text": "Hi", "Review Text": "Ho"}
    lines = json.dumps(record) if form == "jsonl" else "text,Review Text\nHi,Ho"
    path.write_text(lines)
    with pytest.raises(InputError) as caught:
        read(path, template=template)
    assert "uses no column, so all rows would have the same prompt" in str(caught.value)
    assert str(caught.value).endswith(f"a column stands in two braces: --template '{whole}'")


def test_a_template_without_columns_may_be_meant(tmp_path):
    path, remarks = tmp_path / "in.csv", []
    path.write_text("text\nHi\nHo\n")
    for settings in (
        {"template": "A fact."},
        {"template": "Label {text}.", "system": "{{ text }}"},
        {"template": 'As {"text": 1}: {{ text }}'},
    ):
        with open_rows(path, ReadSettings(model="m", **settings), remarks.append) as rows:
            assert all(isinstance(row, Row) for row in rows)
    assert remarks == ["The template uses no column, so all rows have the same prompt."]


def test_the_column_called_prompt_is_the_prompt(put):
    rows = read(put('id,prompt,other\na,"x, y",1\n,"z\n""q""",2\n'))
    assert prompts(rows) == ["x, y", 'z\n"q"']
    assert [(row.number, row.custom_id) for row in rows] == [(1, "a"), (2, "row-2")]


def test_another_column_may_be_the_prompt(put):
    path = put("uid,question,who\na,x,Be brief.\nb,y,\n")
    rows = read(path, fields={"prompt": "question", "id": "uid", "system": "who"})
    assert prompts(rows) == ["x", "y"]
    assert [row.custom_id for row in rows] == ["a", "b"]
    assert rows[0].request.messages[0] == ChatMessage("system", "Be brief.")
    assert len(rows[1].request.messages) == 1


def test_columns_that_are_mapped_set_fields(put):
    fields = {"model": "which", "max_tokens": "longest", "temperature": "heat"}
    path = put("prompt,which,longest,heat\nx,n,5,0.5\nx,,,\nx,n,5.5,1\nx,n,5,warm\nx,n,5,3\n")
    full, empty, *bad = read(path, fields=fields, max_tokens=7)
    request = full.request
    assert (request.model, request.max_tokens, request.temperature) == ("n", 5, 0.5)
    request = empty.request
    assert (request.model, request.max_tokens, request.temperature) == ("m", 7, None)
    longest, heat, beyond = (row.reason for row in bad)
    assert longest == "\"longest\" must be a whole number, not '5.5'"
    assert heat == "\"heat\" must be a number, not 'warm'"
    assert "temperature" in beyond


def test_columns_that_are_not_mapped_are_data(put):
    (row,) = read(put("prompt,model,temperature,system\nx,T-34,39.5,metric\n"))
    assert row.request.model == "m"
    assert row.request.temperature is None
    assert len(row.request.messages) == 1


@pytest.mark.parametrize("settings", [{}, {"fields": {"prompt": "prompt"}}])
def test_a_line_with_a_prompt_keeps_the_members_of_a_chat_beside_it(put, settings):
    """L15: model, limit and sampling are the row's own; settings are for rows without them."""
    line = {
        "prompt": "x",
        "system": "Be brief.",
        "max_tokens": 10,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["."],
        "seed": 7,
        "topic": "numbers",
    }
    if settings:  # otherwise a prompt with a model is a body for completions
        line["model"] = "own"
    path = put(json.dumps(line) + "\n" + json.dumps({"prompt": "y"}) + "\n", "data.jsonl")
    full, bare = (row.request for row in read(path, max_tokens=99, temperature=1, **settings))
    assert (full.max_tokens, full.temperature, full.top_p) == (10, 0.5, 0.9)
    assert (full.stop, full.seed, full.extra_body) == ((".",), 7, {})
    assert [message.content for message in full.messages] == ["Be brief.", "x"]
    assert full.model == ("own" if settings else "m")
    assert (bare.model, bare.max_tokens, bare.temperature) == ("m", 99, 1)


def test_a_line_with_a_prompt_keeps_parameters_that_no_data_is_named_after(put):
    """L15: a format or an effort that is left out in silence changes the response."""
    schema = {"type": "object", "properties": {}}
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    own = {"reasoning_effort": "low", "top_k": 5, "logprobs": True, "tools": [{"type": "function"}]}
    data = {"user": "Ada", "metadata": {"a": "b"}, "reasoning": "none", "input": "x"}
    lines = [
        {"prompt": "x", "response_format": {"type": "json_object"}, **own, **data},
        {"prompt": "x", "response_format": wanted},
    ]
    path = put("".join(json.dumps(line) + "\n" for line in lines), "data.jsonl")
    settings = {"fields": {"prompt": "prompt"}}
    full, typed = (row.request for row in read(path, **settings))
    assert full.extra_body == {"response_format": {"type": "json_object"}, **own}
    assert typed.json_schema == schema


def test_a_line_without_a_model_of_its_own_or_a_default_is_refused(put):
    line = {"prompt": "x", "model": "own"}
    path = put(json.dumps(line), "data.jsonl")
    (row,) = read(path, model=None, fields={"prompt": "prompt"})
    assert row.request.model == "own"


def test_a_limit_keeps_its_name_beside_a_prompt(put):
    path = put('{"prompt": "x", "max_completion_tokens": 5}', "data.jsonl")
    (row,) = read(path, max_tokens=99)
    assert (row.request.max_tokens, row.request.max_tokens_name) == (5, "max_completion_tokens")


def test_a_wrong_member_beside_a_prompt_is_refused_by_name(put):
    path = put('{"prompt": "x", "temperature": "high"}', "data.jsonl")
    (row,) = read(path)
    assert row.reason == "\"temperature\" must be a number, not 'high'"


def test_a_mapped_member_goes_before_one_of_that_name(put):
    line = {"prompt": "x", "which": "mapped", "model": "own", "heat": 1, "temperature": 0.5}
    path = put(json.dumps(line), "data.jsonl")
    fields = {"prompt": "prompt", "model": "which", "temperature": "heat"}
    (row,) = read(path, fields=fields)
    assert (row.request.model, row.request.temperature) == ("mapped", 1)


def test_with_a_template_every_other_member_is_data(put):
    path = put('{"text": "x", "model": "T-34", "temperature": 39.5}', "data.jsonl")
    (row,) = read(path, template="{{ text }} {{ model }}")
    assert (row.request.model, row.request.temperature) == ("m", None)
    assert prompts([row]) == ["x T-34"]


def test_a_template_makes_the_prompt_and_one_the_system_turn(put):
    path = put("name,First Language\nAda,English\n")
    template = "Greet {{ name }} in {{ row['First Language'] }}.\n"
    (row,) = read(path, template=template, system="You know {{ name }}.")
    assert row.request.messages == (
        ChatMessage("system", "You know Ada."),
        ChatMessage("user", "Greet Ada in English."),
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, 'no column "prompt" for the prompt, it has a, b; set a template'),
        ({"template": "{{ a }} {{ c }}"}, 'no column "c" for the template, it has a, b'),
        ({"template": "{{ a }}", "system": "{{ d }}"}, 'no column "d" for the system'),
        ({"template": "{{ a }}", "fields": {"id": "e"}}, 'no column "e" for the id'),
        ({"fields": {"prompt": "a", "model": "f"}}, 'no column "f" for the model'),
    ],
)
def test_a_column_that_no_row_has_is_an_error_before_the_first(put, put_parquet, settings, said):
    for path in (put("a,b\n1,2\n"), put_parquet({"a": ["1"], "b": ["2"]})):
        with pytest.raises(InputError, match=said):
            read(path, **settings)


def test_a_column_that_a_template_tests_may_be_missing(put):
    template = "{{ a }}{% if c is defined %}{{ c }}{% endif %}{{ d | default('?') }}"
    assert prompts(read(put("a,b\n1,2\n"), template=template)) == ["1?"]


def test_functions_of_jinjas_own_are_no_columns(put, put_parquet):
    template = "{% for at in range(2) %}{{ a }}{{ at }}{% endfor %}"
    for path in (put("a,b\n1,2\n"), put_parquet({"a": ["1"], "b": ["2"]})):
        assert prompts(read(path, template=template)) == ["1011"]


def test_a_column_that_a_line_of_json_lacks_is_a_bad_row_that_names_it(put):
    path = put('{"a": "x", "id": "i"}\n{"a": "y", "c": 3}\n{"c": 3}', "a.jsonl")
    lacks, row, other = read(path, template="{{ a }} {{ c }}")
    assert (lacks.reason, lacks.custom_id) == (
        "the row lacks a value that the template needs: 'c' is undefined",
        "i",
    )
    assert prompts([row]) == ["y 3"]
    assert "'a' is undefined" in other.reason
    lacks, _, _ = read(path, fields={"prompt": "c"})
    assert lacks.reason == 'the row has no "c"'


def test_with_a_template_or_a_map_even_a_body_is_a_row_of_columns(put):
    line = {"model": "data", "prompt": "x", "body": "y", "messages": "z"}
    path = put(json.dumps(line), "a.jsonl")
    assert prompts(read(path, template="{{ body }}{{ messages }}")) == ["yz"]
    assert prompts(read(path, fields={"prompt": "prompt"})) == ["x"]
    assert read(path, fields={"prompt": "prompt"})[0].request.task == "chat"


@pytest.mark.parametrize("template", ["{{ 1 / 0 }}", "{{ a.__class__.__mro__ }}"])
def test_a_template_that_fails_is_a_bad_row(put, template):
    (bad,) = read(put("a\n1\n"), template=template)
    assert "template" in bad.reason


def test_a_template_that_no_row_has_the_values_of_is_an_error(put):
    with pytest.raises(InputError, match="needs: 'str object' has no attribute 'b'"):
        read(put("a\n1\n"), template="{{ a.b.c }}")


@pytest.mark.parametrize("template", [None, "{{ prompt }}"])
def test_an_empty_prompt_is_a_bad_row(put, template):
    rows = read(put("prompt,b\n,1\n  ,2\nx,3\n"), template=template)
    assert [isinstance(row, BadRow) for row in rows] == [True, True, False]
    assert rows[0].reason == "the prompt is empty"


def test_a_record_of_another_length_is_a_bad_row(put):
    short, long, row = read(put("prompt,b\nx\nx,y,z\nx,y\n"))
    assert short.reason == "the number of fields is 1, but of columns 2; see line 2"
    assert long.reason == "the number of fields is 3, but of columns 2; see line 3"
    assert (row.number, row.custom_id) == (3, "row-3")


def test_what_is_not_utf_8_is_a_bad_row_with_its_line_and_byte(put):
    bad, row = read(put(b'prompt,b\n"x\ncaf\xe9",1\ny,caf\xc3\xa9\n'))
    assert "byte 4 of the line, 0xe9, is not UTF-8" in bad.reason
    assert "(line 3)" in bad.reason
    assert prompts([row]) == ["y"]


def test_a_quote_that_is_not_closed_is_a_bad_row(put):
    bad, row = read(put('prompt,b\n"x"y,1\nz,2\n'))
    assert "is not valid CSV" in bad.reason
    assert prompts([row]) == ["z"]
    row, bad = read(put('prompt,b\ny,1\n"x,1\nz,2\n'))
    assert prompts([row]) == ["y"]
    assert "is not valid CSV: unexpected end of data" in bad.reason


@pytest.mark.parametrize(
    ("content", "settings", "said"),
    [
        (b"prompt,b\n" + b"d\xe9j\xe0,1\n" * 3, {"encoding": "utf8"}, "0xe9, is not UTF-8"),
        (b"prompt,b\nx,y,z\n", {}, "the number of fields is 3, but of columns 2; see line 2"),
        (b"prompt,b\nx,1\n", {"fields": {"messages": "b"}}, '"b" must be a list of messages'),
        (b"id,id,prompt\n1,2,x\n", {}, 'two columns "id"; rename one of them'),
        (b"prompt,b\nx,y\n", {"fields": {"temperature": "b"}}, '"b" must be a number, not'),
    ],
)
def test_a_fault_of_every_row_is_an_error_before_the_first(put, content, settings, said):
    with pytest.raises(InputError, match=said):
        read(put(content), **settings)


def test_a_quote_that_stays_open_for_too_long_ends_the_record(put):
    path = put('prompt,b\n"x,1\n' + "y,2\n" * 100)
    bad, *rows = read(path, max_line_bytes=100)
    assert "a quote stays open for more than 100 bytes" in bad.reason
    assert bad.text == '"x,1'
    assert set(prompts(rows)) == {"y"}


@pytest.mark.parametrize("field", ["x" * 500, '"' + "x" * 500 + '"', '"x\n' + "x" * 500 + '\n"'])
def test_a_line_that_is_too_long_is_a_bad_row(put, field):
    path = put(f"prompt,b\na,1\n{field},2\nc,3\n")
    first, bad, last = read(path, max_line_bytes=100)
    assert prompts([first, last]) == ["a", "c"]
    assert "the maximum (max_line_bytes) is 100" in bad.reason
    assert count_rows(path, ReadSettings(max_line_bytes=100)) == 3


def test_a_long_prompt_is_read(put):
    long = "x" * 200_000
    assert prompts(read(put(f"prompt\n{long}\n"))) == [long]


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("a,a", 'two columns "a"'),
        ("b,,", 'no column "a" for the prompt, it has b; if that is a title'),
        ("\udc80\udce9\udc80\xe9\n\xe9,b", "not UTF-8"),
        ('"a"b,c', "not valid CSV"),
        ("x" * 200, "max_line_bytes"),
    ],
)
def test_a_header_that_names_no_columns_is_an_error(put, header, said):
    path = put(header.encode(errors="surrogateescape") + b"\n1,2\n")
    with pytest.raises(InputError, match=said):
        read(path, max_line_bytes=100, fields={"prompt": "a"})


def test_a_delimiter_may_be_set(put):
    assert prompts(read(put("prompt;b\nx,y;1\n"), delimiter=";")) == ["x,y"]


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=8)


@given(st.lists(st.tuples(cells.filter(str.strip), cells), max_size=8))
def test_what_is_written_as_csv_is_read_as_it_was(tmp_path_factory, records):
    text = io.StringIO()
    csv.writer(text).writerows([("prompt", "other"), *records])
    path = tmp_path_factory.mktemp("any") / "a.csv"
    path.write_bytes(text.getvalue().encode())
    rows = read(path, template="{{ row | quoted }}")
    assert [json.loads(prompt) for prompt in prompts(rows)] == [
        {"prompt": prompt, "other": other} for prompt, other in records
    ]
    assert count_rows(path) == len(records)


def test_parquet_is_read_a_few_records_at_a_time(put_parquet):
    texts = [f"number {number}" for number in range(1000)]
    path = put_parquet(
        {"prompt": texts, "id": list(range(1000)), "heat": [0.5] * 1000}, row_group_size=300
    )
    rows = read(path, fields={"temperature": "heat"})
    assert prompts(rows) == texts
    assert [(row.number, row.custom_id) for row in rows[:2]] == [(1, "0"), (2, "1")]
    assert rows[0].request.temperature == 0.5
    assert count_rows(path) == 1000


def test_ids_of_parquet_are_decimals_days_and_uuids_too(put_parquet):
    for value in (Decimal(17), date(2026, 1, 2), UUID(int=7)):
        kind = pa.uuid() if isinstance(value, UUID) else None
        stored = pa.array([value.bytes if kind else value], kind)
        (row,) = read(put_parquet({"id": stored, "prompt": ["x"]}))
        assert row.custom_id == str(value)


def test_parquet_of_other_types_is_for_templates(put_parquet):
    path = put_parquet({"prompt": [1, None], "tags": [["a", "b"], []], "a.b": ["x", "y"]})
    number, empty = read(path)
    assert prompts([number]) == ["1"]
    assert empty.reason == "the prompt is empty"
    template = "{{ prompt }} {{ tags | join(', ') }} {{ row['a.b'] }}"
    assert prompts(read(path, template=template)) == ["1 a, b x", "y"]
    assert prompts(read(path, template="x", fields={"model": "a.b"})) == ["x", "x"]


def test_parquet_with_a_text_that_is_not_utf_8_is_a_bad_row(put_parquet):
    raw = pa.array([b"good", b"caf\xe9", b"fine"], pa.binary())
    path = put_parquet({"prompt": pa.Array.from_buffers(pa.utf8(), 3, raw.buffers())})
    first, bad, last = read(path)
    assert prompts([first, last]) == ["good", "fine"]
    assert (bad.number, last.number) == (2, 3)
    assert "not UTF-8" in bad.reason


def test_parquet_that_is_damaged_is_an_error_or_a_bad_row_at_the_end(put, put_parquet):
    content = put_parquet({"prompt": ["x" * 30, "y"] * 50}, compression="none").read_bytes()
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        read(put(content[:-20], "a.parquet"))
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        read(put(b"PAR1", "a.csv"))
    path = put(content[:4] + b"\xff" * 60 + content[64:], "a.parquet")
    assert "cannot be read beyond this" in read(path)[-1].reason


def test_parquet_may_be_packed_or_come_from_a_pipe(put, put_parquet, monkeypatch):
    content = put_parquet({"prompt": ["x"]}).read_bytes()
    path = put(gzip.compress(content), "a.parquet.gz")
    assert prompts(read(path)) == ["x"]
    assert count_rows(path) == 1
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert prompts(read("-")) == ["x"]


def test_parquet_without_its_extra_is_an_error_with_the_remedy(put_parquet, monkeypatch):
    path = put_parquet({"prompt": ["x"]})
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(InputError, match="needs PyArrow; install the extra 'tables'"):
        read(path)
