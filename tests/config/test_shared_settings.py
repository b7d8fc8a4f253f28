"""The server that processes share, from a file, from variables, and from `--shared`."""

import pytest
from click.testing import CliRunner

from callsheet import load_settings
from callsheet.actors import ValkeyStores
from callsheet.cli import main
from callsheet.cli.compose import job as compose_job
from callsheet.config import ConfigError

KEY = {"OPENAI_API_KEY": "sk-first-0123456789"}
PASSWORD = "hunter2-hunter2"


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "callsheet.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def shared(path=None, **environ):
    return load_settings(path, environ=KEY | environ).shared


def test_a_file_names_the_server_and_what_is_done_without_it(file):
    assert shared(file("")) is None
    assert shared(file("[shared]\nurl = 'valkey://cache:7000/2'")) == ValkeyStores(
        "redis://cache:7000/2"
    )
    waits = shared(file("[shared]\nurl = 'unix:///run/valkey.sock'\noutage = 'wait'"))
    assert (waits.outage, str(waits.url)) == ("wait", "unix:///run/valkey.sock")


def test_a_variable_has_the_url_with_its_password_which_nothing_shows(file):
    url = f"rediss://app:{PASSWORD}@cache"
    path = file("[shared]\nurl_env = 'TEAM_CACHE'\noutage = 'wait'")
    found = shared(path, TEAM_CACHE=url)
    assert found.url.password == PASSWORD
    assert PASSWORD not in repr(found) + found.name
    assert shared(path, CALLSHEET_SHARED_URL=url, TEAM_CACHE="") == found  # it overrides the file
    assert shared(CALLSHEET_SHARED_URL=url).outage == "divide"
    assert shared(path, TEAM_CACHE=url.replace(PASSWORD, "other")) != found


@pytest.mark.parametrize(
    ("text", "environ", "said"),
    [
        (f"url = 'redis://:{PASSWORD}@h'", {}, "shared.url: has a password, which does not"),
        ("url = 'http://h'", {}, "shared.url: the URL of the shared server must begin with"),
        ("url = 'redis://'", {}, "shared.url: the URL of the shared server names no host"),
        ("url = 'redis://h'\nurl_env = 'X'", {}, "shared.url_env: must not stand beside url"),
        ("url_env = 'X'", {}, "shared.url_env: the variable X is not set"),
        ("url_env = 'X'", {"X": f"redis://:{PASSWORD}@h:x"}, "the variable X: the URL of the"),
        ("outage = 'stop'", {}, "shared.outage: must be one of divide, wait"),
        ("host = 'h'", {}, "shared.host: is unknown"),
        ("", {"CALLSHEET_SHARED_URL": f"ftp://:{PASSWORD}@h"}, "CALLSHEET_SHARED_URL: the URL of"),
        ("", {"CALLSHEET_SHARED": "redis://h"}, "did you mean CALLSHEET_SHARED_URL?"),
    ],
)
def test_what_is_no_server_is_refused_by_the_name_of_the_setting(file, text, environ, said):
    with pytest.raises(ConfigError) as caught:
        shared(file(f"[shared]\n{text}"), **environ)
    assert said in str(caught.value)
    assert PASSWORD not in str(caught.value)


def test_the_option_overrides_the_file_and_keeps_what_is_done_without_the_server(file, monkeypatch):
    found = []

    def open_troupe(settings, **_):
        found.append(settings)
        raise RuntimeError

    monkeypatch.setattr(compose_job, "open_troupe", open_troupe)
    path = file("[shared]\nurl = 'redis://of-file'\noutage = 'wait'")
    line = ["compose", "Tea", "--provider", "builtin", "--config", str(path)]
    CliRunner().invoke(main, line)
    CliRunner().invoke(main, [*line, "--shared", f"redis://:{PASSWORD}@given"])
    assert [one.shared for one in found] == [
        ValkeyStores("redis://of-file", outage="wait"),
        ValkeyStores(f"redis://:{PASSWORD}@given", outage="wait"),
    ]
    refused = CliRunner().invoke(main, [*line, "--shared", f"ftp://:{PASSWORD}@given"])
    assert (refused.exit_code, PASSWORD in refused.output) == (2, False)
    assert "--shared: the URL of the shared server must begin with" in refused.output
