"""Queues, topics and subscriptions as they are configured; durations are in milliseconds."""

from dataclasses import dataclass, field

from .filters import Rule


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
    """A subscription; it begins with these rules, and takes a message that any of its rules matches."""

    name: str
    settings: Settings
    rules: tuple[Rule, ...]


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
