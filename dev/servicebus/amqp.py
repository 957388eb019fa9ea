"""The broker on a socket: AMQP 1.0 by the proton engine, each connection on its own.

One turn of the event loop takes the bytes of every connection that has some, then stores what changed, and
only then writes: what a client is told has happened is in the store.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final
from uuid import UUID

from proton import Collector, Endpoint, ProtonException, Transport
from proton import Connection as Engine

from .broker import Broker
from .errors import MalformedError, RefusedError, StalledError
from .faults import Fault, Faults, Operation
from .links import Consumer, End, Proton, Seeker, attach, refuse, said
from .message import message_format
from .sasl import Handshake
from .store import Store

logger = logging.getLogger(__name__)

_MAX_FRAME: Final = 64 * 1024
_HEADER_LENGTH: Final = 8
_PATIENCE: Final = 60.0  # seconds in which a client has to open its connection
_LINGER: Final = 5.0  # seconds in which a client that is cut off can read what was said before


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
        self.faults = Faults()
        self.connections: set[Connection] = set()
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._store = store
        self._consumers: dict[str, deque[Consumer]] = {}
        self._holders: dict[UUID, Consumer] = {}
        self._seekers: dict[str, deque[Seeker]] = {}
        self._hungry: set[str] = set()
        self._stirred: set[Connection] = set()
        self._stalled: list[tuple[Connection, Callable[..., None], tuple[Proton, ...]]] = []
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

    def set_faults(self, faults: Iterable[Fault]) -> None:
        """Put these faults in force, in place of all others, and try again what was stalled."""
        self.faults.replace(faults)
        stalled, self._stalled = self._stalled, []
        for connection, work, arguments in stalled:
            connection.resume(work, *arguments)

    def stall(self, connection: "Connection", work: Callable[..., None], *arguments: Proton) -> None:
        """Try this again when the faults change."""
        self._stalled.append((connection, work, arguments))

    def stir(self, connection: "Connection") -> None:
        """Have a turn soon, because something has happened on this connection."""
        self._stirred.add(connection)
        self._turn_soon()

    def enlist(self, consumer: Consumer) -> None:
        """Let a consumer wait for messages."""
        self._consumers.setdefault(consumer.mailbox.key, deque()).append(consumer)
        if consumer.lock is not None:
            self._holders[consumer.lock] = consumer

    def dismiss(self, consumer: Consumer) -> None:
        """Give a consumer no more messages; those that it has stay locked, but for a session's."""
        if consumer.lock is not None and self._holders.pop(consumer.lock, None) is not None:
            self.broker.release_session(consumer.mailbox, consumer.lock, self.clock())
            self._turn_soon()
        waiting = self._consumers.get(consumer.mailbox.key, deque())
        if consumer in waiting:
            waiting.remove(consumer)

    def seek(self, seeker: Seeker) -> None:
        """Give a link the next session that there is, now or later."""
        self._seekers.setdefault(seeker.mailbox.key, deque()).append(seeker)
        self._hungry.add(seeker.mailbox.key)
        self.stir(seeker.connection)

    def stop_seeking(self, seeker: Seeker) -> None:
        """Give a link no session any more."""
        waiting = self._seekers.get(seeker.mailbox.key, deque())
        if seeker in waiting:
            waiting.remove(seeker)

    def feed(self, consumer: Consumer) -> None:
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

    def _give_sessions(self, waiting: deque[Seeker], now: int) -> None:
        while waiting and (session := self.broker.accept_session(waiting[0].mailbox, None, now)) is not None:
            seeker = waiting.popleft()
            seeker.find(session)
            self._stirred.add(seeker.connection)

    def _hand_out(self, waiting: deque[Consumer], now: int) -> None:
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
        self._paused = False
        self.ends: list[End] = []
        self.format: int | None = None  # of the message in the frame that is read now
        self._io: asyncio.Transport | None = None
        self._handshake = Handshake()
        self._received = bytearray()
        self._last_words: bytes | None = None  # once the connection is to be cut
        self._greeted = False
        self._heartbeat: asyncio.TimerHandle | None = None
        self._collector = Collector()
        self._engine = Engine()
        self._engine.collect(self._collector)
        self._transport = Transport(Transport.SERVER)
        self._transport.max_frame_size = _MAX_FRAME
        self._transport.idle_timeout = server.idle_seconds
        self._transport.bind(self._engine)

    @property
    def takes_messages(self) -> bool:
        """Whether messages may be handed out to it."""
        return not self._paused and self._last_words is None

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the socket."""
        assert isinstance(transport, asyncio.Transport)
        self._io = transport
        self._heartbeat = asyncio.get_running_loop().call_later(_PATIENCE, self.drop)
        self.server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - why it is gone makes no difference
        """Stop handing out messages to it; its locks end when their time is up, those of sessions now."""
        for end in tuple(self.ends):
            end.close()
        self._let_go()
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        self._io = None
        self.server.forget(self)

    def pause_writing(self) -> None:
        """Take no more messages: the client does not read."""
        self._paused = True

    def resume_writing(self) -> None:
        """Take messages again."""
        self._paused = False
        self.server.stir(self)
        for end in self.ends:
            end.flow()

    def data_received(self, data: bytes) -> None:
        """Take bytes."""
        with self._at_its_own_risk():
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
            self.server.stir(self)

    # Bytes in, bytes out

    @contextmanager
    def _at_its_own_risk(self) -> Iterator[None]:
        """Close this connection, and no other, for what cannot be read."""
        try:
            yield
        except (MalformedError, ProtonException, ValueError, TypeError, OverflowError) as error:
            # Proton reads late: texts that are not UTF-8, keys that have no hash, impossible characters.
            logger.warning("connection lost", extra={"reason": str(error)})
            self.drop()

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
            self.format = message_format(frame)
            self._push(frame)

    def _push(self, piece: bytes | bytearray) -> None:
        left = bytes(piece)
        while left and (room := self._transport.capacity()) > 0:
            self._transport.push(left[:room])
            left = left[room:]
            self._dispatch()
        self._dispatch()

    def _dispatch(self) -> None:
        while self._last_words is None and (event := self._collector.peek()) is not None:
            event.dispatch(self)  # type: ignore[arg-type] # any object with on_ methods will do
            self._collector.pop()

    def write(self) -> None:
        """Write what the engine has to say."""
        if self._io is None:
            return
        if self._last_words is not None:
            self._io.write(self._last_words)
            self._io.write_eof()  # to close at once could take from the client what it has not read yet
            asyncio.get_running_loop().call_later(_LINGER, self._io.abort)
            self.connection_lost(None)
            return
        with self._at_its_own_risk():
            self._dispatch()
            while (size := self._transport.pending()) > 0 and not self._paused:
                self._io.write(self._take(size))
                self._dispatch()
            if size < 0:
                self._io.close()

    def _take(self, size: int) -> bytes:
        piece = self._transport.peek(size) or b""
        self._transport.pop(size)
        return piece

    def drop(self) -> None:
        """Close the socket without a word."""
        if self._io is not None:
            self._io.abort()

    def leave(self) -> None:
        """Close the connection because the emulator stops."""
        self._engine.condition = said(RefusedError("amqp:connection:forced", "The emulator stops."))
        self._engine.close()
        self.server.stir(self)

    def _beat(self) -> None:
        """Send a heartbeat if one is due; find out whether the client still does."""
        loop = asyncio.get_running_loop()
        if deadline := self._transport.tick(loop.time()):
            self._heartbeat = loop.call_at(deadline, self._beat)
        self.server.stir(self)

    # Faults

    def meet(self, operation: Operation, address: str) -> None:
        """Let this be hit by a fault, if there is one: raise RefusedError or StalledError.

        For a drop do neither: what is said from now on, the answer first, is not written any more.
        """
        if not self.server.faults or (fault := self.server.faults.strike(operation, address)) is None:
            return
        if fault.fault == "stall":
            raise StalledError
        if fault.fault != "drop":
            raise fault.error
        if self._last_words is None:
            self._last_words = b""
            while (size := self._transport.pending()) > 0:
                self._last_words += self._take(size)

    def attempt(self, work: Callable[..., None], *arguments: Proton) -> None:
        """Do this, or try it again when the faults change."""
        try:
            work(*arguments)
        except StalledError:
            self.server.stall(self, work, *arguments)

    def resume(self, work: Callable[..., None], *arguments: Proton) -> None:
        """Try again what was stalled; the client may be gone."""
        with self._at_its_own_risk():
            self.attempt(work, *arguments)
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
        for end in tuple(self.ends):
            if end.link.session == event.session:
                end.close()
        self._let_go(event.session)
        event.session.close()
        event.session.free()

    def on_link_remote_open(self, event: Proton) -> None:
        """Attach a link to what is at its address, or refuse it."""
        self.attempt(self._attach, event.link)

    def _attach(self, link: Proton) -> None:
        if self._io is None or not link.state & link.session.state & Endpoint.REMOTE_ACTIVE:
            return  # the client has given it up while it was stalled
        try:
            link.end = attach(self, link)
        except RefusedError as error:
            refuse(link, error)
        else:
            link.end.open()

    def on_link_flow(self, event: Proton) -> None:
        """Look whether there is something to send for new credit."""
        if (end := _end(event.link)) is not None:
            end.flow()

    def on_link_remote_close(self, event: Proton) -> None:
        """Close our side of a link."""
        self._release(event.link)
        event.link.close()
        event.link.free()

    def on_link_remote_detach(self, event: Proton) -> None:
        """Detach our side of a link: what it held is not resumed here."""
        self._release(event.link)
        event.link.detach()
        event.link.free()

    def _release(self, link: Proton) -> None:
        if (end := _end(link)) is not None:
            end.close()
        link.end = None

    def _let_go(self, session: Proton = None) -> None:
        """Part links (of one session, or all) from our ends: two that hold each other are never freed."""
        link = self._engine.link_head(0)
        while link is not None:
            if session is None or link.session == session:
                link.end = None
            link = link.next(0)

    def on_delivery(self, event: Proton) -> None:
        """Take a message, or what a receiver says about one."""
        if (end := _end(event.link)) is not None:
            end.take(event.delivery)


def _end(link: Proton) -> End | None:
    end: End | None = getattr(link, "end", None)
    return end
