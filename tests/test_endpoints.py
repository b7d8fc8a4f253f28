"""The options and the environment decide which provider a run uses."""

import re

import pytest
from click.testing import CliRunner

from callsheet.actors import VENDORS, Endpoint
from callsheet.cli import main
from callsheet.endpoints import ExtraHeaders, choose_endpoint, open_endpoint

KEY, OTHER = "sk-one-0123456789", "sk-other-0123456789"


def chosen(base_url=None, provider=None, **environ):
    """Return the vendor, base URL and key of an endpoint."""
    endpoint = choose_endpoint(base_url, environ, provider=provider).endpoint
    return endpoint and (endpoint.vendor.name, endpoint.base_url, endpoint.api_key)


OPENAI = "https://api.openai.com/v1"
LOCAL = "http://127.0.0.1:8080/v1"


def test_without_anything_it_is_the_built_in_one():
    assert chosen() is None
    assert chosen(OPENAI_API_KEY="", OPENAI_BASE_URL=" ") is None


def test_the_name_of_the_built_in_provider_precedes_the_environment():
    environ = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": LOCAL, "ANTHROPIC_API_KEY": OTHER}
    assert chosen(provider="builtin", **environ) is None
    choice = choose_endpoint(environ=environ, provider="builtin")
    assert choice.describe(Endpoint(LOCAL)) == f"Provider: builtin at {LOCAL} (--provider builtin)"
    with pytest.raises(ValueError, match=r"--base-url: --provider builtin .* no other address"):
        chosen(LOCAL, "builtin")


def test_the_alternatives_are_named_when_nothing_is_configured():
    assert choose_endpoint(environ={}).describe(Endpoint(LOCAL)) == (
        f"Provider: builtin at {LOCAL} "
        "(no provider is configured; --provider or --base-url chooses one)"
    )


async def test_an_endpoint_is_opened_by_the_name_of_its_provider(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    async with open_endpoint("openai") as named, open_endpoint() as of_the_environment:
        assert named == of_the_environment
        assert named.base_url == OPENAI
    async with open_endpoint("builtin") as builtin:
        assert builtin.host.startswith("127.0.0.1:")
        assert builtin.api_key is None


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nonsense", "open_endpoint: 'nonsense' is unknown; choose one of builtin, openai,"),
        ("groq", "open_endpoint('groq'): Groq needs an API key; set GROQ_API_KEY"),
        ("compatible", "use Endpoint(url, vendor='compatible') or set OPENAI_BASE_URL"),
    ],
)
async def test_what_a_program_must_change_is_said_without_options_of_commands(
    name, said, monkeypatch
):
    for variable in ("GROQ_API_KEY", "GROQ_BASE_URL", "OPENAI_BASE_URL"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ValueError, match=re.escape(said)):
        async with open_endpoint(name):
            pass


@pytest.mark.parametrize("provider", [None, "builtin"])
async def test_a_program_without_a_key_is_warned_of_made_up_texts(provider, monkeypatch, log):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    async with open_endpoint(provider):
        pass
    found = [event for event in log if event["event"] == "builtin_provider"]
    if provider is None:
        assert found[0]["reason"] == "neither OPENAI_API_KEY nor OPENAI_BASE_URL is set"
        assert "open_endpoint('openai')" in found[0]["remedy"]
    else:
        assert not found


def test_openais_variables_choose_as_ever():
    assert chosen(OPENAI_API_KEY=KEY) == ("openai", OPENAI, KEY)
    assert chosen(OPENAI_BASE_URL=LOCAL) == ("compatible", LOCAL, None)
    assert chosen(OPENAI_BASE_URL=LOCAL, OPENAI_API_KEY=KEY) == ("compatible", LOCAL, KEY)
    assert chosen(LOCAL, OPENAI_BASE_URL="http://other/v1") == ("compatible", LOCAL, None)


@pytest.mark.parametrize("name", sorted(set(VENDORS) - {"openai", "compatible", "lmstudio"}))
def test_the_key_of_another_vendor_alone_chooses_nothing_but_is_mentioned(name):
    """A variable that exists for another program must not make a run spend money."""
    variable = VENDORS[name].key_variables[0]
    choice = choose_endpoint(environ={variable: KEY})
    assert choice.endpoint is None
    line = choice.describe(Endpoint(LOCAL))
    assert f"{variable} is set: --provider {name} uses" in line
    assert KEY not in line


def test_anthropics_token_is_sent_as_a_bearer_where_no_key_is_set():
    environ = {"ANTHROPIC_AUTH_TOKEN": KEY}
    endpoint = choose_endpoint(environ=environ, provider="anthropic").endpoint
    assert endpoint.auth_headers()["authorization"] == f"Bearer {KEY}"
    assert "x-api-key" not in endpoint.auth_headers()
    environ["ANTHROPIC_API_KEY"] = OTHER
    endpoint = choose_endpoint(environ=environ, provider="anthropic").endpoint
    assert endpoint.auth_headers()["x-api-key"] == OTHER


@pytest.mark.parametrize(
    ("name", "environ", "url"),
    [
        ("openai", {"OPENAI_API_KEY": KEY}, OPENAI),
        ("openai", {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": LOCAL}, LOCAL),
        ("anthropic", {"ANTHROPIC_API_KEY": KEY}, "https://api.anthropic.com/v1"),
        (
            "anthropic",
            {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": "http://127.0.0.1:9"},
            "http://127.0.0.1:9/v1",
        ),
        (
            "gemini",
            {"GOOGLE_API_KEY": OTHER, "GEMINI_API_KEY": KEY},
            "https://generativelanguage.googleapis.com/v1beta",
        ),
        (
            "gemini",
            {"GOOGLE_API_KEY": KEY, "GEMINI_API_KEY": ""},
            "https://generativelanguage.googleapis.com/v1beta",
        ),
        (
            "azure",
            {"AZURE_OPENAI_API_KEY": KEY, "AZURE_OPENAI_ENDPOINT": "https://me.openai.azure.com/"},
            "https://me.openai.azure.com/openai/v1",
        ),
        ("groq", {"GROQ_API_KEY": KEY}, "https://api.groq.com/openai/v1"),
        ("together", {"TOGETHER_API_KEY": KEY}, "https://api.together.xyz/v1"),
        ("openrouter", {"OPENROUTER_API_KEY": KEY}, "https://openrouter.ai/api/v1"),
        ("cerebras", {"CEREBRAS_API_KEY": KEY}, "https://api.cerebras.ai/v1"),
        ("vllm", {"VLLM_API_KEY": KEY}, "http://127.0.0.1:8000/v1"),
        ("llamacpp", {"LLAMA_API_KEY": KEY}, "http://127.0.0.1:8080/v1"),
        ("ollama", {"OLLAMA_API_KEY": KEY}, "http://127.0.0.1:11434/v1"),
    ],
)
def test_a_provider_has_a_key_and_an_address_of_its_own(name, environ, url):
    assert chosen(provider=name, **{"OPENAI_API_KEY": OTHER} | environ) == (name, url, KEY)


@pytest.mark.parametrize("name", ["vllm", "llamacpp", "ollama"])
def test_a_server_on_this_machine_needs_no_key(name):
    assert chosen(provider=name) == (name, VENDORS[name].base_url, None)


@pytest.mark.parametrize(
    ("name", "variable"),
    [("openai", "OPENAI_API_KEY"), ("gemini", "GEMINI_API_KEY or GOOGLE_API_KEY")],
)
def test_a_key_that_is_missing_is_asked_for_before_anything_is_sent(name, variable):
    with pytest.raises(ValueError, match=f"--provider {name}: .* key; set {variable}"):
        chosen(provider=name)
    assert chosen(LOCAL, name) == (name, LOCAL, None)  # the server may be a proxy that has the key


def test_an_address_that_is_missing_is_asked_for():
    with pytest.raises(ValueError, match=r"Azure .* give --base-url or set AZURE_OPENAI_ENDPOINT"):
        chosen(provider="azure", AZURE_OPENAI_API_KEY=KEY)
    with pytest.raises(ValueError, match=r"--base-url or set OPENAI_BASE_URL"):
        chosen(provider="compatible")


def test_a_key_is_sent_only_to_its_vendor():
    """OpenAI's key goes to another vendor only if both variables of OpenAI are set."""
    url = "https://openrouter.ai/api/v1"
    with pytest.raises(ValueError, match="OPENROUTER_API_KEY"):
        chosen(url, OPENAI_API_KEY=OTHER)
    assert chosen(url, OPENAI_API_KEY=OTHER, OPENROUTER_API_KEY=KEY) == ("openrouter", url, KEY)
    assert chosen(OPENAI_BASE_URL=url, OPENAI_API_KEY=KEY) == ("openrouter", url, KEY)
    assert chosen(OPENAI_BASE_URL=url, OPENROUTER_API_KEY=KEY) == ("openrouter", url, KEY)


def headers_of(**environ):
    return choose_endpoint(environ=environ).endpoint.headers


def test_organisation_and_project_are_sent_where_openais_variables_apply():
    names = {"OPENAI_ORG_ID": "org-1", "OPENAI_PROJECT_ID": "proj_2"}
    expected = {"openai-organization": "org-1", "openai-project": "proj_2"}
    assert headers_of(OPENAI_API_KEY=KEY, **names) == expected
    assert headers_of(OPENAI_BASE_URL=LOCAL, **names) == expected
    other = {"OPENAI_ORGANIZATION": "org-1", "OPENAI_PROJECT": "proj_2"}
    assert headers_of(OPENAI_API_KEY=KEY, **other) == expected
    assert choose_endpoint(LOCAL, names).endpoint.headers == {}
    groq = choose_endpoint(environ={"GROQ_API_KEY": KEY, **names}, provider="groq")
    assert groq.endpoint.headers == {}


@pytest.mark.parametrize("name", ["OPENAI_ORG_ID", "OPENAI_PROJECT"])
def test_an_organisation_that_no_header_can_carry_is_refused_by_its_variable(name):
    with pytest.raises(ValueError, match=f"^{name} has characters"):
        chosen(OPENAI_API_KEY=KEY, **{name: "schlüssel"})


def test_mistakes_in_the_environment_are_found_with_the_choice():
    with pytest.raises(ValueError, match=r"^ALL_PROXY: "):
        chosen(OPENAI_API_KEY=KEY, ALL_PROXY="socks4://127.0.0.1:7897/")
    with pytest.raises(ValueError, match=r"^SSL_CERT_FILE: "):
        chosen(OPENAI_API_KEY=KEY, SSL_CERT_FILE="/nowhere")
    assert chosen(OPENAI_BASE_URL=LOCAL, ALL_PROXY="socks4://127.0.0.1:7897/")


async def test_further_headers_reach_every_endpoint():
    headers = ExtraHeaders({"x-team": "posts"}, {"x-tenant": "acme4711"})
    choice = choose_endpoint(environ={"OPENAI_API_KEY": KEY, "OPENAI_ORG_ID": "o"}, headers=headers)
    assert choice.endpoint.headers == {
        "openai-organization": "o",
        "x-team": "posts",
        "x-tenant": "acme4711",
    }
    assert "acme4711" not in repr(choice)
    assert choice.endpoint.scrub("posts of acme4711") == "posts of ***"
    async with open_endpoint(choose_endpoint(environ={}, headers=headers)) as endpoint:
        assert endpoint.headers == {"x-team": "posts", "x-tenant": "acme4711"}


def test_the_provider_is_described_without_the_secrets_of_its_url():
    choice = choose_endpoint(f"http://user:{KEY}@127.0.0.1:1/{OTHER}/v1", {})
    assert choice.describe(choice.endpoint).endswith(
        " at http://***@127.0.0.1:1/***/v1 (--base-url)"
    )


@pytest.mark.parametrize("value", ["x-team", "=hunter2", "x team=hunter2", "x-team=hünter2"])
@pytest.mark.parametrize("option", ["--header", "--secret-header"])
def test_a_header_that_cannot_be_sent_is_refused_without_its_value(option, value):
    result = CliRunner().invoke(main, ["compose", "Tea", option, value])
    assert result.exit_code == 2
    assert option in result.stderr
    assert "nter2" not in result.stderr


@pytest.mark.parametrize(
    ("source", "arguments"),
    [
        ("--base-url", {"base_url": "nonsense", "provider": "vllm"}),
        ("--base-url", {"base_url": "nonsense"}),
        ("OPENAI_BASE_URL", {"OPENAI_BASE_URL": "nonsense"}),
        ("ANTHROPIC_BASE_URL", {"ANTHROPIC_BASE_URL": "nonsense", "provider": "anthropic"}),
        ("GROQ_API_KEY", {"GROQ_API_KEY": "schlüssel", "provider": "groq"}),
        ("--provider", {"provider": "unknown"}),
    ],
)
def test_what_makes_no_sense_is_refused_with_where_it_stands(source, arguments):
    with pytest.raises(ValueError, match=source) as caught:
        chosen(**arguments)
    assert "schlüssel" not in str(caught.value)


def test_the_command_knows_the_providers_and_refuses_others():
    result = CliRunner().invoke(main, ["compose", "Tea", "--provider", "unknown"])
    assert result.exit_code == 2
    assert "'builtin', 'openai'" in result.stderr
    assert "'anthropic'" in result.stderr


def test_the_command_names_what_is_missing():
    env = dict.fromkeys(("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"), "")
    result = CliRunner().invoke(main, ["compose", "Tea", "--provider", "anthropic"], env=env)
    assert result.exit_code == 2
    assert "set ANTHROPIC_API_KEY" in result.stderr


@pytest.mark.parametrize("name", ["OPENAI_BASE_URL", "HTTPS_PROXY", "AZURE_OPENAI_ENDPOINT"])
@pytest.mark.parametrize(
    "url", ["ftp://me:{}@gw", "http://gw:{}/v1", "http://[::1?api-key={}", "http://me:{}@gw:99999"]
)
def test_a_key_in_a_url_of_the_environment_is_in_no_error(name, url):
    environ = {"OPENAI_BASE_URL": "https://gw/v1", name: url.format("hunter2secret")}
    provider = "azure" if name.startswith("AZURE") else None
    with pytest.raises(ValueError, match=name) as caught:
        choose_endpoint(environ=environ, provider=provider)
    assert "hunter2" not in str(caught.value)
