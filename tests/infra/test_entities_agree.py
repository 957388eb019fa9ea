"""Queues, topics, subscriptions and rules: the template's, the emulator's, and what the code assumes."""

import json
from typing import Any

import pytest

from services.bootstrap import QUEUE, TOPIC
from services.messages import Kind
from tests.infra.bicep import Expression
from tests.infra.template import MAIN, MODULES, ROOT, body

BUS = MODULES["bus"]
ENTITIES: Any = json.loads((ROOT / "dev/entities.json").read_text())["UserConfig"]["Namespaces"][0]
# The emulator takes at most an hour and five minutes; production takes days.
TIMES = {
    "defaultMessageTimeToLive": ("PT1H", "P14D"),
    "duplicateDetectionHistoryTimeWindow": ("PT5M", "P3D"),
    # Locally a message whose taker died comes back soon; a link to Azure that is slow gets longer to renew.
    "lockDuration": ("PT30S", "PT1M"),
}
# Azure has these, and the emulator's file has no word for them.
AZURE_ONLY = {"maxSizeInMegabytes": 5120, "enablePartitioning": False}
LOCAL_SUBSCRIPTIONS = {"everything"}  # for people who look on
# A subscription that Azure makes has a rule of this name, which takes everything until ours takes its place.
DEFAULT_RULE = "$Default"


def resolved(value: Any) -> Any:
    """Compute what a property of bus.bicep is, where main.bicep's defaults hold."""
    if not isinstance(value, Expression):
        return value
    if value.text == "inboxQueue.name":
        return body(BUS, "inboxQueue")["name"]
    return MAIN.params[value.text].value


def in_azure(name: str) -> dict[str, Any]:
    properties = {key: resolved(value) for key, value in body(BUS, name)["properties"].items()}
    for key, value in AZURE_ONLY.items():
        assert properties.pop(key, value) == value
    return properties


def locally(properties: dict[str, Any]) -> dict[str, Any]:
    """Spell the emulator's properties as Azure does, with production's times."""
    found = {name[0].lower() + name[1:]: value for name, value in properties.items()}
    for name, (local, production) in TIMES.items():
        if name in found:
            assert found[name] == local
            found[name] = production
    return found


def rule_in_azure(name: str) -> dict[str, Any]:
    rule = body(BUS, name)
    assert rule["name"] == DEFAULT_RULE
    assert rule["properties"]["filterType"] == "CorrelationFilter"
    found: dict[str, Any] = rule["properties"]["correlationFilter"]
    return found


def rule_locally(subscription: Any) -> dict[str, Any]:
    (rule,) = subscription["Rules"]
    assert rule["Properties"]["FilterType"] == "Correlation"
    return {"properties": rule["Properties"]["CorrelationFilter"]["Properties"]}


def test_the_queue_is_the_emulator_s_with_production_s_times() -> None:
    (local,) = ENTITIES["Queues"]
    assert local["Name"] == body(BUS, "inboxQueue")["name"] == QUEUE == "job-inbox"
    assert in_azure("inboxQueue") == locally(local["Properties"])


def test_the_topic_is_the_emulator_s_with_production_s_times() -> None:
    (local,) = ENTITIES["Topics"]
    assert local["Name"] == body(BUS, "events")["name"] == TOPIC == "job-events"
    assert in_azure("events") == locally(local["Properties"])


@pytest.mark.parametrize(
    ("subscription", "resource", "rule", "kind"),
    [
        ("inbox", "inbox", "callbacks", Kind.CALLBACK),
        ("outcomes", "consumer", "outcomes", Kind.OUTCOME),
    ],
    ids=["inbox", "outcomes"],
)
def test_a_subscription_and_its_rule_are_the_emulator_s(
    subscription: str, resource: str, rule: str, kind: Kind
) -> None:
    (topic,) = ENTITIES["Topics"]
    (local,) = [one for one in topic["Subscriptions"] if one["Name"] == subscription]
    assert in_azure(resource) == locally(local["Properties"])
    assert rule_in_azure(rule) == rule_locally(local) == {"properties": {"kind": kind.value}}


def test_there_are_no_other_entities_on_either_side() -> None:
    (topic,) = ENTITIES["Topics"]
    local = {one["Name"] for one in topic["Subscriptions"]} - LOCAL_SUBSCRIPTIONS
    consumers: Any = MAIN.params["consumers"].value
    assert local == {body(BUS, "inbox")["name"], *consumers} == {"inbox", "outcomes"}
    kinds = [resource.kind.partition("@")[0].rpartition("/")[2] for resource in BUS.resources.values()]
    assert {kind: kinds.count(kind) for kind in ("queues", "topics", "subscriptions", "rules")} == {
        "queues": 1,
        "topics": 1,
        "subscriptions": 2,
        "rules": 2,
    }


def test_what_the_code_assumes_of_the_bus_holds() -> None:
    queue, topic, inbox = in_azure("inboxQueue"), in_azure("events"), in_azure("inbox")
    assert queue["requiresDuplicateDetection"] is topic["requiresDuplicateDetection"] is True
    assert queue["requiresSession"] is inbox["requiresSession"] is False
    assert inbox["forwardTo"] == QUEUE
    # README.md and docs/architecture.md count the deliveries before a dead letter.
    assert queue["maxDeliveryCount"] == 10
    assert queue["deadLetteringOnMessageExpiration"] is inbox["deadLetteringOnMessageExpiration"] is True
