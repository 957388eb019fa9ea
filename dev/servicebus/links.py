"""What the broker does on a link: it takes messages, hands them out, answers requests."""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias
from uuid import UUID

from proton import Condition as Said
from proton import Delivery, Link, Terminus, int32, symbol, ulong
from proton import Message as Answer

from . import delivery, management
from .broker import MAX_MESSAGE_BYTES, Mailbox, Message, Session, check_kind
from .errors import Condition, MalformedError, RefusedError, StalledError
from .message import BATCH_FORMAT, Request, Value, decode, decode_batch, decode_request, identified, owned

if TYPE_CHECKING:
    from .amqp import Connection

# Proton's annotations do not fit what it does: a delivery's tag is bytes, a link event always has its link.
Proton: TypeAlias = Any

_CREDIT: Final = 1000
_MAX_REQUEST_BYTES: Final = 1024 * 1024
# https://learn.microsoft.com/azure/service-bus-messaging/service-bus-amqp-protocol-guide
_SESSION_FILTER: Final = symbol("com.microsoft:session-filter")
_LOCKED_UNTIL: Final = symbol("com.microsoft:locked-until-utc")
_WAIT: Final = symbol("com.microsoft:timeout")
_LONGEST_WAIT: Final = 65_000  # milliseconds, where the client names none: as Microsoft's SDKs expect
_TICKS_AT_1970: Final = 621_355_968_000_000_000  # .NET's time is in units of 100 ns since the year 1
_TICKS: Final = 10_000
_DEAD_LETTER: Final = "com.microsoft:dead-letter"
_CBS: Final = "$cbs"


class End:
    """Our end of a link, for as long as there is something to do on it."""

    def __init__(self, connection: "Connection", link: Proton) -> None:
        """Join the others of this connection."""
        self.connection = connection
        self.server = connection.server
        self.link = link
        connection.ends.append(self)

    def open(self) -> None:
        """Open it as the client asked for it."""
        self.link.source.copy(self.link.remote_source)
        self.link.target.copy(self.link.remote_target)
        self.link.snd_settle_mode = self.link.remote_snd_settle_mode
        self.link.rcv_settle_mode = self.link.remote_rcv_settle_mode
        self._describe()
        self.link.open()

    def _describe(self) -> None:
        """Tell the client what it has to know of this link."""

    def flow(self) -> None:
        """Look whether there is something to send for new credit."""

    def take(self, one: Proton) -> None:
        """Take a message, or what a receiver says about one."""

    def close(self) -> None:
        """Do nothing more; what is still to be settled can be."""
        if self in self.connection.ends:
            self.connection.ends.remove(self)

    def end(self, error: RefusedError) -> None:
        """Close the link and say why."""
        self.close()
        self.link.condition = said(error)
        self.link.close()


def attach(connection: "Connection", link: Proton) -> End:
    """Make our end for what is at the link's address; raise RefusedError."""
    server = connection.server
    terminus = link.remote_target if link.is_receiver else link.remote_source
    if terminus.type == Terminus.COORDINATOR:
        raise RefusedError(Condition.NOT_IMPLEMENTED, "Transactions are not supported.")
    address = management.path_of(terminus.address or "")
    entity = management.entity_of(address)
    if address != _CBS:
        if not connection.authorised:
            raise RefusedError(
                Condition.UNAUTHORIZED, f"Unauthorized access to '{address}': put a token to $cbs first."
            )
        connection.meet("open", entity)
    if entity != address:
        server.broker.check_address(entity)
    if address == _CBS or entity != address:
        return (Requests if link.is_receiver else Replies)(connection, link, address)
    if link.is_receiver:
        return Producer(connection, link, server.broker.check_target(address))
    mailbox = server.broker.mailbox(address)
    filters = _filters(link)
    check_kind(mailbox, of_session=_SESSION_FILTER in filters)
    if not mailbox.requires_session:
        return Consumer(connection, link, mailbox)
    session_id = filters[_SESSION_FILTER]
    if session_id is None:
        return Seeker(connection, link, mailbox)
    if not isinstance(session_id, str):
        raise RefusedError(Condition.ARGUMENT_ERROR, "The session filter is a session id, or null.")
    return Consumer(
        connection, link, mailbox, server.broker.accept_session(mailbox, session_id, server.clock())
    )


def refuse(link: Proton, error: RefusedError) -> None:
    """Open our side of a link only to say why it is closed."""
    link.open()
    link.condition = said(error)
    link.close()


def said(error: RefusedError) -> Said:
    """Make an AMQP error; azure-servicebus for Python reads its third field without asking if it is there."""
    return Said(error.condition, error.description, {symbol("condition"): str(error.condition)})


class _Incoming(End, ABC):
    """A link on which a client sends."""

    limit: ClassVar[int]

    def __init__(self, connection: "Connection", link: Proton, address: str) -> None:
        """Take what is sent to this address."""
        super().__init__(connection, link)
        self._address = address
        self._format = 0

    def open(self) -> None:
        """Let the client send."""
        super().open()
        self.link.flow(_CREDIT)

    def _describe(self) -> None:
        self.link.max_message_size = self.limit
        self.link.properties = {symbol("com.microsoft:max-message-batch-size"): ulong(MAX_MESSAGE_BYTES)}

    def take(self, one: Proton) -> None:
        """Take a message that has come whole; refuse one that is too long."""
        if self.connection.format is not None:
            self._format = self.connection.format
        if one.aborted:
            one.settle()
        elif one.pending > self.limit:
            # Told twice, as some SDKs look at the delivery only and some at the link.
            error = RefusedError(
                Condition.MESSAGE_SIZE_EXCEEDED,
                f"The received message (size:{one.pending} bytes) exceeds the limit ({self.limit} bytes) "
                "currently allowed on the link.",
            )
            _reject(one, error)
            self.link.end = None
            self.end(error)
        elif one.readable and not one.partial:
            encoded = self.link.recv(one.pending) or b""
            self.link.advance()
            self.connection.attempt(self._read, one, encoded, self._format)
            self._format = 0
            if self.link.credit < _CREDIT // 2:
                self.link.flow(_CREDIT - self.link.credit)

    @abstractmethod
    def _read(self, one: Proton, encoded: bytes, message_format: int) -> None:
        """Do what a message asks for, and say what became of it."""


class Producer(_Incoming):
    """A link on which a client sends to a queue or a topic."""

    limit = MAX_MESSAGE_BYTES

    def _read(self, one: Proton, encoded: bytes, message_format: int) -> None:
        """Hand a message, or a batch, to the broker, and say what became of it."""
        try:
            self.connection.meet("send", self._address)
            sent = decode_batch(encoded) if message_format == BATCH_FORMAT else [decode(encoded)]
            self.server.broker.send(self._address, [identified(one) for one in sent], self.server.clock())
        except MalformedError as error:
            _reject(one, RefusedError(Condition.DECODE_ERROR, str(error)))
        except RefusedError as error:
            _reject(one, error)
        else:
            _accept(one)


class Requests(_Incoming):
    """A link on which a client asks `$cbs` or `$management`."""

    limit = _MAX_REQUEST_BYTES

    def _read(self, one: Proton, encoded: bytes, message_format: int) -> None:  # noqa: ARG002 - never a batch
        """Answer a request; refuse what is none."""
        try:
            request = decode_request(encoded)
        except MalformedError as error:
            _reject(one, RefusedError(Condition.DECODE_ERROR, str(error)))
            return
        reply = self._reply(request)
        _accept(one)
        code, text = (
            ("status-code", "status-description")
            if self._address == _CBS
            else ("statusCode", "statusDescription")
        )
        properties: dict[str, Value] = {code: int32(reply.status), text: reply.description}
        if reply.condition is not None:
            properties["errorCondition"] = symbol(reply.condition)
        answer = Answer(body=reply.body, properties=properties, correlation_id=request.id).encode()
        self._answer(request.reply_to, answer)

    def _reply(self, request: Request) -> management.Reply:
        broker = self.server.broker
        if self._address == _CBS:
            reply = management.put_token(broker, request.properties, request.body)
            self.connection.authorised = self.connection.authorised or reply.condition is None
            return reply
        address = management.entity_of(self._address)
        try:
            self.connection.meet("request", address)
        except RefusedError as error:
            return management.refused(error)
        locks = {
            end.session.id: end.lock
            for end in self.connection.ends
            if isinstance(end, Consumer)
            and end.session is not None
            and end.lock is not None
            and end.mailbox.key == address.lower()
        }
        return management.respond(
            broker, address, request.properties, request.body, self.server.clock(), locks
        )

    def _answer(self, reply_to: str | None, answer: bytes) -> None:
        """Answer on the link that the request asked for, or on the last one from the same node."""
        there = [
            end
            for end in self.connection.ends
            if isinstance(end, Replies) and end.address.lower() == self._address.lower()
        ]
        named = [end for end in there if reply_to and end.link.remote_target.address == reply_to]
        for end in (named or there)[-1:]:
            end.send(answer)


class Replies(End):
    """A link on which a client gets the answers to its requests."""

    def __init__(self, connection: "Connection", link: Proton, address: str) -> None:
        """Wait for credit."""
        super().__init__(connection, link)
        self.address = address
        self._waiting: deque[bytes] = deque()
        self._sent = 0

    def send(self, answer: bytes) -> None:
        """Send an answer as soon as there is credit for it."""
        self._waiting.append(answer)
        self.flow()

    def flow(self) -> None:
        """Send what there is credit for; nobody waits for these to be settled."""
        while self._waiting and self.link.credit > 0:
            self._sent += 1
            one = self.link.delivery(self._sent.to_bytes(4))
            self.link.stream(self._waiting.popleft())
            self.link.advance()
            one.settle()


class Consumer(End):
    """A link on which a client receives from a mailbox."""

    def __init__(
        self, connection: "Connection", link: Proton, mailbox: Mailbox, session: Session | None = None
    ) -> None:
        """Wait for credit; hold the session that it receives from, if any, by the lock that this has now."""
        super().__init__(connection, link)
        self.mailbox = mailbox
        self.session = session
        self.lock = None if session is None else session.lock
        self._gives_away = link.remote_snd_settle_mode == Link.SND_SETTLED
        self._stalled = False
        self.server.enlist(self)

    def _describe(self) -> None:
        if self.session is not None:
            self.link.source.filter.clear()
            self.link.source.filter.put_dict({_SESSION_FILTER: self.session.id})
            self.link.properties = {_LOCKED_UNTIL: _TICKS_AT_1970 + self.session.locked_until * _TICKS}

    @property
    def is_hungry(self) -> bool:
        """Whether it may be sent a message."""
        return bool(self.link.credit > 0 and not self._stalled and self.connection.takes_messages)

    def flow(self) -> None:
        """Look in the next turn whether there is something to receive."""
        self.server.feed(self)

    def send(self, message: Message, now: int) -> None:
        """Transfer a message that has just been locked, or give it back if that is refused or stalled."""
        lock = message.lock
        assert lock is not None, "only what is locked is handed out"
        try:
            self.connection.meet("receive", self.mailbox.path)
        except (RefusedError, StalledError) as error:
            self.server.broker.abandon(self.mailbox, lock, now, counted=False)
            if isinstance(error, RefusedError):
                self.end(error)
            else:
                self._stalled = True
                self.server.stall(self.connection, self._go_on)
            return
        if self._gives_away:
            self.server.broker.complete(self.mailbox, lock, now)
        # SDKs read the tag as the lock token, in the byte order of a .NET Guid.
        one = self.link.delivery(lock.bytes_le)
        one.lock = lock
        self.link.stream(delivery.encode(message))
        self.link.advance()
        if self._gives_away:
            one.settle()

    def _go_on(self) -> None:
        self._stalled = False
        self.flow()

    def drain(self) -> None:
        """Give back credit that a client wants used up at once."""
        if self.link.drain_mode and self.link.credit > 0:
            self.link.drained()
            self.server.stir(self.connection)

    def take(self, one: Proton) -> None:
        """Do what the client says is to become of a message, and confirm it."""
        if not one.updated or one.remote_state in (0, Delivery.RECEIVED):
            if one.settled:
                one.settle()  # settled without a word: the lock ends by itself
            return
        self.connection.attempt(self._settle, one)

    def _settle(self, one: Proton) -> None:
        try:
            self.connection.meet("settle", self.mailbox.path)
            self._apply(one, one.lock)
        except RefusedError as error:
            _reject(one, error)
        else:
            one.update(one.remote_state)
            one.settle()

    def _apply(self, one: Proton, lock: UUID) -> None:
        broker, now = self.server.broker, self.server.clock()
        if self.lock is not None:
            broker.session(self.mailbox, self.lock, now)
        remote = one.remote
        match one.remote_state:
            case Delivery.ACCEPTED:
                broker.complete(self.mailbox, lock, now)
            case Delivery.RELEASED:
                broker.abandon(self.mailbox, lock, now, counted=False)
            case Delivery.MODIFIED:
                one.local.failed, one.local.undeliverable = remote.failed, remote.undeliverable
                properties = {str(name): value for name, value in (owned(remote.annotations) or {}).items()}
                if remote.undeliverable:
                    broker.defer(self.mailbox, lock, now, properties=properties)
                else:
                    # Counted even without delivery-failed, which not every SDK says:
                    # https://github.com/Azure/azure-sdk-for-js/blob/main/sdk/servicebus/service-bus/src/core/messageReceiver.ts
                    broker.abandon(self.mailbox, lock, now, properties=properties)
            case Delivery.REJECTED:
                reason, description, properties = _last_words(remote.condition)
                broker.dead_letter(
                    self.mailbox, lock, now, reason=reason, description=description, properties=properties
                )
            case _:
                raise RefusedError(Condition.NOT_IMPLEMENTED, "This outcome is not supported.")

    def close(self) -> None:
        """Receive no more."""
        super().close()
        self.server.dismiss(self)

    def lose(self) -> None:
        """Tell the client that it holds its session no more."""
        text = "The session lock was lost. Request a new session receiver."
        self.end(RefusedError(Condition.SESSION_LOCK_LOST, text))


class Seeker(End):
    """A link that waits to be given the next session that has something to receive."""

    def __init__(self, connection: "Connection", link: Proton, mailbox: Mailbox) -> None:
        """Wait as long as the client says."""
        super().__init__(connection, link)
        self.mailbox = mailbox
        wait = (owned(link.remote_properties) or {}).get(_WAIT)
        patience = wait if isinstance(wait, int) and wait < _LONGEST_WAIT else _LONGEST_WAIT
        self._alarm = asyncio.get_running_loop().call_later(patience / 1000, self._give_up)
        self.server.seek(self)

    def open(self) -> None:
        """Open the link when there is a session."""

    def find(self, session: Session) -> None:
        """Receive from this session from now on."""
        self.close()
        self.link.end = Consumer(self.connection, self.link, self.mailbox, session)
        self.link.end.open()

    def close(self) -> None:
        """Wait no more."""
        super().close()
        self._alarm.cancel()
        self.server.stop_seeking(self)

    def _give_up(self) -> None:
        self.close()
        self.link.end = None
        text = "The operation did not complete within the allotted time: no session is there to be accepted."
        refuse(self.link, RefusedError(Condition.TIMEOUT, text))
        self.server.stir(self.connection)


def _filters(link: Proton) -> dict[Value, Value]:
    filters = link.remote_source.filter
    filters.rewind()
    found = filters.get_dict() if filters.next() else None
    return found if isinstance(found, dict) else {}


def _accept(one: Proton) -> None:
    one.update(Delivery.ACCEPTED)
    one.settle()


def _reject(one: Proton, error: RefusedError) -> None:
    one.local.condition = said(error)
    one.update(Delivery.REJECTED)
    one.settle()


def _last_words(error: Proton) -> tuple[str | None, str | None, dict[str, Value]]:
    """Read why a message was dead-lettered: two named texts, and properties to set."""
    if error is None:
        return None, None, {}
    if error.name != _DEAD_LETTER:
        return error.name, error.description, {}
    info = {str(name): value for name, value in (owned(error.info) or {}).items()}
    reason, description = info.pop("DeadLetterReason", None), info.pop("DeadLetterErrorDescription", None)
    return (
        reason if isinstance(reason, str) else None,
        description if isinstance(description, str) else None,
        info,
    )
