"""Rules by request, as no SDK for Python asks; what the SDK for JavaScript makes of them is in scenarios.mjs.

https://learn.microsoft.com/azure/service-bus-messaging/service-bus-amqp-request-response#rule-operations
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from proton import Described, int32, timestamp, ulong

from dev.servicebus.errors import MalformedError
from dev.servicebus.filters import CorrelationFilter, Rule, SqlAction, SqlFilter
from dev.servicebus.process import Running
from dev.servicebus.rules import read
from tests.servicebus.test_servicebus_wire import Client

Fresh = Callable[[str], str]
SQL = {"sql-filter": {"expression": "a = 1"}}
ALL = {"top": int32(100), "skip": int32(0)}


def adding(described: Any, name: Any = "r") -> dict[str, Any]:
    return {"rule-name": name, "rule-description": described}


@pytest.fixture
def client(emulator: Running) -> Iterator[Client]:
    client = Client(emulator)
    with closing(client.connection):
        yield client


def test_a_rule_is_read_whatever_is_left_out_or_null() -> None:
    wanted = {
        "label": "x",
        "to": None,
        "properties": {"n": int32(2), "at": timestamp(5)},
        "correlation-id": "c",
    }
    assert read(adding({"correlation-filter": wanted, "sql-filter": None, "sql-rule-action": None})) == Rule(
        name="r",
        filter=CorrelationFilter(
            properties={"subject": "x", "correlation_id": "c"}, application_properties={"n": 2, "at": 5}
        ),
    )
    assert read(adding({**SQL, "sql-rule-action": {"expression": "SET a = 2"}})) == Rule(
        name="r", filter=SqlFilter("a = 1"), action=SqlAction("SET a = 2")
    )


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (adding(SQL, None), "'rule-name'"),
        (adding(SQL, ""), "'rule-name'"),
        (adding(SQL, 7), "'rule-name'"),
        (adding(None), "'rule-description' must be a map"),
        (adding({}), "'sql-filter' or a 'correlation-filter'"),
        (adding({**SQL, "correlation-filter": {"label": "x"}}), "not both"),
        (adding({"sql-filter": "a = 1"}), "'sql-filter' must be a map"),
        (adding({"sql-filter": {}}), "'expression' of 'sql-filter'"),
        (adding({"sql-filter": {"expression": "a == 1"}}), "column 4"),
        (adding({**SQL, "sql-rule-action": {"expression": "SET"}}), "column 4"),
        (adding({**SQL, "sql-rule-action": {}}), "'expression' of 'sql-rule-action'"),
        (adding({"correlation-filter": {}}), "at least one property"),
        (adding({"correlation-filter": {"label": 7}}), "must be strings"),
        (adding({"correlation-filter": {"properties": {7: "x"}}}), "must be strings"),
        (adding({"correlation-filter": {"properties": [1]}}), "'properties' must be a map"),
        (adding({"correlation-filter": {"properties": {"a": None}}}), "simple values"),
        (adding({"correlation-filter": {"properties": {"a": [1]}}}), "simple values"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_rule_is_refused(body: dict[str, Any], what: str) -> None:
    with pytest.raises(MalformedError, match=what):
        read(body)


def test_rules_are_listed_by_name_page_by_page(client: Client, fresh: Fresh) -> None:
    address = f"{fresh('topic')}/Subscriptions/all"
    wanted = {"content-type": "t", "correlation-id": "c", "properties": {"n": int32(2), "yes": True}}
    for name, described in (
        ("z", {**SQL, "sql-rule-action": {"expression": "REMOVE a"}}),
        ("B", {"correlation-filter": wanted}),
        ("a", {"correlation-filter": {"to": "x", "properties": None}}),
    ):
        said, _ = client.operation(address, "com.microsoft:add-rule", adding(described, name))
        assert said["statusCode"] == 200
    none = Described(ulong(0x13700000005), [])
    correlation = ulong(0x1370000009)
    told: list[list[Any]] = [
        [Described(ulong(0x1370000007), []), none, "$Default"],
        [Described(correlation, [None, None, "x", None, None, None, None, None]), none, "a"],
        [Described(correlation, ["c", *[None] * 6, "t", {"n": int32(2), "yes": True}]), none, "B"],
        [Described(ulong(0x1370000006), ["a = 1"]), Described(ulong(0x13700000006), ["REMOVE a"]), "z"],
    ]
    rules = [{"rule-description": Described(ulong(0x13700000004), one)} for one in told]
    for skip, top, expected in ((0, 2**31 - 1, rules), (1, 2, rules[1:3]), (3, 2, rules[3:])):
        said, found = client.operation(
            address, "com.microsoft:enumerate-rules", {"top": int32(top), "skip": int32(skip)}
        )
        assert (said["statusCode"], found) == (200, {"rules": expected})
    said, found = client.operation(address, "com.microsoft:enumerate-rules", {**ALL, "skip": int32(4)})
    assert (said["statusCode"], found) == (204, None)


@pytest.mark.parametrize(
    ("where", "name", "body", "status", "condition"),
    [
        ("all", "add-rule", adding(SQL, "$default"), 409, "com.microsoft:entity-already-exists"),
        ("all", "add-rule", adding({}), 400, "com.microsoft:argument-error"),
        ("all", "remove-rule", {"rule-name": "r"}, 404, "amqp:not-found"),
        ("all", "remove-rule", {}, 400, "com.microsoft:argument-error"),
        ("all", "enumerate-rules", {}, 400, "com.microsoft:argument-error"),
        ("all", "enumerate-rules", {**ALL, "skip": -1}, 400, "com.microsoft:argument-error"),
        ("all", "enumerate-rules", {**ALL, "top": -1}, 400, "com.microsoft:argument-error"),
        ("onward", "enumerate-rules", ALL, 405, "amqp:not-allowed"),
        ("onward", "remove-rule", {"rule-name": "r"}, 404, "amqp:not-found"),
        ("all/$DeadLetterQueue", "enumerate-rules", ALL, 405, "amqp:not-allowed"),
    ],
    ids=lambda value: str(value),
)
def test_a_wrong_request_about_rules_is_told(
    client: Client, where: str, name: str, body: dict[str, Any], status: int, condition: str
) -> None:
    said, _ = client.operation(f"topic-0/Subscriptions/{where}", f"com.microsoft:{name}", body)
    assert (said["statusCode"], said["errorCondition"]) == (status, condition)


def test_only_subscriptions_have_rules(client: Client) -> None:
    for address in ("topic-0", "always-empty"):
        said, _ = client.operation(address, "com.microsoft:add-rule", adding(SQL))
        assert (said["statusCode"], said["errorCondition"]) == (405, "amqp:not-allowed")
