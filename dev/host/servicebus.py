"""Wakes functions by Service Bus messages under peek-lock, as the Functions host's extension does.

A message is completed after its function returned and abandoned at once after it raised; if the host dies in
between, its lock runs out and the broker gives it out again. Nothing is settled twice: each receiver has one
message in hand. EXTENSION below is https://github.com/Azure/azure-sdk-for-net,
sdk/servicebus/Microsoft.Azure.WebJobs.Extensions.ServiceBus
"""

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import azure.functions as func
from azure.functions.meta import Datum
from azure.servicebus import ServiceBusReceivedMessage
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver
from azure.servicebus.exceptions import ServiceBusError

from dev.host.configuration import ConfigurationError, ServiceBusOptions
from dev.host.index import Function, ServiceBus, converter
from dev.host.invocation import TraceContext, invoke

log = logging.getLogger(__name__)

WAIT = 60.0  # seconds that one receive call waits for a message
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0  # seconds between attempts to reach the broker


class ServiceBusListener:
    """Receives for one function. It opens a further receiver when all are busy, up to maxConcurrentCalls."""

    def __init__(
        self, function: Function, trigger: ServiceBus, options: ServiceBusOptions, connection: str
    ) -> None:
        """Raises ConfigurationError if `connection` is no connection string."""
        try:
            self._client = ServiceBusClient.from_connection_string(connection, retry_total=1)
        except ValueError as error:
            raise ConfigurationError(
                f"{trigger.connection} is no Service Bus connection string: {error}"
            ) from error
        self._function = function
        self._trigger = trigger
        self._options = options
        self._receivers: set[asyncio.Task[None]] = set()
        self._idle: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._reachable = True

    def start(self) -> None:
        """Begin to receive. Needs a running event loop."""
        self._open()

    async def stop(self) -> None:
        """Take no further message, and return when the functions that run have ended and are settled."""
        self._stopping = True
        for task in self._idle:
            task.cancel()
        await asyncio.gather(*self._receivers, return_exceptions=True)
        await self._client.close()

    def _open(self) -> None:
        task = asyncio.create_task(self._receive(), name=f"receiver of {self._function.name}")
        self._receivers.add(task)
        self._idle.add(task)
        task.add_done_callback(self._receivers.discard)
        task.add_done_callback(self._idle.discard)

    async def _receive(self) -> None:
        pause = FIRST_PAUSE
        while not self._stopping:
            try:
                async with self._receiver() as receiver:
                    self._reached()
                    pause = FIRST_PAUSE
                    while not self._stopping:
                        for message in await receiver.receive_messages(
                            max_message_count=1, max_wait_time=WAIT
                        ):
                            await self._deliver(receiver, message)
            except Exception as error:  # noqa: BLE001 - a receiver that ends would leave its messages lying for ever
                self._lost(error)
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(pause * 2, LONGEST_PAUSE)

    def _receiver(self) -> ServiceBusReceiver:
        prefetch = self._options.prefetch // self._options.concurrent_calls
        if self._trigger.subscription is None:
            return self._client.get_queue_receiver(self._trigger.entity, prefetch_count=prefetch)
        return self._client.get_subscription_receiver(
            self._trigger.entity, self._trigger.subscription, prefetch_count=prefetch
        )

    def _reached(self) -> None:
        if not self._reachable:
            self._reachable = True
            log.warning("service bus is back", extra={"entity": self._trigger.entity})

    def _lost(self, error: Exception) -> None:
        if self._reachable:
            self._reachable = False
            cause = f"{type(error).__name__}: {error}"
            log.warning(
                "service bus cannot be reached", extra={"entity": self._trigger.entity, "cause": cause}
            )

    async def _deliver(self, receiver: ServiceBusReceiver, message: ServiceBusReceivedMessage) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._idle.discard(task)
        if not self._idle and len(self._receivers) < self._options.concurrent_calls and not self._stopping:
            self._open()
        try:
            succeeded = await self._run(receiver, message)
            await self._settle(receiver, message, succeeded)
        finally:
            self._idle.add(task)

    async def _run(self, receiver: ServiceBusReceiver, message: ServiceBusReceivedMessage) -> bool:
        try:
            async with _lock_kept(receiver, message, self._options.lock_renewal):
                argument = to_function(message)
                await invoke(self._function, argument, _trace(argument.application_properties))
        except Exception:
            properties = {"function": self._function.name, "message_id": message.message_id}
            log.exception("invocation failed", extra=properties)
            return False
        return True

    async def _settle(
        self, receiver: ServiceBusReceiver, message: ServiceBusReceivedMessage, succeeded: bool
    ) -> None:
        """Complete or abandon. What cannot be settled comes again when its lock has run out."""
        try:
            if not succeeded:
                await receiver.abandon_message(message)
            elif self._options.auto_complete:
                await receiver.complete_message(message)
        except (ServiceBusError, ValueError) as error:
            cause = f"{type(error).__name__}: {error}"
            properties = {"entity": self._trigger.entity, "message_id": message.message_id, "cause": cause}
            log.warning("message not settled", extra=properties)


@asynccontextmanager
async def _lock_kept(
    receiver: ServiceBusReceiver, message: ServiceBusReceivedMessage, longest: timedelta
) -> AsyncIterator[None]:
    """Renew the message's lock at half its time, for as long as `longest`.

    The SDK's AutoLockRenewer would end up to a second after the function did, and settling would have to wait
    for it.
    """
    done = asyncio.Event()
    renewal = asyncio.create_task(_renew(receiver, message, datetime.now(UTC) + longest, done))
    try:
        yield
    finally:
        done.set()
        await renewal


async def _renew(
    receiver: ServiceBusReceiver, message: ServiceBusReceivedMessage, last: datetime, done: asyncio.Event
) -> None:
    while (until := message.locked_until_utc) is not None:
        now = datetime.now(UTC)
        wait = (until - now) / 2
        if now + wait > last:
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(done.wait(), wait.total_seconds())
        if done.is_set():
            return
        try:
            await receiver.renew_message_lock(message)
        except Exception as error:  # noqa: BLE001 - whatever becomes of the lock, the function goes on
            cause = f"{type(error).__name__}: {error}"
            log.warning("lock not renewed", extra={"message_id": message.message_id, "cause": cause})
            return


def to_function(message: ServiceBusReceivedMessage) -> func.ServiceBusMessage:
    """Turn a received message into what a function with data_type BINARY and cardinality one gets.

    The metadata and its kinds: EXTENSION/src/Triggers/ServiceBusTriggerBindingStrategy.cs (AddBindingData).
    Numbers, times and dictionaries travel as JSON; the times have no zone, so that they come out naive; unset
    values are left out; LockedUntil, ScheduledEnqueueTimeUtc, State and TimeToLive are not sent at all, so
    these fields are None.
    """
    properties = Datum(json.dumps(_plain(message.application_properties or {})), "json")
    texts = {
        "DeadLetterSource": message.dead_letter_source,
        "LockToken": str(message.lock_token),
        "MessageId": message.message_id,
        "ContentType": message.content_type,
        "ReplyTo": message.reply_to,
        "To": message.to,
        "Subject": message.subject,
        "Label": message.subject,
        "CorrelationId": message.correlation_id,
        "SessionId": message.session_id,
        "ReplyToSessionId": message.reply_to_session_id,
        "PartitionKey": message.partition_key,
    }
    values = {
        "DeliveryCount": (message.delivery_count or 0) + 1,
        "SequenceNumber": message.sequence_number,
        "EnqueuedTimeUtc": _naive(message.enqueued_time_utc),
        "ExpiresAtUtc": _naive(message.expires_at_utc),
    }
    metadata = {
        **{name: Datum(text, "string") for name, text in texts.items() if text is not None},
        **{name: Datum(json.dumps(value), "json") for name, value in values.items() if value is not None},
        "ApplicationProperties": properties,
        "UserProperties": properties,
    }
    body = Datum(b"".join(bytes(part) for part in message.body), "bytes")
    decoded: func.ServiceBusMessage = converter("serviceBusTrigger").decode(body, trigger_metadata=metadata)
    return decoded


def _naive(time: datetime | None) -> str | None:
    return None if time is None else time.astimezone(UTC).replace(tzinfo=None).isoformat()


def _plain(value: object) -> object:
    """Make of application properties what JSON can say; AMQP strings may come as bytes."""
    if isinstance(value, Mapping):
        return {str(_plain(key)): _plain(one) for key, one in value.items()}
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, datetime):
        return value.isoformat()
    return value if isinstance(value, bool | int | float | None) else str(value)


def _trace(properties: Mapping[str, Any]) -> TraceContext:
    parent = properties.get("Diagnostic-Id") or properties.get("traceparent") or ""
    return TraceContext.continuing(parent if isinstance(parent, str) else "")
