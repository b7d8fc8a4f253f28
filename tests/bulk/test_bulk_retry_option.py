"""`--retry-on` on the command line: what it costs is told before, and what is left afterwards."""

import json

import pytest
from bulk_processes import run_here
from bulk_rows import ids_of, lines_of

pytestmark = pytest.mark.sockets


@pytest.fixture
def cut_source(source):
    """Ten rows, of which each second one is cut off."""
    rows = [
        {"id": f"r-{n}", "prompt": f"Write about {n}.", "max_tokens": 5 if n % 2 else 2000}
        for n in range(1, 11)
    ]
    source.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return source


@pytest.fixture
def run(quick_provider, cut_source, output):
    def run(*options, status=0):
        given = ("--base-url", quick_provider, "--model", "gpt-4o-mini", "--map", "id=id")
        return run_here(cut_source, output, *given, *options, status=status)

    return run


def attempts(output):
    return [line["callsheet"]["attempts"] for line in lines_of(output)]


def test_rows_that_were_cut_off_are_sent_once_more_in_each_run(run, output, stats, quick_provider):
    before = stats(quick_provider)["requests"]
    told = run()
    assert "Responses that are not complete: 5 by length." in told
    assert "--retry-on length sends these rows once more." in told
    told = run("--retry-on", "length", "--dry-run")
    assert "Rows: 10, of which 5 would be sent (5 of them again, by --retry-on), 5 have a" in told
    assert stats(quick_provider)["requests"] == before + 10
    told = run("--retry-on", "length, content_filter")
    assert "10 responses: 10 match rows of INPUT, 5 of them to ask again (--retry-on).\n" in told
    assert ": 5 to ask again.\n" in told
    assert "5 responses, 5 from earlier runs" in told
    assert "They were asked again once; the same command asks again." in told
    assert stats(quick_provider)["requests"] == before + 15
    assert attempts(output) == [2, 1] * 5
    run()
    assert stats(quick_provider)["requests"] == before + 15
    assert len(ids_of(output)) == 10


def test_the_summary_counts_rows_to_ask_again_apart_from_those_whose_response_stays(run):
    run()
    for options in (("--dry-run",), ()):
        found = json.loads(run("--retry-on", "length", "--json", *options).splitlines()[-1])
        counts = [found[name] for name in ("matched", "again", "changed", "new")]
        assert counts == [5, 5, 0, 0]


def test_in_the_first_run_as_well(run, output):
    found = json.loads(run("--retry-on", "length", "--json").splitlines()[-1])
    assert found["cut"] == {"length": 5}
    assert (found["requests"], found["answered"]) == (15, 10)
    assert attempts(output) == [2, 1] * 5


def test_a_reason_that_is_not_known_is_refused_before_the_run(run, output):
    told = run("--retry-on", "length,stop", status=2)
    assert "'stop' is none of length, content_filter" in told
    assert not output.exists()
