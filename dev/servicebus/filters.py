"""Which messages a subscription takes, and what its actions make of them.

https://learn.microsoft.com/azure/service-bus-messaging/topic-filters
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from proton import float32, symbol, timestamp

from . import sql
from .message import SCHEDULED_ENQUEUE_TIME, Content, Properties, Value

_RULE_NAME: Final = "RuleName"
_PARTITION_KEY: Final = symbol("x-opt-partition-key")
_VIA_PARTITION_KEY: Final = symbol("x-opt-via-partition-key")
_LARGEST_FLOAT: Final = 3.4028234663852886e38
# proton's integers that are no long, and what each can be
_NARROW: Final = {
    "byte": range(-(2**7), 2**7),
    "short": range(-(2**15), 2**15),
    "int32": range(-(2**31), 2**31),
    "ubyte": range(2**8),
    "ushort": range(2**16),
    "uint": range(2**32),
    "ulong": range(2**64),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """What the topic knows of a message; `enqueued_at` is in milliseconds since 1970."""

    sequence: int
    enqueued_at: int


# A message that is looked at outside a topic.
NOWHERE: Final = Arrival(sequence=0, enqueued_at=0)


class Filter(Protocol):
    """A rule's condition."""

    def matches(self, content: Content, arrival: Arrival = NOWHERE) -> bool:
        """Say whether the subscription takes this message."""
        ...


@dataclass(frozen=True, slots=True)
class TrueFilter:
    """Takes everything: what a subscription without rules has."""

    def matches(self, content: Content, arrival: Arrival = NOWHERE) -> bool:  # noqa: ARG002 - the Protocol's
        """Say yes."""
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrelationFilter:
    """Takes a message in which every named property is there and is equal, letter case included."""

    properties: Mapping[str, str] = field(default_factory=dict)
    application_properties: Mapping[str, Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a filter that names nothing, or a property that messages do not have."""
        if not self.properties and not self.application_properties:
            raise ValueError("a correlation filter must name at least one property")
        unknown = self.properties.keys() - Properties.__dataclass_fields__.keys()
        if unknown:
            raise ValueError(f"messages have no property {', '.join(sorted(unknown))}")

    def matches(self, content: Content, arrival: Arrival = NOWHERE) -> bool:  # noqa: ARG002 - the Protocol's
        """Say whether every named property is equal."""
        return all(
            getattr(content.properties, name) == value for name, value in self.properties.items()
        ) and all(
            _equal(content.application_properties.get(name), value)
            for name, value in self.application_properties.items()
        )


@dataclass(frozen=True, slots=True)
class SqlFilter:
    """Takes a message for which its text is true: neither false nor UNKNOWN."""

    text: str
    _condition: Callable[[sql.Scope], sql.Truth] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Compile the text; raise SqlError."""
        object.__setattr__(self, "_condition", sql.condition(self.text))

    def matches(self, content: Content, arrival: Arrival = NOWHERE) -> bool:
        """Say whether the text is true."""
        return self._condition(_scope(content, arrival)) is True


@dataclass(frozen=True, slots=True)
class SqlAction:
    """Changes the copy of a message that its rule makes."""

    text: str
    _assignments: tuple[sql.Assignment, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Compile the text; raise SqlError."""
        object.__setattr__(self, "_assignments", sql.action(self.text))

    def apply(self, content: Content, arrival: Arrival = NOWHERE) -> Content:
        """Return a copy on which each statement was carried out after the one before it."""
        for assignment in self._assignments:
            value = None if assignment.value is None else assignment.value(_scope(content, arrival))
            name = assignment.target.name
            if assignment.target.is_system:
                content = content.with_property(name, sql.as_text(value))
                continue
            properties = dict(content.application_properties)
            name = sql.spelled(properties, name) or name
            if assignment.value is None:
                properties.pop(name, None)
            else:
                properties[name] = _as_before(properties.get(name), value)
            content = content.with_only_application_properties(properties)
        return content


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A reason to take a message, and what is then done to it."""

    name: str
    filter: Filter
    action: SqlAction | None = None


def copies(rules: Iterable[Rule], content: Content, arrival: Arrival) -> Iterator[Content]:
    """Make what a subscription takes: one for all rules without an action, and one for each with one.

    https://learn.microsoft.com/azure/service-bus-messaging/topic-filters
    """
    matching = [rule for rule in rules if rule.filter.matches(content, arrival)]
    if any(rule.action is None for rule in matching):
        yield content
    for rule in matching:
        if rule.action is not None:
            changed = rule.action.apply(content, arrival)
            yield changed.with_application_properties({_RULE_NAME: rule.name})


def _scope(content: Content, arrival: Arrival) -> sql.Scope:
    scheduled = content.annotations.get(SCHEDULED_ENQUEUE_TIME)
    return sql.Scope(
        system={
            **{name: getattr(content.properties, name) for name in Properties.__dataclass_fields__},
            "delivery_count": 0,
            "enqueued_time": timestamp(arrival.enqueued_at),
            "partition_key": content.annotations.get(_PARTITION_KEY),
            "scheduled_enqueue_time": scheduled,
            "sequence_number": arrival.sequence,
            "via_partition_key": content.annotations.get(_VIA_PARTITION_KEY),
        },
        user=content.application_properties,
    )


def _as_before(old: Value, new: Value) -> Value:
    """Give a number the type of the one that it replaces, where that loses nothing but digits.

    https://learn.microsoft.com/azure/service-bus-messaging/service-bus-messaging-sql-rule-action
    """
    if type(new) not in (int, float):
        return new
    if isinstance(old, float):
        return float32(new) if isinstance(old, float32) and abs(new) <= _LARGEST_FLOAT else float(new)
    values = _NARROW.get(type(old).__name__)
    return type(old)(new) if isinstance(new, int) and values is not None and new in values else new


def _equal(found: Value, wanted: Value) -> bool:
    """Compare as Service Bus does: true is not 1."""
    return isinstance(found, bool) is isinstance(wanted, bool) and bool(found == wanted)
