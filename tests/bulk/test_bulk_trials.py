"""What people who tried `callsheet run` had in their hands, through the command line.

Each test names the entry of the trial that it keeps from coming back.
"""

import csv
import itertools
import json
import shlex

import pytest
from bulk_processes import run_here
from bulk_rows import MODEL, ids_of, lines_of

pytestmark = pytest.mark.sockets

ASK = [{"role": "user", "content": "Say hi."}]


@pytest.fixture
def run(quick_provider, output):
    def run(source, *options, output=output, status=0):
        return run_here(source, output, "--base-url", quick_provider, *options, status=status)

    return run


def put(path, rows):
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def batch_line(url, body):
    return {"custom_id": "a", "method": "POST", "url": url, "body": body}


def test_a_store_of_no_bytes_beside_a_full_output_is_no_new_one(
    run, source, output, stats, quick_provider
):
    """files.md, 1: it cut OUTPUT to ten lines, and paid for them again."""
    put(source, [{"prompt": f"Say {n}."} for n in range(60)])
    run(source)
    written, before = output.read_bytes(), stats(quick_provider)["requests"]
    store = output.with_name("out.jsonl.callsheet")
    store.write_bytes(b"")
    put(source, [{"prompt": f"Say {n}."} for n in range(10)])
    assert "the file is empty" in run(source, status=2)
    assert output.read_bytes() == written
    assert stats(quick_provider)["requests"] == before


def test_rows_of_a_data_set_become_no_embeddings(run, source, output, stats, quick_provider):
    """files.md, 3: a vector was in OUTPUT, and the exit status was 0."""
    put(source, [{"instruction": "Translate", "input": "dog", "output": "chien"}])
    before = stats(quick_provider)["requests"]
    told = run(source, "--model", MODEL, status=2)
    assert "give --template '{{ instruction }} {{ input }}'" in told
    assert stats(quick_provider)["requests"] == before
    assert not output.exists()


@pytest.mark.parametrize(
    ("row", "options", "member"),
    [
        (
            batch_line("/v1/responses", {"model": MODEL, "input": "Say hi."}),
            (),
            "response",
        ),
        (
            batch_line("/v1/moderations", {"model": "omni-moderation-latest", "input": "Hi."}),
            (),
            "response",
        ),
        (
            batch_line("/v1/embeddings", {"model": "text-embedding-3-small", "input": "Hi."}),
            (),
            "response",
        ),
        (
            {
                "custom_id": "a",
                "params": {"model": "claude-haiku-4-5", "max_tokens": 9, "messages": ASK},
            },
            (),
            "result",
        ),
        (
            {"key": "a", "request": {"contents": [{"parts": [{"text": "Say hi."}]}]}},
            ("--model", "gemini-2.5-flash"),
            "response",
        ),
    ],
    ids=["responses", "moderations", "embeddings", "anthropic", "gemini"],
)
def test_batch_files_of_providers_run_and_are_answered_in_their_shape(
    run, source, output, *, row, options, member
):
    """files.md, 4: each line of them was a bad row."""
    run(put(source, [row]), *options)
    (answer,) = lines_of(output)
    assert answer[member]
    assert answer.get("custom_id", answer.get("key")) == "a"


def test_parquet_with_chats_and_ids_of_pandas(run, tmp_path, output):
    """files.md, 4 and 7: a column of messages, and ids that pandas has made floats."""
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    source = tmp_path / "in.parquet"
    parquet.write_table(arrow.table({"id": [1.0, 2.0], "messages": [ASK, ASK]}), source)
    run(source)
    assert ids_of(output) == ["1", "2"]


@pytest.mark.parametrize(
    ("values", "prompts"),
    [
        ([0.5, 1.0], ["0.5", "1.0"]),
        ([True, False], ["true", "false"]),
        pytest.param([0, 7], ["0", "7"], marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet", "xlsx"])
def test_a_prompt_that_is_a_number_is_its_text(run, tmp_path, values, prompts, suffix):
    """files.md, 7: prompts of numbers were bad rows."""
    source, output = tmp_path / f"in.{suffix}", tmp_path / "out.csv"
    if suffix == "csv":
        source.write_text("\n".join(["n,prompt", *(f"1,{prompt}" for prompt in prompts)]))
    elif suffix == "jsonl":
        put(source, [{"prompt": value} for value in values])
    elif suffix == "parquet":
        arrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(arrow.table({"prompt": values}), source)
    else:
        workbook = pytest.importorskip("openpyxl").Workbook()
        for value in ["prompt", *values]:
            workbook.active.append([value])
        workbook.save(source)
    run(source, output=output)
    with output.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["error"] for row in rows] == ["", ""]
    assert all(row["text"] for row in rows)


def test_from_a_table_to_labels_is_one_command(run, tmp_path):
    """files.md, 5: labels came as prose in the fifth member of a line of JSON."""
    source, labels = tmp_path / "reviews.csv", tmp_path / "labels.csv"
    source.write_text("Review Text;stars\nGood;5\nBad, sadly;1\n")
    run(
        source,
        *("--template", '{{ row["Review Text"] }}', "--system", "Label the review."),
        *("--schema", "label: positive|negative|neutral, score: 0..1"),
        output=labels,
    )
    with labels.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["Review Text"], row["stars"]) for row in rows] == [
        ("Good", "5"),
        ("Bad, sadly", "1"),
    ]
    for row in rows:
        assert row["label"] in {"positive", "negative", "neutral"}
        assert 0 <= float(row["score"]) <= 1
        assert float(row["cost_usd"]) > 0


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("semicolons.csv", b"id;prompt\n1;Hi\n2;Ho\n", ()),
        ("latin.csv", "prompt\nD\xe9j\xe0 vu\nIns\xe9cable\n".encode("latin-1"), ()),
        ("mac.csv", "prompt\nD\xe9j\xe0 vu\nHi\n".encode("mac-roman"), ("--encoding", "mac-roman")),
        ("pretty.json", json.dumps([{"prompt": "Hi"}] * 2, indent=4).encode(), ()),
        ("pandas.csv", b",prompt,n\n0,Hi,1\n1,Ho,2\n", ()),
    ],
)
def test_what_had_a_message_without_a_remedy_runs(run, tmp_path, output, *, name, content, options):
    """files.md, 2 and 6: a delimiter, an encoding, a pretty list, an index, no model."""
    source = tmp_path / name
    source.write_bytes(content)
    told = run(source, *options)
    assert len(ids_of(output)) == 2
    assert "Rows that name no model use " in told


def test_a_template_that_names_a_column_with_a_space_is_told_how(run, tmp_path):
    """files.md, 6: "expected token 'end of print statement'" alone."""
    source = tmp_path / "reviews.csv"
    source.write_text("Review Text\nGood\n")
    told = run(source, "--template", "{{ Review Text }}", status=2)
    assert 'write {{ row["Review Text"] }} for a column of that name' in told
    assert """: --template '{{ row["Review Text"] }}'\n""" in told


@pytest.mark.parametrize(
    ("template", "system"),
    [
        ("Label {{ Review Text }}!", "Be brief."),
        ("Label {{ text }}!", "Be brief."),
        ("Label {{ row.Review_Text }}!", "Be brief."),
        ('Label {{ row["Review Text"] }}!', "Speak of {{ reviewtext }}."),
    ],
)
def test_the_option_that_an_error_gives_can_be_typed(run, tmp_path, output, template, system):
    source = tmp_path / "reviews.csv"
    source.write_text("Review Text,stars\nGood,5\n")
    options = {"--template": template, "--system": system}
    told = run(source, *itertools.chain(*options.items()), status=2).replace("\n", "")
    name, value = shlex.split(told[told.rindex(": --") + 2 :])
    assert options[name] != value
    run(source, *itertools.chain(*(options | {name: value}).items()))
    assert len(ids_of(output)) == 1
