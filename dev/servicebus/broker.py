"""What Service Bus does with messages, without a socket, a clock or a file.

Every call takes the time as `now`, in milliseconds since 1970. What a call changed waits in `take_changes()`
until somebody stores it; what a call refused raised RefusedError and changed nothing.
"""

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final
from uuid import UUID, uuid4

from .entities import Namespace, Queue, Settings, Topic
from .errors import Condition, RefusedError
from .message import Content, Value

DEAD_LETTERS: Final = "/$deadletterqueue"
# https://learn.microsoft.com/azure/service-bus-messaging/service-bus-quotas (Standard tier)
MAX_MESSAGE_BYTES: Final = 256 * 1024
MAX_ID_LENGTH: Final = 128
_STALE_ALARMS: Final = 10_000


class State(IntEnum):
    """Where a message is in its life; the numbers are those of x-opt-message-state."""

    ACTIVE = 0
    DEFERRED = 1
    SCHEDULED = 2


@dataclass(slots=True, kw_only=True)
class Message:
    """A message in a mailbox. A lock lives in memory only: a broker that starts again has none."""

    content: Content
    sequence: int
    enqueued_at: int
    ttl: int | None
    state: State = State.ACTIVE
    due_at: int | None = None
    delivery_count: int = 0
    origin: int = 0
    dead_letter_source: str | None = None
    lock: UUID | None = None
    locked_until: int = 0

    @property
    def expires_at(self) -> int | None:
        """When its time to live ends."""
        return None if self.ttl is None else (self.due_at or self.enqueued_at) + self.ttl


@dataclass(slots=True, kw_only=True)
class Changes:
    """What has to be stored: a message that is None is gone."""

    messages: dict[tuple[str, int], Message | None] = field(default_factory=dict)
    seen: dict[tuple[str, str], int] = field(default_factory=dict)
    sequences: dict[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Say whether there is anything to store."""
        return bool(self.messages or self.seen or self.sequences)


class Mailbox:
    """The messages at one address: a queue's, a subscription's, a topic's scheduled ones, or dead letters."""

    def __init__(self, path: str, settings: Settings | None, *, parent: "Mailbox | None" = None) -> None:
        """Open an empty mailbox; `parent` is the one whose dead letters it keeps."""
        self.path = path
        self.key = path.lower()
        self.settings = settings
        self.parent = parent
        self.messages: dict[int, Message] = {}
        self.locked: dict[UUID, Message] = {}
        self.available: list[int] = []
        self.last_sequence = 0

    def next_sequence(self) -> int:
        """Count one further; dead letters keep the numbers that they have."""
        self.last_sequence += 1
        return self.last_sequence


class Broker:
    """All mailboxes of a namespace."""

    def __init__(self, namespace: Namespace, *, new_lock: Callable[[], UUID] = uuid4) -> None:
        """Open the entities of a namespace, empty."""
        self._new_lock = new_lock
        self._entities: dict[str, Queue | Topic] = {}
        self._mailboxes: dict[str, Mailbox] = {}
        self._seen: dict[str, dict[str, int]] = {}
        self._alarms: list[tuple[int, str, int]] = []
        self._changes = Changes()
        self._ready: set[str] = set()
        for queue in namespace.queues:
            self._entities[queue.name.lower()] = queue
            self._open(queue.name, queue.settings)
        for topic in namespace.topics:
            self._entities[topic.name.lower()] = topic
            self._open(topic.name, None)
            for subscription in topic.subscriptions:
                self._open(f"{topic.name}/Subscriptions/{subscription.name}", subscription.settings)

    def _open(self, path: str, settings: Settings | None) -> None:
        mailbox = self._mailboxes[path.lower()] = Mailbox(path, settings)
        if settings is not None:
            dead_letters = Mailbox(f"{path}/$DeadLetterQueue", settings, parent=mailbox)
            self._mailboxes[dead_letters.key] = dead_letters

    # Sending

    def check_address(self, address: str) -> None:
        """Refuse an address at which nothing is."""
        if address.lower() not in self._mailboxes:
            raise not_found(address)

    def check_target(self, address: str) -> str:
        """Name the queue or topic that takes messages at this address, or refuse."""
        return self._target(address).name

    def send(self, address: str, contents: Sequence[Content], now: int) -> list[int]:
        """Take all of these messages, or refuse all; return a sequence number for each."""
        entity = self._target(address)
        for content in contents:
            if len(content.properties.message_id or "") > MAX_ID_LENGTH:
                raise RefusedError(
                    Condition.ARGUMENT_ERROR, f"A message id has at most {MAX_ID_LENGTH} characters."
                )
        return [self._submit(entity, content, now) for content in contents]

    def cancel(self, address: str, sequences: Iterable[int], now: int) -> None:
        """Forget scheduled messages; refuse all if one is not scheduled here any more."""
        self.advance(now)
        mailbox = self._mailboxes[self._target(address).name.lower()]
        wanted = [mailbox.messages.get(sequence) for sequence in sequences]
        found = [message for message in wanted if message is not None and message.state is State.SCHEDULED]
        if len(found) != len(wanted):
            raise RefusedError(
                Condition.MESSAGE_NOT_FOUND,
                "The message with this sequence number is not scheduled: it was canceled, or is enqueued.",
            )
        for message in found:
            self._remove(mailbox, message)

    def _target(self, address: str) -> Queue | Topic:
        entity = self._entities.get(address.lower())
        if entity is None:
            if address.lower() in self._mailboxes:
                raise RefusedError(Condition.NOT_ALLOWED, f"Nothing can be sent to '{address}'.")
            raise not_found(address)
        return entity

    def _submit(
        self,
        entity: Queue | Topic,
        content: Content,
        now: int,
        *,
        ttl: int | None = None,
        origin: int = 0,
        source: str | None = None,
    ) -> int:
        """Put a message to a queue or topic; drop it without a word if its id was seen."""
        mailbox = self._mailboxes[entity.name.lower()]
        ttl = content.ttl if ttl is None else ttl
        sequence = self._count(mailbox)
        if self._is_duplicate(entity, content, now):
            return sequence
        due_at = content.scheduled_for
        if due_at is not None and due_at > now and not origin:
            message = Message(
                content=content,
                sequence=sequence,
                enqueued_at=now,
                ttl=ttl,
                state=State.SCHEDULED,
                due_at=due_at,
                dead_letter_source=source,
            )
            self._keep(mailbox, message)
            self._wake_at(due_at, mailbox, message)
        else:
            self._enqueue(entity, content, sequence, now, ttl=ttl, origin=origin, source=source)
        return sequence

    def _enqueue(
        self,
        entity: Queue | Topic,
        content: Content,
        sequence: int,
        now: int,
        *,
        ttl: int | None,
        origin: int,
        source: str | None,
    ) -> None:
        """Hand a message that is due to its queue, or to every subscription that takes it."""
        if isinstance(entity, Queue):
            self._deliver(
                self._mailboxes[entity.name.lower()],
                content,
                sequence,
                now,
                ttl=ttl,
                origin=origin,
                source=source,
            )
            return
        ttl = shorter(ttl, entity.time_to_live)
        for subscription in entity.subscriptions:
            # One copy, however many rules match: https://learn.microsoft.com/azure/service-bus-messaging/topic-filters
            if any(rule.matches(content) for rule in subscription.rules.values()):
                mailbox = self._mailboxes[f"{entity.name}/Subscriptions/{subscription.name}".lower()]
                copy = self._count(mailbox)
                self._deliver(mailbox, content, copy, now, ttl=ttl, origin=origin or sequence, source=source)

    def _deliver(
        self,
        mailbox: Mailbox,
        content: Content,
        sequence: int,
        now: int,
        *,
        ttl: int | None,
        origin: int,
        source: str | None,
    ) -> None:
        settings = _settings(mailbox)
        ttl = shorter(ttl, settings.time_to_live)
        if settings.forward_to is not None:
            # https://learn.microsoft.com/azure/service-bus-messaging/service-bus-auto-forwarding
            target = self._entities[settings.forward_to.lower()]
            self._submit(target, content, now, ttl=ttl, origin=origin or sequence, source=source)
            return
        message = Message(
            content=content,
            sequence=sequence,
            enqueued_at=now,
            ttl=ttl,
            origin=origin,
            dead_letter_source=source,
        )
        self._keep(mailbox, message)
        self._offer(mailbox, message)
        if message.expires_at is not None:
            self._wake_at(message.expires_at, mailbox, message)

    def _is_duplicate(self, entity: Queue | Topic, content: Content, now: int) -> bool:
        """Remember this message id; say whether it was remembered already.

        https://learn.microsoft.com/azure/service-bus-messaging/duplicate-detection
        """
        message_id = content.properties.message_id
        if entity.duplicate_window is None or not message_id:
            return False
        key = entity.name.lower()
        seen = self._seen.setdefault(key, {})
        if seen.get(message_id, 0) > now:
            return True
        seen.pop(message_id, None)  # so that the dictionary stays in the order in which ids are forgotten
        seen[message_id] = self._changes.seen[key, message_id] = now + entity.duplicate_window
        return False

    # Receiving

    def mailbox(self, address: str) -> Mailbox:
        """Find what can be received from, or refuse."""
        mailbox = self._mailboxes.get(address.lower())
        if mailbox is None:
            raise not_found(address)
        if mailbox.settings is None:
            raise RefusedError(
                Condition.NOT_ALLOWED, f"'{address}' is a topic: receive from one of its subscriptions."
            )
        if mailbox.settings.forward_to is not None and mailbox.parent is None:
            raise RefusedError(
                Condition.NOT_ALLOWED,
                f"Cannot create a message receiver on '{address}', because it forwards its messages.",
            )
        return mailbox

    def acquire(self, mailbox: Mailbox, now: int) -> Message | None:
        """Lock the first message that is there to be received."""
        while mailbox.available:
            message = mailbox.messages.get(heapq.heappop(mailbox.available))
            if message is None or message.state is not State.ACTIVE or message.lock is not None:
                continue
            if self._is_expired(mailbox, message, now):
                self._expire(mailbox, message, now)
                continue
            self._lock(mailbox, message, now)
            return message
        return None

    def take_deferred(
        self, mailbox: Mailbox, sequences: Iterable[int], now: int, *, remove: bool = False
    ) -> list[Message]:
        """Lock (or remove) these deferred messages; refuse all if one is not there."""
        wanted = [mailbox.messages.get(sequence) for sequence in sequences]
        found = [
            message
            for message in wanted
            if message is not None and message.state is State.DEFERRED and message.lock is None
        ]
        if len(found) != len(wanted):
            raise RefusedError(
                Condition.MESSAGE_NOT_FOUND,
                "No deferred message with this sequence number is there unlocked.",
            )
        for message in found:
            if remove:
                self._remove(mailbox, message)
            else:
                self._lock(mailbox, message, now)
        return found

    def peek(self, mailbox: Mailbox, first: int, count: int, now: int) -> list[Message]:
        """Show messages in any state from a sequence number on."""
        self.advance(now)
        return [mailbox.messages[number] for number in sorted(mailbox.messages) if number >= first][:count]

    def renew(self, mailbox: Mailbox, locks: Iterable[UUID], now: int) -> list[int]:
        """Start these locks anew; return when each ends. Refuse all if one is lost."""
        self.advance(now)
        messages = [self._locked(mailbox, lock) for lock in locks]
        for message in messages:
            message.locked_until = now + _settings(mailbox).lock_duration
            self._wake_at(message.locked_until, mailbox, message)
        return [message.locked_until for message in messages]

    def check_locks(self, mailbox: Mailbox, locks: Iterable[UUID], now: int) -> None:
        """Refuse if one of these locks is lost."""
        self.advance(now)
        for lock in locks:
            self._locked(mailbox, lock)

    def complete(self, mailbox: Mailbox, lock: UUID, now: int) -> None:
        """Remove a message that was dealt with."""
        self.advance(now)
        self._remove(mailbox, self._locked(mailbox, lock))

    def abandon(
        self,
        mailbox: Mailbox,
        lock: UUID,
        now: int,
        *,
        counted: bool = True,
        properties: Mapping[str, Value] | None = None,
    ) -> None:
        """Give a message back; a `counted` one has been delivered once more."""
        self.advance(now)
        message = self._locked(mailbox, lock)
        self._change(message, properties)
        self._unlock(mailbox, message, now, counted=counted)

    def defer(
        self, mailbox: Mailbox, lock: UUID, now: int, *, properties: Mapping[str, Value] | None = None
    ) -> None:
        """Set a message aside until it is asked for by its sequence number."""
        self.advance(now)
        message = self._locked(mailbox, lock)
        self._change(message, properties)
        message.state = State.DEFERRED
        # A deferral is a delivery too: https://github.com/Azure/azure-service-bus/issues/375
        self._unlock(mailbox, message, now, counted=True)

    def dead_letter(
        self,
        mailbox: Mailbox,
        lock: UUID,
        now: int,
        *,
        reason: str | None = None,
        description: str | None = None,
        properties: Mapping[str, Value] | None = None,
    ) -> None:
        """Move a message to the dead letters, which have none of their own: there it stays."""
        self.advance(now)
        message = self._locked(mailbox, lock)
        self._change(message, properties)
        self._bury(mailbox, message, now, reason, description)

    def _locked(self, mailbox: Mailbox, lock: UUID) -> Message:
        message = mailbox.locked.get(lock)
        if message is None:
            raise RefusedError(
                Condition.MESSAGE_LOCK_LOST,
                "The lock supplied is invalid. Either the lock expired, or the message has already been "
                "removed from the queue.",
            )
        return message

    def _lock(self, mailbox: Mailbox, message: Message, now: int) -> None:
        message.lock = self._new_lock()
        message.locked_until = now + _settings(mailbox).lock_duration
        mailbox.locked[message.lock] = message
        self._wake_at(message.locked_until, mailbox, message)

    def _release_lock(self, mailbox: Mailbox, message: Message) -> None:
        if message.lock is not None:
            del mailbox.locked[message.lock]
            message.lock = None

    def _unlock(self, mailbox: Mailbox, message: Message, now: int, *, counted: bool) -> None:
        self._release_lock(mailbox, message)
        if counted:
            message.delivery_count += 1
        self._keep(mailbox, message)
        if mailbox.parent is None and message.delivery_count >= _settings(mailbox).max_delivery_count:
            # https://learn.microsoft.com/azure/service-bus-messaging/service-bus-dead-letter-queues
            self._bury(
                mailbox,
                message,
                now,
                "MaxDeliveryCountExceeded",
                f"Message could not be consumed after {message.delivery_count} delivery attempts.",
            )
        elif self._is_expired(mailbox, message, now):
            self._expire(mailbox, message, now)
        elif message.state is State.ACTIVE:
            self._offer(mailbox, message)

    def _change(self, message: Message, properties: Mapping[str, Value] | None) -> None:
        if properties:
            message.content = message.content.with_application_properties(properties)

    def _bury(
        self, mailbox: Mailbox, message: Message, now: int, reason: str | None, description: str | None
    ) -> None:
        said = {"DeadLetterReason": reason, "DeadLetterErrorDescription": description}
        self._change(message, {name: text for name, text in said.items() if text is not None})
        if mailbox.parent is not None:
            self._unlock(mailbox, message, now, counted=False)
            return
        self._remove(mailbox, message)
        message.state = State.ACTIVE
        target = _settings(mailbox).forward_dead_letters_to
        if target is not None:
            origin = message.origin or message.sequence
            entity = self._entities[target.lower()]
            self._submit(entity, message.content, now, origin=origin, source=mailbox.path)
            return
        dead_letters = self._mailboxes[mailbox.key + DEAD_LETTERS]
        self._keep(dead_letters, message)
        self._offer(dead_letters, message)

    # Time

    def advance(self, now: int) -> None:
        """Let happen what is due: scheduled messages, locks that end, messages that expire."""
        while self._alarms and self._alarms[0][0] <= now:
            _, key, sequence = heapq.heappop(self._alarms)
            mailbox = self._mailboxes[key]
            message = mailbox.messages.get(sequence)
            if message is None:
                continue
            if message.state is State.SCHEDULED:
                if message.due_at is not None and message.due_at <= now:
                    self._activate(mailbox, message, now)
            elif message.lock is not None:
                if message.locked_until <= now:
                    self._unlock(mailbox, message, now, counted=True)
            elif self._is_expired(mailbox, message, now):
                self._expire(mailbox, message, now)
        for seen in self._seen.values():
            while seen and (oldest := next(iter(seen.items())))[1] <= now:
                del seen[oldest[0]]

    def next_alarm(self) -> int | None:
        """Say when `advance` has something to do next."""
        return self._alarms[0][0] if self._alarms else None

    def _activate(self, mailbox: Mailbox, message: Message, now: int) -> None:
        # It joins the queue as if it came now, with a new number:
        # https://learn.microsoft.com/azure/service-bus-messaging/message-sequencing
        self._remove(mailbox, message)
        entity = self._entities[mailbox.key]
        self._enqueue(
            entity,
            message.content,
            self._count(mailbox),
            now,
            ttl=message.ttl,
            origin=0,
            source=message.dead_letter_source,
        )

    def _is_expired(self, mailbox: Mailbox, message: Message, now: int) -> bool:
        # Dead letters do not expire, and a deferred message waits for its caller:
        # https://learn.microsoft.com/azure/service-bus-messaging/message-expiration
        # https://learn.microsoft.com/azure/service-bus-messaging/message-deferral
        ends = message.expires_at
        return mailbox.parent is None and message.state is State.ACTIVE and ends is not None and ends <= now

    def _expire(self, mailbox: Mailbox, message: Message, now: int) -> None:
        if _settings(mailbox).dead_letters_expired:
            self._bury(
                mailbox, message, now, "TTLExpiredException", "The message expired and was dead lettered."
            )
        else:
            self._remove(mailbox, message)

    def _wake_at(self, when: int, mailbox: Mailbox, message: Message) -> None:
        heapq.heappush(self._alarms, (when, mailbox.key, message.sequence))
        if len(self._alarms) > _STALE_ALARMS and len(self._alarms) > 4 * self._count_messages():
            self._alarms = [alarm for alarm in set(self._alarms) if self._is_awaited(*alarm)]
            heapq.heapify(self._alarms)

    def _is_awaited(self, when: int, key: str, sequence: int) -> bool:
        message = self._mailboxes[key].messages.get(sequence)
        return message is not None and when in (message.due_at, message.locked_until, message.expires_at)

    def _count_messages(self) -> int:
        return sum(len(mailbox.messages) for mailbox in self._mailboxes.values())

    # Keeping

    def take_ready(self) -> set[str]:
        """Hand out the keys of the mailboxes that have had something to receive since the last time."""
        ready, self._ready = self._ready, set()
        return ready

    def take_changes(self) -> Changes:
        """Hand out what is to be stored since the last time."""
        changes, self._changes = self._changes, Changes()
        return changes

    def restore(self, changes: Changes) -> list[str]:
        """Take back what was stored; return the addresses that are not configured any more."""
        unknown: dict[str, None] = {}
        for key, last in changes.sequences.items():
            if key in self._mailboxes:
                self._mailboxes[key].last_sequence = last
        for (key, message_id), until in sorted(changes.seen.items(), key=lambda item: item[1]):
            if key in self._entities:
                self._seen.setdefault(key, {})[message_id] = until
        for (key, _), message in changes.messages.items():
            mailbox = self._mailboxes.get(key)
            if mailbox is None or message is None:
                unknown[key] = None
                continue
            mailbox.messages[message.sequence] = message
            if message.state is State.SCHEDULED and message.due_at is not None:
                self._wake_at(message.due_at, mailbox, message)
            elif message.state is State.ACTIVE:
                self._offer(mailbox, message)
                if message.expires_at is not None:
                    self._wake_at(message.expires_at, mailbox, message)
        return list(unknown)

    def _count(self, mailbox: Mailbox) -> int:
        number = self._changes.sequences[mailbox.key] = mailbox.next_sequence()
        return number

    def _keep(self, mailbox: Mailbox, message: Message) -> None:
        mailbox.messages[message.sequence] = message
        self._changes.messages[mailbox.key, message.sequence] = message

    def _remove(self, mailbox: Mailbox, message: Message) -> None:
        self._release_lock(mailbox, message)
        del mailbox.messages[message.sequence]
        self._changes.messages[mailbox.key, message.sequence] = None

    def _offer(self, mailbox: Mailbox, message: Message) -> None:
        heapq.heappush(mailbox.available, message.sequence)
        self._ready.add(mailbox.key)


def shorter(first: int | None, second: int | None) -> int | None:
    """Return the shorter of two times to live; None is for ever."""
    given = [ttl for ttl in (first, second) if ttl is not None]
    return min(given, default=None)


def not_found(address: str) -> RefusedError:
    """Say that nothing is at this address, as Service Bus does."""
    return RefusedError(Condition.NOT_FOUND, f"The messaging entity '{address}' could not be found.")


def _settings(mailbox: Mailbox) -> Settings:
    assert mailbox.settings is not None, "a topic hands out no messages"
    return mailbox.settings
