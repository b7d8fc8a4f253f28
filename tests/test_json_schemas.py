"""The JSON schemas in docs/schemas/: they are current, and what is written and read matches."""

import json
import re
import runpy
import tomllib
from contextlib import asynccontextmanager, nullcontext
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import attrs
import httpx
import pytest
from click.testing import CliRunner
from provider_process import provider_process

from callsheet.actors import (
    CallFailed,
    Choice,
    Endpoint,
    Limits,
    PriceBook,
    PriceError,
    RateLimited,
    RecipeError,
    Request,
    Response,
    TroupeSettings,
    Usage,
    load_recipe,
)
from callsheet.actors.inspection.lines import ReadingRefused, this_program, to_line
from callsheet.actors.typed.matching import matches_schema
from callsheet.actors.vendors.price_file import read_row
from callsheet.bulk.files.lines import answer_line, failure_line
from callsheet.bulk.reading import ReadSettings, open_rows
from callsheet.bulk.row import ANTHROPIC_URL, BadRow, Row, gemini_url
from callsheet.cli import compare as compare_command
from callsheet.cli import main
from callsheet.cli.run.limits_table import read_limits
from callsheet.compare.comparison import Comparison
from callsheet.compare.run import ModeResult
from callsheet.gateway import GatewaySettings, ModelRoute
from callsheet.gateway.opening import cast_gateway
from callsheet.runtime import open_runtime
from callsheet.simulator.app import Provider
from callsheet.simulator.caching import CacheUse
from callsheet.simulator.inprocess import ProviderTransport
from callsheet.simulator.settings import ProviderSettings
from callsheet.simulator.stats import RunningStats

ROOT = Path(__file__).parent.parent
MADE = runpy.run_path(str(ROOT / "release/json_schemas.py"))
NAMES = sorted([*MADE["SCHEMAS"], *MADE["FILES"], MADE["SETTINGS"]])
MODEL = "gpt-4o-mini"
POST = (ROOT / "actors/compose/post.toml").read_text()
OPEN = {"Post"}  # classes whose JSON has members of the user's


def read(name):
    return json.loads(MADE["path_of"](name).read_text())


def matches(name, *values):
    """Return whether all values match a schema, and have no member that it does not know."""
    schema = read(name)
    for title, kind in schema["$defs"].items():
        kind["additionalProperties"] = title in OPEN
    assert values
    return all(matches_schema(value, schema) for value in values)


def lines_of(text):
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def provider():
    with provider_process("--time-scale", "0.01") as base_url:
        yield base_url


@pytest.fixture
def callsheet(tmp_path, monkeypatch):
    """Runs a command in this process, and returns what it has written to stdout."""
    monkeypatch.chdir(tmp_path)
    for name in ("CALLSHEET_CONFIG", "CALLSHEET_SHARED_URL", "CALLSHEET_LEDGER"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments):
        result = CliRunner().invoke(main, [str(one) for one in arguments])
        assert "Traceback" not in result.output
        return result.stdout

    return run


# ----------------------------------------------------------------------------- the files


@pytest.mark.parametrize("name", NAMES)
def test_the_file_is_made_from_the_classes(name):
    assert MADE["path_of"](name).read_text() == MADE["schema_of"](name), (
        "run release/json_schemas.py"
    )


@pytest.mark.parametrize("name", NAMES)
def test_each_class_and_each_member_has_a_description(name):
    for kind in read(name)["$defs"].values():
        assert kind["description"].endswith(".")
        for member in kind["properties"].values():
            assert member["description"].endswith(".")


def test_there_is_no_other_file():
    found = (ROOT / "docs/schemas").iterdir()
    assert sorted(path.name for path in found) == [f"{name}.schema.json" for name in NAMES]


# ----------------------------------------------------------------------------- what is written


@pytest.mark.sockets
def test_what_a_run_writes_matches(callsheet, provider, tmp_path):
    rows = [{"custom_id": f"r-{at}", "prompt": f"Say {at}."} for at in range(3)]
    text = "".join(f"{json.dumps(row)}\n" for row in rows)
    (tmp_path / "in.jsonl").write_text(f"{text}no JSON\n")
    usual = ("run", "in.jsonl", "out.jsonl", "--model", MODEL, "--base-url", provider)
    usual += ("--rpm", 6000, "--json")
    for more in (["--dry-run"], ["--events", "events.jsonl"]):
        assert matches("run-summary", json.loads(callsheet(*usual, *more)))
    for name, file, count in (
        ("output-line", "out.jsonl", 3),
        ("error-line", "out.jsonl.errors.jsonl", 1),
        ("event", "events.jsonl", 7),
    ):
        found = lines_of((tmp_path / file).read_text())
        assert len(found) == count
        assert matches(name, *found)


@pytest.mark.parametrize("url", ["/v1/chat/completions", ANTHROPIC_URL, gemini_url(MODEL)])
def test_lines_in_each_format_match(url):
    request = Request.of("Hi", model=MODEL)
    row = Row(number=1, custom_id="r-1", request=request, key=b"k" * 16, url=url)
    usual = {"text": "Yes.", "model": MODEL, "finish_reason": "stop", "usage": Usage(10, 5)}
    usual |= {"http_requests": 1, "seconds": 1.5, "choices": (Choice("Yes.", "stop"),)}
    more = {"reported_cost_usd": Decimal("0.1"), "usage_doubt": "the total is wrong"}
    responses = (
        Response(**usual, cost_usd=None),
        Response(**usual, cost_usd=Decimal("0.1"), **more),
    )
    lines = [json.loads(answer_line(row, one, 0)) for one in responses]
    assert matches("output-line", *lines)
    errors = (CallFailed("no"), RateLimited("too fast", status=429, attempts=5))
    assert matches("error-line", *(json.loads(failure_line(row, one)) for one in errors))
    assert not matches("output-line", *(json.loads(failure_line(row, one)) for one in errors))


@pytest.mark.sockets
def test_what_compose_and_costs_write_matches(callsheet, provider):
    usual = ("compose", "Tea", "--base-url", provider, "--json", "--ledger", "ledger.sqlite3")
    (post,) = lines_of(callsheet(*usual))
    (failed,) = lines_of(callsheet(*usual, "--deadline", 0.001))
    assert "stats" in post
    assert "error" in failed
    assert matches("post", post, failed)
    for by in ("model", "tenant", "post", "day", "route", "endpoint", "call"):
        found = callsheet(*("costs", "--ledger", "ledger.sqlite3", "--by", by, "--format", "json"))
        costs = json.loads(found)
        assert costs["simulated_rows"][0].keys() - costs["simulated_total"].keys() == {by}
        assert matches("costs", costs)


def test_what_prices_writes_matches(callsheet):
    assert matches("prices", json.loads(callsheet("prices", "gpt-5", "--format", "json")))


def test_what_doctor_writes_matches(callsheet):
    assert matches("doctor", json.loads(callsheet("doctor", "--offline", "--json")))


def test_what_keys_writes_matches(callsheet):
    store = ("--store", "keys.sqlite3", "--json")
    terms = ("--rpm", 5, "--budget", "1/day", "--allow", "cache", "--expires", "30d")
    created = callsheet("keys", "create", "team-a", *terms, *store)
    replaced = callsheet("keys", "create", "team-a", "--replace", *store)
    assert matches("created-key", json.loads(created), json.loads(replaced))
    listed = callsheet("keys", "list", *store)
    revoked = callsheet("keys", "revoke", "team-a", *store)
    assert len(json.loads(revoked)["keys"]) == 2
    assert matches("keys", json.loads(listed), json.loads(revoked))


def test_what_compare_writes_matches(callsheet, monkeypatch):
    usual = {"wall_s": 1.5, "seconds": (1.0, 1.5), "results": (), "http_requests": 2}
    usual |= {"usage": Usage(10, 5), "rejected": 0}
    priced = ModeResult(**usual, cost_usd=Decimal("0.001"))

    async def run(workload, **_):
        slowest = SimpleNamespace(critical_path=(1.0, ()))
        return Comparison(
            workload=workload,
            time_scale=1.0,
            lower_bound=SimpleNamespace(slowest=slowest),
            modes={"callsheet": priced, "staged": attrs.evolve(priced, cost_usd=None)},
        )

    monkeypatch.setattr(compare_command, "run_ways", run)
    assert matches("comparison", json.loads(callsheet("compare", "--json")))


@asynccontextmanager
async def open_client():
    """Open a client of a gateway with one troupe, in this process."""
    provider = Provider(ProviderSettings(latency_s=(1.0, 1.0)))
    async with ProviderTransport(provider) as transport, open_runtime("gateway") as runtime:
        endpoint = Endpoint("http://provider/v1", "sk-provider")
        settings = GatewaySettings(
            troupes={"main": TroupeSettings(endpoint=endpoint, transport=transport)},
            routes=[ModelRoute(name="*", troupe="main")],
        )
        async with httpx.AsyncClient(transport=transport) as own:
            _, app = await cast_gateway(runtime, settings, own)
            way = httpx.ASGITransport(app, client=("127.0.0.1", 5))
            async with httpx.AsyncClient(transport=way, base_url="http://127.0.0.1") as client:
                yield client


async def test_what_a_gateway_answers_matches(autojump_clock):
    async with open_client() as client:
        body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
        answer = await client.post("/v1/chat/completions", json=body)
        call = await client.get(f"/api/call?id={answer.headers['x-request-id']}")
        assert matches("call-timeline", call.json())
        page = (await client.get("/api/reading")).json()
        assert page["recent"]
        assert matches("gateway-page", page)
        assert matches("readiness", (await client.get("/readyz")).json())
        program, reading = lines_of((await client.get("/api/top")).text)
        assert matches("inspected-program", program)
        assert matches("reading", reading)
    assert matches("readiness", {"ready": False, "not_ready": {"drain": "the gateway drains"}})


def test_the_first_lines_of_an_inspection_socket_match():
    refused = ReadingRefused(refused="16 readers are connected")
    assert matches(
        "inspected-program", *(json.loads(to_line(it)) for it in (this_program(), refused))
    )


def test_the_counts_of_the_simulator_match():
    counts = RunningStats()
    counts.begin()
    counts.bill(MODEL, "default", 10, 5)
    counts.bill(MODEL, "batch", 10, 5, CacheUse(read=4, written=2, saved=1.5))
    counts.answer(200)
    found = json.loads(json.dumps(counts.freeze().as_json()))
    assert matches("simulator-statistics", found)


# ----------------------------------------------------------------------------- what users write


def blocks(name, language):
    """Return the blocks of a language of a page."""
    text = (ROOT / "docs" / name).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def allows(name, value):
    return matches_schema(value, read(name))


def other(value, **members):
    return {**value, **members}


def test_the_price_files_of_the_documents_and_the_published_table_match():
    table = json.loads((ROOT / "actors/data/prices.json").read_text())
    shown = [
        json.loads(text) for page in ("costs.md", "recipes.md") for text in blocks(page, "json")
    ]
    assert len(shown) == 2
    assert len(table["models"]) > 100
    assert all(allows("price-file", one) for one in (table, *shown))


PRICE = {"input": 1, "output": 2}


@pytest.mark.parametrize(
    "row",
    [
        PRICE,
        other(
            PRICE, cached=0, cache_write=1.5, cache_write_1h=2, note="new", shut_down="2027-01-01"
        ),
        other(PRICE, batch_input=1, batch_output=2, names=["its-name-*"]),
        other(PRICE, above={"1000": PRICE}, tiers={"batch": 0.5, "flex": other(PRICE, above={})}),
        {"from": {"2027-01-01": other(PRICE, tiers={"batch": 0.5})}, **PRICE},
        other(PRICE, peak=other(PRICE, hours=["01:00-04:00"], weekdays_only=True)),
    ],
)
def test_prices_that_are_read_match(row, tmp_path):
    document = {"models": {"my-model": row}}
    (tmp_path / "prices.json").write_text(json.dumps(document))
    assert PriceBook.load(tmp_path / "prices.json").price("my-model") is not None
    assert allows("price-file", document)


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        {"models": {}, "day": "2026-11-01"},
        {"models": {"my-model": {"input": 1}}},
        {"models": {"my-model": {"input": 1, "output": "2"}}},
        {"models": {"my-model": {"input": 1, "output": -2}}},
        {"models": {"my-model": other(PRICE, price=1)}},
        {"models": {"my-model": other(PRICE, above={"1000": {"input": 1}})}},
        {"models": {"my-model": other(PRICE, tiers={"batch": "half"})}},
        {"models": {"my-model": other(PRICE, peak=PRICE)}},
    ],
)
def test_prices_that_are_refused_do_not_match(document, tmp_path):
    (tmp_path / "prices.json").write_text(json.dumps(document))
    with pytest.raises(PriceError):
        PriceBook.load(tmp_path / "prices.json")
    assert not allows("price-file", document)


def test_a_price_file_has_the_members_that_its_errors_list():
    kinds = read("price-file")["$defs"]
    with pytest.raises(PriceError) as error:
        read_row(other(PRICE, colour=1), "place")
    assert set(kinds["ModelPrices"]["properties"]) == set(listed(error))
    with pytest.raises(PriceError) as error:
        read_row(other(PRICE, above={"1000": other(PRICE, colour=1)}), "place")
    assert set(kinds["TokenPrices"]["properties"]) == set(listed(error))


def listed(error):
    return str(error.value).partition("the fields are ")[2].split(", ")


@pytest.mark.parametrize("text", [*blocks("recipes.md", "toml"), POST])
def test_the_recipes_of_the_documents_and_the_built_in_one_match(text):
    assert allows("recipe", tomllib.loads(text))


STEP = {"name": "a", "prompt": "{{ topic }}"}


@pytest.mark.parametrize(
    ("recipe", "is_read"),
    [
        ({"name": "one", "steps": [STEP]}, True),
        ({"name": "one", "steps": [other(STEP, shape="list", model=None)], "system": None}, True),
        ({"name": "one"}, False),
        ({"steps": [STEP]}, False),
        ({"name": "one", "steps": [{"name": "a"}]}, False),
        ({"name": "one", "steps": [other(STEP, shape="table")]}, False),
        ({"name": "one", "steps": [other(STEP, needs="b")]}, False),
        ({"name": "one", "steps": [STEP], "colour": "red"}, False),
    ],
)
def test_a_recipe_that_is_read_matches(recipe, is_read, tmp_path):
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(recipe))
    with nullcontext() if is_read else pytest.raises(RecipeError):
        load_recipe(path)
    assert allows("recipe", recipe) is is_read


@pytest.mark.parametrize(
    ("text", "is_read"),
    [
        ("", True),
        ("rpm = 500\ntpm = 1e6\nmax_concurrency = 20\nburst_s = 0.5", True),
        ('[models."gpt-5.4*"]\nrpm = 5', True),
        ("rpn = 5", False),
        ('rpm = "many"', False),
        ("max_concurrency = 1.5", False),
        ("models = 5", False),
        ("[models.one]\nmodels = {}", False),
    ],
)
def test_a_limits_file_that_is_read_matches(text, is_read, tmp_path):
    (tmp_path / "limits.toml").write_text(text)
    with nullcontext() if is_read else pytest.raises(ValueError, match=r"limits\.toml"):
        read_limits(tmp_path / "limits.toml", Limits())
    assert allows("limits-file", tomllib.loads(text)) is is_read


def rows_of_lines(lines, folder):
    path = folder / "in.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    with open_rows(path, ReadSettings(model=MODEL)) as rows:
        return list(rows)


CHAT = {"messages": [{"role": "user", "content": "Hi"}]}
GEMINI = {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}
LINES = [
    {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": CHAT},
    {"body": {"input": "Hi"}, "url": "/embeddings"},
    {"custom_id": "b", "params": {**CHAT, "max_tokens": 5}},
    {"key": "c", "request": GEMINI},
    {"request": GEMINI, "metadata": {"key": "d"}},
    other(CHAT, id=5, temperature=0.5, user="me", max_tokens=None),
    other(CHAT, system="Be brief.", stop=["."], n=1),
    {
        "messages": [
            {"role": "assistant", "tool_calls": [], "content": [{"type": "text", "text": ""}]}
        ]
    },
    {"prompt": "Hi", "topic": "greetings"},
    {"prompt": 7},
    {"prompt": ["one", "two"], "model": MODEL},
    {"input": ["one", "two"], "dimensions": 8},
]
WRONG = [
    {},
    {"text": "Hi"},
    {"body": "Hi"},
    {"body": CHAT, "method": "GET"},
    {"body": CHAT, "url": "/v1/audio"},
    {"custom_id": ["a"], "body": CHAT},
    other(CHAT, temperature="high"),
    other(CHAT, max_tokens=0.5),
    {"messages": "Hi"},
    {"messages": [{"content": "Hi"}]},
    {"prompt": None},
    {"input": 5},
]


def test_lines_of_input_that_are_read_match(tmp_path):
    assert [row.reason for row in rows_of_lines(LINES, tmp_path) if isinstance(row, BadRow)] == []
    assert [line for line in LINES if not allows("input-line", line)] == []


def test_lines_of_input_that_are_bad_rows_do_not_match(tmp_path):
    for line in WRONG:
        rows = rows_of_lines([LINES[0], line], tmp_path)
        assert isinstance(rows[-1], BadRow), line
    assert [line for line in WRONG if allows("input-line", line)] == []


def test_the_lines_of_the_tutorial_match():
    text = (ROOT / "docs/tutorial.md").read_text()
    (lines,) = re.findall(r"`facts.jsonl`:\n\n```json\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert all(allows("input-line", line) for line in lines_of(lines))


# ----------------------------------------------------------------------------- the settings file


def settings_files():
    """Yield the text of each settings file that users are shown."""
    yield (ROOT / "deploy/gateway/callsheet.toml").read_text()
    for path in sorted((ROOT / "docs").rglob("*.md")):
        if path.name != "recipes.md":  # whose TOML is a recipe
            yield from re.findall(
                r"^```toml\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE
            )


def test_each_settings_file_of_the_documents_matches():
    found = [tomllib.loads(text) for text in settings_files()]
    assert len(found) > 8
    assert all(matches_schema(one, read("settings")) for one in found)


@pytest.mark.parametrize(
    "text",
    [
        "colour = true",
        "[limit]\nrpm = 5",
        "[limits]\nrpn = 5",
        '[limits]\nrpm = "many"',
        '[endpoints.main]\nprovide = "openai"',
        'prompt_caching = "always"',
        "models = { fast = 5 }",
        "[ledger]\nbudgets = [{ period = 'day' }]",
    ],
)
def test_a_wrong_setting_does_not_match(text):
    assert not matches_schema(tomllib.loads(text), read("settings"))


@pytest.mark.parametrize("text", ["cache = false", "ledger = true", "[limits]\nrpm = 5.5", ""])
def test_what_a_settings_file_may_say_in_short_matches(text):
    assert matches_schema(tomllib.loads(text), read("settings"))
