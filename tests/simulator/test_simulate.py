import httpx
import pytest
from click.testing import CliRunner
from provider_process import provider_process

from callsheet.cli.simulate import simulate
from callsheet.simulator.faults import FAULT_KINDS


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--latency", "soon"], "not a number of seconds"),
        (["--latency", "3-1"], "low <= high"),
        (["--batch-time", "soon"], "not a number of seconds"),
        (["--batch-time", "3-1"], "low <= high"),
        (["--enqueued-tokens", "0"], "--enqueued-tokens"),
        (["--flex-refused", "2"], "--flex-refused"),
        (["--latency", "nan"], "low <= high"),
        (["--faults", "404=1"], "unknown fault '404'"),
        (["--rpm", "0"], "--rpm"),
        (["--time-scale", "-1"], "--time-scale"),
        (["--api-key", ""], "api_key"),
        (["--port", "70000"], "--port"),
        (["--otpm", "0"], "--otpm"),
        (["--first-piece", "2"], "--first-piece"),
        (["--context-tokens", "0"], "--context-tokens"),
        (["--reasoning-field", ""], "reasoning_field"),
        (["--headers-on-429", "limits,retry-later"], "'retry-later' must be one of limits"),
    ],
)
def test_wrong_options_are_usage_errors_that_name_them(arguments, says):
    found = CliRunner().invoke(simulate, arguments)
    assert found.exit_code == 2
    assert says in found.stderr


@pytest.mark.sockets
def test_settings_of_the_models_have_options():
    options = ["--models", "o4-mini,m", "--refuse-max-tokens", "--reasoning-field", "reasoning"]
    chat = {"model": "o4-mini", "messages": [{"role": "user", "content": "Hi"}]}
    with provider_process("--latency", "0-0", *options) as url:

        def ask(**more):
            return httpx.post(f"{url}/chat/completions", json=chat | more)

        thoughtful = ask(reasoning_effort="low").json()["choices"][0]["message"]
        refused = [ask(max_tokens=9), ask(model="other"), ask(unknown=1)]
    assert thoughtful["reasoning"]
    assert [answer.status_code for answer in refused] == [400, 404, 400]
    with provider_process("--latency", "0-0", "--accept-unknown") as url:
        assert ask(unknown=1, max_tokens=9).status_code == 200


def test_the_help_explains_each_fault():
    found = CliRunner().invoke(simulate, ["--help"])
    assert found.exit_code == 0
    for kind, what in FAULT_KINDS.items():
        assert any(
            line.split()[:1] == [kind] and line.endswith(what) for line in found.stdout.split("\n")
        )


def test_an_address_that_cannot_be_listened_on_is_reported_on_one_line():
    found = CliRunner().invoke(simulate, ["--host", "192.0.2.1"])
    assert found.exit_code == 1
    assert found.stdout == ""
    [line] = found.stderr.strip().split("\n")
    assert line.startswith("Error: cannot listen on 192.0.2.1:8080: ")
