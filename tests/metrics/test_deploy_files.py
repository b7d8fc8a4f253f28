"""The dashboard and the rules in deploy/ are well formed and name metrics that exist."""

import json
import re
from itertools import combinations

import pytest
from fakes import MODEL, STALL
from prometheus_tools import DEPLOY, PROMETHEUS, promtool
from scraped import scrape, settings_with

from callsheet.actors import CachePolicy, LedgerPolicy, Request, open_troupe
from callsheet.metrics import FAMILIES, Metrics

DASHBOARD = json.loads((DEPLOY / "grafana" / "callsheet.json").read_text())
RULES = (PROMETHEUS / "callsheet.rules.yml").read_text()
LABELS_OF_THE_SERVER = {"job", "instance", "le"}
WIDTH = 24  # of the grid of a dashboard

needs_prometheus = pytest.mark.usefixtures("prometheus_installed")


def known_names():
    for family in FAMILIES.values():
        if family.kind == "histogram":
            yield from (f"{family.name}_{ending}" for ending in ("bucket", "sum", "count"))
        else:
            yield f"{family.name}_info" if family.kind == "info" else family.exported_name


KNOWN = set(known_names())


def targets():
    return [
        (panel["title"], target)
        for panel in DASHBOARD["panels"]
        for target in panel.get("targets", ())
    ]


def labels_of(name):
    return {*FAMILIES[re.sub("_(total|info|bucket|sum|count)$", "", name)].labels}


async def test_counters_that_alerts_take_the_increase_of_begin_at_zero(autojump_clock):
    """An increase does not see the step from no series to the first value."""
    increased = re.findall(r"increase\(callsheet_(\w+)", RULES)
    by_model = {name for name in increased if labels_of(f"callsheet_{name}") == {"model"}}
    metrics = Metrics()
    async with open_troupe(settings_with(metrics, STALL), drain_s=0) as troupe:
        await troupe.submit(Request.of("Hi", model=MODEL))
        seen = await scrape(metrics)
    assert {"cost_dollars_total", "unpriced_calls_total"} <= by_model
    for name in by_model:
        assert seen.values[f"callsheet_{name}"] == {(MODEL,): 0}


def test_the_ids_of_panels_are_unique():
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids)) > 20
    assert DASHBOARD.get("id") is None
    assert DASHBOARD["schemaVersion"] >= 39
    for panel in DASHBOARD["panels"]:
        references = [target["refId"] for target in panel.get("targets", ())]
        assert len(references) == len(set(references))


def test_no_panels_overlap():
    def cells(panel):
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= WIDTH
        return {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }

    for one, other in combinations(DASHBOARD["panels"], 2):
        assert not cells(one) & cells(other), (one["title"], other["title"])


def test_every_query_has_the_data_source_that_is_chosen():
    for title, target in targets():
        assert target["datasource"]["uid"] == "${datasource}", title
        assert "$job" in target["expr"], title
        assert "$instance" in target["expr"], title


@pytest.mark.parametrize("text", [RULES, json.dumps(DASHBOARD)], ids=["rules", "dashboard"])
def test_every_metric_that_is_named_exists(text):
    named = set(re.findall(r"\bcallsheet_\w+", text))
    assert named - KNOWN - {"callsheet_json"} == set()
    assert len(named) > 10


@pytest.mark.parametrize(("title", "target"), targets())
def test_a_query_names_labels_that_its_metrics_have(title, target):
    expression = target["expr"]
    names = set(re.findall(r"\bcallsheet_\w+", expression))
    allowed = LABELS_OF_THE_SERVER.union(*(labels_of(name) for name in names))
    grouped = re.findall(r"by \(([^)]*)\)", expression)
    used = {label.strip() for group in grouped for label in group.split(",")}
    assert used | set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= allowed, title
    for name, matchers in re.findall(r"\b(callsheet_\w+)\{([^}]*)\}", expression):
        matched = set(re.findall(r"(\w+)(?:=~|!=|=)", matchers))
        assert matched <= labels_of(name) | LABELS_OF_THE_SERVER, title


def test_every_alert_has_a_test_that_fires_it_and_one_that_does_not():
    alerts = re.findall(r"- alert: (\w+)", RULES)
    tested = re.findall(r"- name: (.*)", (PROMETHEUS / "callsheet.test.yml").read_text())
    assert tested == [f"{alert} {word}" for alert in alerts for word in ("fires", "does not fire")]
    assert len(alerts) > 10


# ------------------------------------------------------------------------------ with promtool


@needs_prometheus
def test_the_rules_and_the_configuration_are_valid():
    promtool("check", "rules", "callsheet.rules.yml")
    promtool("check", "config", "prometheus.yml")
    promtool("check", "config", "gateway.yml")


@needs_prometheus
def test_each_alert_fires_when_it_should_and_not_otherwise():
    promtool("test", "rules", "callsheet.test.yml")


@needs_prometheus
async def test_the_metrics_follow_the_rules_of_promtool(autojump_clock):
    metrics = Metrics()
    policies = {"cache": CachePolicy(path=None), "ledger": LedgerPolicy()}
    async with open_troupe(settings_with(metrics, **policies)) as troupe:
        await troupe.complete(Request.of("Hi", model="gpt-4o", cacheable=True))
        text = (await metrics.exposition()).body.decode()
    assert promtool("check", "metrics", text=text) == ""
