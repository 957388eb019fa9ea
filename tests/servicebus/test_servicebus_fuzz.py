"""A recorded conversation with one frame spoilt, and plain noise: nobody but the sender notices."""

import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from proton import Delivery, Described, Message, int32, symbol, timestamp
from proton.reactor import Filter
from proton.utils import LinkDetached

from dev.servicebus.errors import MalformedError
from dev.servicebus.message import decode, decode_batch, decode_request, message_format
from dev.servicebus.process import Running, start
from tests.servicebus.test_servicebus_wire import Client

CASES = 150
AT_ONCE = 50
NEVER_RUNS_OUT = 2_000_000_000_000
OUTCOMES = (Delivery.ACCEPTED, Delivery.RELEASED, Delivery.MODIFIED, Delivery.REJECTED)

# What a client sent, each piece with the number of pieces that it had received by then.
Script = list[tuple[int, bytes]]


def pieces(stream: bytes) -> list[bytes]:
    """Split a stream at its protocol headers and frames."""
    found, at = [], 0
    while at + 8 <= len(stream):
        size = 8 if stream.startswith(b"AMQP", at) else int.from_bytes(stream[at : at + 4])
        if size < 8 or at + size > len(stream):
            break
        found.append(stream[at : at + size])
        at += size
    return found


@dataclass
class Recorder:
    """Stands between a client and the emulator, and keeps what the client says."""

    listener: socket.socket
    port: int
    said: list[tuple[int, bytes]] = field(default_factory=list)
    heard: bytes = b""

    def serve(self) -> None:
        client = self.listener.accept()[0]
        with client, socket.create_connection(("127.0.0.1", self.port)) as server:
            answers = threading.Thread(target=self.pump, args=(server, client, self.hear))
            answers.start()
            self.pump(client, server, self.say)
            answers.join()

    def pump(self, source: socket.socket, sink: socket.socket, keep: Callable[[bytes], None]) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                keep(data)
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def say(self, data: bytes) -> None:
        self.said.append((len(pieces(self.heard)), data))

    def hear(self, data: bytes) -> None:
        self.heard += data

    def script(self) -> Script:
        ends, total = [], 0
        for due, data in self.said:
            total += len(data)
            ends.append((total, due))
        found, at = [], 0
        for piece in pieces(b"".join(data for _, data in self.said)):
            at += len(piece)
            found.append((next(due for end, due in ends if end >= at), piece))
        return found


def converse(client: Client) -> None:
    """Use all that a client can: links of every kind, outcomes of every kind, requests."""
    queue = "plain-0"
    sender, receiver = client.connection.create_sender(queue), client.connection.create_receiver(queue)
    for outcome in OUTCOMES:
        sender.send(
            Message(id="m", subject="s", body=b"body", properties={"n": 1}, annotations={symbol("a"): 1})
        )
        receiver.receive(timeout=10)
        receiver.settle(outcome)
    later = Message(
        body=b"x", annotations={symbol("x-opt-scheduled-enqueue-time"): timestamp(NEVER_RUNS_OUT)}
    )
    scheduled = {"messages": [{"message-id": "1", "message": later.encode()}]}
    wanted = {"label": "x", "properties": {"n": 1, "at": timestamp(1)}}
    page = {"skip": int32(0), "top": int32(9)}
    talks = "topic-0/Subscriptions/talks"
    requests: list[tuple[str, str, dict[str, Any]]] = [
        (queue, "schedule-message", scheduled),
        (queue, "cancel-scheduled-message", {"sequence-numbers": [1]}),
        (queue, "peek-message", {"from-sequence-number": 1, "message-count": int32(3)}),
        (queue, "renew-lock", {"lock-tokens": [uuid4()]}),
        (queue, "receive-by-sequence-number", {"sequence-numbers": [1], "receiver-settle-mode": 1}),
        (queue, "update-disposition", {"disposition-status": "completed", "lock-tokens": [uuid4()]}),
        (talks, "add-rule", {"rule-name": "r", "rule-description": {"correlation-filter": wanted}}),
        (talks, "add-rule", {"rule-name": "s", "rule-description": {"sql-filter": {"expression": "a = 1"}}}),
        (talks, "enumerate-rules", page),
        (talks, "get-message-sessions", {**page, "last-updated-time": timestamp(1)}),
    ]
    for address, name, body in requests:
        client.operation(address, f"com.microsoft:{name}", body)
    with suppress(LinkDetached):
        client.connection.create_receiver(
            queue,
            name="session",
            options=Filter(
                {
                    symbol("com.microsoft:session-filter"): Described(
                        symbol("com.microsoft:session-filter"), "s"
                    )
                }
            ),
        )
    sender.close()
    receiver.close()


def record(running: Running) -> Script:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        recorder = Recorder(listener, running.port)
        thread = threading.Thread(target=recorder.serve)
        thread.start()
        client = Client(replace(running, port=listener.getsockname()[1]))
        converse(client)
        client.connection.close()
        thread.join()
    return recorder.script()


def framed(frame: bytes) -> bytes:
    return len(frame).to_bytes(4) + frame[4:]


def spoilt(piece: bytes, script: Script, chance: random.Random) -> bytes:
    """Do to a frame one of the things that can be done to it."""
    other = chance.choice(script)[1]
    at = chance.randrange(4, len(piece))
    noise = chance.randbytes(chance.randrange(1, 9))
    match chance.randrange(8):
        case 0:  # one bit
            return piece[:at] + bytes([piece[at] ^ 1 << chance.randrange(8)]) + piece[at + 1 :]
        case 1:  # some bytes
            return piece[:at] + noise + piece[at + len(noise) :]
        case 2:  # a size that is not its own
            return chance.randbytes(4) + piece[4:]
        case 3:  # an end that is missing
            return framed(piece[:at])
        case 4:  # bytes that do not belong
            return framed(piece[:at] + noise + piece[at:])
        case 5:
            return piece + piece
        case 6:
            return other
        case _:
            return framed(piece[:at] + other[chance.randrange(len(other)) :])


def replay(running: Running, script: Script, chance: random.Random) -> None:
    """Say what was said up to a piece, that one spoilt, and the rest; wait until the emulator hangs up."""
    victim = chance.randrange(len(script))
    with socket.create_connection(("127.0.0.1", running.port)) as connection, suppress(ConnectionError):
        connection.settimeout(0.02)
        heard = b""
        for number, (due, piece) in enumerate(script):
            with suppress(TimeoutError):
                while number <= victim and len(pieces(heard)) < due and (data := connection.recv(65536)):
                    heard += data
            connection.sendall(spoilt(piece, script, chance) if number == victim else piece)
        hang_up(connection)


def babble(running: Running, script: Script, chance: random.Random) -> None:
    """Say something that begins well, and ends in noise."""
    start = b"".join(piece for _, piece in script[: chance.randrange(4)])
    with socket.create_connection(("127.0.0.1", running.port)) as connection, suppress(ConnectionError):
        connection.sendall(start + chance.randbytes(chance.randrange(1, 300)))
        hang_up(connection)


def hang_up(connection: socket.socket) -> None:
    connection.settimeout(10)
    with suppress(OSError):  # it may have hung up already
        connection.shutdown(socket.SHUT_WR)
    while connection.recv(65536):
        pass


@contextmanager
def well_behaved(running: Running) -> Iterator[Callable[[], None]]:
    """Open a connection, on which a message is sent, received and completed each time that one asks."""
    client = Client(running)
    with closing(client.connection):
        sender, receiver = (
            client.connection.create_sender("graves-1"),
            client.connection.create_receiver("graves-1"),
        )

        def work() -> None:
            text = str(uuid4())
            sender.send(Message(body=text))
            assert receiver.receive(timeout=10).body == text
            receiver.accept()

        yield work


@pytest.mark.parametrize("disturb", [replay, babble], ids=["a spoilt frame", "noise"])
def test_whatever_one_client_sends_disturbs_no_other(
    disturb: Callable[[Running, Script, random.Random], None],
    config_file: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with start(config_file) as running:
        script = record(running)
        with well_behaved(running) as work:
            for number in range(CASES):
                disturb(running, script, random.Random(number))
                if number % AT_ONCE == 0:
                    work()
            work()
        assert running.stop() == 0
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("read", [decode, decode_batch, decode_request], ids=["message", "batch", "request"])
def test_what_cannot_be_read_is_malformed_and_nothing_else(read: Callable[[bytes], object]) -> None:
    whole = Message(
        id=uuid4(),
        user_id=b"u",
        correlation_id=7,
        durable=True,
        ttl=5,
        properties={"a": 1, "b": [1, {"c": None}]},
        annotations={symbol("x-opt-scheduled-enqueue-time"): timestamp(1)},
        body={"sequence-numbers": [1, 2]},
    ).encode()
    batch = Message(body=whole, inferred=True).encode()
    refused = 0
    for number in range(3000):
        chance = random.Random(number)
        encoded = spoilt(batch if read is decode_batch else whole, [(0, whole), (0, batch)], chance)
        try:
            read(encoded)
        except MalformedError:
            refused += 1
        message_format(b"\x00\x00\x00\x00\x02\x00\x00\x00" + encoded)
    assert refused > 1000
