"""Option values that are refused: exit status 2, and one line that names the option."""

import pytest
from click.testing import CliRunner

from callsheet.cli import main
from callsheet.simulator.faults import FAULT_KINDS


def refused(*arguments):
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    return result.stderr.splitlines()[-1]


COMPOSE, RUN = ("compose", "Tea"), ("run", "in.jsonl", "out.jsonl")


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("--deadline", "24h", "'24h' is not a number of seconds; write 86400."),
        ("--deadline", "1.5 days", "'1.5 days' is not a number of seconds; write 129600."),
        ("--timeout", "90 Min", "'90 Min' is not a number of seconds; write 5400."),
        ("--timeout", "5ms", "'5ms' is not a number of seconds."),
        ("--deadline", "tomorrow", "'tomorrow' is not a number of seconds."),
        ("--rpm", "5,000", "'5,000' is not a number."),
    ],
)
def test_the_error_of_a_number_says_what_to_write(option, value, reason):
    assert refused(*RUN, option, value).endswith(f"'{option}': {reason}")


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999"])
@pytest.mark.parametrize(
    ("command", "option"),
    [
        (COMPOSE, "--rpm"),
        (COMPOSE, "--tpm"),
        (COMPOSE, "--deadline"),
        (RUN, "--rpm"),
        (RUN, "--tpm"),
        (RUN, "--deadline"),
        (RUN, "--temperature"),
        (("compare",), "--time-scale"),
        (("simulate",), "--time-scale"),
        (("simulate",), "--burst"),
        (("simulate",), "--first-piece"),
        (("simulate",), "--flex-refused"),
        (("simulate",), "--latency"),
        (("simulate",), "--batch-time"),
    ],
)
def test_a_number_must_be_finite(command, option, value):
    assert f"'{option}'" in refused(*command, f"{option}={value}")


@pytest.mark.parametrize("value", ["1-inf", "nan-1", "inf"])
def test_a_range_of_seconds_must_be_finite(value):
    line = refused("simulate", "--latency", value)
    assert line.startswith(f"Error: Invalid value for '--latency': '{value}' must be finite")


@pytest.mark.parametrize("command", [COMPOSE, RUN])
@pytest.mark.parametrize("value", ["", "   "])
def test_a_model_must_not_be_blank(command, value):
    line = refused(*command, "--model", value)
    assert line == "Error: Invalid value for '--model': the name is empty."


@pytest.mark.parametrize("command", [COMPOSE, RUN])
@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://[::1", "base_url is not a URL: 'http://[::1'"),
        ("http://x:99999/v1", "base_url has port 99999; a port is a number from 1 to 65535"),
        ("http://x:0/v1", "base_url has port 0; a port is a number from 1 to 65535"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_before_anything_is_sent(command, url, reason):
    assert refused(*command, "--base-url", url).startswith(f"Error: --base-url: {reason}")


def test_the_error_of_an_unknown_option_suggests_no_hidden_option():
    said = "Error: No such option '--until-stdin-end'."
    assert refused("work", "--until-stdin-end") == said


def test_the_error_of_an_unknown_option_suggests_an_option_that_help_lists():
    assert "--workload" in refused("compare", "--workloads", "x")


def test_the_report_must_be_a_page():
    line = refused(*RUN, "--report", "x.txt")
    assert line == "Error: --report: x.txt must end in .html"


def test_the_builtin_provider_with_route_batch_is_refused_with_a_remedy():
    line = refused(*RUN, "--provider", "builtin", "--route", "batch")
    assert line.startswith("Error: --route batch: the builtin provider stops when")
    assert "callsheet simulate" in line


def test_the_list_of_faults_fits_into_80_columns():
    result = CliRunner().invoke(main, ["simulate", "--help"], env={"COLUMNS": "80"})
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    # The options have that title, too.
    first = lines.index("Faults:", lines.index("Faults:") + 1) + 1
    assert lines.index("", first) - first == len(FAULT_KINDS)
