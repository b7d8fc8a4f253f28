"""Whole inputs: how their format is detected, which errors they have, and how they are counted."""

import gzip
import io
import json
import os
import sys
import threading
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import ChatMessage
from callsheet.bulk.reading.errors import InputError
from callsheet.bulk.reading.opening import count_rows, open_rows
from callsheet.bulk.reading.settings import ReadSettings
from callsheet.bulk.row import BadRow, Row

BODY = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
LINE = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": BODY}


@pytest.fixture
def put(tmp_path):
    def write(content, name="input.jsonl"):
        path = tmp_path / name
        if isinstance(content, list):
            content = "".join(json.dumps(line) + "\n" for line in content)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.fixture
def stdin(monkeypatch):
    def give(content):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    return give


def read(source, **settings):
    with open_rows(source, ReadSettings(**settings)) as rows:
        return list(rows)


def prompts(rows):
    assert all(isinstance(row, Row) for row in rows), rows
    return [row.request.messages[-1].content for row in rows]


def reason(rows):
    (row,) = rows
    assert isinstance(row, BadRow)
    return row.reason


def test_a_line_of_a_batch_is_a_row(put):
    (row,) = read(put([LINE]))
    assert (row.number, row.custom_id, row.url) == (1, "a", "/v1/chat/completions")
    assert row.request.model == "m"
    assert row.request.messages == (ChatMessage("user", "Hi"),)


def test_a_row_without_an_id_is_called_by_its_line(put):
    rows = read(put("\n\n" + json.dumps(BODY) + "\n"))
    assert [(row.number, row.custom_id) for row in rows] == [(3, "row-3")]


@pytest.mark.parametrize("content", ["", "\n", " \r\n\n", "\ufeff", "\ufeff\n"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a"])
def test_an_empty_input_has_no_rows(put, content, name):
    path = put(content, name)
    assert read(path) == []
    assert count_rows(path) == 0


def test_the_last_line_needs_no_end(put):
    assert len(read(put(json.dumps(LINE)))) == 1


def test_a_byte_order_mark_is_passed_over(put):
    assert len(read(put("\ufeff" + json.dumps(LINE) + "\n"))) == 1
    assert prompts(read(put("\ufeffprompt\nHi\n", "a.csv"), model="m")) == ["Hi"]


@pytest.mark.parametrize("name", ["input.jsonl", "input.jsonl.gz", "input"])
def test_gzip_is_known_by_its_bytes(put, name):
    path = put(gzip.compress(json.dumps(LINE).encode()) + gzip.compress(b"\n\n"), name)
    assert len(read(path)) == 1
    assert count_rows(path) == 1


def test_a_file_that_is_only_called_gz_is_read_as_it_is(put):
    assert len(read(put([LINE], "input.jsonl.gz"))) == 1


def test_truncated_gzip_is_reported_after_its_rows(put):
    lines = [dict(LINE, custom_id=os.urandom(30).hex()) for _ in range(2000)]
    packed = gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode())
    *rows, last = read(put(packed[: len(packed) // 2]))
    assert rows
    assert isinstance(last, BadRow)
    assert "cannot be read beyond this" in last.reason
    assert last.number in (len(rows), len(rows) + 1)


def test_gzip_that_is_none_is_an_error(put):
    with pytest.raises(InputError, match=r"cannot read .*input\.jsonl"):
        read(put(b"\x1f\x8bnot really"))


def test_standard_input_is_read_packed_or_not(stdin):
    data = json.dumps(LINE).encode()
    for content in (data, gzip.compress(data)):
        stdin(content)
        assert len(read("-")) == 1
    stdin(b"prompt\nHi\n")
    assert prompts(read("-", model="m")) == ["Hi"]
    assert count_rows("-") is None


def test_standard_input_that_is_closed_is_an_error(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InputError, match="no standard input"):
        read("-")


def test_a_pipe_that_comes_in_single_bytes_is_read_as_it_is(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    content = gzip.compress(json.dumps(LINE).encode() + b"\n")

    def trickle():
        with pipe.open("wb", buffering=0) as file:
            for byte in content:
                file.write(bytes([byte]))

    assert count_rows(pipe) is None
    writer = threading.Thread(target=trickle)
    writer.start()
    assert len(read(pipe)) == 1
    writer.join()


@pytest.mark.parametrize("name", ["missing.jsonl", "", "nul\0"])
def test_what_cannot_be_opened_is_an_error_of_one_line(tmp_path, name):
    for ask in (read, count_rows):
        with pytest.raises(InputError, match="cannot read") as caught:
            ask(str(tmp_path / name))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_what_windows_calls_unicode_is_read(put, encoding):
    path = put(json.dumps(LINE).encode(encoding))
    assert len(read(path)) == count_rows(path) == 1


def test_invalid_utf_8_is_a_bad_row_with_its_byte(put):
    good = json.dumps({"prompt": "caf\u00e9"}, ensure_ascii=False).encode()
    bad, row = read(put(b'{"prompt": "caf\xe9"}\n' + good + b"\n"), model="m")
    assert bad.number == 1
    assert "byte 16 of the line, 0xe9, is not UTF-8" in bad.reason
    assert bad.text == '{"prompt": "caf\ufffd"}'
    assert row.number == 2


def test_a_line_that_is_too_long_is_passed_over_without_being_held(put):
    size = 20_000_000
    path = put(json.dumps(LINE) + "\n" + "x" * size + "\n" + json.dumps(BODY))
    tracemalloc.start()
    first, bad, last = read(path, max_line_bytes=100_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert bad.reason == f"the line has {size + 1:,} bytes; the maximum (max_line_bytes) is 100,000"
    assert bad.text == "x" * 200
    assert (first.number, bad.number, last.number) == (1, 2, 3)
    assert peak < 5_000_000


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_line_may_have_just_as_many_bytes_as_are_allowed(put, end):
    line = json.dumps(LINE)
    assert isinstance(*read(put(line + end), max_line_bytes=len(line)), Row)
    assert isinstance(*read(put(line + end), max_line_bytes=len(line) - 1), BadRow)


def test_a_repeated_id_in_a_table_comes_with_a_remedy(tmp_path):
    path = tmp_path / "reviews.csv"
    path.write_text("id,prompt,review\n1,Hi,a\n1,Ho,b\n")
    first, bad = read(path, model="m")
    assert (first.custom_id, bad.custom_id) == ("1", "1")
    remedy = ": name another column (--map id=COLUMN), or let rows be numbered (--map id=)"
    assert bad.reason.endswith(f"unique{remedy}")
    numbered = read(path, model="m", fields={"id": ""})
    assert [one.custom_id for one in numbered] == ["row-1", "row-2"]
    assert [one.custom_id for one in read(path, model="m", fields={"id": "review"})] == ["a", "b"]


def test_a_repeated_id_is_a_bad_row_that_names_the_first(put):
    first, other, bad = read(put([LINE, dict(LINE, custom_id="b"), LINE]))
    assert (first.custom_id, other.custom_id) == ("a", "b")
    assert (bad.number, bad.custom_id) == (3, "a")
    assert bad.reason == "row 1 has the id 'a' already; ids must be unique"


def test_an_id_like_those_that_are_made_is_no_rows_but_its_own(put):
    _, bad = read(put([BODY, dict(LINE, custom_id="row-1")]))
    assert "row 1 has the id 'row-1' already" in bad.reason
    _, bad = read(put([dict(LINE, custom_id="row-2"), BODY]))
    assert "row 1 has the id 'row-2' already" in bad.reason
    assert len(prompts(read(put([dict(LINE, custom_id="row-7"), BODY])))) == 2


@pytest.mark.parametrize(
    ("value", "wanted"),
    [("x", "x"), (7, "7"), (None, "row-1"), ("", "row-1"), ("caf\u00e9\n", "caf\u00e9\n")],
)
def test_an_id_is_a_text_or_a_whole_number(put, value, wanted):
    assert [row.custom_id for row in read(put([dict(LINE, custom_id=value)]))] == [wanted]


@pytest.mark.parametrize("value", [1.5, True, [], {}, "x" * 513])
def test_another_id_is_refused(put, value):
    *_, bad = read(put([LINE, dict(LINE, custom_id=value)]))
    assert '"custom_id"' in bad.reason
    with pytest.raises(InputError, match='"custom_id"'):
        read(put([dict(LINE, custom_id=value)]))


def test_the_id_may_have_another_name(put):
    path = put([{"uid": "u", "id": 1, **BODY}, BODY])
    row, bad = read(path, fields={"id": "uid"})
    assert row.custom_id == "u"
    assert row.request.extra_body == {"id": 1}
    assert bad.reason == 'the row has no "uid", the column of the id'


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (json.dumps(BODY) + "\n\n" + json.dumps(BODY) + "\nbad\n", "a.jsonl"),
        ('prompt,b\n1,2\n\n"x\n\n""y""",3\n4,5', "a.csv"),
        ("", "a.csv"),
        ("prompt,b\n", "a.csv"),
    ],
)
def test_rows_are_counted_as_they_are_read(put, content, name):
    path = put(content, name)
    assert count_rows(path) == len(read(path, model="m"))


def test_the_format_is_detected_by_first_bytes_then_name_then_content(put):
    assert prompts(read(put("prompt\nHi\n", "data"), model="m")) == ["Hi"]
    assert prompts(read(put("prompt\nHi\n", "data.csv.gz"), model="m")) == ["Hi"]
    assert prompts(read(put("prompt\tb\nHi\t1\n", "data.tsv"), model="m")) == ["Hi"]
    assert prompts(read(put("\n " + json.dumps(BODY), "data"))) == ["Hi"]
    for path, form in ((put("prompt\nHi\n", "data.jsonl"), "auto"), (put("a\n"), "jsonl")):
        with pytest.raises(InputError, match="not JSON"):
            read(path, form=form)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("form", "xml"),
        ("model", ""),
        ("max_tokens", 0),
        ("temperature", 3),
        ("template", "{{ a"),
        ("template", "{% include 'a' %}"),
        ("system", "{{ a | nonsense }}"),
        ("fields", {"topic": "a"}),
        ("fields", {"prompt": ""}),
        ("deadline", 0),
        ("delimiter", ""),
        ("delimiter", '"'),
        ("max_line_bytes", 0),
    ],
)
def test_settings_out_of_range_are_refused_by_name(field, value):
    with pytest.raises((ValueError, TypeError), match=field):
        ReadSettings(**{field: value})


def test_a_column_and_a_template_for_the_same_are_refused():
    with pytest.raises(ValueError, match="'prompt' is mapped, but template is set"):
        ReadSettings(template="{{ a }}", fields={"prompt": "b"})


@given(st.binary(), st.sampled_from(["auto", "jsonl", "csv"]), st.booleans())
def test_no_bytes_make_it_raise_anything_but_an_input_error(tmp_path_factory, data, form, packed):
    path = tmp_path_factory.mktemp("any") / "data"
    path.write_bytes(gzip.compress(data) if packed else data)
    try:
        rows = read(path, form=form, model="m")
        counted = count_rows(path, ReadSettings(form=form))
    except InputError:
        return
    numbers = [row.number for row in rows]
    assert numbers == sorted(set(numbers))
    if form == "jsonl":
        assert counted == len(rows)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "model",
                    "messages",
                    "prompt",
                    "input",
                    "body",
                    "url",
                    "method",
                    "custom_id",
                    "id",
                    "stop",
                    "n",
                    "seed",
                    "role",
                    "content",
                    "temperature",
                    "max_tokens",
                    "response_format",
                    "type",
                    "json_schema",
                    "schema",
                    "text",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=15,
)


@given(st.lists(JSON, max_size=4), st.sampled_from([None, "{{ prompt }}", "{{ row.body.x }}"]))
def test_no_json_makes_it_raise(tmp_path_factory, values, template):
    path = tmp_path_factory.mktemp("any") / "data.jsonl"
    lines = [{"prompt": "x", "body": {**BODY, "x": "y"}}, *values]
    path.write_text("".join(json.dumps(value) + "\n" for value in lines))
    assert len(read(path, model="m", template=template)) == len(lines)


def test_deep_nesting_is_a_bad_row_or_read(put):
    for depth in (10, 200, 500, 5_000, 200_000):
        nested = '{"prompt": "x", "model": "m", "deep": ' + "[" * depth + "]" * depth + "}"
        _, row = read(put(json.dumps(BODY) + "\n" + nested))
        assert isinstance(row, Row if depth < 300 else (Row, BadRow))


ALL = "{{ text }} {{ z }} {{ y }}"


def test_a_value_that_json_cannot_express_is_a_bad_row(put):
    for value in ("-Infinity", "1e999"):
        with pytest.raises(InputError, match="not JSON: it has an infinite number; write null"):
            read(put(f'{{"prompt": "x", "y": {value}}}'))


def test_nan_is_null_as_in_a_table(put):
    """Python's json writes it for what pandas lacks."""
    (row,) = read(put('{"text": "x", "y": NaN, "z": [{"w": NaN}]}'), model="m", template=ALL)
    assert prompts([row]) == ['x [{"w": null}]']


def test_a_number_beyond_64_bits_in_the_wrong_place_is_a_bad_row(put):
    line = r'{"custom_id": "\ud800", "messages": %s}' % (2**70)
    assert str(2**70) in reason(read(put(line), model="m"))


def test_half_a_surrogate_pair_is_read_as_a_question_mark(put):
    assert prompts(read(put(r'{"prompt": "x\ud83d"}'), model="m")) == ["x?"]
