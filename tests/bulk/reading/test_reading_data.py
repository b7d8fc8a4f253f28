"""Rows of data sets and exports: none is sent as it is, and the error says which option fits."""

import json
import re
import shlex

import pytest

from callsheet.bulk.reading.errors import InputError
from callsheet.bulk.reading.opening import open_rows
from callsheet.bulk.reading.settings import ReadSettings
from callsheet.bulk.row import BadRow, Row

HUMAN = {"from": "human", "value": "Hi"}
ASSISTANT = {"from": "gpt", "value": "Ho"}
USER = {"role": "user", "content": "Hi"}


@pytest.fixture
def put(tmp_path):
    def write(content, name="data.jsonl"):
        path = tmp_path / name
        if not isinstance(content, str):
            content = "".join(json.dumps(line) + "\n" for line in content)
        path.write_text(content)
        return path

    return write


def read(source, **settings):
    with open_rows(source, ReadSettings(**{"chat_model": "m"} | settings)) as rows:
        return list(rows)


ROWS = {
    "Alpaca": (
        {"instruction": "Translate", "input": "dog", "output": "chien"},
        "--template '{{ instruction }} {{ input }}'",
    ),
    "Alpaca without input": ({"instruction": "Sing", "output": "la"}, "'{{ instruction }}'"),
    "ShareGPT": ({"conversations": [HUMAN, ASSISTANT]}, "'{{ conversations[0].value }}'"),
    "ShareGPT with a system message": (
        {"conversations": [{"from": "system", "value": "x"}, HUMAN]},
        "'{{ conversations[1].value }}'",
    ),
    "conversations with roles": ({"conversations": [USER]}, "--map messages=conversations"),
    "LMSYS": ({"conversation_id": "a", "conversation": [USER]}, "--map messages=conversation"),
    "Langfuse, text": ({"id": "a", "input": "x", "expectedOutput": "y"}, "--map prompt=input"),
    "Langfuse, chat": ({"input": [USER], "traceId": "t"}, "--map messages=input"),
    "Langfuse, request": ({"input": {"messages": [USER]}, "traceId": "t"}, "--map messages=input"),
    "Langfuse, values": ({"input": {"q": "x"}, "datasetName": "d"}, "'{{ input.q }}'"),
    "preferences": ({"prompt": "x", "chosen": "y", "rejected": "z"}, "--map prompt=prompt"),
    "preferences of chats": (
        {"prompt": [USER], "chosen": [], "rejected": []},
        "--map messages=prompt",
    ),
    "UltraChat": (
        {"prompt": "x", "prompt_id": "1", "messages": [USER]},
        "--map messages=messages",
    ),
    "completions of a model": (
        {"prompt": "x", "model": "davinci", "completion": "y"},
        "--map prompt=prompt",
    ),
    "reviews": ({"id": 1, "Review Text": "x", "stars": 5}, """'{{ row["Review Text"] }}'"""),
    "questions": ({"context": "long text", "question": "x"}, "--template '{{ question }}'"),
    "an input beside data": ({"input": "x", "target": "y"}, "--template '{{ input }}'"),
    "OpenAI's evals": ({"input": [USER], "ideal": "Ho"}, "--map messages=input"),
    "a prompt by another name": ({"Prompt": "x", "Notes": "a longer text"}, "'{{ Prompt }}'"),
    "results of OpenAI": (
        {"id": "a", "custom_id": "r", "response": {"status_code": 200}, "error": None},
        "it looks like a result of a batch; give the file with its requests",
    ),
    "results of Anthropic": (
        {"custom_id": "r", "result": {"type": "succeeded"}},
        "it looks like a result of a batch",
    ),
    "numbers": ({"a": 1, "b": [2]}, "set a template, or map the prompt"),
}


@pytest.mark.parametrize(("row", "advice"), ROWS.values(), ids=ROWS)
def test_a_row_of_data_is_refused_with_the_option_that_fits(put, row, advice):
    with pytest.raises(InputError, match=re.escape(advice)) as caught:
        read(put([row] * 3))
    assert "its first 3 rows are not valid; row 1" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("row", "advice"), ROWS.values(), ids=ROWS)
def test_the_option_that_is_advised_reads_the_row(put, row, advice):
    found = re.search(r"--template '(.+)'|--map (\w+)=(\S+)|'(\{\{.+\}\})'", advice)
    if found is None:
        return
    template, field, column, bare = found.groups()
    settings = {"fields": {field: column}} if field else {"template": template or bare}
    (read_row,) = read(put([row]), **settings)
    assert isinstance(read_row, Row), read_row
    assert read_row.url == "/v1/chat/completions"


def test_a_row_of_data_never_becomes_an_embedding(put):
    """Entry 3: an input is for a vector only in a body of embeddings with a model of its own."""
    with pytest.raises(InputError, match="name a model of embeddings for such rows"):
        read(put([{"input": "x"}]))
    (row,) = read(put([{"input": "x"}]), model="text-embedding-3-small")
    assert row.request.task == "embedding"
    (row,) = read(put([{"input": "x", "model": "e", "dimensions": 8, "id": 7}]))
    assert (row.request.task, row.custom_id) == ("embedding", "7")


def test_data_among_requests_is_a_bad_row(put):
    row, bad = read(put([{"prompt": "x"}, {"input": "dog", "output": "chien"}]))
    assert isinstance(row, Row)
    assert isinstance(bad, BadRow)
    assert "the line is not clearly a request: it has input, output; " in bad.reason


def test_an_input_is_refused_only_if_its_first_rows_all_have_such_a_fault(put):
    text, row = {"text": "x"}, {"prompt": "x"}
    assert len(read(put([*[text] * 9, row]))) == 10
    with pytest.raises(InputError, match="its first 10 rows are not valid"):
        read(put([*[text] * 10, row]))
    empty = read(put([{"prompt": ""}] * 20))  # another fault than that of the whole input
    assert {bad.reason for bad in empty} == {"the prompt is empty"}


def test_a_table_without_a_prompt_is_refused_with_the_option_that_fits(put):
    for content, advice in [
        ("instruction,input,output\na,b,c\n", "'{{ instruction }} {{ input }}'"),
        ("n,Review Text\n1,x\n", """'{{ row["Review Text"] }}'"""),
        ("n,short,long\n1,x,a longer text\n", "'{{ long }}'"),
    ]:
        with pytest.raises(InputError, match=re.escape(advice)):
            read(put(content, "data.csv"))


@pytest.mark.parametrize(
    ("template", "advice"),
    [
        ("{{ text }}", "write Text"),
        ("{{ Review }}", 'write row["Review Text"]'),
        ("{{ row.Review }}", 'write row["Review Text"]'),
        ("{{ Review_Text }}", 'write row["Review Text"]'),
        ("{{ review_text }}", 'write row["Review Text"]'),
        ("{{ row['Review Texts'] }}", 'write row["Review Text"]'),
    ],
)
def test_a_column_of_another_spelling_is_named(put, template, advice):
    path = put("Text,Review Text\na,b\n", "data.csv")
    words = f"{advice}: --template '{{{{ {advice.removeprefix('write ')} }}}}'"
    with pytest.raises(InputError, match=re.escape(words) + "$"):
        read(path, template=template)


@pytest.mark.parametrize(
    ("template", "whole"),
    [
        ("Say {{ text|upper }} {# text #}text", 'Say {{ row["A b"]|upper }} {# text #}text'),
        (
            "{% if text == 'text' %}{{ text }}{% endif %}",
            """{% if row["A b"] == 'text' %}{{ row["A b"] }}{% endif %}""",
        ),
        ("{{ text }}\n{{ id }}", None),
        ("{{ text }}" + " " * 200, None),
    ],
)
def test_the_whole_option_is_given_where_it_fits_on_the_line(put, template, whole):
    path = put("id,A b\n1,x\n", "data.csv")
    with pytest.raises(InputError, match='"text" for the template, it has id, A b; ') as caught:
        read(path, template=template)
    _, _, told = str(caught.value).partition('for the column "A b" write row["A b"]')
    assert shlex.split(told) == ([] if whole is None else [":", "--template", whole])


@pytest.mark.parametrize("name", ["Review Text", "What is it?", "a b c"])
def test_a_template_that_names_a_column_with_a_space_is_told_how(name):
    with pytest.raises(ValueError, match=re.escape(f'write {{{{ row["{name}"] }}}} for a column')):
        ReadSettings(template=f"Label this: {{{{ {name} }}}}.")


@pytest.mark.parametrize(
    ("template", "advice"),
    [
        ("{{ row.Review Text }}", 'write {{ row["Review Text"] }} for a column'),
        ("{{ Review Text | upper }}", 'write {{ row["Review Text"] }} for a column'),
        ("{% if Review Text %}x{% endif %}", 'write row["Review Text"] for a column'),
        ("{{ n }}: {{ 2nd }}", 'write {{ row["2nd"] }} for a column'),
        ("{{ n + }}", None),
        ("{% if n and %}x{% endif %}", None),
        ("{{ name ", None),
    ],
)
def test_siblings_of_a_bare_name_are_told_how_and_other_faults_are_not(template, advice):
    with pytest.raises(ValueError, match="template: ") as caught:
        ReadSettings(template=template)
    if advice is None:
        assert "write" not in str(caught.value)
    else:
        assert advice in str(caught.value)


def test_a_template_names_columns_by_row_too(put):
    path = put("a b,c,c\n1,2,3\n", "data.csv")
    (row,) = read(path, template='{{ row["a b"] }}')
    assert row.request.messages[0].content == "1"
    with pytest.raises(InputError, match='has no column "a c" for the template'):
        read(path, template='{{ row["a c"] }}')
    with pytest.raises(InputError, match='two columns "c"; rename one of them'):
        read(path, template='{{ row["c"] }}')


def test_a_chat_may_be_a_column(put):
    chats = [
        [HUMAN, ASSISTANT, HUMAN],
        [USER],
        {"messages": [USER]},
        json.dumps([USER]),
        [{"role": "user", "content": "Hi", "name": None, "tool_calls": None}],
    ]
    rows = read(put([{"chat": chat} for chat in chats]), fields={"messages": "chat"})
    assert [len(row.request.messages) for row in rows] == [3, 1, 1, 1, 1]
    assert {row.request.messages[0].content for row in rows} == {"Hi"}
    assert rows[0].request.messages[1].role == "assistant"
    (row,) = read(put([{"chat": [USER]}]), fields={"messages": "chat"}, system="Be brief.")
    assert [message.role for message in row.request.messages] == ["system", "user"]


@pytest.mark.parametrize("chat", ["x", 7, [], {}, [3], "[", None])
def test_a_column_that_is_no_chat_is_a_bad_row(put, chat):
    _, bad = read(put([{"chat": [USER]}, {"chat": chat}]), fields={"messages": "chat"})
    assert isinstance(bad, BadRow)
    assert "chat" in bad.reason


@pytest.mark.parametrize(
    "value", [("7", "7"), (7, "7"), (7.5, "7.5"), (1.0, "1.0"), (True, "true")]
)
def test_a_prompt_that_is_a_number_is_its_text(put, value):
    given, text = value
    (row,) = read(put([{"prompt": given}]))
    assert row.request.messages[0].content == text


def test_the_usual_model_is_said_once(put):
    remarks = []
    lines = [{"prompt": "x", "model": "own"}, {"prompt": "x"}, {"prompt": "y"}]
    settings = ReadSettings(chat_model="usual", fields={"prompt": "prompt"})
    with open_rows(put(lines), settings, remarks.append) as rows:
        assert [row.request.model for row in rows] == ["own", "usual", "usual"]
    assert remarks == ["Rows that name no model use usual (see --model)."]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"ARROW1\0\0", "is an Arrow file; write it as Parquet"),
        (b"SQLite format 3\0", "is an SQLite database; write a table of it as CSV"),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "is a pointer of Git LFS and not the file",
        ),
        (b'<table border="1" class="dataframe">', "is the table of a web page; save it as CSV"),
        (b"<!DOCTYPE html><html>", "is a web page and not a table"),
        (b"\x80\x04\x95abc", "is a pickle of Python"),
        (b"x" * 257 + b"ustar", "is a tar archive; unpack it"),
    ],
)
@pytest.mark.parametrize("name", ["data.csv", "data.jsonl", "data"])
def test_a_file_of_another_kind_is_refused_by_what_it_is(tmp_path, content, said, name):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=said):
        read(path)
