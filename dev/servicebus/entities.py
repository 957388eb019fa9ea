"""Queues, topics and subscriptions as they are configured; durations are in milliseconds."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from .filters import Arrival, Filter, SqlAction
from .message import Content

_RULE_NAME: Final = "RuleName"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a queue or a subscription keeps its messages."""

    lock_duration: int
    max_delivery_count: int
    time_to_live: int | None
    dead_letters_expired: bool
    requires_session: bool = False
    forward_to: str | None = None
    forward_dead_letters_to: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A queue; `duplicate_window` is None where duplicates are not looked for."""

    name: str
    settings: Settings
    duplicate_window: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A subscription: it takes a message that any of its rules matches; `actions` go by the rule's name."""

    name: str
    settings: Settings
    rules: Mapping[str, Filter]
    actions: Mapping[str, SqlAction] = field(default_factory=dict)

    def copies(self, content: Content, arrival: Arrival) -> Iterator[Content]:
        """Make what it takes of a message: one for all rules without an action, and one for each with one.

        https://learn.microsoft.com/azure/service-bus-messaging/topic-filters
        """
        matching = [name for name, rule in self.rules.items() if rule.matches(content, arrival)]
        if any(name not in self.actions for name in matching):
            yield content
        for name in matching:
            if name in self.actions:
                changed = self.actions[name].apply(content, arrival)
                yield changed.with_application_properties({_RULE_NAME: name})


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """A topic; `time_to_live` is the longest that any of its messages lives."""

    name: str
    time_to_live: int | None
    duplicate_window: int | None = None
    subscriptions: tuple[Subscription, ...] = field(default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """Everything that has an address here."""

    queues: tuple[Queue, ...] = ()
    topics: tuple[Topic, ...] = ()
