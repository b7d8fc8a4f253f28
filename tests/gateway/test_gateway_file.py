"""The settings of a gateway from a file: routes and troupes, and what is said of a bad file."""

from decimal import Decimal
from pathlib import Path
from typing import get_args

import pytest

from callsheet import load_settings
from callsheet.actors import Endpoint, LedgerPolicy
from callsheet.config import ConfigError
from callsheet.config.tables import settable_fields
from callsheet.gateway import GatewaySettings, ModelRoute, TlsFiles, read_gateway
from callsheet.gateway.file import GatewayTable, KeysTable, ModelTable
from callsheet.gateway.keys import ALLOWABLE
from callsheet.gateway.settings import Allowed
from callsheet.serving import ServingLimits, TrustedProxies

KEY, OTHER_KEY = "sk-first-0123456789", "sk-ant-other-0123456789"
ENVIRON = {"OPENAI_API_KEY": KEY, "ANTHROPIC_API_KEY": OTHER_KEY, "TEAM_KEY": "sk-team-0123456789"}
MAIN = '[endpoints.main]\nprovider = "openai"\n'
SPARE = '[endpoints.spare]\nprovider = "anthropic"\nmodel = "claude-haiku-4-5"\n'
TWO = (
    '[endpoints.one]\nprovider = "openai"\nlimits = { rpm = 500 }\n'
    '[endpoints.two]\nprovider = "openai"\napi_key_env = "TEAM_KEY"\n'
)


@pytest.fixture
def load(tmp_path):
    """Reads the settings of a gateway from a text."""

    def loaded(text, environ=ENVIRON, **arguments):
        file = tmp_path / "callsheet.toml"
        file.write_text(text, encoding="utf-8")
        return read_gateway(file, environ, **arguments)

    return loaded


@pytest.fixture
def refused(tmp_path, load):
    """Returns what is said of a file that cannot be used, after the name of the file."""

    def text_of(text, environ=ENVIRON):
        with pytest.raises(ConfigError) as caught:
            load(text, environ)
        return str(caught.value).removeprefix(f"{tmp_path / 'callsheet.toml'}: ")

    return text_of


# ------------------------------------------------------------------------------------- routes


def test_without_models_all_go_to_the_endpoint(load):
    settings = load(MAIN)
    assert settings.route("any-model") == ModelRoute(name="*", troupe="main")
    assert settings.models == ()
    assert settings.troupes["main"].endpoint.api_key == KEY


def test_an_exact_name_comes_before_a_pattern_and_patterns_keep_their_order(load):
    settings = load(
        f"{MAIN}{SPARE}[models]\n'gpt-*' = 'main'\n'gpt-5*' = 'spare'\n'gpt-5-nano' = 'spare'\n"
    )
    assert settings.route("gpt-5-nano").troupe == "spare"
    assert settings.route("gpt-5-mini").name == "gpt-*"
    assert settings.route("GPT-5-mini") is None
    assert settings.models == ("gpt-5-nano",)


def test_an_alias_names_the_model_to_use(load):
    text = f"{MAIN}[models]\nfast = {{ endpoint = 'main', model = 'gpt-5-nano' }}\n"
    assert load(text).route("fast").model == "gpt-5-nano"


def test_models_of_one_endpoint_share_its_troupe(load):
    settings = load(f"{MAIN}[models]\na = 'main'\nb = 'main'\n'c*' = {{ endpoint = 'main' }}\n")
    assert list(settings.troupes) == ["main"]


def test_a_pool_is_one_troupe_with_the_limits_of_each_member(load):
    settings = load(f"{TWO}[models]\n'gpt-*' = ['one', 'two']\n")
    troupe = settings.troupes["one+two"]
    assert [member.key_name for member in troupe.endpoint.members] == ["one", "two"]
    assert troupe.member_limits["one"].rpm == 500


def test_a_model_can_have_another_fallback_than_its_endpoint_names(load):
    text = f"{MAIN}{SPARE}[models]\na = {{ endpoint = 'main', fallback = 'spare' }}\n"
    (target,) = load(text).troupes["main"].fallbacks
    assert target.endpoint.vendor.name == "anthropic"
    assert target.model == "claude-haiku-4-5"


def test_the_name_of_a_vendor_is_an_endpoint_with_the_keys_of_its_own_variables(load):
    settings = load(f"{MAIN}[models]\n'gpt-*' = 'main'\n'claude-*' = 'anthropic'\n")
    endpoint = settings.troupes["anthropic"].endpoint
    assert (endpoint.vendor.name, endpoint.api_key) == ("anthropic", OTHER_KEY)


def test_an_endpoint_that_no_model_uses_needs_no_key(load):
    text = f"{MAIN}{SPARE}[models]\n'gpt-*' = 'main'\n"
    assert list(load(text, {"OPENAI_API_KEY": KEY}).troupes) == ["main"]


def test_without_a_file_the_environment_has_the_endpoint():
    settings = read_gateway(environ={"OPENAI_API_KEY": KEY})
    assert settings.route("gpt-5-nano").troupe == "main"
    assert settings.troupes["main"].endpoint.vendor.name == "openai"


def test_a_given_endpoint_serves_all_models_of_the_file_and_needs_no_keys(load):
    text = f"{MAIN}[models]\nfast = {{ endpoint = 'main', model = 'm' }}\n"
    builtin = Endpoint("http://127.0.0.1:1/v1")
    settings = load(text, {}, endpoint=builtin)
    assert settings.route("fast").model == "m"
    assert settings.troupes["main"].endpoint == builtin


# ----------------------------------------------------------------------------------- sections


def test_shared_sections_hold_for_each_troupe_with_files_of_its_own(load, tmp_path):
    text = (
        "inspect = 'top.sock'\n[limits]\nin_flight = 7\n[batches]\njournal = 'batches.sqlite3'\n"
        f"{MAIN}{SPARE}[models]\na = 'main'\nb = 'spare'\n"
    )
    troupes = load(text).troupes
    assert {one.limits.in_flight for one in troupes.values()} == {7}
    assert troupes["main"].batches.journal == tmp_path / "batches-main.sqlite3"
    assert troupes["spare"].inspect is None  # the gateway is read at its URL
    alone = load(text.replace("b = 'spare'\n", "")).troupes["main"]
    assert alone.batches.journal == tmp_path / "batches.sqlite3"


def test_the_ledger_has_the_usual_file_unless_the_settings_name_another(load, tmp_path):
    usual = tmp_path / "usual.sqlite3"
    budgets = "[ledger]\nbudgets = [{ usd = 25, period = 'day' }]\n"
    assert load(MAIN, ledger=usual).troupes["main"].ledger == LedgerPolicy(path=usual)
    ledger = load(f"{MAIN}{budgets}", ledger=usual).troupes["main"].ledger
    assert (ledger.path, ledger.budgets[0].usd) == (usual, Decimal(25))
    named = load(f"{MAIN}{budgets}path = 'own.sqlite3'\n", ledger=usual).troupes["main"].ledger
    assert named.path == tmp_path / "own.sqlite3"
    assert load(f"ledger = false\n{MAIN}", ledger=usual).troupes["main"].ledger is None


def test_a_troupe_of_a_gateway_has_room_for_other_limits_and_for_many_that_wait(load):
    troupe = load(f"[limits]\nin_flight = 7\n{MAIN}").troupes["main"]
    assert (troupe.limits.in_flight, troupe.max_in_flight, troupe.max_waiting_calls) == (
        7,
        1000,
        100_000,
    )
    named = load(f"max_waiting_calls = 5\nmax_in_flight = 9\n{MAIN}").troupes["main"]
    assert (named.max_in_flight, named.max_waiting_calls) == (9, 5)


def test_sections_of_the_gateway_are_read(load, tmp_path):
    settings = load(
        f"{MAIN}[gateway]\nlisten = ['127.0.0.1:4000', '[::1]:4000']\npatience_s = 20\n"
        "drain_s = 30\ntls = { certificate = 'cert.pem', key = 'key.pem' }\n"
        "trusted_proxies = ['10.0.0.0/8', 'unix']\nadmin_key_env = 'ADMIN'\npublic_metrics = true\n"
        "clients = { max_connections = 100 }\n"
        "[keys]\nstore = 'keys.sqlite3'\nallow = ['cache', 'join']\n",
        ENVIRON | {"ADMIN": "an-admin-key"},
    )
    assert [str(one) for one in settings.listen] == ["127.0.0.1:4000", "[::1]:4000"]
    assert settings.clients == ServingLimits(max_connections=100)
    assert settings.trusted_proxies == TrustedProxies.parse(["10.0.0.0/8", "unix"])
    assert settings.tls == TlsFiles(tmp_path / "cert.pem", tmp_path / "key.pem")
    assert settings.keys == tmp_path / "keys.sqlite3"
    assert settings.allow == {"cache", "join"}
    assert (settings.patience_s, settings.drain_s, settings.public_metrics) == (20, 30, True)
    assert settings.admin_key == "an-admin-key"
    assert "an-admin-key" not in repr(settings)  # L8
    assert KEY not in repr(settings)


def test_variables_override_the_sections_of_the_gateway(load):
    environ = ENVIRON | {
        "CALLSHEET_GATEWAY_LISTEN": "0.0.0.0:80",
        "CALLSHEET_GATEWAY_PATIENCE_S": "5",
        "CALLSHEET_KEYS_STORE": "/keys.sqlite3",
        "CALLSHEET_ADMIN_KEY": "an-admin-key",
    }
    settings = load(f"{MAIN}[gateway]\nlisten = '127.0.0.1:1'\n", environ)
    assert [str(one) for one in settings.listen] == ["0.0.0.0:80"]
    assert settings.patience_s == 5
    assert str(settings.keys) == "/keys.sqlite3"
    assert settings.admin_key == "an-admin-key"


def test_the_file_of_a_gateway_serves_other_programs_as_well(tmp_path):
    file = tmp_path / "callsheet.toml"
    file.write_text(
        f"{MAIN}[gateway]\nlisten = '127.0.0.1:4000'\n[models]\n'gpt-*' = 'main'\n"
        "[keys]\nstore = 'keys.sqlite3'\n"
    )
    assert load_settings(file, environ=ENVIRON).endpoint.vendor.name == "openai"


# -------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            f"{MAIN}[models]\na = 'mian'\n",
            "models.a: must name one of main, got 'mian'; did you mean main?",
        ),
        (
            f"{MAIN}[models]\na = 5\n",
            'models.a: must be the name of an endpoint, or a table such as { endpoint = "main" }',
        ),
        (
            f"{MAIN}[models]\na = {{ model = 'b' }}\n",
            "models.a.endpoint: is missing; add it",
        ),
        (
            f"{MAIN}[models]\na = {{ endpoint = 'main', modle = 'b' }}\n",
            "models.a.modle: is unknown; did you mean model? (known: endpoint, model, fallback)",
        ),
        (
            f"{MAIN}[models]\ngpt-5.4-nano = 'main'\n",
            'models.gpt-5.4-nano: is unknown; a name with a dot needs quotes: "gpt-5.4-nano"',
        ),
        (
            f"{MAIN}[models]\na = {{ endpoint = 'main', fallback = 'sapre' }}\n{SPARE}",
            "models.a.fallback: must name one of main, spare, got 'sapre'; did you mean spare?",
        ),
        (
            f"{MAIN}[models]\na = []\n",
            "models.a: must name one of main, got an array",
        ),
        (
            f"{TWO}[models]\na = ['one', 'two']\nb = 'one'\n",
            (
                "models.b: must not use one as well as models.a, which uses one+two: an endpoint "
                "is alone or in one pool, because its limits count once"
            ),
        ),
        (
            f"{MAIN}{SPARE}[models]\na = 'main'\nb = {{ endpoint = 'main', fallback = 'spare' }}\n",
            (
                "models.b.fallback: must have the fallback of models.a, because both use the "
                "endpoint main, which has one; give it there: fallback in [endpoints.NAME]"
            ),
        ),
        (
            f"{MAIN}[gateway]\nlisen = '127.0.0.1:1'\n",
            "gateway.lisen: is unknown; did you mean listen?",
        ),
        (
            f"{MAIN}[gateway]\nlisten = 4000\n",
            "gateway.listen: must be an address, or an array of them, got 4000",
        ),
        (
            f"{MAIN}[gateway]\nlisten = []\n",
            "gateway.listen: must have at least one address",
        ),
        (
            f"{MAIN}[gateway]\nlisten = [1.5]\n",
            "gateway.listen: must be an address, or an array of them, got 1.5",
        ),
        (f"{MAIN}[gateway]\ntls = true\n", "gateway.tls: must be a table or false, got true"),
        (f"{MAIN}[gateway]\nlisten = 'here'\n", "gateway.listen: 'here' is no address: write"),
        (
            f"{MAIN}[gateway]\nlisten = '0.0.0.0:4000'\n",
            "gateway.listen: other machines can connect to 0.0.0.0:4000 and spend your money",
        ),
        (
            f"{MAIN}[gateway.clients]\nmax_body_bytes = 0\n",
            "gateway.clients.max_body_bytes: must be at least 1, got 0",
        ),
        (
            f"{MAIN}[gateway]\npatience_s = -1\n",
            "gateway.patience_s: must be at least 0, got -1",
        ),
        (
            f"{MAIN}[gateway]\ntrusted_proxies = ['10.0.0.1/8']\n",
            "gateway.trusted_proxies: '10.0.0.1/8' is no network of proxies: 10.0.0.1/8 has host",
        ),
        (
            f"{MAIN}[gateway]\nadmin_key_env = 'ADMIN'\n",
            "gateway.admin_key_env: the variable ADMIN is not set",
        ),
        (
            f"{MAIN}[gateway]\ntls = {{ certificate = 'c.pem' }}\n",
            "gateway.tls.key: is missing; add it",
        ),
        (
            f"{MAIN}[keys]\nallow = ['all']\n",
            "keys.allow[1]: must be one of cache, join, lists, prompt_cache, got 'all'",
        ),
        (
            f"{MAIN}[batches]\ndialect = 'x'\n",
            "batches.dialect: unknown Batch API 'x'; known are openai, ",
        ),
        (
            f"{MAIN}[kyes]\nstore = 'keys'\n",
            "kyes: is unknown; did you mean keys?",
        ),
        (
            "",
            "no endpoint is configured; add [endpoints.main]",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_by_file_and_field(refused, text, problem):
    environ = ENVIRON if text else {}
    assert refused(text, environ).startswith(problem)


def test_a_missing_key_of_a_provider_is_refused(refused):
    said = refused(f"{MAIN}[models]\na = 'main'\n", {})
    assert said == "endpoints.main: OpenAI needs an API key; set OPENAI_API_KEY"


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("[gateway]\nadmin_key = 'sk-0123456789abcdef0123'\n", "gateway.admin_key"),
        ("[gateway.tls]\nkey = '-----BEGIN PRIVATE KEY-----abc'\n", "gateway.tls.key"),
        ("[keys]\nsecret = 'cs-0123456789'\n", "keys.secret"),
    ],
)
def test_a_secret_in_the_file_is_refused_and_not_repeated(refused, text, field):
    said = refused(f"{MAIN}{text}")
    assert said.startswith(f"{field}: looks like a key")
    assert "0123" not in said
    assert "abc" not in said


def test_a_route_goes_to_a_troupe_that_is_there(load):
    troupes = load(MAIN).troupes
    with pytest.raises(ValueError, match="goes to no troupe"):
        GatewaySettings(troupes=troupes, routes=[ModelRoute(name="a", troupe="other")])
    with pytest.raises(ValueError, match="at least one endpoint"):
        GatewaySettings(troupes={}, routes=[])


def test_the_sections_of_a_gateway_are_documented(load, tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "settings.md").read_text()
    example = text.partition("# callsheet.toml, continued\n")[2].partition("```")[0]
    settings = load(f"{MAIN}{SPARE}{TWO}{example}")
    assert list(settings.troupes) == ["main", "anthropic", "one+two"]
    members = {
        *(f"| `{name}` |" for name in settable_fields(GatewayTable)),
        *(f"`{name}`" for name in settable_fields(ServingLimits)),
        *(f"`{name}`" for name in (*settable_fields(KeysTable), *settable_fields(ModelTable))),
        *(f'"{name}"' for name in ALLOWABLE),
    }
    assert [name for name in sorted(members) if name not in text] == []


def test_what_a_key_may_be_allowed_is_what_the_file_can_allow():
    assert set(ALLOWABLE) == set(get_args(Allowed))
