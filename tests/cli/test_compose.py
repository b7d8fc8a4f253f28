"""`callsheet compose` from its arguments to its exit status, through real sockets."""

import json
import logging
from decimal import Decimal

import httpx
import pytest
from callsheet_process import CallsheetProcess
from click.testing import CliRunner
from provider_process import provider_process

import callsheet.cli.compose as command
from callsheet.actors import VENDORS
from callsheet.cli import main

pytestmark = pytest.mark.sockets

KEYS = {
    "topic",
    "headline",
    "keywords",
    "image_prompt",
    "social_blurb",
    "intro",
    "outline",
    "sections",
    "conclusion",
    "meta_description",
    "markdown",
    "stats",
}
STATS = {
    "calls",
    "http_requests",
    "input_tokens",
    "output_tokens",
    "cost_usd",
    "wall_s",
    "sequential_s",
    "critical_path_s",
    "retries",
    "critical_path",
}


def compose(*arguments, env=None):
    result = CliRunner().invoke(main, ["compose", *map(str, arguments)], env=env)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    assert "Traceback" not in result.output
    return result


def requests_at(base_url: str) -> int:
    root = base_url.removesuffix("/v1")
    return httpx.get(f"{root}/callsheet/stats", trust_env=False, verify=False).json()["requests"]


def test_one_topic_as_json_is_one_object_with_all_parts_of_a_post(provider):
    result = compose("Why backpressure matters", "--base-url", provider, "--json")
    assert result.exit_code == 0
    post = json.loads(result.stdout)
    assert set(post) == KEYS
    assert set(post["stats"]) == STATS
    assert post["stats"]["calls"] == post["stats"]["http_requests"] == 11
    assert len(post["keywords"]) == 10
    assert len(post["outline"]) == 5
    assert [section["title"] for section in post["sections"]] == post["outline"][:3]
    assert Decimal(post["stats"]["cost_usd"]) > 0
    assert post["stats"]["critical_path_s"] < post["stats"]["sequential_s"]
    assert post["headline"] in post["markdown"]


def test_the_post_is_markdown_on_stdout_and_all_else_is_on_stderr(provider):
    result = compose("Why backpressure matters", "--base-url", provider)
    assert result.stdout.startswith("---\ntitle: ")
    assert result.stdout.count("\n## ") == 4
    first, *_, took, last = result.stderr.splitlines()
    assert first == f"Provider: an OpenAI-compatible API at {provider} (--base-url)"
    assert took.startswith("11 calls, 11 HTTP requests, ")
    assert "critical path: " in last


def test_several_topics_are_an_object_each_in_the_order_they_were_given(provider):
    topics = ["Tea", "Coffee", "Tea", "Cocoa"]
    result = compose(*topics, "--base-url", provider, "--json")
    assert [json.loads(line)["topic"] for line in result.stdout.splitlines()] == topics


def test_a_topic_that_fails_does_not_stop_the_others_and_the_exit_status_tells(provider):
    endless = "tea " * 200_000  # more tokens than the model's context holds
    result = compose(endless, "Coffee", "--base-url", provider, "--json")
    assert result.exit_code == 1
    failed, written = map(json.loads, result.stdout.splitlines())
    assert set(failed) == {"topic", "error"}
    assert "400" in failed["error"]
    assert written["topic"] == "Coffee"


def test_a_folder_gets_a_file_for_each_topic(provider, tmp_path):
    folder = tmp_path / "posts"
    result = compose("Tea!", "Why tea?", "tea", "--base-url", provider, "--output", f"{folder}/")
    assert result.exit_code == 0
    assert result.stdout == ""
    assert {path.name for path in folder.iterdir()} == {"tea.md", "why-tea.md", "tea-2.md"}


def test_a_file_gets_all_of_them(provider, tmp_path):
    file = tmp_path / "posts.jsonl"
    compose("Tea", "Coffee", "--base-url", provider, "--json", "--output", file)
    assert len(file.read_text().splitlines()) == 2


def test_a_topic_that_is_not_utf8_is_accepted(provider):
    result = compose("caf\udce9", "--base-url", provider, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["topic"] == "caf?"


def test_the_environment_selects_the_provider(provider):
    result = compose("Tea", env={"OPENAI_BASE_URL": provider})
    assert f"API at {provider} (OPENAI_BASE_URL)" in result.stderr


@pytest.mark.parametrize("name", ["openai", "anthropic"])
def test_a_vendor_is_asked_for_a_model_of_its_own(provider, name):
    result = compose("Tea", "--provider", name, "--base-url", provider, "--verbose")
    assert result.exit_code == 0
    assert f"model='{VENDORS[name].model}'" in result.stderr


def test_a_recipe_of_the_user_sets_the_model_for_every_provider(provider, tmp_path):
    recipe = tmp_path / "own.toml"
    recipe.write_text(
        'name = "own"\nmodel = "own-model"\n[[steps]]\nname = "headline"\nshape = "line"\n'
        'prompt = "A headline for {{ topic }}"\n'
    )
    result = compose(
        "Tea", "--provider", "openai", "--base-url", provider, "--recipe", recipe, "--verbose"
    )
    assert "model='own-model'" in result.stderr


def test_one_limit_holds_for_every_step(provider):
    result = compose("Tea", "--base-url", provider, "--max-tokens", "5", "--json")
    stats = json.loads(result.stdout)["stats"]
    assert 0 < stats["output_tokens"] <= 5 * stats["calls"]


@pytest.mark.parametrize(
    ("options", "headline"),
    [((), 100), (("--model", "gpt-4o"), 500), (("--model", "gpt-4o", "--max-tokens", "9"), 9)],
)
def test_a_model_that_may_reason_gets_the_largest_limit(monkeypatch, options, headline):
    seen = []

    async def look(run):
        seen.append(run.recipe)

    monkeypatch.setattr(command, "compose_all", look)
    monkeypatch.setattr(command, "report", lambda _: 0)
    CliRunner().invoke(main, ["compose", "Tea", "--provider", "builtin", *options])
    (recipe,) = seen
    assert (recipe.steps[0].max_tokens or recipe.max_tokens) == headline


def test_a_model_without_a_price_costs_null_with_a_note(provider):
    result = compose("Tea", "--base-url", provider, "--model", "unpriced", "--json")
    assert json.loads(result.stdout)["stats"]["cost_usd"] is None
    assert "cost unknown: no price for unpriced" in result.stderr


@pytest.mark.parametrize(
    ("share", "said"), [("1.0", "0 out; cost unknown\n"), ("0.5", " of unknown cost\n")]
)
def test_calls_that_tell_no_tokens_have_an_unknown_cost(share, said):
    options = ("--time-scale", "0.02", "--faults", f"no_usage={share}")
    with provider_process(*options) as base_url:
        result = compose("Tea", "--base-url", base_url, "--model", "gpt-4o")
    assert result.exit_code == 0
    assert said in result.stderr
    assert "no price" not in result.stderr


def test_a_price_file_gives_it_one(provider, tmp_path):
    prices = tmp_path / "prices.json"
    prices.write_text('{"models": {"unpriced": {"input": 1, "output": 1}}}')
    result = compose(
        "Tea", "--base-url", provider, "--model", "unpriced", "--prices", prices, "--json"
    )
    stats = json.loads(result.stdout)["stats"]
    tokens = stats["input_tokens"] + stats["output_tokens"]
    assert Decimal(stats["cost_usd"]) == Decimal(tokens) / 1_000_000


def test_a_trace_is_written_in_both_forms(provider, tmp_path):
    for name in ("run.json", "run.html"):
        assert compose("Tea", "--base-url", provider, "--trace", tmp_path / name).exit_code == 0
    assert len(json.loads((tmp_path / "run.json").read_text())["traceEvents"]) > 11
    assert "Tea" in (tmp_path / "run.html").read_text()


def test_a_recipe_of_ones_own_is_used(provider, tmp_path):
    recipe = tmp_path / "short.toml"
    recipe.write_text(
        'name = "short"\n[[steps]]\nname = "headline"\nshape = "line"\n'
        "prompt = 'Write a headline for a blog post about \"{{ topic }}\".'\n"
    )
    result = compose("Tea", "--base-url", provider, "--recipe", recipe, "--json")
    assert set(json.loads(result.stdout)) == {"topic", "headline", "markdown", "stats"}


def test_verbose_logs_every_call_once_with_its_ids(provider):
    try:
        result = compose("Tea", "--base-url", provider, "--verbose")
    finally:
        logging.getLogger().handlers.clear()
    lines = [line for line in result.stderr.splitlines() if "call_answered" in line]
    assert len(lines) == 11
    assert all("post='Tea'" in line for line in lines)


def test_a_wrong_key_is_reported_at_once_without_a_retry_and_without_the_key():
    with provider_process("--api-key", "right", "--time-scale", "0.02") as base_url:
        result = compose("Tea", "--base-url", base_url, env={"OPENAI_API_KEY": "sk-wrong-secret"})
        assert requests_at(base_url) <= 5, "the five calls that wait for nothing, once each"
    assert result.exit_code == 1
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert "401" in line
    assert "OPENAI_API_KEY" in line
    assert "sk-wrong-secret" not in result.output


def test_a_provider_that_answers_html_is_named():
    with provider_process("--faults", "malformed=1", "--time-scale", "0.02") as base_url:
        result = compose("Tea", "--base-url", base_url, "--deadline", "20")
    assert result.exit_code == 1
    assert "not a completion" in result.stderr


def test_a_deadline_that_is_too_short_is_named_and_nothing_is_printed(provider):
    result = compose("Tea", "--base-url", provider, "--deadline", "0.05")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "Error: Tea: the deadline of 0.05 s has passed (--deadline)" in result.stderr


def test_an_address_that_refuses_is_named_in_one_line():
    result = compose("Tea", "--base-url", "http://127.0.0.1:9/v1", "--deadline", "3")
    assert result.exit_code == 1
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert "cannot connect to 127.0.0.1:9 (Connection refused)" in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([" "], "topic 1 is empty"),
        (["Tea", "--base-url", "tea"], "--base-url: base_url must look like https://"),
        (["Tea", "--recipe", "missing.toml"], "missing.toml"),
        (["Tea", "--prices", "missing.json"], "missing.json"),
        (["Tea", "--trace", "run.png"], ".json or .html"),
        (["Tea", "--trace", "no/such/folder/run.json"], "the folder no/such/folder does not exist"),
        (["Tea", "--output", "/no/such/folder/file.md"], "--output: cannot write"),
        (["Tea", "--rpm", "0"], "--rpm"),
        (["Tea", "--deadline", "-1"], "--deadline"),
        (["Tea", "--provider", "ollama"], "give --model"),
        ([], "TOPIC"),
    ],
)
def test_wrong_usage_exits_with_status_2_before_anything_is_sent(arguments, words):
    result = compose(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert "Provider:" not in result.stderr


def test_an_interrupt_stops_at_once_and_keeps_what_is_finished(tmp_path):
    """As a person does it: Ctrl-C at a process that runs."""
    import signal
    import subprocess
    import time

    with provider_process("--latency", "30") as base_url:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        arguments = ("compose", "Tea", "--base-url", base_url)
        with CallsheetProcess(*arguments, text=True, **pipes) as process:
            assert process.stderr.readline().startswith("Provider:")
            while requests_at(base_url) < 5:
                time.sleep(0.05)
            start = time.monotonic()
            process.send_signal(signal.SIGINT)
            stdout, stderr = process.communicate(timeout=10)
            assert time.monotonic() - start < 5
        assert process.returncode == 130
        assert stdout == ""
        assert "Interrupted: 0 of 1 post finished." in stderr
        assert "Traceback" not in stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--output", "a.md", "--ledger", "a.md"], "--ledger: a.md is already --output; choose"),
        (["--output", "a.html", "--trace", "./a.html"], "--trace: a.html is already --output;"),
        (["--ledger", "a.html", "--trace", "a.html"], "--trace: a.html is already --ledger;"),
        (["--prices", "p.json", "--trace", "p.json"], "--trace: p.json is already --prices;"),
    ],
)
def test_two_files_of_a_command_are_not_the_same(tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.json").write_text("{}")
    result = compose("Tea", *arguments)
    assert result.exit_code == 2
    assert said in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["p.json"]
