"""The emulator against bytes and requests that Microsoft's SDKs do not send; the client is proton's own."""

import socket
import struct
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing as closed
from typing import Any
from uuid import UUID, uuid4

import pytest
from proton import Condition, Delivery, Link, Message, symbol
from proton.reactor import AtMostOnce, LinkOption
from proton.utils import BlockingConnection, LinkDetached

from dev.servicebus.errors import MalformedError
from dev.servicebus.message import BATCH_FORMAT, Content, decode, decode_batch, message_format, owned
from dev.servicebus.process import Running
from dev.servicebus.sasl import Handshake

Fresh = Callable[[str], str]
AMQP = b"AMQP\x00\x01\x00\x00"
SASL = b"AMQP\x03\x01\x00\x00"


class Client:
    """A connection on which requests can be made as no SDK would."""

    def __init__(self, running: Running, *, token: bool = True) -> None:
        self.emulator = running
        self.connection: Any = BlockingConnection(
            f"amqp://127.0.0.1:{running.port}", timeout=10, allowed_mechs="ANONYMOUS"
        )
        if token:
            assert self.put_token()["status-code"] == 202

    def put_token(self, body: Any = "token", **changed: Any) -> dict[str, Any]:
        properties = {"operation": "put-token", "type": "jwt", "name": "sb://localhost/"} | changed
        return self.request("$cbs", body, properties)[0]

    def request(self, node: str, body: Any, properties: dict[str, Any]) -> tuple[dict[str, Any], Any]:
        receiver = self.connection.create_receiver(node, dynamic=False, name=f"replies-{uuid4()}")
        sender = self.connection.create_sender(node, name=f"requests-{uuid4()}")
        sender.send(Message(id=uuid4(), body=body, properties=properties))
        answer = receiver.receive(timeout=10)
        sender.close()
        receiver.close()
        return dict(answer.properties), owned(answer.body)

    def operation(self, address: str, name: str, body: Any) -> tuple[dict[str, Any], Any]:
        return self.request(f"{address}/$management", body, {"operation": name})


@pytest.fixture
def client(emulator: Running) -> Iterator[Client]:
    client = Client(emulator)
    with closed(client.connection):
        yield client


def test_health_is_told_as_microsofts_emulator_does(emulator: Running) -> None:
    with urllib.request.urlopen(emulator.health_url) as answer:  # noqa: S310 - an address of our own
        assert (answer.status, answer.read()) == (200, b'{"status":"healthy"}')
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(emulator.health_url + "x")  # noqa: S310 - an address of our own


@pytest.mark.parametrize(
    ("address", "condition"),
    [
        ("nowhere", "amqp:not-found"),
        ("nowhere/$management", "amqp:not-found"),
        ("plain-0/$DeadLetterQueue/x", "amqp:not-found"),
        ("topic-0/Subscriptions/onward", "amqp:not-allowed"),
        ("topic-0", "amqp:not-allowed"),
    ],
)
def test_a_link_to_the_wrong_address_is_refused_and_no_other(
    client: Client, address: str, condition: str
) -> None:
    good = client.connection.create_sender("plain-0")
    with pytest.raises(LinkDetached) as refused:
        client.connection.create_receiver(address)
    assert refused.value.condition == condition
    good.close()


def test_nothing_is_open_before_a_token_was_put(emulator: Running) -> None:
    client = Client(emulator, token=False)
    with closed(client.connection):
        for address in ("plain-0", "plain-0/$management"):
            with pytest.raises(LinkDetached) as refused:
                client.connection.create_sender(address)
            assert refused.value.condition == "amqp:unauthorized-access"
        assert client.put_token()["status-code"] == 202
        client.connection.create_sender("plain-0").close()


@pytest.mark.parametrize(
    ("changed", "body", "status"),
    [
        ({"operation": "delete-token"}, "token", 501),
        ({"operation": None}, "token", 501),
        ({"type": "paper"}, "token", 400),
        ({"name": ""}, "token", 400),
        ({"name": 7}, "token", 400),
        ({}, "", 400),
        ({}, None, 400),
        ({}, {"a": 1}, 400),
        ({"name": "sb://localhost/nowhere"}, "token", 404),
        (
            {"name": "sb://localhost/plain-0/$management", "type": "servicebus.windows.net:sastoken"},
            "token",
            202,
        ),
    ],
    ids=["operation", "no operation", "type", "name", "name type", "empty", "null", "map", "unknown", "good"],
)
def test_a_put_token_request_gets_the_status_that_fits(
    client: Client, changed: dict[str, Any], body: Any, status: int
) -> None:
    assert client.put_token(body, **changed)["status-code"] == status


LOCK = UUID(int=1)


@pytest.mark.parametrize(
    ("name", "body", "status", "condition"),
    [
        ("com.microsoft:make-coffee", {}, 501, "amqp:not-implemented"),
        (None, {}, 501, "amqp:not-implemented"),
        ("com.microsoft:renew-lock", "text", 400, "com.microsoft:argument-error"),
        ("com.microsoft:renew-lock", {}, 400, "com.microsoft:argument-error"),
        ("com.microsoft:renew-lock", {"lock-tokens": ["x"]}, 400, "com.microsoft:argument-error"),
        ("com.microsoft:renew-lock", {"lock-tokens": [LOCK]}, 410, "com.microsoft:message-lock-lost"),
        ("com.microsoft:schedule-message", {"messages": []}, 400, "com.microsoft:argument-error"),
        ("com.microsoft:schedule-message", {"messages": [1]}, 400, "com.microsoft:argument-error"),
        (
            "com.microsoft:schedule-message",
            {"messages": [{"message": b"\x00"}]},
            400,
            "com.microsoft:argument-error",
        ),
        (
            "com.microsoft:schedule-message",
            {"messages": [{"message": Message(body="x").encode()}]},
            400,
            "com.microsoft:argument-error",
        ),
        (
            "com.microsoft:schedule-message",
            {"messages": [{"message": Message(body=b"x" * 262_144).encode()}]},
            413,
            "amqp:link:message-size-exceeded",
        ),
        (
            "com.microsoft:cancel-scheduled-message",
            {"sequence-numbers": [77]},
            404,
            "com.microsoft:message-not-found",
        ),
        (
            "com.microsoft:cancel-scheduled-message",
            {"sequence-numbers": 7},
            400,
            "com.microsoft:argument-error",
        ),
        ("com.microsoft:peek-message", {"from-sequence-number": "a"}, 400, "com.microsoft:argument-error"),
        (
            "com.microsoft:peek-message",
            {"from-sequence-number": 1, "message-count": -5},
            204,
            "com.microsoft:message-not-found",
        ),
        (
            "com.microsoft:update-disposition",
            {"lock-tokens": [LOCK], "disposition-status": "completed"},
            410,
            "com.microsoft:message-lock-lost",
        ),
    ],
    ids=lambda value: None if isinstance(value, dict) else str(value),
)
def test_a_management_request_gets_the_status_that_fits(
    emulator: Running, name: str | None, body: Any, status: int, condition: str
) -> None:
    client = Client(emulator)
    with closed(client.connection):
        properties, _ = client.operation("always-empty", name or "", body)
        assert (properties["statusCode"], properties["errorCondition"]) == (status, condition)
        properties, _ = client.operation("always-empty", "com.microsoft:peek-message", PEEK)
        assert properties["statusCode"] == 204


PEEK = {"from-sequence-number": 1, "message-count": 10}


def test_a_deferred_message_is_settled_by_request(client: Client, fresh: Fresh) -> None:
    queue = fresh("plain")
    client.connection.create_sender(queue).send(Message(body=b"x"))
    receiver = client.connection.create_receiver(queue, credit=1)
    receiver.receive(timeout=10)
    one = receiver.fetcher.unsettled[0]
    one.local.undeliverable = True
    one.update(Delivery.MODIFIED)
    client.connection.wait(lambda: one.settled)
    numbers = {"sequence-numbers": [1], "receiver-settle-mode": 1}
    _, got = client.operation(queue, "com.microsoft:receive-by-sequence-number", numbers)
    lock = got["messages"][0]["lock-token"]
    settle = {"lock-tokens": [lock], "disposition-status": "suspended", "deadletter-reason": "why"}
    assert (
        client.operation(queue, "com.microsoft:update-disposition", settle | {"disposition-status": "?"})[0][
            "statusCode"
        ]
        == 400
    )
    assert client.operation(queue, "com.microsoft:update-disposition", settle)[0]["statusCode"] == 200
    _, seen = client.operation(f"{queue}/$DeadLetterQueue", "com.microsoft:peek-message", PEEK)
    letter = decode(seen["messages"][0]["message"])
    assert letter.application_properties == {"DeadLetterReason": "why"}


def test_a_drained_link_gives_its_credit_back(client: Client, fresh: Fresh) -> None:
    queue = fresh("plain")
    client.connection.create_sender(queue).send(Message(body=b"x"))
    receiver = client.connection.create_receiver(queue, credit=0)
    receiver.link.drain(10)
    client.connection.wait(lambda: receiver.link.credit == 0 and receiver.fetcher.has_message)
    assert receiver.link.drained() == 9


def test_no_more_is_sent_than_there_is_credit_for(client: Client, fresh: Fresh) -> None:
    queue = fresh("plain")
    sender = client.connection.create_sender(queue)
    for _ in range(5):
        sender.send(Message(body=b"x"))
    receiver = client.connection.create_receiver(queue, credit=0)
    receiver.link.flow(2)
    client.connection.wait(lambda: receiver.link.credit == 0)
    # An answer to a later request on the same connection shows that nothing else was on its way.
    client.operation(queue, "com.microsoft:peek-message", PEEK)
    assert len(receiver.fetcher.incoming) == 2
    other = client.connection.create_receiver(queue, credit=3, name="other")
    assert [other.receive(timeout=10).delivery_count for _ in range(3)] == [0, 0, 0], (
        "and nothing else is locked"
    )


@pytest.mark.parametrize("what", ["link", "session"])
def test_a_receiver_that_is_closed_takes_no_more(client: Client, fresh: Fresh, what: str) -> None:
    queue = fresh("plain")
    first = client.connection.create_receiver(queue, credit=10)
    if what == "link":
        first.close()
    else:
        session = first.link.session
        session.close()
        client.connection.wait(lambda: session.state & session.REMOTE_CLOSED)
    other = Client(client.emulator)
    with closed(other.connection):
        other.connection.create_sender(queue).send(Message(body=b"x"))
        assert bytes(other.connection.create_receiver(queue, credit=1).receive(timeout=10).body) == b"x"


def test_a_sender_gets_new_credit_as_it_sends(client: Client, fresh: Fresh) -> None:
    sender = client.connection.create_sender(fresh("plain"))
    for _ in range(1_100):
        sender.send(Message(body=b"x"))


def test_a_client_that_does_not_read_is_handed_no_more(client: Client, fresh: Fresh) -> None:
    queue = fresh("plain")
    idle = Client(client.emulator)
    idle.connection.create_receiver(queue, credit=100)
    sender = client.connection.create_sender(queue)
    for _ in range(60):
        sender.send(Message(body=b"x" * 200_000))  # together more than sockets take
    assert client.connection.create_receiver(queue, credit=1).receive(timeout=10).delivery_count == 0
    idle.connection.close()


def test_messages_are_given_away_to_who_asks_for_that(client: Client, fresh: Fresh) -> None:
    queue = fresh("plain")
    client.connection.create_sender(queue).send(Message(body=b"x"))
    client.connection.create_receiver(queue, credit=1, options=AtMostOnce()).receive(timeout=10)
    assert client.operation(queue, "com.microsoft:peek-message", PEEK)[0]["statusCode"] == 204


def test_a_message_that_is_too_long_closes_the_link_with_the_reason(client: Client, fresh: Fresh) -> None:
    sender = client.connection.create_sender(fresh("plain"))
    assert sender.link.remote_max_message_size == 262_144
    with pytest.raises(LinkDetached) as refused:
        sender.send(Message(body=b"x" * 262_144))
    assert refused.value.condition == "amqp:link:message-size-exceeded"


def test_a_peek_shows_no_more_than_fits_an_answer(client: Client, fresh: Fresh) -> None:
    queue = fresh("plain")
    sender = client.connection.create_sender(queue)
    for _ in range(3):
        sender.send(Message(body=b"x" * 100_000))
    _, seen = client.operation(queue, "com.microsoft:peek-message", PEEK)
    assert len(seen["messages"]) == 2
    said, _ = client.operation(queue, "com.microsoft:peek-message", PEEK | {"message-count": -1})
    assert said["statusCode"] == 204


def test_settling_several_is_all_or_nothing(client: Client, fresh: Fresh) -> None:
    queue = fresh("plain")
    client.connection.create_sender(queue).send(Message(body=b"x"))
    receiver = client.connection.create_receiver(queue, credit=1)
    receiver.receive(timeout=10)
    one = receiver.fetcher.unsettled[0]
    one.local.undeliverable = True
    one.update(Delivery.MODIFIED)
    client.connection.wait(lambda: one.settled)
    numbers = {"sequence-numbers": [1], "receiver-settle-mode": 1}
    _, got = client.operation(queue, "com.microsoft:receive-by-sequence-number", numbers)
    locks = [got["messages"][0]["lock-token"], LOCK]
    settle = {"lock-tokens": locks, "disposition-status": "completed"}
    assert client.operation(queue, "com.microsoft:update-disposition", settle)[0]["statusCode"] == 410
    assert len(client.operation(queue, "com.microsoft:peek-message", PEEK)[1]["messages"]) == 1


def test_a_lock_outlives_the_connection_that_took_it(emulator: Running, fresh: Fresh) -> None:
    queue = fresh("short")
    first = Client(emulator)
    first.connection.create_sender(queue).send(Message(body=b"x"))
    first.connection.create_receiver(queue, credit=1).receive(timeout=10)
    first.connection.close()
    second = Client(emulator)
    with closed(second.connection):
        receiver = second.connection.create_receiver(queue, credit=1)
        got = receiver.receive(timeout=10)
        assert got.delivery_count == 1, "it came again after the lock had ended, not before"


def test_a_dead_letter_takes_properties_along(client: Client, fresh: Fresh) -> None:
    queue = fresh("plain")
    client.connection.create_sender(queue).send(Message(body=b"x", properties={"kept": 1, "changed": 1}))
    receiver = client.connection.create_receiver(queue, credit=1)
    receiver.receive(timeout=10)
    one = receiver.fetcher.unsettled[0]
    info: Any = {symbol("DeadLetterReason"): "r", symbol("changed"): 2}
    one.local.condition = Condition("com.microsoft:dead-letter", "d", info)
    one.update(Delivery.REJECTED)
    client.connection.wait(lambda: one.settled)
    got = client.connection.create_receiver(f"{queue}/$deadletterqueue", credit=1).receive(timeout=10)
    assert got.properties == {"kept": 1, "changed": 2, "DeadLetterReason": "r"}


def test_a_message_that_is_none_is_rejected_and_the_link_lives_on(client: Client, fresh: Fresh) -> None:
    queue = fresh("plain")
    sender = client.connection.create_sender(queue)
    one = sender.link.delivery("tag")
    sender.link.stream(b"\x00\x53\x75\xa0\x09short")
    sender.link.advance()
    client.connection.wait(lambda: one.settled)
    assert (one.remote_state, one.remote.condition.name) == (Delivery.REJECTED, "amqp:decode-error")
    sender.send(Message(body=b"x"))
    _, seen = client.operation(queue, "com.microsoft:peek-message", PEEK)
    assert len(seen["messages"]) == 1


def test_a_message_without_acknowledgement_is_taken_too(client: Client, fresh: Fresh) -> None:
    class Unacknowledged(LinkOption):
        def apply(self, link: Link) -> None:
            link.snd_settle_mode = Link.SND_SETTLED

    queue = fresh("plain")
    sender = client.connection.create_sender(queue, options=[Unacknowledged()])
    one = sender.link.delivery("tag")
    sender.link.stream(Message(body=b"x").encode())
    sender.link.advance()
    one.settle()
    got = client.connection.create_receiver(queue, credit=1).receive(timeout=10)
    assert bytes(got.body) == b"x"


def exchange(running: Running, *pieces: bytes) -> bytes:
    """Send bytes and read until the emulator closes the connection."""
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as raw:
        received = b""
        try:
            for piece in pieces:
                raw.sendall(piece)
            while more := raw.recv(65536):
                received += more
        except ConnectionError:
            pass  # closed too
        return received


def sasl(mechanism: bytes) -> bytes:
    body = (
        b"\x02\x01\x00\x00\x00\x53\x41\xc0" + bytes([len(mechanism) + 3, 1, 0xA3, len(mechanism)]) + mechanism
    )
    return struct.pack(">I", len(body) + 4) + body


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
        SASL + b"\x00\x00\x00\x01",
        SASL + b"\xff\xff\xff\xff",
        SASL + b"\x00\x00\x00\x0c\x02\x01\x00\x00ABCD",
        SASL + sasl(b"PLAIN"),
        SASL + sasl(b"ANONYMOUS") + b"nonsense",
        SASL + sasl(b"ANONYMOUS") + AMQP + b"\x00\x00\x00\x00",
        SASL + sasl(b"ANONYMOUS") + AMQP + b"\x7f\xff\xff\xff",
        SASL + sasl(b"ANONYMOUS") + AMQP + b"\x00\x00\x00\x10\x02\x00\x00\x00ABCDEFGH",
        SASL + sasl(b"ANONYMOUS") + AMQP + b"\x00\x00\x00\x0c\x02\x00\x00\x00\x00\x53\x14\x45",
        b"AMQP\x00\x09\x00\x00",
    ],
    ids=[
        "http",
        "tls",
        "sasl size",
        "sasl huge",
        "sasl garbage",
        "mechanism",
        "no header",
        "frame size",
        "frame huge",
        "frame garbage",
        "transfer before open",
        "version",
    ],
)
def test_malformed_bytes_close_their_own_connection_only(
    emulator: Running, sent: bytes, fresh: Fresh
) -> None:
    queue = fresh("plain")
    client = Client(emulator)
    with closed(client.connection):
        sender = client.connection.create_sender(queue)
        exchange(emulator, sent)
        exchange(emulator, *(bytes([byte]) for byte in sent))
        sender.send(Message(body=b"still here"))
        got = client.connection.create_receiver(queue, credit=1).receive(timeout=10)
        assert bytes(got.body) == b"still here"


@pytest.mark.parametrize("mechanism", [b"MSSBCBS", b"ANONYMOUS", b"EXTERNAL"], ids=bytes.decode)
@pytest.mark.parametrize("size", [1, 1000], ids=["byte by byte", "at once"])
def test_the_handshake_takes_every_mechanism_of_the_sdks(mechanism: bytes, size: int) -> None:
    sent = SASL + sasl(mechanism) + AMQP
    handshake, answer = Handshake(), b""
    for start in range(0, len(sent), size):
        if not handshake.done:
            answer += handshake.feed(sent[start : start + size])
            rest = sent[start + size :]
    assert (handshake.done, handshake.refused) == (True, False)
    assert handshake.left + rest == AMQP
    assert answer.startswith(SASL)
    assert answer.endswith(b"\x00\x53\x44\xc0\x03\x01\x50\x00")


def test_a_refused_mechanism_is_told(emulator: Running) -> None:
    answer = exchange(emulator, SASL + sasl(b"PLAIN"))
    assert answer.endswith(b"\x00\x53\x44\xc0\x03\x01\x50\x01")


def test_the_format_of_a_message_is_read_off_its_frame() -> None:
    fields = b"\x43\x52\x01\xa0\x01t\x70" + struct.pack(">I", BATCH_FORMAT)
    short = b"\xc0" + bytes([len(fields) + 1, 4]) + fields
    long = b"\xd0" + struct.pack(">II", len(fields) + 4, 4) + fields
    for performative in (short, long):
        body = b"\x02\x00\x00\x00\x00\x53\x14" + performative
        frame = struct.pack(">I", len(body) + 4) + body
        assert message_format(frame + b"payload") == 0x80013700
        for cut in range(len(frame)):
            assert message_format(frame[:cut]) in (None, 0, 0x80, 0x8001, 0x800137)
    assert message_format(b"\x00\x00\x00\x08\x02\x00\x00\x00") is None


def roundtrip(content: Content) -> bytes:
    return content.properties_bytes + content.application_bytes + content.body_bytes


def test_what_the_sender_encoded_is_kept_byte_for_byte() -> None:
    encoded = Message(
        id=UUID(int=7), body={"a": [1.5, None, b"\x00"]}, properties={"n": 1, "s": symbol("x")}, subject="s"
    ).encode()
    content = decode(encoded)
    assert encoded.endswith(roundtrip(content))
    assert decode(content.encode(ttl=5, delivery_count=2)).ttl == 5
    assert content.properties.message_id == "00000000-0000-0000-0000-000000000007"


PROPERTIES = b"\x00\x53\x73\xc0\x04\x01\xa1\x01a"
DATA = b"\x00\x53\x75\xa0\x01x"


@pytest.mark.parametrize(
    "encoded",
    [
        PROPERTIES + PROPERTIES + DATA,
        DATA + PROPERTIES,
        b"\x00\x53\x70\xc0\x04\x02\x40\x60\x01\x00" + DATA,
        b"\x00\x53\x70\xc0\x05\x03\x40\x40\x54\xff" + DATA,
        b"\x00\x53\x73\xc0\x0f\x0e" + b"\x40" * 14,
        b"\x00\x53\x73\xa1\x01a",
        b"\x00\x53\x74\xc1\x05\x02\x54\x01\x54\x01",
        b"\x00\x53\x79\x40",
        b"\x40",
        DATA[:-1],
        b"\x00\x53\x75\x30",
    ],
    ids=[
        "repeated",
        "out of order",
        "priority 256",
        "negative ttl",
        "too many fields",
        "no list",
        "name is a number",
        "unknown section",
        "no section",
        "cut",
        "no such type",
    ],
)
def test_what_is_no_message_is_refused(encoded: bytes) -> None:
    with pytest.raises(MalformedError):
        decode(encoded)


def test_a_sender_does_not_set_what_is_the_brokers_to_set() -> None:
    sent = Message(
        body=b"x", annotations={symbol("x-opt-sequence-number"): 9, symbol("x-opt-partition-key"): "p"}
    )
    assert decode(sent.encode()).annotations == {"x-opt-partition-key": "p"}


def test_a_batch_holds_messages_in_its_data_sections() -> None:
    inner = [Message(id=name, body=b"x").encode() for name in ("a", "b")]
    sections = b"".join(b"\x00\x53\x75\xb0" + struct.pack(">I", len(one)) + one for one in inner)
    assert [one.properties.message_id for one in decode_batch(sections)] == ["a", "b"]
