"""Inputs of every format and with every fault, through `callsheet run`: output and files."""

import csv
import gzip
import json
import shutil
import subprocess
import sys

import pytest
from bulk_processes import run_here
from bulk_rows import MODEL, ids_of, lines_of, write_input
from click.testing import CliRunner

from callsheet.actors import default_recipe
from callsheet.cli import main

pytestmark = pytest.mark.sockets


@pytest.fixture
def run(quick_provider, output):
    def run(source, *options):
        arguments = [str(source), str(output), "--base-url", quick_provider, *options]
        result = CliRunner().invoke(main, ["run", *arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        assert "Traceback" not in result.output
        return result

    return run


@pytest.fixture
def errors(output):
    """Return the reported rows without a response: {number of the row: reason}."""

    def read():
        path = output.with_name("out.jsonl.errors.jsonl")
        found = lines_of(path) if path.exists() else []
        return {line["callsheet"]["row"]: line["error"]["message"] for line in found}

    return read


def line(custom_id, content="Hi."):
    body = {"model": MODEL, "messages": [{"role": "user", "content": content}], "max_tokens": 5}
    return json.dumps({"custom_id": custom_id, "url": "/v1/chat/completions", "body": body})


def test_invalid_lines_are_reported_and_the_others_get_responses(run, tmp_path, output, errors):
    source = tmp_path / "in.jsonl"
    flawed = [
        line("a").encode(),
        b'{"prompt": "caf\xe9"}',
        line("b").replace("Hi.", "Caf\u00e9.").encode(),
        line("a").encode(),
        b"[1, 2]",
        b"",
        line("c").encode(),
    ]
    source.write_bytes(b"\n".join(flawed))
    result = run(source)
    assert result.exit_code == 1
    assert ids_of(output) == ["a", "b", "c"]
    assert errors() == {
        2: "byte 16 of the line, 0xe9, is not UTF-8 (invalid continuation byte)",
        4: "row 1 has the id 'a' already; ids must be unique",
        5: errors()[5],
    }
    assert errors()[5].startswith("it must be a JSON object, not")
    assert f"3 rows failed, listed in {output}.errors.jsonl with the reason." in result.stderr


def test_strict_stops_at_the_first_flaw_with_what_was_answered_kept(run, tmp_path, output):
    source = tmp_path / "in.jsonl"
    source.write_text("\n".join([line("a"), "{no JSON", line("b")]))
    result = run(source, "--strict")
    assert result.exit_code == 1
    assert "row 2: the line is not JSON" in result.stderr
    assert set(ids_of(output)) <= {"a"}
    source.write_text("\n".join([line("a"), line("b")]))
    assert run(source, "--strict").exit_code == 0
    assert ids_of(output) == ["a", "b"]


def test_a_line_of_20_mb_is_reported_without_being_held_in_memory(run, tmp_path, output, errors):
    source = tmp_path / "in.jsonl"
    with source.open("w") as file:
        file.write(line("a") + "\n")
        file.write(line("long", "x" * 20_000_000) + "\n")
        file.write(line("b") + "\n")
    size = len(line("long")) + 20_000_000 - len("Hi.") + 1
    result = run(source)
    assert result.exit_code == 1
    assert ids_of(output) == ["a", "b"]
    assert errors() == {
        2: f"the line has {size:,} bytes; the maximum (max_line_bytes) is 16,777,216"
    }
    assert output.with_name("out.jsonl.errors.jsonl").stat().st_size < 2_000


def test_how_long_a_line_may_be_is_an_option(run, tmp_path, output, errors):
    source = tmp_path / "in.jsonl"
    source.write_text(line("long", "x" * 1_000) + "\n")
    assert run(source, "--max-line-bytes", "1000").exit_code == 1
    assert "the maximum (max_line_bytes) is 1,000" in errors()[1]
    assert run(source, "--max-line-bytes", "2000").exit_code == 0
    assert ids_of(output) == ["long"]


@pytest.mark.parametrize(
    "content", [b"", b"\n\n  \n", gzip.compress(b"", mtime=0)], ids=["nothing", "blank", "gzip"]
)
def test_an_empty_input_is_done_at_once(run, tmp_path, output, content):
    source = tmp_path / "in.jsonl"
    source.write_bytes(content)
    result = run(source)
    assert result.exit_code == 0
    assert "0 of 0 rows" in result.stderr
    assert output.read_bytes() == b""


TEMPLATE = "Greet {{ name }} of {{ town }}."


def test_a_csv_with_a_template(run, tmp_path, output, errors):
    source = tmp_path / "guests.csv"
    with source.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "name", "town"])
        table.writerows([["g1", "Ann", "Bath,\nUK"], ["g2", 'Bo "B"', "Örebro"], ["g3", "Cy"]])
    result = run(source, "--template", TEMPLATE, "--model", MODEL)
    assert result.exit_code == 1
    assert ids_of(output) == ["g1", "g2"]
    assert list(errors()) == [3]
    lacking = run(source, "--template", "{{ nothing }}", "--model", MODEL)
    assert lacking.exit_code == 2
    assert "nothing" in lacking.stderr


def test_parquet_with_a_template(run, tmp_path, output):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    source = tmp_path / "guests.parquet"
    columns = {"key": ["g1", "g2"], "name": ["Ann", "Bo"], "town": ["Bath", "Örebro"]}
    parquet.write_table(arrow.table(columns), source)
    result = run(source, "--template", TEMPLATE, "--map", "id=key", "--model", MODEL)
    assert result.exit_code == 0, result.stderr
    assert ids_of(output) == ["g1", "g2"]


ALPACA = '{"instruction": "Translate", "input": "dog", "output": "chien"}\n'


@pytest.mark.parametrize(
    "case",
    [
        ("a.jsonl", ALPACA * 3, [], "give --template '{{ instruction }} {{ input }}'"),
        ("a.csv", "id;text\n1;Hi\n", [], "such as --template '{{ text }}'"),
        ("a.csv", "text\nHi\n", ["--template", "{{ Review Text }}"], '{{ row["Review Text"] }}'),
        ("a.json", '["one", "two"]', [], "it must be a JSON object, not 'one'"),
        ("a.jsonl", '{"input": "x"}\n', [], "name a model of embeddings for such rows (--model)"),
        ("a.csv", "text\nHi\n", ["--encoding", "x"], "encoding must be the name of one"),
        (
            "a.csv",
            "text\nHi\n",
            ["--template", "@b"],
            "cannot read b: No such file or directory; c",
        ),
        ("a.jsonl", "<!DOCTYPE html>", [], "is a web page and not a table"),
    ],
)
def test_what_is_wrong_with_a_whole_input_is_one_line_before_anything_is_written(
    run, tmp_path, stats, quick_provider, case
):
    """Nothing is spent, and no file is left behind."""
    name, content, options, said = case
    source, before = tmp_path / name, stats(quick_provider)["requests"]
    source.write_text(content)
    result = run(source, *options)
    assert result.exit_code == 2
    assert said in result.stderr.splitlines()[-1]
    assert stats(quick_provider)["requests"] == before
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    "case",
    [
        ("pandas.csv", ",prompt,n\n0,Hi,1\n1,Ho,2\n", [], 2),
        ("latin.csv", "id;Review Text\n1;d\xe9j\xe0 vu\n", ["--map", "prompt=Review Text"], 1),
        ("pretty.json", json.dumps([{"prompt": "Hi"}, {"prompt": "Ho"}], indent=4), [], 2),
        ("alpaca.jsonl", ALPACA, ["--template", "{{ instruction }}: {{ input }}"], 1),
        ("numbers.jsonl", '{"prompt": 7}\n', [], 1),
    ],
)
def test_what_people_have_runs_without_a_model_named(run, tmp_path, output, case):
    name, content, options, prompts = case
    source = tmp_path / name
    source.write_text(content, encoding="latin-1")
    result = run(source, *options)
    assert result.exit_code == 0, result.stderr
    assert len(ids_of(output)) == prompts
    assert result.stderr.count("Rows that name no model use ") == 1
    assert {line["callsheet"]["model"] for line in lines_of(output)} == {default_recipe().model}


def test_a_provider_without_a_usual_model_needs_one(tmp_path, output, quick_provider, monkeypatch):
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "a-key-for-tests")
    source = tmp_path / "in.jsonl"
    source.write_text('{"prompt": "Hi"}\n' * 3)
    arguments = [str(source), str(output), "--provider", "azure", "--base-url", quick_provider]
    result = CliRunner().invoke(main, ["run", *arguments])
    assert result.exit_code == 2
    assert "the row has no model; name a model for such rows (--model)" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_gzip_is_unpacked_and_a_truncated_end_is_reported(run, tmp_path, output, errors):
    plain, source = tmp_path / "in.jsonl", tmp_path / "in.jsonl.gz"
    write_input(plain, 40)
    packed = gzip.compress(plain.read_bytes(), compresslevel=0)
    source.write_bytes(packed[: len(packed) // 2])
    result = run(source)
    assert result.exit_code == 1
    (reason,) = errors().values()
    assert "the input cannot be read beyond this" in reason
    answered = ids_of(output)
    assert answered == [f"r-{number}" for number in range(1, len(answered) + 1)]
    assert 10 < len(answered) < 30
    source.write_bytes(packed)
    assert run(source).exit_code == 0
    assert len(ids_of(output)) == 40


def test_an_input_that_grows_is_read_to_the_end_it_had_and_the_next_run_goes_on(
    start, quick_provider, output, stats, run
):
    source = output.with_name("in.jsonl")
    source.write_text("".join(line(f"r-{n}", "Hi. " * 1900) + "\n" for n in range(1, 151)))
    before = stats(quick_provider)["requests"]
    options = ("--rpm", "3000", "--window", "20", "--max-concurrency", "10")
    process = start(source, output, "--base-url", quick_provider, *options)
    while stats(quick_provider)["requests"] <= before + 5:
        assert process.poll() is None
    with source.open("a") as file:
        file.write(line("late") + "\n")
    _, told = process.communicate(timeout=60)
    assert process.returncode == 0, told
    assert "in.jsonl grew while it was read; run again for the rows that were added" in told
    assert ids_of(output) == [f"r-{number}" for number in range(1, 151)]
    assert run(source).exit_code == 0
    assert ids_of(output) == [f"r-{number}" for number in range(1, 151)] + ["late"]
    assert stats(quick_provider)["requests"] == before + 151


def unprivileged():
    """Return a command prefix that drops the permission of root to write everywhere."""
    if shutil.which("setpriv") is None:
        pytest.skip("there is no setpriv")
    command = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"]
    if subprocess.run([*command, "true"], check=False, capture_output=True).returncode:
        command = []  # without root there is no such permission
    return [*command, sys.executable, "-m", "callsheet", "run"]


@pytest.mark.parametrize(
    "what",
    ["output", *(pytest.param(it, marks=pytest.mark.slow) for it in ("store", "folder", "errors"))],
)
def test_what_is_read_only_is_refused_by_name(quick_provider, tmp_path, stats, what):
    source, folder = tmp_path / "in.jsonl", tmp_path / "folder"
    source.write_text(line("a") + "\n{no JSON\n")
    folder.mkdir()
    output = folder / "out.jsonl"
    arguments = (str(source), str(output), "--base-url", quick_provider)
    command = [*unprivileged(), *arguments]
    if what != "folder":
        run_here(*arguments, status=1)
        source.write_text(line("a") + "\n{no JSON\n" + line("b") + "\n")
    before = stats(quick_provider)["requests"]
    read_only = {
        "output": output,
        "store": folder / "out.jsonl.callsheet",
        "errors": folder / "out.jsonl.errors.jsonl",
        "folder": folder,
    }[what]
    read_only.chmod(0o555 if what == "folder" else 0o444)
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    read_only.chmod(0o755)
    assert "Traceback" not in result.stderr
    if what == "errors":  # the run creates it again
        assert result.returncode == 1
        assert ids_of(output) == ["a", "b"]
        return
    assert result.returncode == 2, result.stderr
    assert "out.jsonl cannot be written: " in result.stderr
    assert "give" in result.stderr or "make" in result.stderr
    assert stats(quick_provider)["requests"] == before
    run_here(*arguments, status=1)
    assert ids_of(output) == (["a"] if what == "folder" else ["a", "b"])
