"""JSON in all the forms that programs write it: lines, lists, and objects over several lines."""

import bz2
import gzip
import io
import json
import lzma
import sys
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callsheet.bulk.reading.errors import BadLine, InputError
from callsheet.bulk.reading.json_values import json_values
from callsheet.bulk.reading.opening import count_rows, open_rows
from callsheet.bulk.reading.settings import ReadSettings
from callsheet.bulk.row import BadRow

RECORDS = [{"prompt": 'a "quoted" ] text', "id": 1}, {"prompt": "b\n{", "id": 2}]


@pytest.fixture
def put(tmp_path):
    def write(content, name="input.json"):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def read(source, **settings):
    with open_rows(source, ReadSettings(**{"model": "m"} | settings)) as rows:
        return list(rows)


def prompts(rows):
    return [row.request.messages[-1].content for row in rows]


FORMS = {
    "a list on one line": json.dumps(RECORDS),
    "a list that is indented": json.dumps(RECORDS, indent=2),
    "a list with a line for each": "[\n" + ",\n".join(map(json.dumps, RECORDS)) + "\n]\n",
    "objects that are indented": "\n".join(json.dumps(it, indent=4) for it in RECORDS),
    "objects with tabs": "\n".join(json.dumps(it, indent="\t") for it in RECORDS),
    "lines": "\n".join(map(json.dumps, RECORDS)),
    "lines with blank ones": "\n\n".join(map(json.dumps, RECORDS)),
    "a sequence (RFC 7464)": "".join(f"\x1e{json.dumps(it)}\n" for it in RECORDS),
    "a list with a mark": "\ufeff" + json.dumps(RECORDS),
    "a list of data": json.dumps({"data": RECORDS, "meta": {"page": 1}}, indent=1),
    "rows of pandas": json.dumps({str(at): it for at, it in enumerate(RECORDS)}, indent=1),
    "rows of a viewer": json.dumps({"rows": [{"row_idx": 0, "row": it} for it in RECORDS]}),
}


NAMES = ("input.json", "input.jsonl", "input")
# Only its name says of a sequence that it is JSON.
NAMED = [(form, name) for form in FORMS for name in NAMES if "7464" not in form or "." in name]


@pytest.mark.parametrize(("form", "name"), NAMED)
def test_json_of_every_form_is_read(put, form, name):
    path = put(FORMS[form], name)
    rows = read(path)
    assert prompts(rows) == [it["prompt"] for it in RECORDS]
    assert [row.custom_id for row in rows] == ["1", "2"]
    assert count_rows(path) == 2


def zstd(data):
    library = pytest.importorskip("backports.zstd")
    return library.compress(data)


@pytest.mark.parametrize(
    ("pack", "name"),
    [
        (gzip.compress, "gz"),
        (bz2.compress, "bz2"),
        (lzma.compress, "xz"),
        (zstd, "zst"),
        (lambda data: zstd(data[:9]) + zstd(data[9:]), "zst"),
    ],
)
def test_packed_inputs_are_unpacked(put, pack, name, monkeypatch):
    data = FORMS["lines"].encode()
    for path in (put(pack(data), f"input.jsonl.{name}"), put(pack(data), "input")):
        assert len(prompts(read(path))) == count_rows(path) == 2
    csv = put(pack(b"prompt;n\nHi;1\n"), f"input.csv.{name}")
    assert prompts(read(csv)) == ["Hi"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(pack(data))))
    assert len(prompts(read("-"))) == 2


def test_a_template_writes_values_as_the_file_has_them(put):
    source = put('{"flag": true, "tags": ["a", null], "none": null}\n')
    template = "{{ flag }} {{ row.flag }} {{ tags }} {{ none }}."
    assert prompts(read(source, template=template)) == ['true true ["a", null] .']


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zstd])
def test_a_packed_input_that_is_cut_ends_with_a_bad_row(put, pack):
    line = json.dumps({"prompt": "Say. " * 200}) + "\n"
    packed = pack((line * 1_200).encode() + bytes(range(256)) * 500)
    *rows, bad = read(put(packed[: len(packed) - 100], "input.jsonl"))
    assert isinstance(bad, BadRow)
    assert prompts(rows[:1]) == ["Say. " * 200]
    assert "cannot be read beyond this" in bad.reason or "not UTF-8" in bad.reason


def test_zstd_without_its_library_is_an_error_with_the_remedy(put, monkeypatch):
    monkeypatch.setitem(sys.modules, "backports.zstd", None)
    monkeypatch.setitem(sys.modules, "compression.zstd", None)
    with pytest.raises(InputError, match=r"needs backports\.zstd; install the extra 'tables'"):
        read(put(b"\x28\xb5\x2f\xfd....", "input.jsonl.zst"))


def test_an_object_in_a_list_that_is_bad_is_a_bad_row(put):
    first, bad, last = read(put('[{"prompt": "a"}, {"prompt": tru}, {"prompt": "c"}]'))
    assert prompts([first, last]) == ["a", "c"]
    assert bad.number == 2
    assert "not JSON" in bad.reason


def test_a_list_that_ends_early_is_a_bad_row(put):
    row, bad = read(put('[{"prompt": "a"}, {"prompt": "b'))
    assert prompts([row]) == ["a"]
    assert "not JSON" in bad.reason


def test_a_list_of_texts_is_refused_before_the_first_row(put):
    with pytest.raises(InputError, match="its first 2 rows are not valid; row 1: it must be a JSO"):
        read(put('["one", "two"]'))


def test_a_list_is_read_a_few_objects_at_a_time(put):
    record = json.dumps({"prompt": "x" * 10_000}, indent=1)
    path = put("[" + ",".join([record] * 1_000) + "]")
    tracemalloc.start()
    with open_rows(path, ReadSettings(model="m")) as rows:
        assert sum(1 for _ in rows) == 1_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8_000_000


def test_an_object_that_is_too_long_ends_the_reading(put):
    long = json.dumps({"prompt": "x" * 1000}, indent=1)
    row, bad = read(put(f'[{{"prompt": "a"}},\n{long}, {{"prompt": "c"}}]'), max_line_bytes=500)
    assert prompts([row]) == ["a"]
    assert "more than 500 bytes (max_line_bytes); the input is not read beyond it" in bad.reason


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


class Trickle(io.BytesIO):
    def read1(self, size=-1):
        return super().read1(min(size, 3))


@settings(max_examples=settings.default.max_examples // 2)
@given(st.lists(st.dictionaries(st.text(max_size=3), VALUES), min_size=1), st.integers(0, 2))
def test_a_list_is_divided_into_what_it_was_made_of(records, indent):
    text = json.dumps(records, indent=indent or None).encode()
    for stream in (io.BytesIO(text), Trickle(text)):
        found = list(json_values(stream, text, 10_000))
        assert [number for number, _ in found] == list(range(1, len(found) + 1))
        if not any(isinstance(one.get("data"), list) for one in records[:1]):
            assert [json.loads(value) for _, value in found] == records


@given(st.binary())
def test_no_bytes_make_it_raise_or_hang(data):
    for begin in (b"[", b"{\n"):
        for _, value in json_values(io.BytesIO(begin + data), begin, 100):
            assert isinstance(value, bytes | BadLine)


def test_an_integer_of_more_than_64_bits_is_exact_in_columns_and_refused_in_bodies(put):
    large, most = 2**64, 2**64 - 1
    lines = [{"id": large, "n": [-large, most, 1e30]}, {"id": large + 1, "n": [most]}]
    path = put("\n".join(map(json.dumps, lines)), "input.jsonl")
    rows = read(path, template="{{ n[0] }}", carries_columns=True)
    assert [row.custom_id for row in rows] == [str(large), str(large + 1)]
    assert prompts(rows) == [str(-large), str(most)]
    assert rows[0].columns["n"] == [str(-large), most, 1e30]

    body = {"model": "m", "messages": [{"role": "user", "content": f"{large}"}], "seed": most}
    good, bad = read(
        put("\n".join(json.dumps({**body, "seed": seed}) for seed in (most, large)), "b.jsonl")
    )
    assert good.request.seed == most
    assert isinstance(bad, BadRow)
    assert f"the integer {large} has more than 64 bits; write it as a text" in bad.reason
