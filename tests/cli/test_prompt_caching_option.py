"""`--prompt-caching` of `run` and `compose`, with Anthropic's API of the built-in provider."""

import json

import httpx
import pytest
from click.testing import CliRunner

from callsheet.cli import main

pytestmark = pytest.mark.sockets

MODEL = "claude-sonnet-4-5"
INSTRUCTION = "Label the sentiment of the review, and nothing else. " * 160  # 2,000 tokens
STEPS = [
    {"name": f"step_{number}", "prompt": f"Say {number} about {{{{ topic }}}}."}
    for number in range(6)
]


@pytest.fixture
def bill(provider, monkeypatch):
    """Run a command at the provider; return the tokens that it bills."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-0123456789")
    root, told = provider.removesuffix("/v1"), []

    def billed(*arguments):
        httpx.post(f"{root}/callsheet/reset", trust_env=False, verify=False)
        reached = ("--provider", "anthropic", "--base-url", provider, "--model", MODEL)
        result = CliRunner().invoke(main, [*map(str, arguments), *reached])
        assert result.exit_code == 0, result.output
        told.append(result.stderr)
        stats = httpx.get(f"{root}/callsheet/stats", trust_env=False, verify=False).json()
        return stats["billed"][MODEL]["default"]

    billed.told = told
    return billed


def command_of(name, folder):
    if name == "compose":
        recipe = folder / "recipe.json"
        steps = {"name": "r", "model": MODEL, "system": INSTRUCTION, "steps": STEPS}
        recipe.write_text(json.dumps({**steps, "markdown": "{{ step_0 }}"}))
        return ("compose", "Tea", "--recipe", recipe)
    source = folder / "in.csv"
    source.write_text("\n".join(["text", *(f"Soup {number}." for number in range(12))]))
    asked = ("--template", "{{ text }}", "--system", INSTRUCTION)
    if name == "template":  # one text, whose beginning the rows share
        asked = ("--template", f"{INSTRUCTION}\n\n{{{{ text }}}}")
    return ("run", source, folder / "out.jsonl", *asked, "--max-tokens", 5)


@pytest.mark.parametrize("name", ["run", "template", "compose"])
def test_auto_adds_marks_and_the_default_adds_nothing(bill, tmp_path, name):
    command = command_of(name, tmp_path)
    assert "cached_tokens" not in bill(*command)
    (tmp_path / "out.jsonl").unlink(missing_ok=True)
    (tmp_path / "out.jsonl.callsheet").unlink(missing_ok=True)
    found = bill(*command, "--prompt-caching", "auto")
    assert 1900 < found["written_tokens"] < 3000, "one write"
    assert found["cached_tokens"] > 0.6 * found["input_tokens"]
    if name == "compose":
        assert f"({found['cached_tokens']:,} from the cache)" in bill.told[-1]
        assert "from the cache" not in bill.told[0]


@pytest.mark.parametrize(
    ("model", "caching", "expected"),
    [
        (MODEL, "auto", "Prompt cache: saves about $"),
        ("gpt-5.6-luna", "order", "Prompt cache: writing to it costs about $"),
        (MODEL, "order", None),
        (MODEL, "off", None),
    ],
)
def test_a_dry_run_says_what_is_saved(tmp_path, model, caching, expected, monkeypatch):
    vendor = "anthropic" if model == MODEL else "openai"
    monkeypatch.setenv(f"{vendor.upper()}_API_KEY", "sk-ant-0123456789")
    options = ("--dry-run", "--provider", vendor, "--model", model, "--prompt-caching", caching)
    command = (*command_of("run", tmp_path), *options)
    result = CliRunner().invoke(main, list(map(str, command)))
    assert result.exit_code == 0, result.output
    lines = [line for line in result.stdout.splitlines() if line.startswith("Prompt cache")]
    if expected is None:
        assert not lines
    else:
        [line] = lines
        assert line.startswith(expected)
        assert ("10 rows read from it" in line) is (caching == "auto")


@pytest.mark.parametrize(
    ("caching", "route"), [("auto", "Route: live, "), ("order", "Route: batch, ")]
)
def test_a_dry_run_takes_no_batch_where_cached_prompts_cost_less(
    tmp_path, caching, route, monkeypatch
):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-0123456789")
    options = ("--dry-run", "--provider", "anthropic", "--model", MODEL, "--deadline", 90_000)
    command = (*command_of("run", tmp_path), *options, "--prompt-caching", caching)
    result = CliRunner().invoke(main, list(map(str, command)))
    assert result.exit_code == 0, result.output
    assert route in result.stdout
    assert ("Prompt cache: saves" in result.stdout) is (caching == "auto")


def test_other_words_are_refused():
    result = CliRunner().invoke(main, ["compose", "Tea", "--prompt-caching", "always"])
    assert result.exit_code == 2
    assert "'off', 'order', 'auto'" in result.output
