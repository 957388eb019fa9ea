"""Reads the Config.json of Microsoft's Service Bus emulator; every mistake is named by its place in the file.

https://learn.microsoft.com/azure/service-bus-messaging/test-locally-with-service-bus-emulator
Longer times, more entities and any namespace name are allowed here; a name that means nothing is not.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn, TypeAlias, TypeVar

from .entities import Namespace, Queue, Settings, Subscription, Topic
from .filters import CorrelationFilter, Filter, Rule, SqlAction, SqlFilter, TrueFilter
from .sql import SqlError

JSON: TypeAlias = Any
_Compiled = TypeVar("_Compiled", SqlFilter, SqlAction)

_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.\-/]*[A-Za-z0-9])?", re.ASCII)
_RULE_NAME: Final = re.compile(r"[A-Za-z0-9$]([A-Za-z0-9_.\-]*[A-Za-z0-9])?", re.ASCII)
_DURATION: Final = re.compile(
    r"P(?=.)(?:(\d{1,9})D)?(?:T(?=.)(?:(\d{1,9})H)?(?:(\d{1,9})M)?(?:(\d{1,9}(?:\.\d{1,7})?)S)?)?", re.ASCII
)
# https://learn.microsoft.com/azure/service-bus-messaging/service-bus-auto-forwarding
_MOST_HOPS: Final = 4
_CORRELATION: Final = {
    "ContentType": "content_type",
    "CorrelationId": "correlation_id",
    "Label": "subject",
    "MessageId": "message_id",
    "ReplyTo": "reply_to",
    "ReplyToSessionId": "reply_to_session_id",
    "SessionId": "session_id",
    "To": "to",
}
_FILTERS: Final = {"Correlation": "CorrelationFilter", "Sql": "SqlFilter"}


class ConfigError(ValueError):
    """The file does not describe a namespace; the text says where, and what is wrong."""


def read(path: Path) -> Namespace:
    """Read a Config.json; raise ConfigError."""
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: {error}") from error
    try:
        return parse(document)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def parse(document: JSON) -> Namespace:
    """Turn the parsed file into a namespace; raise ConfigError."""
    user = _Place(document, "").object(required={"UserConfig"})["UserConfig"]
    sections = user.object(required={"Namespaces"}, optional={"Logging"})
    if "Logging" in sections:  # theirs: ours goes to the standard error output
        sections["Logging"].object(optional={"Type"})
    namespaces = list(sections["Namespaces"].items())
    if len(namespaces) != 1:
        sections["Namespaces"].wrong("must hold exactly one namespace")
    content = namespaces[0].object(required={"Name"}, optional={"Queues", "Topics"})
    content["Name"].text()
    queues = tuple(map(_queue, content["Queues"].items())) if "Queues" in content else ()
    topics = tuple(map(_topic, content["Topics"].items())) if "Topics" in content else ()
    _check_names(content)
    _check_forwarding(content, queues, topics)
    return Namespace(queues=queues, topics=topics)


def _queue(place: "_Place") -> Queue:
    fields = place.object(required={"Name"}, optional={"Properties"})
    properties = _properties(fields, _KEEPING | _DUPLICATES)
    return Queue(
        name=fields["Name"].name(_NAME), settings=_settings(properties), duplicate_window=_window(properties)
    )


def _topic(place: "_Place") -> Topic:
    fields = place.object(required={"Name"}, optional={"Properties", "Subscriptions"})
    properties = _properties(fields, {"DefaultMessageTimeToLive"} | _DUPLICATES)
    subscriptions = fields["Subscriptions"].items() if "Subscriptions" in fields else ()
    return Topic(
        name=fields["Name"].name(_NAME),
        time_to_live=_duration(properties, "DefaultMessageTimeToLive", "PT1H"),
        duplicate_window=_window(properties),
        subscriptions=tuple(map(_subscription, subscriptions)),
    )


def _subscription(subscription: "_Place") -> Subscription:
    fields = subscription.object(required={"Name"}, optional={"Properties", "Rules"})
    settings = _settings(_properties(fields, _KEEPING))
    rules: dict[str, Rule] = {}
    for place in fields["Rules"].items() if "Rules" in fields else ():
        rule = _rule(place)
        if rules.setdefault(rule.name.lower(), rule) is not rule:
            place.wrong(f"is the second rule named {rule.name!r}")
    # https://github.com/Azure/azure-service-bus-emulator-installer/issues/127
    return Subscription(
        name=fields["Name"].name(_RULE_NAME),
        settings=settings,
        rules=tuple(rules.values()) or (Rule(name="$Default", filter=TrueFilter()),),
    )


def _rule(place: "_Place") -> Rule:
    fields = place.object(required={"Name", "Properties"})
    properties = fields["Properties"].object(required={"FilterType"}, optional={*_FILTERS.values(), "Action"})
    kind = properties["FilterType"]
    if kind.text() not in _FILTERS:
        kind.wrong("must be 'Correlation' or 'Sql'")
    for other, name in _FILTERS.items():
        if other != kind.text() and name in properties:
            properties[name].wrong(f"does not go with FilterType {kind.text()!r}")
    if _FILTERS[kind.text()] not in properties:
        fields["Properties"].wrong(f"needs a {_FILTERS[kind.text()]}")
    condition: Filter
    if kind.text() == "Sql":
        condition = _compiled(properties["SqlFilter"], SqlFilter)
    else:
        condition = _correlation(properties["CorrelationFilter"])
    action = _compiled(properties["Action"], SqlAction) if "Action" in properties else None
    return Rule(name=fields["Name"].name(_RULE_NAME), filter=condition, action=action)


def _compiled(place: "_Place", kind: Callable[[str], _Compiled]) -> _Compiled:
    text = place.object(required={"SqlExpression"})["SqlExpression"]
    try:
        return kind(text.text())
    except SqlError as error:
        text.wrong(str(error))


def _correlation(place: "_Place") -> CorrelationFilter:
    wanted = place.object(optional={*_CORRELATION, "Properties"})
    try:
        return CorrelationFilter(
            properties={
                ours: wanted[theirs].text() for theirs, ours in _CORRELATION.items() if theirs in wanted
            },
            application_properties=wanted["Properties"].scalars() if "Properties" in wanted else {},
        )
    except ValueError as error:
        if isinstance(error, ConfigError):
            raise
        place.wrong(str(error))


_KEEPING: Final = {
    "DeadLetteringOnMessageExpiration",
    "DefaultMessageTimeToLive",
    "ForwardDeadLetteredMessagesTo",
    "ForwardTo",
    "LockDuration",
    "MaxDeliveryCount",
    "RequiresSession",
}
_DUPLICATES: Final = {"DuplicateDetectionHistoryTimeWindow", "RequiresDuplicateDetection"}


def _properties(fields: Mapping[str, "_Place"], allowed: AbstractSet[str]) -> Mapping[str, "_Place"]:
    return fields["Properties"].object(optional=allowed) if "Properties" in fields else {}


def _settings(properties: Mapping[str, "_Place"]) -> Settings:
    """Read how messages are kept; what is not said is as in Microsoft's emulator."""
    forward_to = _address(properties, "ForwardTo")
    if _flag(properties, "RequiresSession") and forward_to is not None:
        # https://learn.microsoft.com/azure/service-bus-messaging/service-bus-auto-forwarding#considerations
        properties["RequiresSession"].wrong("does not go with ForwardTo")
    count = properties["MaxDeliveryCount"].number(1, 2_000) if "MaxDeliveryCount" in properties else 3
    return Settings(
        lock_duration=_duration(properties, "LockDuration", "PT1M"),
        max_delivery_count=count,
        time_to_live=_duration(properties, "DefaultMessageTimeToLive", "PT1H"),
        dead_letters_expired=_flag(properties, "DeadLetteringOnMessageExpiration"),
        requires_session=_flag(properties, "RequiresSession"),
        forward_to=forward_to,
        forward_dead_letters_to=_address(properties, "ForwardDeadLetteredMessagesTo"),
    )


def _window(properties: Mapping[str, "_Place"]) -> int | None:
    window = _duration(properties, "DuplicateDetectionHistoryTimeWindow", "PT20S")
    return window if _flag(properties, "RequiresDuplicateDetection") else None


def _flag(properties: Mapping[str, "_Place"], name: str) -> bool:
    return properties[name].flag() if name in properties else False


def _duration(properties: Mapping[str, "_Place"], name: str, default: str) -> int:
    return (properties[name] if name in properties else _Place(default, name)).duration()


def _address(properties: Mapping[str, "_Place"], name: str) -> str | None:
    return (properties[name].text() or None) if name in properties else None


def _check_names(content: Mapping[str, "_Place"]) -> None:
    seen: dict[str, str] = {}
    for entity in _entities(content):
        _check_once(entity, seen)
        inside: dict[str, str] = {}
        for subscription in _inside(entity):
            _check_once(subscription, inside)


def _check_once(place: "_Place", seen: dict[str, str]) -> None:
    name = place.object(optional=None)["Name"]
    other = seen.setdefault(name.text().lower(), name.path)
    if other != name.path:
        name.wrong(f"is also the name of {other}; letter case makes no difference")


def _check_forwarding(
    content: Mapping[str, "_Place"], queues: tuple[Queue, ...], topics: tuple[Topic, ...]
) -> None:
    """Refuse to forward to nowhere, in a circle, or further than Service Bus does."""
    onward: dict[str, set[str]] = {}
    for queue in queues:
        onward[queue.name.lower()] = _targets(queue.settings)
    for topic in topics:
        found = [_targets(subscription.settings) for subscription in topic.subscriptions]
        onward[topic.name.lower()] = set().union(*found)
    for entity in _entities(content):
        for holder in (entity, *_inside(entity)):
            fields = holder.object(optional=None)
            properties = fields["Properties"].object(optional=None) if "Properties" in fields else {}
            for name in ("ForwardTo", "ForwardDeadLetteredMessagesTo"):
                target = properties.get(name)
                if target is None or not target.text():
                    continue
                if target.text().lower() not in onward:
                    target.wrong(f"names no queue or topic of this file: {target.text()!r}")
                reached = {target.text().lower()}
                for _ in range(_MOST_HOPS):
                    reached = {further for stop in reached for further in onward.get(stop, ())}
                if reached:
                    target.wrong(f"forwards in a circle, or more than {_MOST_HOPS} times")


def _targets(settings: Settings) -> set[str]:
    return {
        target.lower()
        for target in (settings.forward_to, settings.forward_dead_letters_to)
        if target is not None
    }


def _entities(content: Mapping[str, "_Place"]) -> Iterator["_Place"]:
    for name in ("Queues", "Topics"):
        if name in content:
            yield from content[name].items()


def _inside(entity: "_Place") -> Iterator["_Place"]:
    fields = entity.object(optional=None)
    if "Subscriptions" in fields:
        yield from fields["Subscriptions"].items()


@dataclass(frozen=True, slots=True)
class _Place:
    """A value of the file, and where it stands."""

    value: JSON
    path: str

    def wrong(self, what: str) -> NoReturn:
        raise ConfigError(f"{self.path or 'the file'}: {what}")

    def object(
        self, *, required: AbstractSet[str] = frozenset(), optional: AbstractSet[str] | None = frozenset()
    ) -> dict[str, "_Place"]:
        """Give the members by name; `optional=None` allows any."""
        if not isinstance(self.value, dict):
            self.wrong(f"must be an object, not {json.dumps(self.value)[:40]}")
        places = {
            name: _Place(value, f"{self.path}.{name}" if self.path else name)
            for name, value in self.value.items()
        }
        for name in sorted(required - places.keys()):
            self.wrong(f"needs {name!r}")
        if optional is not None:
            for name in places.keys() - required - optional:
                known = ", ".join(sorted(required | optional))
                places[name].wrong(f"is no property that can stand here; these can: {known}")
        return places

    def items(self) -> list["_Place"]:
        if not isinstance(self.value, list):
            self.wrong(f"must be a list, not {json.dumps(self.value)[:40]}")
        return [_Place(value, f"{self.path}[{number}]") for number, value in enumerate(self.value)]

    def text(self) -> str:
        if not isinstance(self.value, str):
            self.wrong(f"must be a string, not {json.dumps(self.value)[:40]}")
        return str(self.value)

    def name(self, pattern: re.Pattern[str]) -> str:
        if not pattern.fullmatch(self.text()):
            self.wrong(f"cannot be a name: {self.value!r}")
        return self.text()

    def flag(self) -> bool:
        if not isinstance(self.value, bool):
            self.wrong(f"must be true or false, not {json.dumps(self.value)[:40]}")
        return bool(self.value)

    def number(self, least: int, most: int) -> int:
        if not isinstance(self.value, int) or isinstance(self.value, bool) or not least <= self.value <= most:
            self.wrong(f"must be a whole number from {least} to {most}, not {json.dumps(self.value)[:40]}")
        return int(self.value)

    def duration(self) -> int:
        """Give an ISO 8601 duration of days, hours, minutes and seconds in milliseconds, at least 1."""
        found = _DURATION.fullmatch(self.text())
        if found is None:
            self.wrong(f"must be an ISO 8601 duration such as 'PT1M' or 'P14D', not {self.value!r}")
        days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
        total = round((((days * 24 + hours) * 60 + minutes) * 60 + seconds) * 1000)
        if total < 1:
            self.wrong("must be longer than nothing")
        return total

    def scalars(self) -> dict[str, JSON]:
        values = {name: place.value for name, place in self.object(optional=None).items()}
        for name, value in values.items():
            if not isinstance(value, str | int | float):
                _Place(value, f"{self.path}.{name}").wrong("must be a string, a number, true or false")
        return values
