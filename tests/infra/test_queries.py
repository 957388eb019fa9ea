"""Alerts and workbook ask for events and fields that the app logs."""

import ast
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest

from services.adapters.logs import FieldsFormatter
from tests.infra.template import INFRA, MODULES, ROOT, body

WORKBOOK: Any = json.loads((INFRA / "workbook.json").read_text())
RULES: Any = MODULES["alerts"].vars["rules"].value
LATENCY: Any = MODULES["alerts"].vars["latencyQuery"].value


def queries() -> Iterator[tuple[str, str]]:
    for rule in RULES:
        yield rule["name"], rule["query"]
    yield "latency", LATENCY
    for item in WORKBOOK["items"]:
        if item["type"] == 3:
            yield item["name"], item["content"]["query"]


QUERIES = dict(queries())


def logged() -> dict[str, set[str]]:
    """Name the events that the sources could log, and beside each the fields that its module knows."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "services").rglob("*.py")):
        tree = ast.parse(path.read_text())
        keys = {
            key.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Dict)
            for key in node.keys
            if isinstance(key, ast.Constant)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                names = (one.value for one in node.args if isinstance(one, ast.Constant))
                for name in names:
                    if isinstance(name, str) and re.fullmatch(r"[a-z]+\.[a-z_]+", name):
                        found.setdefault(name, set()).update(map(str, keys))
    return found


LOGGED = logged()


@pytest.mark.parametrize("name", [name for name, query in QUERIES.items() if "message startswith" in query])
def test_a_query_asks_for_what_is_logged(name: str) -> None:
    query = QUERIES[name]
    events = re.findall(r'message startswith "([a-z_.]+) \{"', query)
    assert events
    assert [event for event in events if event not in LOGGED] == []
    known = set().union(*(LOGGED[event] for event in events))
    assert set(re.findall(r"fields\.(\w+)", query)) <= known


def test_a_line_of_the_log_is_what_the_queries_take_apart() -> None:
    record = logging.makeLogRecord(
        {"msg": "delivery.refused", "provider": "stripe", "reason": "wrong_signature"}
    )
    line = FieldsFormatter().format(record)
    assert line == 'delivery.refused {"provider": "stripe", "reason": "wrong_signature"}'
    assert json.loads(line[line.index("{") :]) == {"provider": "stripe", "reason": "wrong_signature"}


def test_the_audit_that_must_run_is_a_function() -> None:
    functions = {
        node.name
        for node in ast.parse((ROOT / "function_app.py").read_text()).body
        if isinstance(node, ast.AsyncFunctionDef)
    }
    asked = {name for query in QUERIES.values() for name in re.findall(r'operation_Name == "(\w+)"', query)}
    assert asked == {"audit"}
    assert asked <= functions


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["name"])
def test_a_rule_compares_a_column_that_its_query_makes(rule: Any) -> None:
    last = rule["query"].strip().splitlines()[-1]
    assert re.search(rf"\b{rule['column']} = ", last)
    dimension = getattr(rule["dimensions"], "text", None)
    by = {"byProvider": "provider", "byFunction": "operation_Name", None: None}[dimension]
    assert by is None or re.search(rf"\b{by}\b", last)


def test_executions_are_never_sampled_for_alerts_count_them() -> None:
    host = json.loads((ROOT / "host.json").read_text())
    sampling = host["logging"]["applicationInsights"]["samplingSettings"]
    assert "Request" in sampling["excludedTypes"].split(";")


def test_every_alert_reaches_the_operator() -> None:
    alerts = MODULES["alerts"]
    for name in ("deadLetters", "backlog"):
        assert body(alerts, name)["properties"]["actions"].text == "groups"
    for name in ("logAlerts", "latencyAlerts"):
        assert body(alerts, name)["properties"]["actions"]["actionGroups"].text == "groupIds"


def test_the_workbook_s_queries_have_the_component_and_the_time_that_is_chosen() -> None:
    assert WORKBOOK["version"] == "Notebook/1.0"
    assert WORKBOOK["fallbackResourceIds"] == ["INSIGHTS_ID"]
    assert "'INSIGHTS_ID'" in (INFRA / "modules/monitoring.bicep").read_text()
    names = [item["name"] for item in WORKBOOK["items"]]
    assert len(names) == len(set(names))
    (time,) = [
        one for item in WORKBOOK["items"] if item["type"] == 9 for one in item["content"]["parameters"]
    ]
    chosen = {item["content"]["timeContextFromParameter"] for item in WORKBOOK["items"] if item["type"] == 3}
    assert chosen == {time["name"]} == {"Time"}
