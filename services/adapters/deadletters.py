"""Dead-letter queues on Azure Service Bus.

To look is to peek, which locks nothing. To take one letter, those before it must be received as well, for
Service Bus gives no choice. They stay locked meanwhile, or they would come again at once, and are abandoned
at the end. That costs them nothing: a letter is never moved on from a dead-letter queue, and its delivery
count does not even rise there. To defer them would hide them from other tools for good.

https://learn.microsoft.com/azure/service-bus-messaging/service-bus-dead-letter-queues
https://github.com/Azure/azure-sdk-for-net/issues/53437
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from azure.servicebus import ServiceBusReceivedMessage, ServiceBusSubQueue
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver
from azure.servicebus.amqp import AmqpMessageBodyType

from services.adapters.reaching import reaching
from services.errors import Unavailable
from services.models import DeadLetter, Message

_TOGETHER = 50
_HELD = 200
"""How many unwanted letters are kept in memory to be abandoned; the locks of more run out by themselves."""
_PASSED = 100_000
_CLOSING_SECONDS = 3
_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_WHY = frozenset({"DeadLetterReason", "DeadLetterErrorDescription"})


class ServiceBusDeadLetters:
    """`budget` is for each call, `patience` for the next letters to come; a client is opened for each use."""

    def __init__(
        self,
        open_client: Callable[[], ServiceBusClient],
        *,
        budget: timedelta = timedelta(seconds=20),
        patience: timedelta = timedelta(seconds=5),
    ) -> None:
        self._open_client = open_client
        self._budget = budget
        self._patience = patience

    async def peek(self, entity: str) -> AsyncGenerator[DeadLetter]:
        last = 0
        async with self._receiver(entity) as receiver:
            while True:
                async with reaching(_part(entity), self._budget):
                    page = await receiver.peek_messages(_TOGETHER, sequence_number=last + 1)
                if not page:
                    return
                for letter in map(_from_service_bus, page):
                    yield letter
                    last = letter.sequence_number

    async def take(
        self,
        entity: str,
        wanted: Callable[[DeadLetter], bool],
        use: Callable[[DeadLetter], Awaitable[None]],
        most: int,
    ) -> int:
        taken = 0
        passed: set[int] = set()
        held: dict[int, ServiceBusReceivedMessage] = {}
        async with self._receiver(entity) as receiver:
            try:
                while taken < most and len(passed) < _PASSED:
                    page = await self._receive(entity, receiver)
                    for received in page[: _HELD - len(held)]:
                        held[received.sequence_number or 0] = received
                    for received in page:
                        letter = _from_service_bus(received)
                        if letter.sequence_number in passed or taken == most:
                            return taken  # a lock has run out: from now on the first ones come for ever
                        if not wanted(letter):
                            passed.add(letter.sequence_number)
                            continue
                        await use(letter)
                        async with reaching(_part(entity), self._budget):
                            await receiver.complete_message(received)
                        held.pop(letter.sequence_number, None)
                        taken += 1
                    if not page:
                        break
            finally:
                await self._abandon(receiver, held.values())
        return taken

    async def _receive(
        self, entity: str, receiver: ServiceBusReceiver
    ) -> Sequence[ServiceBusReceivedMessage]:
        async with reaching(_part(entity), self._budget + self._patience):
            return await receiver.receive_messages(_TOGETHER, max_wait_time=self._patience.total_seconds())

    async def _abandon(self, receiver: ServiceBusReceiver, held: Iterable[ServiceBusReceivedMessage]) -> None:
        # Where this fails the locks run out by themselves. A receiver that has broken raises ValueError.
        with suppress(Unavailable, ValueError):
            async with reaching("a dead-letter queue", self._budget):
                for received in held:
                    await receiver.abandon_message(received)

    @asynccontextmanager
    async def _receiver(self, entity: str) -> AsyncIterator[ServiceBusReceiver]:
        client = self._open_client()
        topic, _, subscription = entity.partition("/")
        dead = ServiceBusSubQueue.DEAD_LETTER
        if subscription:
            receiver = client.get_subscription_receiver(topic, subscription, sub_queue=dead)
        else:
            receiver = client.get_queue_receiver(entity, sub_queue=dead)
        try:
            yield receiver
        finally:
            for opened in (receiver, client):
                with suppress(Exception):  # one that is away cannot say goodbye
                    await asyncio.wait_for(opened.close(), _CLOSING_SECONDS)


def _part(entity: str) -> str:
    return f"the dead-letter queue of {entity}"


def _from_service_bus(received: ServiceBusReceivedMessage) -> DeadLetter:
    named = received.message_id or f"sequence-{received.sequence_number}"
    properties: dict[str, Any] = {
        _text(name): _text(value) if isinstance(value, bytes) else value
        for name, value in (received.application_properties or {}).items()
    }
    message = Message(
        message_id=named,
        subject=received.subject or "",
        session_id=received.session_id or named,
        correlation_id=str(received.correlation_id or named),
        content_type=received.content_type or "",
        body=_body(received),
        properties={name: value for name, value in properties.items() if name not in _WHY},
    )
    return DeadLetter(
        sequence_number=received.sequence_number or 0,
        enqueued_at=(received.enqueued_time_utc or _LONG_AGO).astimezone(UTC),
        reason=received.dead_letter_reason or "",
        description=received.dead_letter_error_description or "",
        message=message,
    )


def _body(received: ServiceBusReceivedMessage) -> bytes:
    if received.body_type is AmqpMessageBodyType.DATA:
        return b"".join(received.body)
    return received.body if isinstance(received.body, bytes) else str(received).encode()


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
