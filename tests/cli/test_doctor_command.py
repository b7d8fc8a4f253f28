"""`callsheet doctor` as a command: its output, its exit status, and what it never shows."""

import json

import pytest
from click.testing import CliRunner

from callsheet.cli import main

KEY = "sk-proj-0123456789abcdefghij"
UNSET = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "CALLSHEET_LEDGER", "CALLSHEET_CONFIG")


@pytest.fixture
def doctor(tmp_path, monkeypatch):
    """Return a function that runs the command in an environment of its own."""
    for name in ("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def run(*arguments, **variables):
        environ = dict.fromkeys(UNSET) | {"COLUMNS": "80"} | variables
        result = CliRunner().invoke(main, ["doctor", *arguments], env=environ)
        assert KEY not in result.output
        return result

    return run


def of(result, section, name):
    found = json.loads(result.stdout)["findings"]
    return next(one for one in found if (one["section"], one["name"]) == (section, name))


def test_nothing_is_wrong_with_the_builtin_provider(doctor):
    result = doctor("--provider", "builtin")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] in ("Nothing is wrong.", "1 note.")
    assert "builtin, because --provider builtin" in result.stdout
    assert "not asked: it runs in this process" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_a_problem_has_a_remedy_and_the_status_1(doctor):
    result = doctor("--provider", "openai")
    assert result.exit_code == 1
    assert "problem  chosen" in result.stdout
    assert "-> set OPENAI_API_KEY" in result.stdout
    assert result.stdout.splitlines()[-1].startswith("1 problem")


def test_json_has_every_finding(doctor):
    result = doctor("--json", "--offline", OPENAI_API_KEY=KEY)
    assert result.exit_code == 0
    assert json.loads(result.stdout)["ok"] is True
    assert of(result, "Keys", "OPENAI_API_KEY")["state"] == "ok"
    chosen = of(result, "Provider", "chosen")
    assert chosen["text"].startswith("OpenAI at https://api.openai.com/v1, by OPENAI_API_KEY")
    assert of(result, "Provider", "reachable")["text"] == "not asked (--offline)"


def test_a_provider_that_does_not_answer_is_named(doctor):
    variables = {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1", "OPENAI_API_KEY": KEY}
    result = doctor("--json", **variables)
    assert result.exit_code == 1
    found = of(result, "Provider", "reachable")
    assert "127.0.0.1:1" in found["text"]
    assert found["remedy"] == "check the URL http://127.0.0.1:1/v1, and start the server"


def test_a_settings_file_that_cannot_be_used_is_a_finding(doctor, tmp_path):
    (tmp_path / "callsheet.toml").write_text("[limits]\nrpm = 'many'\n")
    result = doctor("--json", "--config", "callsheet.toml")
    assert result.exit_code == 1
    assert "limits.rpm" in of(result, "Settings", "file")["text"]


def test_settings_are_named(doctor, tmp_path):
    (tmp_path / "callsheet.toml").write_text("[ledger]\npath = 'costs.sqlite3'\n")
    variables = {"CALLSHEET_LIMITS_RPM": "60"}
    result = doctor("--json", "--config", "callsheet.toml", **variables)
    assert of(result, "Settings", "file")["text"] == "callsheet.toml"
    assert of(result, "Settings", "variables")["text"] == "CALLSHEET_LIMITS_RPM"
    assert "costs.sqlite3 (not there yet)" in of(result, "Disk", "ledger")["text"]


GATEWAY = """
[models]
"gpt-*" = "first"
"claude-*" = "second"
[endpoints.first]
base_url = "http://127.0.0.1:1/v1"
[endpoints.second]
base_url = "http://127.0.0.1:2/v1"
api_key_env = "SECOND_KEY"
"""


def test_each_endpoint_of_a_gateway_is_examined(doctor, tmp_path):
    (tmp_path / "callsheet.toml").write_text(GATEWAY)
    result = doctor("--json", "--config", "callsheet.toml", SECOND_KEY=KEY)
    assert of(result, "Settings", "file")["state"] == "ok"
    found = [one for one in json.loads(result.stdout)["findings"] if one["section"] == "Provider"]
    assert [one["text"] for one in found if one["name"] == "chosen"] == [
        f"an OpenAI-compatible API at http://127.0.0.1:{port}/v1, by callsheet.toml: {name}"
        for port, name in ((1, "endpoints.first"), (2, "endpoints.second"))
    ]
    assert [one["state"] for one in found if one["name"] == "reachable"] == ["problem", "problem"]
    without = doctor("--json", "--config", "callsheet.toml", SECOND_KEY=None)
    assert "the variable SECOND_KEY is not set" in of(without, "Settings", "file")["text"]
    builtin = doctor("--json", "--config", "callsheet.toml", "--provider", "builtin")
    assert builtin.exit_code == 0


def test_the_key_store_of_the_gateway_is_the_one_that_the_file_names(doctor, tmp_path):
    file = tmp_path / "callsheet.toml"
    file.write_text("[keys]\nstore = 'team.sqlite3'\n")
    line = ("--json", "--offline", "--config", "callsheet.toml")
    assert "team.sqlite3 (not there yet)" in of(doctor(*line), "Disk", "gateway keys")["text"]
    file.write_text("[keys]\nstore = 'shared'\n")
    assert "gateway keys" not in doctor(*line).stdout, "a server has them"


def test_the_server_of_the_environment_is_examined(doctor, tmp_path):
    result = doctor("--json", CALLSHEET_SHARED_URL=f"unix://{tmp_path}/none")
    assert result.exit_code == 1
    assert of(result, "Shared server", "shared")["state"] == "problem"


@pytest.mark.parametrize("arguments", [["--shared", "http://x"], ["--timeout", "0"]])
def test_wrong_usage_has_the_status_2(doctor, arguments):
    assert doctor(*arguments).exit_code == 2
