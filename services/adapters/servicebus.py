"""The topic and the queue on Azure Service Bus, over one client for the life of the process.

Publishes that meet go out together: what arrives while a send is under way waits for it and makes the
next batch. Each caller learns its own message's fate, in time: past the budget it is Unavailable, and
the message may yet arrive, which is harmless because a repeated message id is dropped.

An operation that fails or is cut short may leave a link half-way, so its sender is never used again: the
next one opens a new sender, and the first publish after an outage works.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from uuid import UUID

from azure.core.exceptions import AzureError
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient, ServiceBusSender
from azure.servicebus.exceptions import (
    MessageNotFoundError,
    MessageSizeExceededError,
    ServiceBusConnectionError,
)

from services.adapters.reaching import reaching
from services.errors import Unavailable
from services.models import Message

T = TypeVar("T")

# https://learn.microsoft.com/azure/service-bus-messaging/service-bus-quotas
_MOST_TOGETHER = 100
_PART = "the service bus"
_CLOSING_SECONDS = 3


@dataclass(slots=True, kw_only=True, eq=False)
class _Pending:
    """A message that waits to be sent, and whom to tell."""

    message: ServiceBusMessage
    fate: asyncio.Future[None]

    def settle(self, error: Exception | None = None) -> None:
        if self.fate.done():
            return  # its caller has given up
        if error is None:
            self.fate.set_result(None)
        else:
            self.fate.set_exception(error)


class ServiceBusBus:
    """The budgets are for each call, on the topic and on the queue; opening a link is part of them.

    `open_client` is called once, in the running loop. Give the client retry_total=0: an SDK that waits
    between attempts of its own spends the budget on waiting.
    """

    def __init__(
        self,
        open_client: Callable[[], ServiceBusClient],
        *,
        topic: str = "job-events",
        queue: str = "job-inbox",
        budget: timedelta = timedelta(seconds=2.5),
        queue_budget: timedelta = timedelta(seconds=5),
    ) -> None:
        self._open_client = open_client
        self._topic = topic
        self._queue = queue
        self._budget = budget
        self._queue_budget = queue_budget
        self._opened: ServiceBusClient | None = None
        self._topic_line = _Line(self._topic_sender)
        self._queue_line = _Line(self._queue_sender)
        self._waiting: deque[_Pending] = deque()
        self._courier: asyncio.Task[None] | None = None

    async def publish(self, message: Message) -> None:
        pending = _Pending(message=_to_service_bus(message), fate=asyncio.get_running_loop().create_future())
        self._waiting.append(pending)
        if self._courier is None or self._courier.done():
            self._courier = asyncio.create_task(self._send_waiting())
        async with reaching(_PART, self._budget):
            await pending.fate

    async def schedule(self, message: Message, at: datetime) -> int:
        outgoing = _to_service_bus(message)

        async def schedule(sender: ServiceBusSender) -> list[int]:
            return await sender.schedule_messages(outgoing, at.astimezone(UTC))

        async with reaching(_PART, self._queue_budget):
            try:
                sequence_numbers = await self._queue_line.run(schedule)
            except MessageSizeExceededError as error:
                raise _too_large() from error
        return int(sequence_numbers[0])

    async def cancel(self, sequence_number: int) -> None:
        async def cancel(sender: ServiceBusSender) -> None:
            await sender.cancel_scheduled_messages(sequence_number)

        async with reaching(_PART, self._queue_budget):
            with suppress(MessageNotFoundError):
                await self._queue_line.run(cancel)

    async def check(self) -> None:
        """Open a new link to each entity and close it: tells how things are now. Not for every request."""
        async with reaching(_PART, self._budget):
            await asyncio.gather(self._topic_line.probe(), self._queue_line.probe())

    async def close(self) -> None:
        if self._courier is not None:
            await self._courier
        await asyncio.gather(self._topic_line.close(), self._queue_line.close())
        if self._opened is not None:
            await self._opened.close()

    def _client(self) -> ServiceBusClient:
        if self._opened is None:
            self._opened = self._open_client()
        return self._opened

    def _topic_sender(self) -> ServiceBusSender:
        return self._client().get_topic_sender(self._topic)

    def _queue_sender(self) -> ServiceBusSender:
        return self._client().get_queue_sender(self._queue)

    async def _send_waiting(self) -> None:
        while self._waiting:
            together: list[_Pending] = []
            while self._waiting and len(together) < _MOST_TOGETHER:
                pending = self._waiting.popleft()
                if not pending.fate.done():
                    together.append(pending)
            if together:
                await self._send(together)

    async def _send(self, together: Sequence[_Pending]) -> None:
        async def send(sender: ServiceBusSender) -> int:
            return await _send_what_fits(sender, [pending.message for pending in together])

        try:
            async with asyncio.timeout(self._budget.total_seconds()):
                sent = await self._topic_line.run(send)
        except Exception as error:  # noqa: BLE001 whatever the SDK raises, the callers must learn of it
            if len(together) > 1 and not isinstance(error, (OSError, ServiceBusConnectionError)):
                for pending in together:  # it may be for one of them: let it not fail the others
                    if not pending.fate.done():
                        await self._send([pending])
                return
            for pending in together:
                pending.settle(_refusal(error))
        else:
            for pending in together[:sent]:
                pending.settle()
            self._waiting.extendleft(reversed(together[sent:]))


class _Line:
    """One sender to one entity, for one operation at a time: senders are not made for concurrent use."""

    def __init__(self, new_sender: Callable[[], ServiceBusSender]) -> None:
        self._new_sender = new_sender
        self._sender: ServiceBusSender | None = None
        self._turn = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()

    async def run(self, operation: Callable[[ServiceBusSender], Awaitable[T]]) -> T:
        async with self._turn:
            if self._sender is not None:
                try:
                    return await self._attempt(self._sender, operation)
                except (MessageNotFoundError, MessageSizeExceededError):
                    raise  # a new link would bring the same answer
                except AzureError:
                    pass  # Service Bus closes idle links: only a new one tells whether it is away
            self._sender = self._new_sender()
            return await self._attempt(self._sender, operation)

    async def probe(self) -> None:
        sender = self._new_sender()
        try:
            await sender.create_message_batch()
        finally:
            self._discard(sender)

    async def close(self) -> None:
        if self._sender is not None:
            self._discard(self._sender)
        await asyncio.gather(*self._closing)

    async def _attempt(
        self, sender: ServiceBusSender, operation: Callable[[ServiceBusSender], Awaitable[T]]
    ) -> T:
        try:
            return await operation(sender)
        except MessageNotFoundError:
            raise  # the one error that leaves the link in order
        except BaseException:
            self._discard(sender)
            raise

    def _discard(self, sender: ServiceBusSender) -> None:
        if self._sender is sender:
            self._sender = None
        closing = asyncio.create_task(_close(sender))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)


async def _send_what_fits(sender: ServiceBusSender, messages: Sequence[ServiceBusMessage]) -> int:
    if len(messages) > 1:
        batch = await sender.create_message_batch()
        for message in messages:
            try:
                batch.add_message(message)
            except MessageSizeExceededError:
                break
        if len(batch) > 1:
            await sender.send_messages(batch)
            return len(batch)
    await sender.send_messages(messages[0])
    return 1


async def _close(sender: ServiceBusSender) -> None:
    # A link to a service that is away cannot say goodbye; there is nothing to be done about it.
    with suppress(Exception):
        await asyncio.wait_for(sender.close(), _CLOSING_SECONDS)


def _refusal(error: Exception) -> Exception:
    if isinstance(error, MessageSizeExceededError):
        return _too_large()
    away = Unavailable(f"{_PART} cannot be reached")
    away.__cause__ = error
    return away


def _too_large() -> ValueError:
    return ValueError("the message is larger than Service Bus takes: put the result in the payload store")


def _to_service_bus(message: Message) -> ServiceBusMessage:
    properties: dict[str | bytes, int | float | bytes | bool | str | UUID] = dict(message.properties.items())
    return ServiceBusMessage(
        message.body,
        application_properties=properties,
        content_type=message.content_type,
        correlation_id=message.correlation_id,
        message_id=message.message_id,
        session_id=message.session_id,
        subject=message.subject,
    )
