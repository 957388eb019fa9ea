"""Service Bus triggers of the local host, against the emulator through the real SDK."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from azure.servicebus import ServiceBusMessage, ServiceBusSubQueue
from azure.servicebus.aio import ServiceBusClient

from dev import process
from dev.host.process import start as start_host
from dev.servicebus.process import Running as Broker
from dev.servicebus.process import start as start_broker

APP = Path(__file__).parent / "apps" / "bus.py"

ENTITIES = {
    "UserConfig": {
        "Namespaces": [
            {
                "Name": "sbemulatorns",
                "Queues": [{"Name": "work", "Properties": {"LockDuration": "PT5S", "MaxDeliveryCount": 3}}],
                "Topics": [{"Name": "news", "Properties": {}, "Subscriptions": [{"Name": "mine"}]}],
            }
        ],
        "Logging": {"Type": "Console"},
    }
}


class Stack:
    """An emulator with one queue and one topic, and a host for the app."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.record = folder / "record"
        self.record.mkdir()
        self.config = folder / "Config.json"
        self.config.write_text(json.dumps(ENTITIES))
        self.app = folder / "bus.py"
        self.app.write_bytes(APP.read_bytes())
        self.ends = ExitStack()
        self.broker = self.start_broker()

    def start_broker(self, port: int = 0) -> Broker:
        broker = start_broker(self.config, self.folder / "messages.sqlite", port)
        self.ends.callback(broker.__exit__, None, None, None)
        return broker

    def start_host(self, options: dict[str, Any] | None = None) -> process.Running:
        extensions = {"serviceBus": options or {}}
        (self.folder / "host.json").write_text(json.dumps({"version": "2.0", "extensions": extensions}))
        settings = {
            "BUS": self.broker.connection_string,
            "QUEUE": "work",
            "RECORD": str(self.record),
        }
        host = start_host(self.app, log=self.folder / "log", env=settings)
        self.ends.callback(host.stop)
        return host

    async def connect(self) -> None:
        """Open what the test itself sends and peeks with; each opening costs the SDK half a second."""
        self.client = ServiceBusClient.from_connection_string(self.broker.connection_string)
        self.sender = self.client.get_queue_sender("work")
        self.queue = self.client.get_queue_receiver("work")

    async def send(self, *messages: ServiceBusMessage) -> None:
        for message in messages:
            await self.sender.send_messages(message)

    async def left(self) -> int:
        return len(await self.queue.peek_messages(200, sequence_number=1))

    async def dead(self) -> list[str | None]:
        dead = self.client.get_queue_receiver("work", sub_queue=ServiceBusSubQueue.DEAD_LETTER)
        async with dead:
            return [message.message_id for message in await dead.peek_messages(max_message_count=200)]

    def names(self) -> list[str]:
        return sorted(path.stem for path in self.record.glob("*.json"))

    def seen(self, name: str) -> dict[str, Any]:
        seen: dict[str, Any] = json.loads((self.record / f"{name}.json").read_text())
        return seen


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    stack = Stack(tmp_path)
    with stack.ends:
        await stack.connect()
        yield stack
        await stack.client.close()


async def until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0.01)


async def until_empty(stack: Stack) -> None:
    while await stack.left():
        await asyncio.sleep(0.01)


async def test_a_function_gets_the_fields_that_the_worker_would_give_it(stack: Stack) -> None:
    stack.start_host()
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await stack.send(
        ServiceBusMessage(
            b'\x00\xff{"message_id": "not this"}',
            message_id="m1",
            session_id="s1",
            content_type="application/cloudevents+json",
            correlation_id="c1",
            subject="job.succeeded",
            to="there",
            reply_to="here",
            reply_to_session_id="s2",
            time_to_live=timedelta(minutes=5),
            application_properties={"kind": "outcome", "number": 3, "flag": True, "Diagnostic-Id": parent},
        )
    )
    await until(lambda: stack.names() == ["m1-1"])
    seen = stack.seen("m1-1")
    assert UUID(seen.pop("lock_token")).version is not None
    assert seen.pop("parent").startswith("00-0af7651916cd43dd8448eb211c80319c-")
    properties = {"kind": "outcome", "number": 3, "flag": True, "Diagnostic-Id": parent}
    assert seen == {
        "body": b'\x00\xff{"message_id": "not this"}'.hex(),
        "content_type": "application/cloudevents+json",
        "correlation_id": "c1",
        "delivery_count": 1,
        "enqueued": "None",  # its tzinfo: the time is naive
        "expires": "None",
        "label": "job.succeeded",
        "locked_until": None,
        "message_id": "m1",
        "reply_to": "here",
        "reply_to_session_id": "s2",
        "scheduled": None,
        "sequence_number": 1,
        "session_id": "s1",
        "subject": "job.succeeded",
        "to": "there",
        "application_properties": properties,
        "user_properties": properties,
        "metadata": [
            "ApplicationProperties",
            "ContentType",
            "CorrelationId",
            "DeliveryCount",
            "EnqueuedTimeUtc",
            "ExpiresAtUtc",
            "Label",
            "LockToken",
            "MessageId",
            "ReplyTo",
            "ReplyToSessionId",
            "SequenceNumber",
            "SessionId",
            "Subject",
            "To",
            "UserProperties",
        ],
    }


async def test_a_bare_message_leaves_its_fields_none(stack: Stack) -> None:
    stack.start_host()
    await stack.send(ServiceBusMessage(b"", message_id="bare"))
    await until(lambda: stack.names() == ["bare-1"])
    seen = stack.seen("bare-1")
    assert seen["body"] == ""
    assert seen["application_properties"] == {}
    assert [name for name in ("subject", "correlation_id", "session_id", "content_type") if seen[name]] == []


async def test_a_message_is_completed_when_the_function_returned(stack: Stack) -> None:
    stack.start_host()
    await stack.send(ServiceBusMessage(b"go", message_id="a"), ServiceBusMessage(b"go", message_id="b"))
    await until(lambda: stack.names() == ["a-1", "b-1"])
    await until_empty(stack)
    assert await stack.dead() == []


async def test_without_auto_complete_a_message_stays_locked(stack: Stack) -> None:
    stack.start_host({"autoCompleteMessages": False})
    await stack.send(ServiceBusMessage(b"go", message_id="a"))
    await until(lambda: "a-2" in stack.names())
    assert stack.names() == ["a-1", "a-2"]


@pytest.mark.parametrize("body", [b"raise", b"return"], ids=["a raise", "a value that no binding takes"])
async def test_a_failure_abandons_at_once_until_the_message_is_dead(stack: Stack, body: bytes) -> None:
    stack.start_host()
    await stack.send(ServiceBusMessage(body, message_id="bad"), ServiceBusMessage(b"go", message_id="good"))
    await until(lambda: "bad-3" in stack.names() and "good-1" in stack.names())
    await until_empty(stack)
    assert await stack.dead() == ["bad"]
    assert stack.names() == ["bad-1", "bad-2", "bad-3", "good-1"]


async def test_a_topic_subscription_wakes_a_function(stack: Stack) -> None:
    stack.start_host()
    async with stack.client.get_topic_sender("news") as sender:
        await sender.send_messages(ServiceBusMessage(b"hear", message_id="1"))
    await until(lambda: stack.names() == ["news-1"])
    assert stack.seen("news-1")["body"] == b"hear".hex()


async def test_no_more_functions_run_at_once_than_host_json_allows(stack: Stack) -> None:
    stack.start_host({"maxConcurrentCalls": 2})
    await stack.send(*(ServiceBusMessage(f"wait end{n}", message_id=str(n)) for n in range(4)))
    await until(lambda: len(stack.names()) == 2)
    time_for_more = (
        time.monotonic() + 1.5
    )  # what must not happen has no event: a third one would come in 0.5 s
    await until(lambda: time.monotonic() > time_for_more)
    assert len(stack.names()) == 2
    first = stack.names()[0][0]
    (stack.record / f"end{first}").touch()
    await until(lambda: len(stack.names()) == 3)
    for number in range(4):
        (stack.record / f"end{number}").touch()
    await until(lambda: stack.names() == ["0-1", "1-1", "2-1", "3-1"])
    await until_empty(stack)


async def test_a_hundred_messages_are_each_taken_once(stack: Stack) -> None:
    host = stack.start_host()
    await stack.send(*(ServiceBusMessage(b"go", message_id=f"{n:03}") for n in range(100)))
    await until_empty(stack)
    assert stack.names() == [f"{n:03}-1" for n in range(100)]
    assert "dev.host" not in host.log.read_text()


async def test_a_lock_is_renewed_while_the_function_runs(stack: Stack) -> None:
    stack.start_host()
    await stack.send(ServiceBusMessage(b"wait end", message_id="long"))
    await until(lambda: stack.names() == ["long-1"])
    past_the_lock = time.monotonic() + 7
    await until(lambda: time.monotonic() > past_the_lock)
    (stack.record / "end").touch()
    await until_empty(stack)
    assert stack.names() == ["long-1"]


async def test_a_lock_is_renewed_no_longer_than_host_json_says(stack: Stack) -> None:
    host = stack.start_host({"maxAutoLockRenewalDuration": "00:00:01"})
    await stack.send(ServiceBusMessage(b"wait end", message_id="long"))
    await until(lambda: stack.names() == ["long-1", "long-2"])
    (stack.record / "end").touch()
    await until_empty(stack)
    assert stack.names() == ["long-1", "long-2"]
    assert "message not settled entity=work message_id=long" in host.log.read_text()


async def test_stopping_lets_the_function_end_and_completes_its_message(stack: Stack) -> None:
    host = stack.start_host()
    await stack.send(ServiceBusMessage(b"wait end", message_id="last"))
    await until(lambda: stack.names() == ["last-1"])
    stopped = asyncio.create_task(asyncio.to_thread(host.stop))
    await stack.send(ServiceBusMessage(b"go", message_id="next"))
    (stack.record / "end").touch()
    await stopped
    assert host.process.returncode == 0
    stack.start_host()
    await until_empty(stack)
    assert stack.names() == ["last-1", "next-1"]


async def test_an_idle_host_stops_at_once_and_leaves_no_message_locked(stack: Stack) -> None:
    host = stack.start_host()
    await stack.send(ServiceBusMessage(b"go", message_id="first"))
    await until_empty(stack)
    host.stop()
    assert host.process.returncode == 0
    await stack.send(ServiceBusMessage(b"go", message_id="second"))
    stack.start_host()
    await until_empty(stack)
    assert stack.names() == ["first-1", "second-1"]


async def test_a_killed_host_s_message_comes_again(stack: Stack) -> None:
    host = stack.start_host()
    await stack.send(ServiceBusMessage(b"wait end", message_id="again"))
    await until(lambda: stack.names() == ["again-1"])
    host.kill()
    (stack.record / "end").touch()
    stack.start_host()
    await until_empty(stack)
    assert stack.names() == ["again-1", "again-2"]


async def test_the_host_outlives_its_broker_and_says_so_once(stack: Stack) -> None:
    port = stack.broker.port
    stack.broker.stop()
    host = stack.start_host()

    def told(what: str) -> int:
        return host.log.read_text().count(f"service bus {what} entity=work")

    for outage in (1, 2):
        await until(lambda: told("cannot be reached") == outage)  # noqa: B023 - called within this round
        await stack.client.close()
        stack.broker = stack.start_broker(port)
        await stack.connect()
        await stack.send(ServiceBusMessage(b"go", message_id=str(outage)))
        await until_empty(stack)
        assert stack.names() == [f"{n}-1" for n in range(1, outage + 1)]
        assert (told("cannot be reached"), told("is back")) == (outage, outage)
        stack.broker.kill()
