"""Faults on request: what they are, how they are asked for, and what Microsoft's SDKs make of them."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from azure.servicebus import ServiceBusMessage
from azure.servicebus.exceptions import (
    MessagingEntityDisabledError,
    OperationTimeoutError,
    ServiceBusAuthorizationError,
    ServiceBusConnectionError,
    ServiceBusError,
    ServiceBusQuotaExceededError,
    ServiceBusServerBusyError,
)
from proton import ConnectionException, Delivery, Endpoint, Message, Timeout
from proton.reactor import AtMostOnce
from proton.utils import LinkDetached

from dev.servicebus import amqp, config
from dev.servicebus.broker import Broker
from dev.servicebus.errors import RefusedError
from dev.servicebus.faults import Fault, Faults, Operation, read
from dev.servicebus.process import Running, start
from tests.servicebus.conftest import Bus, all_closed, on_both_sdks
from tests.servicebus.test_servicebus_fuzz import record
from tests.servicebus.test_servicebus_wire import PEEK, Client

Fresh = Callable[[str], str]
BUSY = (
    "The request was terminated because the entity is being throttled. Error code : 50009. "
    "Please wait 2 seconds and try again."
)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def emulators(config_file: Path) -> AsyncIterator[dict[str, Running]]:
    """Give each SDK an emulator, because faults are an emulator's, and both SDKs run at once."""
    with start(config_file) as one, start(config_file) as other:
        yield {"aio": one, "sync": other}
        await all_closed()


@pytest.fixture(scope="module")
def faulty(config_file: Path) -> Iterator[Running]:
    with start(config_file) as running:
        yield running


@pytest.fixture
def client(faulty: Running) -> Iterator[Client]:
    client = Client(faulty)
    with closing(client.connection):
        yield client


# Which operation is hit


def struck(*faults: Fault, operations: list[tuple[Any, str]]) -> list[str | None]:
    collection = Faults()
    collection.replace(faults)
    found = [collection.strike(operation, address) for operation, address in operations]
    return [None if fault is None else fault.fault for fault in found]


def test_a_fault_lets_the_first_pass_and_hits_the_next() -> None:
    fault = Fault(fault="throttle", after=2, times=2)
    assert struck(fault, operations=[("send", "q")] * 6) == [None, None, "throttle", "throttle", None, None]


def test_a_fault_without_an_end_hits_until_it_is_taken_back() -> None:
    assert struck(Fault(fault="stall"), operations=[("send", "q")] * 3) == ["stall", "stall", "stall"]


def test_an_operation_that_one_fault_has_hit_is_not_shown_to_the_next() -> None:
    faults = Fault(fault="throttle", times=2), Fault(fault="drop", after=1, times=1)
    operations: list[tuple[Any, str]] = [("send", "q")] * 5
    assert struck(*faults, operations=operations) == ["throttle", "throttle", None, "drop", None]


def test_a_fault_hits_what_it_is_about() -> None:
    fault = Fault(fault="drop", address="Topic/Subscriptions/ONE", on=["send", "settle"])
    operations: list[tuple[Any, str]] = [
        ("send", "topic/subscriptions/one"),
        ("settle", "Topic/Subscriptions/one"),
        ("receive", "Topic/Subscriptions/ONE"),
        ("send", "topic/subscriptions/other"),
        ("send", "topic"),
    ]
    assert struck(fault, operations=operations) == ["drop", "drop", None, None, None]


def test_what_passes_by_is_not_counted() -> None:
    fault = Fault(fault="drop", address="q", on=["send"], after=1)
    operations: list[tuple[Any, str]] = [("send", "other"), ("open", "q"), ("send", "q"), ("send", "q")]
    assert struck(fault, operations=operations) == [None, None, None, "drop"]


def test_a_new_list_replaces_the_old_one_and_counts_anew() -> None:
    faults = Faults()
    assert not faults
    faults.replace([Fault(fault="drop", times=1)])
    assert faults
    assert faults.strike("send", "q") is not None
    assert [shown["hits"] for shown in faults.show()] == [1]
    faults.replace([Fault(fault="drop", times=1)])
    assert [shown["hits"] for shown in faults.show()] == [0]
    faults.replace([])
    assert not faults


@pytest.mark.parametrize(
    ("fault", "condition", "description"),
    [
        (Fault(fault="throttle"), "com.microsoft:server-busy", BUSY),
        (Fault(fault="refuse"), "amqp:internal-error", "Refused: a fault asks for it."),
        (Fault(fault="refuse", condition="any:thing"), "any:thing", "Refused: a fault asks for it."),
    ],
    ids=["throttle", "refuse", "refuse with a condition"],
)
def test_a_fault_says_what_to_answer(fault: Fault, condition: str, description: str) -> None:
    error = fault.error
    assert isinstance(error, RefusedError)
    assert (error.condition, error.description) == (condition, description)


def test_what_json_does_not_say_has_its_default() -> None:
    every: list[Operation] = ["open", "send", "receive", "settle", "request"]
    assert read(b'[{"fault": "stall"}, {"fault": "drop", "on": ["send"], "times": 3, "after": 1}]') == [
        Fault(fault="stall", address=None, on=tuple(every), after=0, times=None, condition=None),
        Fault(fault="drop", on=["send"], times=3, after=1),
    ]


WRONG = {
    "": "the body must be JSON",
    "[": "the body must be JSON",
    "[" * 100_000: "the body must be JSON",
    "{}": "the body must be a list of faults",
    "[1]": "[0]: a fault is an object of some of fault, address, on, after, times, condition",
    '[{"fault": "drop"}, {"falt": "drop"}]': (
        "[1]: a fault is an object of some of fault, address, on, after, times, condition"
    ),
    "[{}]": "[0]: 'fault' must be one of refuse, stall, throttle, drop",
    '[{"fault": "explode"}]': "[0]: 'fault' must be one of refuse, stall, throttle, drop",
    '[{"fault": ["drop"]}]': "[0]: 'fault' must be one of refuse, stall, throttle, drop",
    '[{"fault": "drop", "address": 7}]': "[0]: 'address' must be the path of an entity",
    '[{"fault": "drop", "on": "send"}]': "[0]: 'on' must be some of open, send, receive, settle, request",
    '[{"fault": "drop", "on": 7}]': "[0]: 'on' must be some of open, send, receive, settle, request",
    '[{"fault": "drop", "on": {"send": 1}}]': (
        "[0]: 'on' must be some of open, send, receive, settle, request"
    ),
    '[{"fault": "drop", "on": []}]': "[0]: 'on' must be some of open, send, receive, settle, request",
    '[{"fault": "drop", "on": [["send"]]}]': "[0]: 'on' must be some of open, send, receive, settle, request",
    '[{"fault": "drop", "on": null}]': "[0]: 'on' must be some of open, send, receive, settle, request",
    '[{"fault": "drop", "after": -1}]': "[0]: 'after' must be a whole number from 0 on",
    '[{"fault": "drop", "after": true}]': "[0]: 'after' must be a whole number from 0 on",
    '[{"fault": "drop", "after": null}]': "[0]: 'after' must be a whole number from 0 on",
    '[{"fault": "drop", "times": 0}]': "[0]: 'times' must be a whole number from 1 on",
    '[{"fault": "drop", "times": 1.0}]': "[0]: 'times' must be a whole number from 1 on",
    '[{"fault": "refuse", "condition": ""}]': "[0]: 'condition' must be an AMQP error condition",
    '[{"fault": "refuse", "condition": "é"}]': "[0]: 'condition' must be an AMQP error condition",
    '[{"fault": "refuse", "condition": 7}]': "[0]: 'condition' must be an AMQP error condition",
    '[{"fault": "throttle", "condition": "a:b"}]': "[0]: 'condition' must be left to 'refuse'",
}


@pytest.mark.parametrize(("document", "sentence"), WRONG.items(), ids=[text[:50] for text in WRONG])
def test_what_is_wrong_is_told_by_its_place_and_its_name(document: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=r".+") as refused:
        read(document.encode())
    assert str(refused.value) == sentence


# How it is asked for


def ask(
    running: Running, method: str, body: bytes | None = None, path: str = "/faults", **headers: str
) -> Any:
    with closing(HTTPConnection(urlsplit(running.health_url).netloc, timeout=10)) as connection:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def test_faults_are_put_shown_and_taken_back_over_http(client: Client, faulty: Running, fresh: Fresh) -> None:
    queue = fresh("plain")
    fault = {"fault": "throttle", "address": queue.upper(), "on": ["send"], "times": 1}
    shown = fault | {"after": 0, "condition": None, "hits": 0}
    assert ask(faulty, "PUT", json.dumps([fault]).encode()) == (200, [shown])
    sender = client.connection.create_sender(queue)
    one = sender.link.send(Message(body=b"x"))
    client.connection.wait(lambda: one.settled)
    assert (one.remote_state, one.remote.condition.name) == (Delivery.REJECTED, "com.microsoft:server-busy")
    assert one.remote.condition.description == BUSY
    assert ask(faulty, "GET") == (200, [shown | {"hits": 1}])
    assert ask(faulty, "DELETE") == (200, [shown | {"hits": 1}])
    assert ask(faulty, "GET") == (200, [])


@pytest.mark.parametrize(
    ("body", "headers", "sentence"),
    [
        (b"no JSON", {}, "the body must be JSON"),
        (b'[{"fault": "drop", "times": 0}]', {}, "[0]: 'times' must be a whole number from 1 on"),
        (
            b'[{"fault": "drop", "address": "nowhere"}]',
            {},
            "'address': The messaging entity 'nowhere' could not be found.",
        ),
        (b"", {"Content-Length": "65537"}, "a body needs one Content-Length, of 65536 at most"),
        (
            b"[]",
            {"Content-Length": "2", "content-length": "2"},
            "a body needs one Content-Length, of 65536 at most",
        ),
        (b"", {"Content-Length": "-1"}, "a body needs one Content-Length, of 65536 at most"),
        (b"", {"Transfer-Encoding": "chunked"}, "a body needs one Content-Length, of 65536 at most"),
    ],
    ids=["no JSON", "field", "address", "too long", "two lengths", "negative", "chunked"],
)
def test_what_cannot_be_put_is_told_and_changes_nothing(
    faulty: Running, body: bytes, headers: dict[str, str], sentence: str
) -> None:
    with faulty.faults(Fault(fault="stall", address="always-empty")) as hits:
        assert ask(faulty, "PUT", body, **headers) == (400, {"error": sentence})
        assert hits() == [0]


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/faults"), ("GET", "/faults/1"), ("PUT", "/health"), ("DELETE", "/")]
)
def test_what_is_not_there_is_not_found(faulty: Running, method: str, path: str) -> None:
    sentence = "there are GET /health, and GET, PUT and DELETE /faults"
    assert ask(faulty, method, b"[]", path) == (404, {"error": sentence})


def test_from_python_a_wrong_address_is_told(faulty: Running) -> None:
    with (
        pytest.raises(ValueError, match="The messaging entity 'nowhere' could not be found"),
        faulty.faults(Fault(fault="stall", address="nowhere")),
    ):
        pass


def test_faults_end_with_the_block_that_asked_for_them(faulty: Running) -> None:
    with suppress(ZeroDivisionError), faulty.faults(Fault(fault="stall", address="always-empty")):
        assert len(ask(faulty, "GET")[1]) == 1
        raise ZeroDivisionError
    assert ask(faulty, "GET") == (200, [])


# To the byte, with proton's client


def peeked(running: Running, queue: str) -> list[tuple[bytes, int]]:
    """Look at the body and the delivery count of every message, over a connection of its own."""
    other = Client(running)
    with closing(other.connection):
        _, found = other.operation(queue, "com.microsoft:peek-message", PEEK)
    seen = []
    for entry in found["messages"] if found else []:
        message: Any = Message()
        message.decode(entry["message"])
        seen.append((bytes(message.body), message.delivery_count))
    return seen


def is_cut(client: Client) -> bool:
    """Wait until the connection has gone, 10 s at most."""
    with pytest.raises(ConnectionException) as gone:
        client.connection.wait(lambda: False, timeout=10)
    return not isinstance(gone.value, Timeout)


def test_a_dropped_send_is_kept_and_only_what_passed_before_it_is_answered(
    client: Client, faulty: Running, fresh: Fresh
) -> None:
    queue = fresh("plain")
    sender = client.connection.create_sender(queue)
    with faulty.faults(Fault(fault="drop", address=queue, on=["send"], after=2)) as hits:
        sent = [sender.link.send(Message(body=b"%d" % number)) for number in range(5)]
        assert is_cut(client)
        assert hits() == [1]
    assert [one.remote_state for one in sent] == [Delivery.ACCEPTED, Delivery.ACCEPTED, 0, 0, 0]
    assert peeked(faulty, queue) == [(b"0", 0), (b"1", 0), (b"2", 0)]


def test_what_was_dropped_after_it_was_stored_survives_a_kill(
    config_file: Path, tmp_path: Path, fresh: Fresh
) -> None:
    store = tmp_path / "store.db"
    with start(config_file, store=store) as first:
        client = Client(first)
        sender = client.connection.create_sender("plain-0")
        with first.faults(Fault(fault="drop", address="plain-0")):
            sender.link.send(Message(body=b"x"))
            assert is_cut(client)
            first.kill()
    with start(config_file, store=store) as second:
        assert peeked(second, "plain-0") == [(b"x", 0)]


def test_a_refused_receive_ends_the_link_and_leaves_the_message(
    client: Client, faulty: Running, fresh: Fresh
) -> None:
    queue, other = fresh("plain"), fresh("plain")
    good = client.connection.create_receiver(other, credit=1)
    for name in (queue, other):
        client.connection.create_sender(name).send(Message(body=b"x"))
    with faulty.faults(Fault(fault="refuse", address=queue, on=["receive"], condition="amqp:not-allowed")):
        with pytest.raises(LinkDetached) as refused:
            client.connection.create_receiver(queue, credit=1).receive(timeout=10)
        assert refused.value.condition == "amqp:not-allowed"
        assert bytes(good.receive(timeout=10).body) == b"x"
    got = client.connection.create_receiver(queue, credit=1, name="again").receive(timeout=10)
    assert (bytes(got.body), got.delivery_count) == (b"x", 0)


def test_a_refused_settlement_leaves_the_lock(client: Client, faulty: Running, fresh: Fresh) -> None:
    queue = fresh("plain")
    client.connection.create_sender(queue).send(Message(body=b"x"))
    receiver = client.connection.create_receiver(queue, credit=1)
    receiver.receive(timeout=10)
    one = receiver.fetcher.unsettled[0]
    with faulty.faults(Fault(fault="refuse", address=queue, on=["settle"], condition="a:b")):
        one.update(Delivery.ACCEPTED)
        client.connection.wait(lambda: one.settled)
        assert (one.remote_state, one.remote.condition.name) == (Delivery.REJECTED, "a:b")
    other = client.connection.create_receiver(queue, credit=1, name="other")
    assert peeked(faulty, queue) == [(b"x", 0)]
    client.operation(queue, "com.microsoft:peek-message", PEEK)  # what was on its way has come before this
    assert not other.fetcher.has_message, "it is still locked"


@pytest.mark.parametrize(
    ("fault", "status", "condition"),
    [
        (Fault(fault="throttle", on=["request"]), 503, "com.microsoft:server-busy"),
        (Fault(fault="refuse", on=["request"]), 500, "amqp:internal-error"),
        (Fault(fault="refuse", on=["request"], condition="amqp:not-found"), 404, "amqp:not-found"),
    ],
    ids=["throttle", "refuse", "refuse with a condition"],
)
def test_a_request_is_refused_with_the_status_that_fits(
    client: Client, faulty: Running, fault: Fault, status: int, condition: str
) -> None:
    with faulty.faults(replace(fault, address="always-empty")):
        properties, _ = client.operation("always-empty", "com.microsoft:peek-message", PEEK)
    assert (properties["statusCode"], properties["errorCondition"]) == (status, condition)


def test_a_token_can_always_be_put(faulty: Running) -> None:
    with faulty.faults(Fault(fault="drop")) as hits:
        client = Client(faulty)  # which puts a token
        client.connection.close()
        assert hits() == [0]


def test_what_is_stalled_meets_the_faults_that_come_after(
    client: Client, faulty: Running, fresh: Fresh
) -> None:
    queue = fresh("plain")
    sender = client.connection.create_sender(queue)
    with faulty.faults(Fault(fault="stall", address=queue, on=["send"])) as hits:
        sent = [sender.link.send(Message(body=b"%d" % number)) for number in range(3)]
        client.operation("always-empty", "com.microsoft:peek-message", PEEK)  # they have come before this
        assert hits() == [3]
        assert peeked(faulty, queue) == []
        once = Fault(fault="stall", address=queue, times=1), Fault(fault="throttle", address=queue, times=1)
        with faulty.faults(*once):
            client.connection.wait(lambda: sent[1].settled and sent[2].settled)
            assert peeked(faulty, queue) == [(b"2", 0)]
    client.connection.wait(lambda: sent[0].settled)
    assert [one.remote_state for one in sent] == [Delivery.ACCEPTED, Delivery.REJECTED, Delivery.ACCEPTED]
    assert peeked(faulty, queue) == [(b"2", 0), (b"0", 0)]


def test_a_receiver_that_is_stalled_waits_while_others_work(
    client: Client, faulty: Running, fresh: Fresh
) -> None:
    queue, other = fresh("plain"), fresh("plain")
    receiver = client.connection.create_receiver(queue, credit=1)
    with faulty.faults(Fault(fault="stall", address=queue, on=["receive"])) as hits:
        for name in (queue, other):
            client.connection.create_sender(name).send(Message(body=name))
        assert client.connection.create_receiver(other, credit=1).receive(timeout=10).body == other
        assert hits() == [1], "it is asked once"
        assert not receiver.fetcher.has_message
    got = receiver.receive(timeout=10)
    assert (got.body, got.delivery_count) == (queue, 0)


def test_what_is_stalled_and_then_dropped_is_kept(client: Client, faulty: Running, fresh: Fresh) -> None:
    queue = fresh("plain")
    sender = client.connection.create_sender(queue)
    with faulty.faults(Fault(fault="stall", address=queue, on=["send"])):
        sent = [sender.link.send(Message(body=b"%d" % number)) for number in range(4)]
        client.operation("always-empty", "com.microsoft:peek-message", PEEK)
        with faulty.faults(Fault(fault="drop", address=queue, after=1)):
            assert is_cut(client)
    assert [one.remote_state for one in sent] == [Delivery.ACCEPTED, 0, 0, 0]
    assert [body for body, _ in peeked(faulty, queue)] == [b"0", b"1", b"2", b"3"]


@pytest.mark.parametrize("how", ["link", "session", "connection", "socket"])
def test_a_receiver_that_is_given_up_while_it_is_stalled_gets_nothing(
    client: Client, faulty: Running, fresh: Fresh, how: str
) -> None:
    queue, other = fresh("plain"), fresh("plain")
    client.connection.create_sender(queue).send(Message(body=b"x"))
    impatient = Client(faulty)
    sender = impatient.connection.create_sender(other)
    impatient.connection.timeout = 0.5
    drop = Fault(fault="drop", address=other, on=["send"])
    with faulty.faults(Fault(fault="stall", address=queue, on=["open"]), drop) as hits:
        with pytest.raises(Timeout):
            impatient.connection.create_receiver(queue, credit=1, name="late")
        assert hits() == [1, 0]
        impatient.connection.timeout = 10
        link = next(one for one in links(impatient) if one.name == "late")
        match how:
            case "link":
                link.close()
            case "session":
                link.session.close()
            case "connection":
                link.connection.close()
            case _:
                sender.link.send(Message(body=b"the last"))
        if how == "socket":
            assert is_cut(impatient)
        else:
            ended = {"link": link, "session": link.session, "connection": link.connection}[how]
            impatient.connection.wait(lambda: ended.state & Endpoint.REMOTE_CLOSED)
    got = client.connection.create_receiver(queue, credit=1).receive(timeout=10)
    assert (bytes(got.body), got.delivery_count) == (b"x", 0)


def links(client: Client) -> Iterator[Any]:
    link = client.connection.conn.link_head(0)
    while link is not None:
        yield link
        link = link.next(0)


def test_a_settlement_that_is_stalled_is_carried_out_though_the_client_has_gone(
    faulty: Running, fresh: Fresh
) -> None:
    queue = fresh("plain")
    client = Client(faulty)
    client.connection.create_sender(queue).send(Message(body=b"x"))
    receiver = client.connection.create_receiver(queue, credit=1)
    receiver.receive(timeout=10)
    with faulty.faults(Fault(fault="stall", address=queue, on=["settle"])) as hits:
        receiver.fetcher.unsettled[0].update(Delivery.ACCEPTED)
        client.operation("always-empty", "com.microsoft:peek-message", PEEK)
        assert hits() == [1]
        client.connection.close()
        assert peeked(faulty, queue) == [(b"x", 0)]
    assert peeked(faulty, queue) == []


async def test_a_client_that_does_not_go_when_it_is_cut_off_is_closed(
    faulty: Running, config_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = await asyncio.to_thread(record, faulty)
    monkeypatch.setattr(amqp, "_LINGER", 0.2)
    server = amqp.Server(Broker(config.read(config_file)))
    port = await server.listen("127.0.0.1", 0)
    server.set_faults([Fault(fault="drop", on=["send"])])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    heard = asyncio.create_task(reader.read())
    for _, piece in script:
        if not heard.done():
            writer.write(piece)
            await asyncio.sleep(0.01)  # in which the emulator answers

    async def talk_on() -> None:
        while True:
            writer.write(b"still here")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with asyncio.timeout(5):
        await heard
        assert server.faults.show()[0]["hits"] == 1
        with pytest.raises(ConnectionError):
            await talk_on()
    await server.close()


def test_what_cannot_be_read_costs_no_other_its_connection_when_it_is_tried_again(
    client: Client, faulty: Running, fresh: Fresh
) -> None:
    queue, other = fresh("plain"), fresh("plain")
    client.connection.create_sender(queue).send(Message(body=b"x"))
    receiver = client.connection.create_receiver(queue, credit=1)
    receiver.receive(timeout=10)
    one = receiver.fetcher.unsettled[0]
    one.local.annotations = {("a list", "as a key"): 1}
    good = Client(faulty)
    with closing(good.connection):
        sender = good.connection.create_sender(other)
        with faulty.faults(Fault(fault="stall", address=queue)) as hits:
            one.update(Delivery.MODIFIED)
            client.connection.create_sender(other)  # it has come before this
            assert hits() == [1]
        assert is_cut(client)
        sender.send(Message(body=b"y"))


def test_what_is_given_away_and_dropped_is_lost(client: Client, faulty: Running, fresh: Fresh) -> None:
    queue = fresh("plain")
    sender = client.connection.create_sender(queue)
    for number in range(22):
        sender.send(Message(body=bytes([number]) * 200_000))  # more than a socket takes at once
    with faulty.faults(Fault(fault="drop", address=queue, on=["receive"], after=20)):
        receiver = client.connection.create_receiver(queue, credit=22, options=AtMostOnce())
        assert is_cut(client)
    assert [bytes(one.body)[0] for one, _ in receiver.fetcher.incoming] == list(range(20))
    assert [body[0] for body, _ in peeked(faulty, queue)] == [21]


# As Microsoft's SDKs see it


def body(message: Any) -> bytes:
    return b"".join(message.body)


async def bodies(receiver: Any) -> list[bytes]:
    return [body(one) for one in await receiver.peek_messages(20, sequence_number=1)]


@on_both_sdks
async def test_a_throttled_send_succeeds_in_the_end_where_the_sdk_tries_again(bus: Bus, fresh: Fresh) -> None:
    queue = fresh("plain")
    throttle = Fault(fault="throttle", address=queue, on=["send"], times=2)
    with bus.emulator.faults(throttle) as hits:
        await bus.patient().sender(queue).send_messages(ServiceBusMessage(b"x"))
        assert hits() == [2]
    with bus.emulator.faults(throttle), pytest.raises(ServiceBusServerBusyError, match="50009"):
        await bus.sender(queue).send_messages(ServiceBusMessage(b"y"))
    assert await bodies(bus.receiver(queue)) == [b"x"]


@pytest.mark.parametrize(
    ("condition", "raised"),
    [
        (None, ServiceBusError),
        ("amqp:resource-limit-exceeded", ServiceBusQuotaExceededError),
        ("amqp:unauthorized-access", ServiceBusAuthorizationError),
        ("com.microsoft:entity-disabled", MessagingEntityDisabledError),
    ],
)
@on_both_sdks
async def test_a_refused_send_raises_what_the_sdk_makes_of_the_condition(
    bus: Bus, fresh: Fresh, condition: str | None, raised: type[ServiceBusError]
) -> None:
    queue = fresh("plain")
    sender, receiver = bus.sender(queue), bus.receiver(queue)
    with bus.emulator.faults(Fault(fault="refuse", address=queue, on=["send"], condition=condition)):
        with pytest.raises(ServiceBusError, match=condition or "amqp:internal-error") as refused:
            await sender.send_messages(ServiceBusMessage(b"x"))
        assert type(refused.value) is raised
    await sender.send_messages(ServiceBusMessage(b"y"))
    assert await bodies(receiver) == [b"y"]


@pytest.mark.parametrize("operation", ["open", "receive"])
@on_both_sdks
async def test_a_receiver_whose_link_is_refused_or_ended_gets_what_is_there_later(
    bus: Bus, fresh: Fresh, operation: Operation
) -> None:
    queue = fresh("plain")
    await bus.sender(queue).send_messages(ServiceBusMessage(b"x"))
    throttle = Fault(fault="throttle", address=queue, on=[operation])
    # The SDK goes on with the link that is gone: that is no use, however often it tries.
    with bus.emulator.faults(throttle), pytest.raises(ServiceBusServerBusyError):
        await bus.receiver(queue).receive_messages(1, 10)
    # After this error it opens another one.
    detach = replace(throttle, fault="refuse", times=1, condition="amqp:link:detach-forced")
    with bus.emulator.faults(detach) as hits:
        [got] = await bus.patient().receiver(queue).receive_messages(1, 20)
        assert hits() == [1]
    assert (body(got), got.delivery_count) == (b"x", 0)


@on_both_sdks
async def test_a_sender_whose_link_is_refused_does_not_hear_why(bus: Bus, fresh: Fresh) -> None:
    queue = fresh("plain")
    refuse = Fault(fault="refuse", address=queue, on=["open"], condition="amqp:not-allowed")
    # The SDK reads the attach, which names no target, before the detach that says it.
    with bus.emulator.faults(refuse), pytest.raises(ServiceBusConnectionError, match="amqp:unknown-error"):
        await bus.sender(queue).send_messages(ServiceBusMessage(b"x"))
    await bus.sender(queue).send_messages(ServiceBusMessage(b"y"))
    assert await bodies(bus.receiver(queue)) == [b"y"]


@on_both_sdks
async def test_a_throttled_request_is_told_or_tried_again(bus: Bus, fresh: Fresh) -> None:
    queue = fresh("plain")
    await bus.sender(queue).send_messages(ServiceBusMessage(b"x"))
    throttle = Fault(fault="throttle", address=queue, on=["request"], times=1)
    with bus.emulator.faults(throttle), pytest.raises(ServiceBusServerBusyError):
        await bus.receiver(queue).peek_messages(1)
    with bus.emulator.faults(throttle) as hits:
        assert await bodies(bus.patient().receiver(queue)) == [b"x"]
        assert hits() == [1]


@on_both_sdks
async def test_a_stalled_send_times_out_and_is_carried_out_when_the_fault_is_taken_back(
    bus: Bus, fresh: Fresh
) -> None:
    queue, other = fresh("once"), fresh("plain")
    sender = bus.sender(queue)
    with bus.emulator.faults(Fault(fault="stall", address=queue, on=["send"])) as hits:
        with pytest.raises(OperationTimeoutError):
            await sender.send_messages(ServiceBusMessage(b"late", message_id="1"), timeout=2)
        assert hits() == [1]
        assert await bodies(bus.receiver(queue)) == []
        await bus.sender(other).send_messages(ServiceBusMessage(b"x"))
        assert await bodies(bus.receiver(other)) == [b"x"]
    assert await bodies(bus.receiver(queue)) == [b"late"]
    await sender.send_messages(ServiceBusMessage(b"again", message_id="1"))
    assert await bodies(bus.receiver(queue)) == [b"late"]


@on_both_sdks
async def test_whatever_is_stalled_goes_on_when_the_fault_is_taken_back(bus: Bus, fresh: Fresh) -> None:
    queue = fresh("plain")
    sender, receiver = bus.sender(queue), bus.receiver(queue)

    async def stalled(operation: Operation, work: Awaitable[Any]) -> Any:
        with bus.emulator.faults(Fault(fault="stall", address=queue, on=[operation])) as hits:
            task = asyncio.ensure_future(work)
            async with asyncio.timeout(20):
                while hits() == [0]:
                    await asyncio.sleep(0.05)
            assert not task.done()
        return await task

    await stalled("open", sender.send_messages(ServiceBusMessage(b"1")))
    await stalled("send", sender.send_messages(ServiceBusMessage(b"2")))
    [first] = await stalled("open", receiver.receive_messages(1, 20))
    [second] = await stalled("receive", receiver.receive_messages(1, 20))
    assert [body(first), body(second)] == [b"1", b"2"]
    await stalled("settle", receiver.complete_message(second))
    assert await stalled("request", bodies(receiver)) == [b"1"]


@on_both_sdks
async def test_a_send_whose_answer_was_lost_is_there_once(bus: Bus, fresh: Fresh) -> None:
    queue = fresh("once")
    with bus.emulator.faults(Fault(fault="drop", address=queue, on=["send"])) as hits:
        with pytest.raises(ServiceBusConnectionError):
            await bus.sender(queue).send_messages(ServiceBusMessage(b"1", message_id="1"))
        assert hits() == [1]
    receiver = bus.receiver(queue)
    assert await bodies(receiver) == [b"1"]
    with bus.emulator.faults(Fault(fault="drop", address=queue, on=["send"], times=2)) as hits:
        await bus.patient().sender(queue).send_messages(ServiceBusMessage(b"2", message_id="2"))
        assert hits() == [2]
    assert await bodies(receiver) == [b"1", b"2"]


@on_both_sdks
async def test_without_duplicate_detection_a_send_whose_answer_was_lost_is_there_twice(
    bus: Bus, fresh: Fresh
) -> None:
    queue = fresh("plain")
    with bus.emulator.faults(Fault(fault="drop", address=queue, on=["send"], times=1)):
        await bus.patient().sender(queue).send_messages(ServiceBusMessage(b"x", message_id="1"))
    assert await bodies(bus.receiver(queue)) == [b"x", b"x"]


@on_both_sdks
async def test_a_receiver_that_is_cut_off_gets_everything_in_the_end(bus: Bus, fresh: Fresh) -> None:
    queue = fresh("lasting")
    await bus.sender(queue).send_messages([ServiceBusMessage(b"%d" % number) for number in range(8)])
    drop = Fault(fault="drop", address=queue, on=["receive"], after=3, times=2)
    receiver = bus.patient().receiver(queue)
    found: dict[bytes, int] = {}
    with bus.emulator.faults(drop) as hits:
        async with asyncio.timeout(60):
            while len(found) < 8:
                for got in await receiver.receive_messages(4, 5):
                    with suppress(ServiceBusError):  # a lock that went with its connection
                        await receiver.complete_message(got)
                        found[body(got)] = got.delivery_count
        assert hits() == [2]
    assert sorted(found) == [b"%d" % number for number in range(8)]
    assert sum(found.values()) >= 2, "what was cut off counts as delivered"
    assert await bodies(bus.receiver(queue)) == []


@on_both_sdks
async def test_a_settlement_whose_answer_was_lost_has_been_carried_out(bus: Bus, fresh: Fresh) -> None:
    queue = fresh("plain")
    await bus.sender(queue).send_messages(ServiceBusMessage(b"x"))
    receiver = bus.receiver(queue)
    [got] = await receiver.receive_messages(1, 10)
    with bus.emulator.faults(Fault(fault="drop", address=queue, on=["settle"])) as hits:
        with pytest.raises(ServiceBusError):
            await receiver.complete_message(got)
        assert hits() == [1]
    assert await bodies(bus.receiver(queue)) == []


@on_both_sdks
async def test_a_request_whose_answer_was_lost_has_been_carried_out(bus: Bus, fresh: Fresh) -> None:
    queue = fresh("plain")
    when = datetime.now(UTC) + timedelta(minutes=5)
    with (
        bus.emulator.faults(Fault(fault="drop", address=queue, on=["request"])),
        pytest.raises(ServiceBusError),
    ):
        await bus.sender(queue).schedule_messages(ServiceBusMessage(b"x"), when)
    assert await bodies(bus.receiver(queue)) == [b"x"]


@on_both_sdks
async def test_a_session_whose_receiver_was_cut_off_is_free_at_once(bus: Bus, fresh: Fresh) -> None:
    queue = fresh("talk")
    await bus.sender(queue).send_messages(ServiceBusMessage(b"x", session_id="s"))
    for operation in ("open", "receive"):
        with bus.emulator.faults(Fault(fault="drop", address=queue, on=[operation], times=1)) as hits:
            with suppress(ServiceBusError):
                await bus.receiver(queue, session_id="s").receive_messages(1, 5)
            assert hits() == [1]
    [got] = await bus.receiver(queue, session_id="s").receive_messages(1, 10)
    assert (body(got), got.delivery_count) == (b"x", 0)
