"""Which messages a subscription takes.

https://learn.microsoft.com/azure/service-bus-messaging/topic-filters
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from .message import Content, Properties, Value


class Filter(Protocol):
    """A rule's condition."""

    def matches(self, content: Content) -> bool:
        """Say whether the subscription takes this message."""
        ...


@dataclass(frozen=True, slots=True)
class TrueFilter:
    """Takes everything: what a subscription without rules has."""

    def matches(self, content: Content) -> bool:  # noqa: ARG002 - the Protocol's parameter
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

    def matches(self, content: Content) -> bool:
        """Say whether every named property is equal."""
        return all(
            getattr(content.properties, name) == value for name, value in self.properties.items()
        ) and all(
            _equal(content.application_properties.get(name), value)
            for name, value in self.application_properties.items()
        )


def _equal(found: Value, wanted: Value) -> bool:
    """Compare as Service Bus does: true is not 1."""
    return isinstance(found, bool) is isinstance(wanted, bool) and bool(found == wanted)
