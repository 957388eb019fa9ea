"""What a Config.json may say, and how its mistakes are told."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dev.servicebus.config import ConfigError, parse, read
from dev.servicebus.entities import Namespace, Queue, Settings, Subscription, Topic
from dev.servicebus.filters import CorrelationFilter, Rule, TrueFilter
from services.bootstrap import QUEUE, TOPIC
from services.messages import Kind

SHIPPED = Path(__file__).resolve().parents[2] / "dev" / "entities.json"
SMALL: dict[str, Any] = {
    "UserConfig": {
        "Namespaces": [
            {
                "Name": "sbemulatorns",
                "Queues": [{"Name": "q", "Properties": {}}, {"Name": "r"}],
                "Topics": [
                    {
                        "Name": "t",
                        "Properties": {},
                        "Subscriptions": [
                            {
                                "Name": "s",
                                "Properties": {},
                                "Rules": [
                                    {
                                        "Name": "rule",
                                        "Properties": {
                                            "FilterType": "Correlation",
                                            "CorrelationFilter": {"Label": "x"},
                                        },
                                    }
                                ],
                            }
                        ],
                    }
                ],
            }
        ],
        "Logging": {"Type": "File"},
    }
}
SPACE = "UserConfig.Namespaces[0]"


def changed(change: Callable[[Any], Any]) -> dict[str, Any]:
    document = copy.deepcopy(SMALL)
    change(document["UserConfig"]["Namespaces"][0])
    return document


def properties(name: str, value: Any) -> Callable[[Any], Any]:
    return lambda space: space["Queues"][0]["Properties"].update({name: value})


def rule(value: Any) -> Callable[[Any], Any]:
    return lambda space: space["Topics"][0]["Subscriptions"][0]["Rules"][0].update({"Properties": value})


def test_what_is_not_said_is_as_in_microsofts_emulator() -> None:
    settings = Settings(
        lock_duration=60_000, max_delivery_count=3, time_to_live=3_600_000, dead_letters_expired=False
    )
    rule = Rule(name="rule", filter=CorrelationFilter(properties={"subject": "x"}))
    assert parse(SMALL) == Namespace(
        queues=(Queue(name="q", settings=settings), Queue(name="r", settings=settings)),
        topics=(
            Topic(
                name="t",
                time_to_live=3_600_000,
                subscriptions=(Subscription(name="s", settings=settings, rules=(rule,)),),
            ),
        ),
    )


def test_the_shipped_entities_are_the_ones_of_this_project() -> None:
    namespace = read(SHIPPED)
    [inbox] = namespace.queues
    assert (inbox.name, inbox.duplicate_window) == ("job-inbox", 300_000)
    assert inbox.settings.lock_duration == 30_000
    assert (inbox.settings.max_delivery_count, inbox.settings.dead_letters_expired) == (10, True)
    [events] = namespace.topics
    assert (events.name, events.duplicate_window) == ("job-events", 300_000)
    rules = {
        one.name: (one.settings.forward_to, [rule.filter for rule in one.rules])
        for one in events.subscriptions
    }
    assert rules == {
        "inbox": ("job-inbox", [CorrelationFilter(application_properties={"kind": "callback"})]),
        "outcomes": (None, [CorrelationFilter(application_properties={"kind": "outcome"})]),
        "everything": (None, [TrueFilter()]),
    }


def test_the_code_uses_the_entities_that_are_shipped() -> None:
    namespace = read(SHIPPED)
    assert ([queue.name for queue in namespace.queues], [topic.name for topic in namespace.topics]) == (
        [QUEUE],
        [TOPIC],
    )
    wanted = {
        rule.filter.application_properties["kind"]
        for subscription in namespace.topics[0].subscriptions
        for rule in subscription.rules
        if isinstance(rule.filter, CorrelationFilter)
    }
    assert wanted == {Kind.CALLBACK, Kind.OUTCOME}


@pytest.mark.parametrize("rules", [{}, {"Rules": []}], ids=["none", "empty"])
def test_a_subscription_without_rules_takes_everything(rules: dict[str, Any]) -> None:
    namespace = parse(
        changed(lambda space: space["Topics"][0].update(Subscriptions=[{"Name": "s", **rules}]))
    )
    assert namespace.topics[0].subscriptions[0].rules == (Rule(name="$Default", filter=TrueFilter()),)


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [("PT5S", 5_000), ("P14D", 1_209_600_000), ("P1DT2H3M4.5S", 93_784_500), ("PT0.001S", 1)],
    ids=str,
)
def test_durations_are_iso_8601(text: str, milliseconds: int) -> None:
    namespace = parse(changed(properties("LockDuration", text)))
    assert namespace.queues[0].settings.lock_duration == milliseconds


@pytest.mark.parametrize(
    "text", ["", "P", "PT", "5", "PT5", "P1M", "P1Y", "PT0S", "PT-1S", "PT1S ", "PT٣S", 60, None]
)
def test_what_is_no_duration_is_told_with_its_place(text: Any) -> None:
    with pytest.raises(
        ConfigError, match=r"^UserConfig\.Namespaces\[0\]\.Queues\[0\]\.Properties\.LockDuration: "
    ):
        parse(changed(properties("LockDuration", text)))


@pytest.mark.parametrize(
    ("change", "place", "what"),
    [
        (
            properties("LockDurations", "PT1M"),
            "Queues[0].Properties.LockDurations",
            "no property that can stand here",
        ),
        (
            lambda space: space["Queues"][0].update(Properties={"RequiresSession": True, "ForwardTo": "r"}),
            "Queues[0].Properties.RequiresSession",
            "does not go with ForwardTo",
        ),
        (
            properties("RequiresDuplicateDetection", "yes"),
            "Queues[0].Properties.RequiresDuplicateDetection",
            "true or",
        ),
        (properties("MaxDeliveryCount", 0), "Queues[0].Properties.MaxDeliveryCount", "whole number from 1"),
        (
            properties("MaxDeliveryCount", True),
            "Queues[0].Properties.MaxDeliveryCount",
            "whole number from 1",
        ),
        (properties("MaxDeliveryCount", 1.5), "Queues[0].Properties.MaxDeliveryCount", "whole number from 1"),
        (properties("ForwardTo", "nowhere"), "Queues[0].Properties.ForwardTo", "names no queue or topic"),
        (
            properties("ForwardDeadLetteredMessagesTo", "x"),
            "Queues[0].Properties.ForwardDeadLetteredMessagesTo",
            "names",
        ),
        (properties("ForwardTo", "Q"), "Queues[0].Properties.ForwardTo", "circle"),
        (lambda space: space["Queues"][1].update(Name="T"), "Topics[0].Name", "is also the name of"),
        (lambda space: space["Queues"][1].update(Name="-"), "Queues[1].Name", "cannot be a name"),
        (lambda space: space["Queues"][1].pop("Name"), "Queues[1]", "needs 'Name'"),
        (lambda space: space.update(Queues={}), "Queues", "must be a list"),
        (lambda space: space["Queues"].append("q"), "Queues[2]", "must be an object"),
        (
            lambda space: space["Topics"][0]["Subscriptions"].append({"Name": "S"}),
            "Topics[0].Subscriptions[1].Name",
            "is also the name of",
        ),
        (
            lambda space: space["Topics"][0]["Subscriptions"][0]["Properties"].update(ForwardTo="t"),
            "Topics[0].Subscriptions[0].Properties.ForwardTo",
            "circle",
        ),
        (
            lambda space: space["Topics"][0]["Subscriptions"][0]["Rules"].append(
                space["Topics"][0]["Subscriptions"][0]["Rules"][0]
            ),
            "Topics[0].Subscriptions[0].Rules[1]",
            "second rule",
        ),
        (
            rule({"FilterType": "Sql", "SqlFilter": {"SqlExpression": "1=="}}),
            "Topics[0].Subscriptions[0].Rules[0].Properties.SqlFilter.SqlExpression",
            "column 3",
        ),
        (
            rule({"FilterType": "Correlation", "CorrelationFilter": {}}),
            "Topics[0].Subscriptions[0].Rules[0].Properties.CorrelationFilter",
            "at least one property",
        ),
        (
            rule({"FilterType": "Correlation", "CorrelationFilter": {"Subject": "x"}}),
            "Topics[0].Subscriptions[0].Rules[0].Properties.CorrelationFilter.Subject",
            "no property",
        ),
        (
            rule({"FilterType": "Correlation", "CorrelationFilter": {"Properties": {"a": [1]}}}),
            "Topics[0].Subscriptions[0].Rules[0].Properties.CorrelationFilter.Properties.a",
            "must be a string, a number",
        ),
        (
            rule(
                {
                    "FilterType": "Correlation",
                    "CorrelationFilter": {"Label": "x"},
                    "Action": {"SqlExpression": "x"},
                }
            ),
            "Topics[0].Subscriptions[0].Rules[0].Properties.Action.SqlExpression",
            "column 1",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_mistake_is_told_with_its_place(change: Callable[[Any], Any], place: str, what: str) -> None:
    with pytest.raises(ConfigError) as told:
        parse(changed(change))
    assert str(told.value).startswith(f"{SPACE}.{place}: ")
    assert what in str(told.value)


def test_forwarding_goes_four_hops_and_no_further() -> None:
    def row(length: int) -> dict[str, Any]:
        queues = [{"Name": f"q{n}", "Properties": {"ForwardTo": f"q{n + 1}"}} for n in range(length)]
        return changed(lambda space: space.update(Queues=[*queues, {"Name": f"q{length}"}]))

    parse(row(4))
    with pytest.raises(ConfigError, match="more than 4 times"):
        parse(row(5))


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"UserConfig": 1}', '{"UserConfig": {"Namespaces": []}}', "[" * 100_000],
    ids=["empty", "cut", "list", "number", "no namespace", "deep"],
)
def test_a_file_that_is_none_is_told_with_its_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "Config.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"Config\.json: "):
        read(path)


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "Config.json"
    path.write_text(json.dumps(SMALL), encoding="utf-8-sig")
    assert read(path) == parse(SMALL)
