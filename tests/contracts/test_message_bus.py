"""MessageBus: what the bus does in memory and over AMQP, and what happens when Service Bus is away."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import pytest
import pytest_asyncio
from azure.servicebus import ServiceBusMessageBatch, ServiceBusReceivedMessage
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver, ServiceBusSender
from azure.servicebus.exceptions import MessageSizeExceededError, ServiceBusConnectionError, ServiceBusError

from dev.servicebus import process as emulators
from services.adapters.memory import MemoryBus
from services.adapters.servicebus import ServiceBusBus
from services.errors import Unavailable
from services.models import Message
from services.ports import MessageBus

from .samples import A_MESSAGE

# One emulator and one bus for all tests that do not stop them: to open and close a link takes a second.
pytestmark = pytest.mark.asyncio(loop_scope="module")

ENTITIES = Path(__file__).parents[2] / "dev" / "entities.json"
AN_HOUR = timedelta(hours=1)
TOO_LARGE = replace(A_MESSAGE, message_id="too-large", body=b"x" * 300_000)


def now() -> datetime:
    return datetime.now(UTC)


class Consumer(Protocol):
    """Whoever is at the other end."""

    async def published(self, count: int) -> list[Message]:
        """Take the next `count` messages from the topic."""

    async def due(self, count: int, by: datetime) -> list[Message]:
        """Take the next `count` messages from the queue, which come by then."""


@dataclass(frozen=True, slots=True)
class MemoryConsumer:
    bus: MemoryBus

    async def published(self, count: int) -> list[Message]:
        taken = self.bus.published[:count]
        del self.bus.published[:count]
        return taken

    async def due(self, count: int, by: datetime) -> list[Message]:
        taken = self.bus.take_due(by)
        assert len(taken) == count
        return taken


@dataclass(frozen=True, slots=True)
class AmqpConsumer:
    topic: ServiceBusReceiver
    queue: ServiceBusReceiver

    async def published(self, count: int) -> list[Message]:
        return await _take(self.topic, count)

    async def due(self, count: int, by: datetime) -> list[Message]:  # noqa: ARG002 this one really waits
        return await _take(self.queue, count)


async def _take(receiver: ServiceBusReceiver, count: int) -> list[Message]:
    taken: list[Message] = []
    while len(taken) < count:
        for received in await receiver.receive_messages(
            max_message_count=count - len(taken), max_wait_time=20
        ):
            taken.append(_read(received))
            await receiver.complete_message(received)
    return taken


def _read(received: ServiceBusReceivedMessage) -> Message:
    properties = {
        name.decode() if isinstance(name, bytes) else name: value.decode()
        if isinstance(value, bytes)
        else value
        for name, value in (received.application_properties or {}).items()
    }
    return Message(
        message_id=str(received.message_id),
        subject=str(received.subject),
        session_id=str(received.session_id),
        correlation_id=str(received.correlation_id),
        content_type=str(received.content_type),
        body=b"".join(received.body),
        properties=properties,  # type: ignore[arg-type]  # the comparison tells whether they are what was sent
    )


@pytest.fixture(scope="module")
def emulator() -> Iterator[emulators.Running]:
    with emulators.start(ENTITIES) as running:
        yield running


@pytest.fixture
def own_emulator() -> Iterator[emulators.Running]:
    """An emulator for a test that stops it."""
    with emulators.start(ENTITIES) as running:
        yield running


def connect(emulator: emulators.Running, **options: Any) -> ServiceBusBus:
    return ServiceBusBus(
        lambda: ServiceBusClient.from_connection_string(emulator.connection_string, retry_total=0), **options
    )


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def servicebus(emulator: emulators.Running) -> AsyncIterator[ServiceBusBus]:
    bus = connect(emulator, budget=timedelta(seconds=30))
    yield bus
    await bus.close()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def amqp_consumer(emulator: emulators.Running) -> AsyncIterator[AmqpConsumer]:
    async with consumer_of(emulator) as consumer:
        yield consumer


@asynccontextmanager
async def consumer_of(emulator: emulators.Running) -> AsyncIterator[AmqpConsumer]:
    async with ServiceBusClient.from_connection_string(emulator.connection_string) as client:
        brisk: dict[str, Any] = {"socket_timeout": 0.02, "keep_alive": 0}  # or each closing takes a second
        yield AmqpConsumer(
            client.get_subscription_receiver("job-events", "everything", **brisk),
            client.get_queue_receiver("job-inbox", **brisk),
        )


@dataclass(frozen=True, slots=True)
class Both:
    """A bus and its consumer."""

    bus: MessageBus
    consumer: Consumer


@pytest.fixture(params=["memory", "servicebus"])
def both(request: pytest.FixtureRequest) -> Both:
    if request.param == "memory":
        memory = MemoryBus()
        return Both(memory, MemoryConsumer(memory))
    return Both(request.getfixturevalue("servicebus"), request.getfixturevalue("amqp_consumer"))


@pytest.fixture
def message() -> Message:
    """A message that the bus has not seen."""
    return replace(A_MESSAGE, message_id=uuid4().hex)


def named(message: Message, name: str) -> Message:
    """Another message that the bus has not seen."""
    return replace(message, message_id=f"{message.message_id}-{name}")


async def test_a_published_message_arrives_as_it_was(both: Both, message: Message) -> None:
    await both.bus.publish(message)
    assert await both.consumer.published(1) == [message]


async def test_a_message_published_twice_arrives_once_and_the_first_one_stands(
    both: Both, message: Message
) -> None:
    await both.bus.publish(message)
    await both.bus.publish(replace(message, body=b"second"))
    last = named(message, "last")
    await both.bus.publish(last)
    assert await both.consumer.published(2) == [message, last]


async def test_a_message_stays_known_after_it_was_taken(both: Both, message: Message) -> None:
    await both.bus.publish(message)
    await both.consumer.published(1)
    last = named(message, "last")
    await both.bus.publish(message)
    await both.bus.publish(last)
    assert await both.consumer.published(1) == [last]


async def test_200_messages_published_at_once_all_arrive_in_order(both: Both, message: Message) -> None:
    messages = [named(message, f"{number}") for number in range(200)]
    await asyncio.gather(*(both.bus.publish(message) for message in messages))
    assert await both.consumer.published(200) == messages


async def test_a_message_that_is_too_large_is_a_value_error_and_fails_no_other(
    both: Both, message: Message
) -> None:
    others = [named(message, f"{number}") for number in range(20)]
    fates = await asyncio.gather(
        *(both.bus.publish(message) for message in [*others[:10], TOO_LARGE, *others[10:]]),
        return_exceptions=True,
    )
    assert [repr(fate) for fate in fates if fate is not None] == [
        "ValueError('the message is larger than Service Bus takes: put the result in the payload store')"
    ]
    assert await both.consumer.published(20) == others


async def test_a_scheduled_message_that_is_too_large_is_a_value_error_and_fails_no_other(
    both: Both, message: Message
) -> None:
    with pytest.raises(ValueError, match="put the result in the payload store"):
        await both.bus.schedule(TOO_LARGE, now())
    await both.bus.schedule(message, now())
    assert await both.consumer.due(1, now()) == [message]


async def test_scheduled_messages_come_when_they_are_due_earliest_first(both: Both, message: Message) -> None:
    begin = now()
    late, early, never = (named(message, name) for name in ("late", "early", "never"))
    await both.bus.schedule(never, begin + AN_HOUR)
    await both.bus.schedule(late, begin + timedelta(seconds=1.5))
    await both.bus.schedule(early, begin - AN_HOUR)
    assert await both.consumer.due(1, begin) == [early]
    assert await both.consumer.due(1, begin + timedelta(seconds=1.5)) == [late]


async def test_a_schedule_time_in_another_zone_is_the_same_moment(both: Both, message: Message) -> None:
    earlier = now() - timedelta(seconds=1)
    await both.bus.schedule(message, earlier.astimezone(timezone(timedelta(hours=9))))
    assert await both.consumer.due(1, now()) == [message]


async def test_a_canceled_message_does_not_come(both: Both, message: Message) -> None:
    begin = now()
    canceled, last = named(message, "canceled"), named(message, "last")
    first_number = await both.bus.schedule(canceled, begin + timedelta(seconds=1))
    last_number = await both.bus.schedule(last, begin + timedelta(seconds=1.5))
    assert first_number != last_number
    await both.bus.cancel(first_number)
    assert await both.consumer.due(1, begin + timedelta(seconds=1.5)) == [last]


async def test_cancelling_what_is_gone_is_no_error(both: Both, message: Message) -> None:
    canceled = await both.bus.schedule(message, now() + AN_HOUR)
    await both.bus.cancel(canceled)
    await both.bus.cancel(canceled)
    due = await both.bus.schedule(named(message, "due"), now())
    await both.consumer.due(1, now())
    await both.bus.cancel(due)
    await both.bus.cancel(2**40)


async def test_a_message_scheduled_twice_comes_once(both: Both, message: Message) -> None:
    await both.bus.schedule(message, now())
    await both.bus.schedule(replace(message, body=b"second"), now())
    last = named(message, "last")
    await both.bus.schedule(last, now())
    assert await both.consumer.due(2, now()) == [message, last]


async def test_topic_and_queue_know_different_messages(both: Both, message: Message) -> None:
    await both.bus.publish(message)
    await both.bus.schedule(message, now())
    assert await both.consumer.published(1) == [message]
    assert await both.consumer.due(1, now()) == [message]


async def test_a_bus_that_can_be_reached_checks_out(both: Both) -> None:
    await both.bus.check()


async def test_a_memory_bus_that_is_away_says_so(message: Message) -> None:
    bus = MemoryBus()
    bus.available = False
    for call in (bus.publish(message), bus.schedule(message, now()), bus.cancel(1), bus.check()):
        with pytest.raises(Unavailable):
            await call


# Service Bus


async def let_through(_count: int) -> None:
    """Do nothing."""


@dataclass(slots=True)
class Sends:
    """How many messages each send carried, and on which sender; `before` is awaited first and may raise."""

    counts: list[int] = field(default_factory=list)
    senders: list[ServiceBusSender] = field(default_factory=list)
    before: Callable[[int], Awaitable[None]] = let_through


@pytest.fixture
def sends(monkeypatch: pytest.MonkeyPatch) -> Sends:
    watched = Sends()
    send = ServiceBusSender.send_messages

    async def watch(sender: ServiceBusSender, message: Any, **options: Any) -> None:
        count = len(message) if isinstance(message, ServiceBusMessageBatch) else 1
        watched.counts.append(count)
        watched.senders.append(sender)
        await watched.before(count)
        await send(sender, message, **options)

    monkeypatch.setattr(ServiceBusSender, "send_messages", watch)
    return watched


async def test_publishes_that_meet_go_out_together_at_most_100(
    servicebus: ServiceBusBus, sends: Sends, amqp_consumer: AmqpConsumer, message: Message
) -> None:
    messages = [named(message, f"{number}") for number in range(250)]
    await asyncio.gather(*(servicebus.publish(each) for each in messages))
    assert sends.counts == [100, 100, 50]
    assert await amqp_consumer.published(250) == messages


async def test_a_publish_that_meets_no_other_goes_out_alone(
    servicebus: ServiceBusBus, sends: Sends, amqp_consumer: AmqpConsumer, message: Message
) -> None:
    await servicebus.publish(message)
    await servicebus.publish(named(message, "second"))
    assert sends.counts == [1, 1]
    await amqp_consumer.published(2)


async def test_large_messages_are_shared_out_by_size(
    servicebus: ServiceBusBus, sends: Sends, amqp_consumer: AmqpConsumer, message: Message
) -> None:
    messages = [replace(named(message, f"{number}"), body=b"x" * 100_000) for number in range(5)]
    await asyncio.gather(*(servicebus.publish(message) for message in messages))
    assert sends.counts == [2, 2, 1]
    assert await amqp_consumer.published(5) == messages


async def test_messages_of_a_refused_batch_are_sent_one_by_one(
    servicebus: ServiceBusBus, sends: Sends, amqp_consumer: AmqpConsumer, message: Message
) -> None:
    async def refuse(count: int) -> None:
        if count > 1:
            raise ServiceBusError("no batches here")

    sends.before = refuse
    messages = [named(message, f"{number}") for number in range(5)]
    await asyncio.gather(*(servicebus.publish(message) for message in messages))
    assert await amqp_consumer.published(5) == messages


async def test_a_caller_that_gives_up_fails_no_other(
    servicebus: ServiceBusBus, amqp_consumer: AmqpConsumer, message: Message
) -> None:
    impatient = asyncio.create_task(servicebus.publish(named(message, "impatient")))
    others = [named(message, f"{number}") for number in range(5)]
    sending = [asyncio.create_task(servicebus.publish(message)) for message in others]
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.gather(*sending)
    last = named(message, "last")
    await servicebus.publish(last)
    assert await amqp_consumer.published(6) == [*others, last]


@pytest.mark.parametrize("failure", ["cut short", "too large"])
async def test_a_link_on_which_a_send_failed_is_not_used_again(
    emulator: emulators.Running, sends: Sends, amqp_consumer: AmqpConsumer, message: Message, failure: str
) -> None:
    async def fail(_count: int) -> None:
        if failure == "too large":
            raise MessageSizeExceededError
        await asyncio.sleep(3600)

    bus = connect(emulator, budget=timedelta(seconds=2))
    sends.before = fail
    with pytest.raises((Unavailable, ValueError)):
        await bus.publish(named(message, "failed"))
    sends.before = let_through
    await bus.publish(message)
    await bus.close()
    assert sends.senders[0] is not sends.senders[-1]
    assert await amqp_consumer.published(1) == [message]


async def test_schedules_that_meet_share_one_link(
    emulator: emulators.Running, monkeypatch: pytest.MonkeyPatch, message: Message
) -> None:
    opened: list[str] = []
    open_sender = ServiceBusClient.get_queue_sender

    def watch(client: ServiceBusClient, queue: str, **options: Any) -> ServiceBusSender:
        opened.append(queue)
        return open_sender(client, queue, **options)

    monkeypatch.setattr(ServiceBusClient, "get_queue_sender", watch)
    bus = connect(emulator, budget=timedelta(seconds=20))
    numbers = await asyncio.gather(
        *(bus.schedule(named(message, f"{number}"), now() + AN_HOUR) for number in range(50))
    )
    await asyncio.gather(*(bus.cancel(number) for number in numbers))
    await bus.close()
    assert len(set(numbers)) == 50
    assert opened == ["job-inbox"]


async def test_a_broken_link_is_replaced_without_the_caller_noticing(
    servicebus: ServiceBusBus, sends: Sends, amqp_consumer: AmqpConsumer, message: Message
) -> None:
    await servicebus.publish(message)

    async def refuse(_count: int) -> None:
        sends.before = let_through
        raise ServiceBusConnectionError(message="the link was idle for too long")

    sends.before = refuse
    second = named(message, "second")
    await servicebus.publish(second)
    assert await amqp_consumer.published(2) == [message, second]


async def test_a_bus_that_was_killed_is_unavailable_and_works_when_it_is_back(
    own_emulator: emulators.Running, message: Message
) -> None:
    bus = connect(own_emulator, budget=timedelta(seconds=20))
    await bus.publish(message)
    number = await bus.schedule(message, now() + AN_HOUR)
    own_emulator.kill()
    for call in (bus.publish(message), bus.schedule(message, now()), bus.cancel(number), bus.check()):
        with pytest.raises(Unavailable, match=r"^the service bus cannot be reached$"):
            await call
    with emulators.start(ENTITIES, port=own_emulator.port):
        await bus.publish(message)
        await bus.cancel(await bus.schedule(message, now() + AN_HOUR))
        await bus.check()
        await bus.close()


async def test_a_bus_that_hangs_is_unavailable_within_the_budget_and_works_when_it_goes_on(
    own_emulator: emulators.Running, message: Message
) -> None:
    bus = connect(own_emulator, budget=timedelta(seconds=2))
    await bus.publish(message)
    await bus.schedule(message, now() + AN_HOUR)
    own_emulator._process.send_signal(signal.SIGSTOP)
    hanging = [named(message, f"{number}") for number in range(3)]
    fates = await asyncio.gather(
        *(bus.publish(message) for message in hanging),
        bus.schedule(hanging[0], now()),
        bus.check(),
        return_exceptions=True,
    )
    assert [type(fate) for fate in fates] == [Unavailable] * 5
    own_emulator._process.send_signal(signal.SIGCONT)
    await asyncio.gather(*(bus.publish(message) for message in hanging))
    await bus.schedule(hanging[0], now())
    async with consumer_of(own_emulator) as consumer:
        assert await consumer.published(4) == [message, *hanging]
    await bus.close()


async def test_a_server_that_takes_connections_and_says_nothing_is_unavailable(message: Message) -> None:
    silent = await asyncio.start_server(lambda _reader, _writer: asyncio.sleep(3600), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    address = (
        f"Endpoint=sb://localhost:{port};SharedAccessKeyName=a;SharedAccessKey=b;UseDevelopmentEmulator=true"
    )
    bus = ServiceBusBus(
        lambda: ServiceBusClient.from_connection_string(address), budget=timedelta(milliseconds=100)
    )
    with pytest.raises(Unavailable):
        await bus.publish(message)
    await bus.close()
    silent.close()


async def test_entities_that_do_not_exist_are_unavailable(
    emulator: emulators.Running, message: Message
) -> None:
    bus = connect(emulator, topic="nothing", queue="nothing", budget=timedelta(seconds=20))
    for call in (bus.publish(message), bus.schedule(message, now()), bus.check()):
        with pytest.raises(Unavailable):
            await call
    await bus.close()
