"""What Service Bus does with messages, without a socket, a clock or a file.

Every call takes the time as `now`, in milliseconds since 1970. What a call changed waits in `take_changes()`
until somebody stores it; what a call refused raised RefusedError and changed nothing.
"""

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Final
from uuid import UUID, uuid4

from .entities import Namespace, Queue, Settings, Topic
from .errors import Condition, RefusedError
from .filters import Arrival, Rule, copies
from .message import Content, Value

DEAD_LETTERS: Final = "/$deadletterqueue"
# https://learn.microsoft.com/azure/service-bus-messaging/service-bus-quotas (Standard tier)
MAX_MESSAGE_BYTES: Final = 256 * 1024
MAX_ID_LENGTH: Final = 128
_NO_SESSION_ID: Final = (
    "The SessionId was not set on a message, and it cannot be sent to the entity. Entities that have session "
    "support enabled can only receive messages that have the SessionId set to a valid value."
)
_STALE_ALARMS: Final = 10_000


class State(IntEnum):
    """Where a message is in its life; the numbers are those of x-opt-message-state."""

    ACTIVE = 0
    DEFERRED = 1
    SCHEDULED = 2


@dataclass(slots=True, kw_only=True)
class Message:
    """A message in a mailbox. A lock lives in memory only: a broker that starts again has none.

    The lock of a message in a session has no end of its own (0): it ends with that of the session.
    """

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
class Session:
    """The messages of a mailbox with one session id: whose they are now, and what was noted about them.

    When it was noted is in memory only: a broker that starts again does not know.
    https://learn.microsoft.com/azure/service-bus-messaging/message-sessions
    """

    id: str
    available: list[int] = field(default_factory=list)
    state: bytes | None = None
    noted_at: int = 0
    lock: UUID | None = None
    locked_until: int = 0


@dataclass(slots=True, kw_only=True)
class Changes:
    """What has to be stored: a message or a session state that is None is gone."""

    messages: dict[tuple[str, int], Message | None] = field(default_factory=dict)
    seen: dict[tuple[str, str], int] = field(default_factory=dict)
    sequences: dict[str, int] = field(default_factory=dict)
    states: dict[tuple[str, str], bytes | None] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Say whether there is anything to store."""
        return bool(self.messages or self.seen or self.sequences or self.states)


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
        # Sessions are known while they have something to receive, a state or a holder.
        self.sessions: dict[str, Session] = {}
        self.held: dict[UUID, Session] = {}
        self.waiting: dict[str, None] = {}  # those to accept next, in the order in which they came
        self.last_sequence = 0

    @property
    def requires_session(self) -> bool:
        """Whether its messages are received by session; dead letters never are."""
        return self.settings is not None and self.settings.requires_session and self.parent is None

    def session(self, session_id: str) -> Session:
        """Find a session, or begin it."""
        return self.sessions.setdefault(session_id, Session(id=session_id))

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
        self._rules: dict[str, dict[str, Rule]] = {}
        self._seen: dict[str, dict[str, int]] = {}
        self._alarms: list[tuple[int, str, int, str]] = []
        self._most_alarms = _STALE_ALARMS
        self._changes = Changes()
        self._ready: set[str] = set()
        self._lost: list[UUID] = []
        for queue in namespace.queues:
            self._entities[queue.name.lower()] = queue
            self._open(queue.name, queue.settings)
        for topic in namespace.topics:
            self._entities[topic.name.lower()] = topic
            self._open(topic.name, None)
            for subscription in topic.subscriptions:
                path = f"{topic.name}/Subscriptions/{subscription.name}"
                self._open(path, subscription.settings)
                self._rules[path.lower()] = {rule.name.lower(): rule for rule in subscription.rules}

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
            message_id, session_id = content.properties.message_id, content.properties.session_id
            for name, value in (("message", message_id), ("session", session_id)):
                if len(value or "") > MAX_ID_LENGTH:
                    raise RefusedError(
                        Condition.ARGUMENT_ERROR, f"A {name} id has at most {MAX_ID_LENGTH} characters."
                    )
            if session_id is None and self._mailboxes[entity.name.lower()].requires_session:
                raise RefusedError(Condition.NOT_ALLOWED, _NO_SESSION_ID)
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
        message = Message(
            content=content,
            sequence=self._count(mailbox),
            enqueued_at=now,
            ttl=content.ttl if ttl is None else ttl,
            origin=origin,
            dead_letter_source=source,
        )
        due_at = content.scheduled_for
        if self._is_duplicate(entity, content, now):
            pass
        elif due_at is not None and due_at > now and not origin:
            message.state, message.due_at = State.SCHEDULED, due_at
            self._keep(mailbox, message)
            self._wake_at(due_at, mailbox, message)
        else:
            self._enqueue(entity, message, now)
        return message.sequence

    def _enqueue(self, entity: Queue | Topic, message: Message, now: int) -> None:
        """Hand a message that is due to its queue, or a copy to every subscription that takes it."""
        if isinstance(entity, Queue):
            self._deliver(self._mailboxes[entity.name.lower()], message, now)
            return
        ttl, origin = shorter(message.ttl, entity.time_to_live), message.origin or message.sequence
        arrival = Arrival(sequence=message.sequence, enqueued_at=now)
        for subscription in entity.subscriptions:
            mailbox = self._mailboxes[f"{entity.name}/Subscriptions/{subscription.name}".lower()]
            for content in copies(self._rules[mailbox.key].values(), message.content, arrival):
                number = self._count(mailbox)
                copy = replace(message, content=content, sequence=number, ttl=ttl, origin=origin)
                self._deliver(mailbox, copy, now)

    def _deliver(self, mailbox: Mailbox, message: Message, now: int) -> None:
        settings = _settings(mailbox)
        message.ttl = shorter(message.ttl, settings.time_to_live)
        onward = None if settings.forward_to is None else self._entities[settings.forward_to.lower()]
        goes_to = mailbox if onward is None else self._mailboxes[onward.name.lower()]
        needs_session = goes_to.requires_session and message.content.properties.session_id is None
        if onward is not None and not needs_session:
            # https://learn.microsoft.com/azure/service-bus-messaging/service-bus-auto-forwarding
            origin, source = message.origin or message.sequence, message.dead_letter_source
            self._submit(onward, message.content, now, ttl=message.ttl, origin=origin, source=source)
            return
        self._keep(mailbox, message)
        if needs_session:
            # https://learn.microsoft.com/azure/service-bus-messaging/service-bus-dead-letter-queues
            # https://github.com/Azure/azure-sdk-for-net/blob/main/sdk/servicebus/Azure.Messaging.ServiceBus/samples/Sample21_AutoForwardIntoSession.md
            reason = "Session enabled entity doesn't allow a message whose session identifier is null."
            self._bury(mailbox, message, now, "Session ID is null.", reason)
            return
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

    def acquire(self, mailbox: Mailbox, now: int, session: Session | None = None) -> Message | None:
        """Lock the first message that is there to be received, in this session if one is given."""
        available = mailbox.available if session is None else session.available
        message = self._first(mailbox, available, now)
        if message is not None:
            heapq.heappop(available)
            self._lock(mailbox, message, now)
        return message

    def _first(self, mailbox: Mailbox, available: list[int], now: int) -> Message | None:
        """Look at the first message that is there to be received."""
        while available:
            message = mailbox.messages.get(available[0])
            is_there = message is not None and message.state is State.ACTIVE and message.lock is None
            if message is not None and is_there and not self._is_expired(mailbox, message, now):
                return message
            heapq.heappop(available)
            if message is not None and is_there:
                self._expire(mailbox, message, now)
        return None

    def take_deferred(
        self,
        mailbox: Mailbox,
        sequences: Iterable[int],
        now: int,
        *,
        remove: bool = False,
        session: Session | None = None,
    ) -> list[Message]:
        """Lock (or remove) these deferred messages; refuse all if one is not there (in this session)."""
        check_kind(mailbox, of_session=session is not None)
        wanted = [mailbox.messages.get(sequence) for sequence in sequences]
        found = [
            message
            for message in wanted
            if message is not None
            and message.state is State.DEFERRED
            and message.lock is None
            and (session is None or _session_id(message) == session.id)
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

    def peek(
        self, mailbox: Mailbox, first: int, count: int, now: int, *, session_id: str | None = None
    ) -> list[Message]:
        """Show messages in any state from a sequence number on, of one session if one is named."""
        self.advance(now)
        messages = [mailbox.messages[number] for number in sorted(mailbox.messages) if number >= first]
        return [one for one in messages if session_id is None or _session_id(one) == session_id][:count]

    def renew(self, mailbox: Mailbox, locks: Iterable[UUID], now: int) -> list[int]:
        """Start these locks anew; return when each ends. Refuse all if one is lost."""
        self.advance(now)
        if mailbox.requires_session:
            raise RefusedError(
                Condition.NOT_ALLOWED, "Renew the lock of the session: its messages have none."
            )
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
        mailbox.locked[message.lock] = message
        if not mailbox.requires_session:
            message.locked_until = now + _settings(mailbox).lock_duration
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

    # Sessions

    def accept_session(self, mailbox: Mailbox, session_id: str | None, now: int) -> Session | None:
        """Lock this session, or (None) the next that has something to receive; return None if none has.

        Raise RefusedError if somebody holds it. `release_session` takes the lock that the session has now.
        """
        self.advance(now)
        check_kind(mailbox, of_session=True)
        session = self._next_session(mailbox, now) if session_id is None else mailbox.session(session_id)
        if session is None:
            return None
        if session.lock is not None:
            raise RefusedError(
                Condition.SESSION_CANNOT_BE_LOCKED,
                f"The requested session '{session_id}' cannot be accepted. "
                "It may be locked by another receiver.",
            )
        session.lock = self._new_lock()
        mailbox.held[session.lock] = session
        mailbox.waiting.pop(session.id, None)
        self._prolong(mailbox, session, now)
        return session

    def session(self, mailbox: Mailbox, lock: UUID, now: int) -> Session:
        """Find the session that is held by this lock, or refuse."""
        self.advance(now)
        session = mailbox.held.get(lock)
        if session is None:
            raise RefusedError(
                Condition.SESSION_LOCK_LOST,
                "The session lock has expired on the MessageSession. Accept a new MessageSession.",
            )
        return session

    def renew_session(self, mailbox: Mailbox, lock: UUID, now: int) -> int:
        """Start the lock of a session anew; return when it ends."""
        session = self.session(mailbox, lock, now)
        self._prolong(mailbox, session, now)
        return session.locked_until

    def set_session_state(self, mailbox: Mailbox, lock: UUID, state: bytes | None, now: int) -> None:
        """Note this about a session; None forgets what was noted."""
        session = self.session(mailbox, lock, now)
        if state is not None and len(state) > MAX_MESSAGE_BYTES:
            raise RefusedError(
                Condition.MESSAGE_SIZE_EXCEEDED,
                f"The session state (size:{len(state)} bytes) exceeds the limit ({MAX_MESSAGE_BYTES} bytes).",
            )
        session.state = self._changes.states[mailbox.key, session.id] = state
        session.noted_at = now

    def session_ids(self, mailbox: Mailbox, now: int, *, noted_after: int | None = None) -> list[str]:
        """Name the sessions with active messages or a state, or only those whose state was set after a time.

        https://github.com/Azure/azure-sdk-for-net/pull/58761
        """
        self.advance(now)
        check_kind(mailbox, of_session=True)
        found = {
            session.id
            for session in mailbox.sessions.values()
            if session.state is not None and (noted_after is None or session.noted_at > noted_after)
        }
        if noted_after is None:
            found |= {_session_id(one) for one in mailbox.messages.values() if one.state is State.ACTIVE}
        return sorted(found)

    def release_session(self, mailbox: Mailbox, lock: UUID, now: int) -> None:
        """Give back a session, and what was received of it, which does not count as delivered."""
        self.advance(now)
        if lock in mailbox.held:
            self._end_hold(mailbox, lock, now, counted=False)

    def take_lost(self) -> list[UUID]:
        """Hand out the locks of sessions that have ended by themselves since the last time."""
        lost, self._lost = self._lost, []
        return lost

    def _next_session(self, mailbox: Mailbox, now: int) -> Session | None:
        while mailbox.waiting:
            session = mailbox.sessions[next(iter(mailbox.waiting))]
            if self._first(mailbox, session.available, now) is not None:
                return session
            self._tidy(mailbox, session.id)
        return None

    def _prolong(self, mailbox: Mailbox, session: Session, now: int) -> None:
        session.locked_until = now + _settings(mailbox).lock_duration
        self._wake_at(session.locked_until, mailbox, session)

    def _end_hold(self, mailbox: Mailbox, lock: UUID, now: int, *, counted: bool) -> None:
        # Only a lock that ends by itself counts as a delivery:
        # https://learn.microsoft.com/azure/service-bus-messaging/message-sessions#impact-of-delivery-count
        session = mailbox.held.pop(lock)
        session.lock = None
        for message in [one for one in mailbox.locked.values() if _session_id(one) == session.id]:
            self._unlock(mailbox, message, now, counted=counted)
        self._tidy(mailbox, session.id)
        self._ready.add(mailbox.key)

    def _tidy(self, mailbox: Mailbox, session_id: str) -> None:
        """Let a session wait for its next holder, or forget it if there is nothing to it."""
        session = mailbox.sessions.get(session_id)
        if session is None or session.lock is not None:
            return
        while session.available and session.available[0] not in mailbox.messages:
            heapq.heappop(session.available)
        if session.available:
            mailbox.waiting.setdefault(session_id)
            return
        mailbox.waiting.pop(session_id, None)
        if session.state is None:
            del mailbox.sessions[session_id]

    # Rules: they are those of the configuration again when a broker starts again

    def rules(self, address: str) -> list[Rule]:
        """List the rules of a subscription by name; like Azure, refuse one that forwards.

        https://github.com/Azure/azure-sdk-for-net/pull/34816
        """
        self.mailbox(address)
        rules = self._rules_at(address)
        return [rules[name] for name in sorted(rules)]

    def add_rule(self, address: str, rule: Rule) -> None:
        """Let a subscription take what this rule matches too; refuse if it has one of the name."""
        rules = self._rules_at(address)
        if rule.name.lower() in rules:
            raise RefusedError(
                Condition.ENTITY_ALREADY_EXISTS,
                f"The messaging entity '{address}|{rule.name}' already exists.",
            )
        rules[rule.name.lower()] = rule

    def remove_rule(self, address: str, name: str) -> None:
        """Forget a rule; a subscription without any takes nothing. Refuse if it has none of the name."""
        if self._rules_at(address).pop(name.lower(), None) is None:
            raise not_found(f"{address}|{name}")

    def _rules_at(self, address: str) -> dict[str, Rule]:
        if address.lower() not in self._rules:
            raise RefusedError(Condition.NOT_ALLOWED, f"'{address}' is no subscription: it has no rules.")
        return self._rules[address.lower()]

    # Time

    def advance(self, now: int) -> None:
        """Let happen what is due: scheduled messages, locks that end, messages that expire."""
        while self._alarms and self._alarms[0][0] <= now:
            _, key, sequence, session_id = heapq.heappop(self._alarms)
            mailbox = self._mailboxes[key]
            message = mailbox.messages.get(sequence)
            if message is None:
                self._end_session_lock(mailbox, session_id, now)
                continue
            if message.state is State.SCHEDULED:
                if message.due_at is not None and message.due_at <= now:
                    self._activate(mailbox, message, now)
            elif message.lock is not None:
                if message.locked_until <= now and not mailbox.requires_session:
                    self._unlock(mailbox, message, now, counted=True)
            elif self._is_expired(mailbox, message, now):
                self._expire(mailbox, message, now)
        for seen in self._seen.values():
            while seen and (oldest := next(iter(seen.items())))[1] <= now:
                del seen[oldest[0]]

    def _end_session_lock(self, mailbox: Mailbox, session_id: str, now: int) -> None:
        session = mailbox.sessions.get(session_id)
        if session is not None and session.lock is not None and session.locked_until <= now:
            self._lost.append(session.lock)
            self._end_hold(mailbox, session.lock, now, counted=True)

    def next_alarm(self) -> int | None:
        """Say when `advance` has something to do next."""
        return self._alarms[0][0] if self._alarms else None

    def _activate(self, mailbox: Mailbox, message: Message, now: int) -> None:
        # It joins the queue as if it came now, with a new number:
        # https://learn.microsoft.com/azure/service-bus-messaging/message-sequencing
        self._remove(mailbox, message)
        number = self._count(mailbox)
        arrived = replace(message, sequence=number, enqueued_at=now, state=State.ACTIVE, due_at=None)
        self._enqueue(self._entities[mailbox.key], arrived, now)

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

    def _wake_at(self, when: int, mailbox: Mailbox, what: Message | Session) -> None:
        sequence, session_id = (what.sequence, "") if isinstance(what, Message) else (0, what.id)
        heapq.heappush(self._alarms, (when, mailbox.key, sequence, session_id))
        if len(self._alarms) > self._most_alarms:
            self._alarms = [alarm for alarm in set(self._alarms) if self._is_awaited(*alarm)]
            heapq.heapify(self._alarms)
            self._most_alarms = max(_STALE_ALARMS, 2 * len(self._alarms))

    def _is_awaited(self, when: int, key: str, sequence: int, session_id: str) -> bool:
        session = self._mailboxes[key].sessions.get(session_id)
        if not sequence:
            return session is not None and session.lock is not None and when == session.locked_until
        message = self._mailboxes[key].messages.get(sequence)
        return message is not None and when in (message.due_at, message.locked_until, message.expires_at)

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
        for (key, session_id), state in changes.states.items():
            if key in self._mailboxes:
                self._mailboxes[key].session(session_id).state = state
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
        if mailbox.requires_session:
            self._tidy(mailbox, _session_id(message))

    def _offer(self, mailbox: Mailbox, message: Message) -> None:
        if mailbox.requires_session:
            session = mailbox.session(_session_id(message))
            heapq.heappush(session.available, message.sequence)
            self._tidy(mailbox, session.id)
        else:
            heapq.heappush(mailbox.available, message.sequence)
        self._ready.add(mailbox.key)


def shorter(first: int | None, second: int | None) -> int | None:
    """Return the shorter of two times to live; None is for ever."""
    given = [ttl for ttl in (first, second) if ttl is not None]
    return min(given, default=None)


def not_found(address: str) -> RefusedError:
    """Say that nothing is at this address, as Service Bus does."""
    return RefusedError(Condition.NOT_FOUND, f"The messaging entity '{address}' could not be found.")


def check_kind(mailbox: Mailbox, *, of_session: bool) -> None:
    """Refuse to receive without a session where sessions are required, and with one where they are not."""
    if mailbox.requires_session and not of_session:
        raise RefusedError(
            Condition.NOT_ALLOWED,
            "It is not possible for an entity that requires sessions to create a non-sessionful message "
            "receiver.",
        )
    if of_session and not mailbox.requires_session:
        raise RefusedError(
            Condition.NOT_ALLOWED,
            "A sessionful message receiver cannot be created on an entity that does not require sessions. "
            "Ensure RequiresSession is set to true when creating a Queue or Subscription to enable "
            "sessionful behavior.",
        )


def _session_id(message: Message) -> str:
    return message.content.properties.session_id or ""


def _settings(mailbox: Mailbox) -> Settings:
    assert mailbox.settings is not None, "a topic hands out no messages"
    return mailbox.settings
