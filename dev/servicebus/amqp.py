"""The broker on a socket: AMQP 1.0 by the proton engine, each connection on its own.

One turn of the event loop takes the bytes of every connection that has some, then stores what changed, and
only then writes: what a client is told has happened is in the store.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, TypeAlias
from uuid import UUID

from proton import (
    Collector,
    Delivery,
    Link,
    ProtonException,
    Terminus,
    Transport,
    int32,
    symbol,
    ulong,
)
from proton import Condition as Said
from proton import Connection as Engine
from proton import Message as Answer

from . import delivery, management
from .broker import MAX_MESSAGE_BYTES, Broker, Mailbox, Message, Session, check_kind
from .errors import Condition, MalformedError, RefusedError
from .message import (
    BATCH_FORMAT,
    Request,
    Value,
    decode,
    decode_batch,
    decode_request,
    identified,
    message_format,
    owned,
)
from .sasl import Handshake
from .store import Store

# Proton's annotations do not fit what it does: a delivery's tag is bytes, a link event always has its link.
Proton: TypeAlias = Any

logger = logging.getLogger(__name__)

_MAX_FRAME: Final = 64 * 1024
_CREDIT: Final = 1000
_HEADER_LENGTH: Final = 8
_PATIENCE: Final = 60.0  # seconds in which a client has to open its connection
_MAX_REQUEST_BYTES: Final = 1024 * 1024
# https://learn.microsoft.com/azure/service-bus-messaging/service-bus-amqp-protocol-guide
_SESSION_FILTER: Final = symbol("com.microsoft:session-filter")
_LOCKED_UNTIL: Final = symbol("com.microsoft:locked-until-utc")
_WAIT: Final = symbol("com.microsoft:timeout")
_LONGEST_WAIT: Final = 65_000  # milliseconds, where the client names none: as Microsoft's SDKs expect
_TICKS_AT_1970: Final = 621_355_968_000_000_000  # .NET's time is in units of 100 ns since the year 1
_TICKS: Final = 10_000
_DEAD_LETTER: Final = "com.microsoft:dead-letter"


def milliseconds() -> int:
    """Read the clock: milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class Server:
    """Takes connections, and gives each message to one of those who wait for it."""

    def __init__(
        self,
        broker: Broker,
        *,
        store: Store | None = None,
        clock: Callable[[], int] = milliseconds,
        idle_seconds: float = 240,
    ) -> None:
        """Serve this broker; a connection that is silent for `idle_seconds` is closed."""
        self.broker = broker
        self.clock = clock
        self.idle_seconds = idle_seconds
        self.connections: set[Connection] = set()
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._store = store
        self._consumers: dict[str, deque[Consumer]] = {}
        self._holders: dict[UUID, Consumer] = {}
        self._seekers: dict[str, deque[Seeker]] = {}
        self._hungry: set[str] = set()
        self._stirred: set[Connection] = set()
        self._turning = False
        self._alarm: asyncio.TimerHandle | None = None
        self._listener: asyncio.Server | None = None

    async def listen(self, host: str, port: int) -> int:
        """Open the port (0: any that is free) and return its number."""
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(lambda: Connection(self), host, port, backlog=1024)
        self._turn()
        number: int = self._listener.sockets[0].getsockname()[1]
        return number

    async def close(self) -> None:
        """Tell every client that the connection ends, and store what changed."""
        if self._listener is not None:
            self._listener.close()
        for connection in tuple(self.connections):
            connection.leave()
        self._turn()
        if self._alarm is not None:
            self._alarm.cancel()
        await asyncio.sleep(0)

    def stir(self, connection: "Connection") -> None:
        """Have a turn soon, because something has happened on this connection."""
        self._stirred.add(connection)
        self._turn_soon()

    def enlist(self, consumer: "Consumer") -> None:
        """Let a consumer wait for messages."""
        self._consumers.setdefault(consumer.mailbox.key, deque()).append(consumer)
        if consumer.lock is not None:
            self._holders[consumer.lock] = consumer

    def dismiss(self, consumer: "Consumer") -> None:
        """Give a consumer no more messages; those that it has stay locked, but for a session's."""
        if consumer.lock is not None and self._holders.pop(consumer.lock, None) is not None:
            self.broker.release_session(consumer.mailbox, consumer.lock, self.clock())
            self._turn_soon()
        waiting = self._consumers.get(consumer.mailbox.key, deque())
        if consumer in waiting:
            waiting.remove(consumer)

    def seek(self, seeker: "Seeker") -> None:
        """Give a link the next session that there is, now or later."""
        self._seekers.setdefault(seeker.mailbox.key, deque()).append(seeker)
        self._hungry.add(seeker.mailbox.key)
        self.stir(seeker.connection)

    def stop_seeking(self, seeker: "Seeker") -> None:
        """Give a link no session any more."""
        waiting = self._seekers.get(seeker.mailbox.key, deque())
        if seeker in waiting:
            waiting.remove(seeker)

    def feed(self, consumer: "Consumer") -> None:
        """Look in the next turn whether there is something for this consumer."""
        self._hungry.add(consumer.mailbox.key)
        self.stir(consumer.connection)

    def forget(self, connection: "Connection") -> None:
        """Let go of a connection that is gone."""
        self.connections.discard(connection)
        self._stirred.discard(connection)

    def _turn_soon(self) -> None:
        if not self._turning:
            self._turning = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._turning = False
        now = self.clock()
        self.broker.advance(now)
        for lock in self.broker.take_lost():
            if (holder := self._holders.pop(lock, None)) is not None:
                holder.lose()
                self._stirred.add(holder.connection)
        hungry, self._hungry = self._hungry, set()
        for key in self.broker.take_ready() | hungry:
            self._give_sessions(self._seekers.get(key, deque()), now)
            self._hand_out(self._consumers.get(key, deque()), now)
        if changes := self.broker.take_changes():
            try:
                if self._store is not None:
                    self._store.write(changes, now)
            except Exception as error:  # noqa: BLE001 - whatever it was: what is not stored is not acknowledged
                if not self.failed.done():
                    self.failed.set_exception(error)
                for connection in tuple(self.connections):
                    connection.drop()
                return
        stirred, self._stirred = self._stirred, set()
        for connection in stirred:
            connection.write()
        self._set_alarm(now)

    def _give_sessions(self, waiting: "deque[Seeker]", now: int) -> None:
        while waiting and (session := self.broker.accept_session(waiting[0].mailbox, None, now)) is not None:
            seeker = waiting.popleft()
            seeker.find(session)
            self._stirred.add(seeker.connection)

    def _hand_out(self, waiting: "deque[Consumer]", now: int) -> None:
        passed = 0
        while passed < len(waiting):
            consumer = waiting[0]
            waiting.rotate(-1)
            if not consumer.is_hungry:
                passed += 1
            elif (message := self.broker.acquire(consumer.mailbox, now, consumer.session)) is None:
                if consumer.session is None:
                    break
                passed += 1
            else:
                consumer.send(message, now)
                self._stirred.add(consumer.connection)
                passed = 0
        for consumer in waiting:
            consumer.drain()

    def _set_alarm(self, now: int) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        when = self.broker.next_alarm()
        delay = None if when is None else max(when - now, 0) / 1000
        loop = asyncio.get_running_loop()
        # An hour at most: the wall clock may be set, and call_later does not see that.
        self._alarm = None if delay is None else loop.call_later(min(delay, 3600), self._turn)


class Connection(asyncio.Protocol):
    """One client. Whatever it sends, the worst that it can do is to lose its own connection."""

    def __init__(self, server: Server) -> None:
        """Wait for the client's first bytes."""
        self.server = server
        self.authorised = False
        self.paused = False
        self._io: asyncio.Transport | None = None
        self._handshake = Handshake()
        self._received = bytearray()
        self._greeted = False
        self._format: int | None = None
        self._replies: list[Replies] = []
        self._consumers: list[Consumer] = []
        self._seekers: list[Seeker] = []
        self._heartbeat: asyncio.TimerHandle | None = None
        self._collector = Collector()
        self._engine = Engine()
        self._engine.collect(self._collector)
        self._transport = Transport(Transport.SERVER)
        self._transport.max_frame_size = _MAX_FRAME
        self._transport.idle_timeout = server.idle_seconds
        self._transport.bind(self._engine)

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the socket."""
        assert isinstance(transport, asyncio.Transport)
        self._io = transport
        self._heartbeat = asyncio.get_running_loop().call_later(_PATIENCE, self.drop)
        self.server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - why it is gone makes no difference
        """Stop handing out messages to it; its locks end when their time is up, those of sessions now."""
        for one in self._waiting():
            one.close()
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        self._io = None
        self.server.forget(self)

    def pause_writing(self) -> None:
        """Take no more messages: the client does not read."""
        self.paused = True

    def resume_writing(self) -> None:
        """Take messages again."""
        self.paused = False
        self.server.stir(self)
        for consumer in self._consumers:
            self.server.feed(consumer)

    def data_received(self, data: bytes) -> None:
        """Take bytes; an exception from here closes this connection and no other."""
        try:
            if not self._handshake.done:
                answer = self._handshake.feed(data)
                if self._io is not None and answer:
                    self._io.write(answer)
                if self._handshake.refused and self._io is not None:
                    self._io.close()
                    return
                if not self._handshake.done:
                    return
                data = self._handshake.left
            self._received += data
            self._take_frames()
        except (MalformedError, ProtonException) as error:
            logger.warning("connection refused", extra={"reason": str(error)})
            self.drop()
            return
        self.server.stir(self)

    # Bytes in, bytes out

    def _take_frames(self) -> None:
        if not self._greeted:
            if len(self._received) < _HEADER_LENGTH:
                return
            self._greeted = True
            self._push(self._received[:_HEADER_LENGTH])
            del self._received[:_HEADER_LENGTH]
        while len(self._received) >= 4:
            size = int.from_bytes(self._received[:4])
            if not _HEADER_LENGTH <= size <= _MAX_FRAME:
                raise MalformedError("a frame has an impossible size")
            if len(self._received) < size:
                return
            frame = bytes(self._received[:size])
            del self._received[:size]
            performative = frame[frame[4] * 4 :]
            if performative and performative[0] != 0:  # the engine would pass over it
                raise MalformedError("a frame holds something other than a performative")
            self._format = message_format(frame)
            self._push(frame)

    def _push(self, piece: bytes | bytearray) -> None:
        left = bytes(piece)
        while left and (room := self._transport.capacity()) > 0:
            self._transport.push(left[:room])
            left = left[room:]
            self._dispatch()
        self._dispatch()

    def _dispatch(self) -> None:
        while (event := self._collector.peek()) is not None:
            try:
                event.dispatch(self)  # type: ignore[arg-type] # any object with on_ methods will do
            except (ValueError, TypeError, OverflowError) as error:
                # Proton reads late: texts that are not UTF-8, keys that have no hash, impossible characters.
                raise MalformedError(f"a frame holds a value that cannot be read: {error}") from error
            self._collector.pop()

    def write(self) -> None:
        """Write what the engine has to say."""
        if self._io is None:
            return
        try:
            self._dispatch()
            while (size := self._transport.pending()) > 0 and not self.paused:
                if piece := self._transport.peek(size):
                    self._io.write(piece)
                self._transport.pop(size)
                self._dispatch()
        except (MalformedError, ProtonException) as error:
            logger.warning("connection lost", extra={"reason": str(error)})
            self.drop()
            return
        if size < 0:
            self._io.close()

    def drop(self) -> None:
        """Close the socket without a word."""
        if self._io is not None:
            self._io.abort()

    def leave(self) -> None:
        """Close the connection because the emulator stops."""
        self._engine.condition = _said("amqp:connection:forced", "The emulator stops.")
        self._engine.close()
        self.server.stir(self)

    def _beat(self) -> None:
        """Send a heartbeat if one is due; find out whether the client still does."""
        loop = asyncio.get_running_loop()
        if deadline := self._transport.tick(loop.time()):
            self._heartbeat = loop.call_at(deadline, self._beat)
        self.server.stir(self)

    # What the engine calls

    def on_connection_remote_open(self, event: Proton) -> None:
        """Open our side."""
        event.connection.container = "dev.servicebus"
        event.connection.open()
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        self._beat()

    def on_connection_remote_close(self, event: Proton) -> None:
        """Close our side."""
        event.connection.close()

    def on_session_remote_open(self, event: Proton) -> None:
        """Open our side."""
        event.session.open()

    def on_session_remote_close(self, event: Proton) -> None:
        """Close our side; its links are gone with it."""
        for one in self._waiting():
            if one.link.session == event.session:
                one.close()
        self._replies = [one for one in self._replies if one.link.session != event.session]
        event.session.close()

    def on_link_remote_open(self, event: Proton) -> None:
        """Attach a link to what is at its address, or refuse it."""
        link = event.link
        try:
            link.role = self._attach(link)
        except RefusedError as error:
            self.refuse(link, error)
            return
        if not isinstance(link.role, Seeker):
            self.open(link)

    def refuse(self, link: Proton, error: RefusedError) -> None:
        """Open our side of a link only to say why it is closed."""
        link.role = None
        link.open()
        link.condition = _said(error.condition, error.description)
        link.close()

    def open(self, link: Proton) -> None:
        """Open our side of a link that has its role."""
        link.source.copy(link.remote_source)
        link.target.copy(link.remote_target)
        link.snd_settle_mode = link.remote_snd_settle_mode
        link.rcv_settle_mode = link.remote_rcv_settle_mode
        if link.is_receiver:
            link.max_message_size = link.role.limit
            link.properties = {symbol("com.microsoft:max-message-batch-size"): ulong(MAX_MESSAGE_BYTES)}
        elif isinstance(link.role, Consumer) and link.role.session is not None:
            session = link.role.session
            link.source.filter.clear()
            link.source.filter.put_dict({_SESSION_FILTER: session.id})
            link.properties = {_LOCKED_UNTIL: _TICKS_AT_1970 + session.locked_until * _TICKS}
        link.open()
        if link.is_receiver:
            link.flow(_CREDIT)

    def _attach(self, link: Proton) -> "Producer | Consumer | Seeker | Requests | Replies":
        terminus = link.remote_target if link.is_receiver else link.remote_source
        if terminus.type == Terminus.COORDINATOR:
            raise RefusedError(Condition.NOT_IMPLEMENTED, "Transactions are not supported.")
        address = management.path_of(terminus.address or "")
        if address == "$cbs" or address.lower().endswith(management.MANAGEMENT):
            if address != "$cbs":
                self._check_authorised(address)
                self.server.broker.check_address(address[: -len(management.MANAGEMENT)])
            if link.is_receiver:
                return Requests(self, link, address)
            replies = Replies(link, address)
            self._replies.append(replies)
            return replies
        self._check_authorised(address)
        if link.is_receiver:
            return Producer(self, link, self.server.broker.check_target(address))
        mailbox = self.server.broker.mailbox(address)
        filters = _filters(link) or {}
        check_kind(mailbox, of_session=_SESSION_FILTER in filters)
        if not mailbox.requires_session:
            return self.consume(link, mailbox)
        session_id = filters[_SESSION_FILTER]
        if session_id is None:
            seeker = Seeker(self, link, mailbox)
            self._seekers.append(seeker)
            self.server.seek(seeker)
            return seeker
        if not isinstance(session_id, str):
            raise RefusedError(Condition.ARGUMENT_ERROR, "The session filter is a session id, or null.")
        session = self.server.broker.accept_session(mailbox, session_id, self.server.clock())
        return self.consume(link, mailbox, session)

    def consume(self, link: Proton, mailbox: Mailbox, session: Session | None = None) -> "Consumer":
        """Let a link receive from a mailbox, or from a session that was accepted for it."""
        consumer = Consumer(self, link, mailbox, session)
        self._consumers.append(consumer)
        self.server.enlist(consumer)
        return consumer

    def session_locks(self, address: str) -> dict[str, UUID]:
        """Name the sessions at an address that this client holds, and the locks by which it does."""
        return {
            one.session.id: one.lock
            for one in self._consumers
            if one.session is not None and one.lock is not None and one.mailbox.key == address.lower()
        }

    def _check_authorised(self, address: str) -> None:
        if not self.authorised:
            raise RefusedError(
                Condition.UNAUTHORIZED, f"Unauthorized access to '{address}': put a token to $cbs first."
            )

    def on_link_flow(self, event: Proton) -> None:
        """Look whether there is something to send for new credit."""
        if isinstance(role := _role(event.link), Consumer):
            self.server.feed(role)
        elif isinstance(role, Replies):
            role.flush()

    def on_link_remote_close(self, event: Proton) -> None:
        """Close our side of a link."""
        self._release(event.link)
        event.link.close()

    def on_link_remote_detach(self, event: Proton) -> None:
        """Detach our side of a link: what it held is not resumed here."""
        self._release(event.link)
        event.link.detach()

    def _waiting(self) -> "tuple[Consumer | Seeker, ...]":
        return (*self._consumers, *self._seekers)

    def _release(self, link: Proton) -> None:
        if isinstance(role := _role(link), Consumer | Seeker):
            role.close()
        elif isinstance(role, Replies) and role in self._replies:
            self._replies.remove(role)

    def discard(self, consumer: "Consumer") -> None:
        """Forget a consumer whose link is gone, or whose session is."""
        if consumer in self._consumers:
            self._consumers.remove(consumer)
        self.server.dismiss(consumer)

    def stop_seeking(self, seeker: "Seeker") -> None:
        """Forget a link that has found its session, or seeks none any more."""
        if seeker in self._seekers:
            self._seekers.remove(seeker)
        self.server.stop_seeking(seeker)

    def on_delivery(self, event: Proton) -> None:
        """Take a message, or what a receiver says about one."""
        link, one = event.link, event.delivery
        role = _role(link)
        if isinstance(role, Consumer):
            role.settled(one)
        elif isinstance(role, Producer | Requests):
            if self._format is not None:
                role.format = self._format
            if one.aborted:
                one.settle()
            elif one.pending > role.limit:
                # Told twice, as some SDKs look at the delivery only and some at the link.
                reason = (
                    f"The received message (size:{one.pending} bytes) exceeds the limit ({role.limit} bytes) "
                    "currently allowed on the link."
                )
                _reject(one, Condition.MESSAGE_SIZE_EXCEEDED, reason)
                link.condition = _said(Condition.MESSAGE_SIZE_EXCEEDED, reason)
                link.role = None
                link.close()
            elif one.readable and not one.partial:
                encoded = link.recv(one.pending) or b""
                link.advance()
                role.take(one, encoded)
                role.format = 0
                if link.credit < _CREDIT // 2:
                    link.flow(_CREDIT - link.credit)

    def answer(self, address: str, reply_to: str | None, answer: bytes) -> None:
        """Send an answer on the link that the request asked for, or on one from the same node."""
        there = [one for one in self._replies if one.address.lower() == address.lower()]
        named = [one for one in there if reply_to and one.link.remote_target.address == reply_to]
        for replies in (named or there)[-1:]:
            replies.send(answer)


class Producer:
    """A link on which a client sends to a queue or a topic."""

    limit = MAX_MESSAGE_BYTES

    def __init__(self, connection: Connection, link: Proton, address: str) -> None:
        """Take messages for this address."""
        self.format = 0
        self._connection = connection
        self._link = link
        self._address = address

    def take(self, one: Proton, encoded: bytes) -> None:
        """Hand a message, or a batch, to the broker, and say what became of it."""
        server = self._connection.server
        try:
            sent = decode_batch(encoded) if self.format == BATCH_FORMAT else [decode(encoded)]
            server.broker.send(self._address, [identified(one) for one in sent], server.clock())
        except MalformedError as error:
            _reject(one, Condition.DECODE_ERROR, str(error))
        except RefusedError as error:
            _reject(one, error.condition, error.description)
        else:
            one.update(Delivery.ACCEPTED)
            one.settle()


class Consumer:
    """A link on which a client receives from a mailbox."""

    def __init__(
        self, connection: Connection, link: Proton, mailbox: Mailbox, session: Session | None = None
    ) -> None:
        """Wait for credit; hold the session that it receives from, if any, by the lock that this has now."""
        self.connection = connection
        self.link = link
        self.mailbox = mailbox
        self.session = session
        self.lock = None if session is None else session.lock
        self._gives_away = link.remote_snd_settle_mode == Link.SND_SETTLED

    @property
    def is_hungry(self) -> bool:
        """Whether it may be sent a message."""
        return bool(self.link.credit > 0 and not self.connection.paused)

    def send(self, message: Message, now: int) -> None:
        """Transfer a message that has just been locked."""
        lock = message.lock
        assert lock is not None, "only what is locked is handed out"
        if self._gives_away:
            self.connection.server.broker.complete(self.mailbox, lock, now)
        # SDKs read the tag as the lock token, in the byte order of a .NET Guid.
        one = self.link.delivery(lock.bytes_le)
        one.lock = lock
        self.link.stream(delivery.encode(message))
        self.link.advance()
        if self._gives_away:
            one.settle()

    def drain(self) -> None:
        """Give back credit that a client wants used up at once."""
        if self.link.drain_mode and self.link.credit > 0:
            self.link.drained()
            self.connection.server.stir(self.connection)

    def settled(self, one: Proton) -> None:
        """Do what the client says is to become of a message, and confirm it."""
        if not one.updated or one.remote_state in (0, Delivery.RECEIVED):
            if one.settled:
                one.settle()  # settled without a word: the lock ends by itself
            return
        try:
            self._apply(one, one.lock)
        except RefusedError as error:
            _reject(one, error.condition, error.description)
        else:
            one.update(one.remote_state)
            one.settle()

    def _apply(self, one: Proton, lock: UUID) -> None:
        broker, now = self.connection.server.broker, self.connection.server.clock()
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
        """Wait no more."""
        self.connection.discard(self)

    def lose(self) -> None:
        """Tell the client that it holds its session no more."""
        self.connection.discard(self)
        self.link.condition = _said(
            Condition.SESSION_LOCK_LOST, "The session lock was lost. Request a new session receiver."
        )
        self.link.close()


class Seeker:
    """A link that waits to be given the next session that has something to receive."""

    def __init__(self, connection: Connection, link: Proton, mailbox: Mailbox) -> None:
        """Wait as long as the client says."""
        self.connection = connection
        self.link = link
        self.mailbox = mailbox
        wait = (owned(link.remote_properties) or {}).get(_WAIT)
        patience = wait if isinstance(wait, int) and wait < _LONGEST_WAIT else _LONGEST_WAIT
        self._end = asyncio.get_running_loop().call_later(patience / 1000, self._give_up)

    def find(self, session: Session) -> None:
        """Receive from this session from now on."""
        self.close()
        self.link.role = self.connection.consume(self.link, self.mailbox, session)
        self.connection.open(self.link)

    def close(self) -> None:
        """Wait no more."""
        self._end.cancel()
        self.connection.stop_seeking(self)

    def _give_up(self) -> None:
        self.close()
        text = "The operation did not complete within the allotted time: no session is there to be accepted."
        self.connection.refuse(self.link, RefusedError(Condition.TIMEOUT, text))
        self.connection.server.stir(self.connection)


class Requests:
    """A link on which a client asks `$cbs` or `$management`."""

    limit = _MAX_REQUEST_BYTES

    def __init__(self, connection: Connection, link: Proton, address: str) -> None:
        """Take requests to the node at this address."""
        self.format = 0
        self._connection = connection
        self._link = link
        self._address = address

    def take(self, one: Proton, encoded: bytes) -> None:
        """Answer a request; refuse what is none."""
        try:
            request = decode_request(encoded)
        except MalformedError as error:
            _reject(one, Condition.DECODE_ERROR, str(error))
            return
        answer = self._answer(request.id, self._reply(request))
        one.update(Delivery.ACCEPTED)
        one.settle()
        self._connection.answer(self._address, request.reply_to, answer)

    def _reply(self, request: Request) -> management.Reply:
        server = self._connection.server
        if self._address != "$cbs":
            address = self._address[: -len(management.MANAGEMENT)]
            locks = self._connection.session_locks(address)
            return management.respond(
                server.broker, address, request.properties, request.body, server.clock(), locks
            )
        reply = management.put_token(server.broker, request.properties, request.body)
        self._connection.authorised = self._connection.authorised or reply.condition is None
        return reply

    def _answer(self, request_id: Value, reply: management.Reply) -> bytes:
        code, text = ("status-code", "status-description") if self._address == "$cbs" else _STATUS_NAMES
        properties: dict[str, Value] = {code: int32(reply.status), text: reply.description}
        if reply.condition is not None:
            properties["errorCondition"] = symbol(reply.condition)
        return Answer(body=reply.body, properties=properties, correlation_id=request_id).encode()


_STATUS_NAMES: Final = ("statusCode", "statusDescription")


class Replies:
    """A link on which a client gets the answers to its requests."""

    def __init__(self, link: Proton, address: str) -> None:
        """Wait for credit."""
        self.link = link
        self.address = address
        self._waiting: deque[bytes] = deque()
        self._sent = 0

    def send(self, answer: bytes) -> None:
        """Send an answer as soon as there is credit for it."""
        self._waiting.append(answer)
        self.flush()

    def flush(self) -> None:
        """Send what there is credit for; nobody waits for these to be settled."""
        while self._waiting and self.link.credit > 0:
            self._sent += 1
            one = self.link.delivery(self._sent.to_bytes(4))
            self.link.stream(self._waiting.popleft())
            self.link.advance()
            one.settle()


def _role(link: Proton) -> Proton:
    return getattr(link, "role", None)


def _filters(link: Proton) -> dict[Value, Value] | None:
    filters = link.remote_source.filter
    filters.rewind()
    found = filters.get_dict() if filters.next() else None
    return found if isinstance(found, dict) else None


def _said(condition: str, description: str) -> Said:
    """Make an AMQP error; azure-servicebus for Python reads its third field without asking if it is there."""
    return Said(condition, description, {symbol("condition"): str(condition)})


def _reject(one: Proton, condition: str, description: str) -> None:
    one.local.condition = _said(condition, description)
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
