"""Reads outcomes until Ctrl-C: `python -m examples.consumer`; without settings, from the local stack.

Settings, named as the app's own: SERVICEBUS (connection string) or SERVICEBUS__fullyQualifiedNamespace (host
name, with this service's identity: Azure Service Bus Data Receiver), PAYLOAD_STORE; and DATABASE, the path of
the SQLite file, and SUBSCRIPTION, `outcomes` if it is not set.

It may be stopped or killed at any moment, and any number of it may run side by side: what was not completed
comes again when its lock has run out, and the database knows it then.
"""

import asyncio
import logging
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from azure.core.exceptions import AzureError
from azure.identity.aio import DefaultAzureCredential
from azure.servicebus import ServiceBusReceivedMessage, parse_connection_string
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver
from azure.servicebus.amqp import AmqpMessageBodyType

from examples.consumer.database import Database
from examples.consumer.outcomes import take
from examples.consumer.payloads import Payloads, Poison

TOPIC = "job-events"
PAUSE = 2.0
"""Seconds between attempts to reach what is away."""
FIELDS = ("type", "job_id", "traceparent", "message_id", "reason", "error", "subscription")

_log = logging.getLogger("examples.consumer")


class WithFields(logging.Formatter):
    """Writes the event, then what was given in `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        given = vars(record)
        return super().format(record) + "".join(f" {name}={given[name]}" for name in FIELDS if name in given)


async def consume(settings: Mapping[str, str]) -> None:
    """Take messages one by one, for ever; open a new receiver when Service Bus was away."""
    subscription = settings.get("SUBSCRIPTION", "outcomes")
    database = Database(Path(settings["DATABASE"]))
    try:
        async with Payloads(settings["PAYLOAD_STORE"]) as payloads:
            while True:
                try:
                    async with (
                        _service_bus(settings) as client,
                        client.get_subscription_receiver(TOPIC, subscription) as receiver,
                    ):
                        _log.info("consumer.listening", extra={"subscription": subscription})
                        async for message in receiver:
                            await _settle(receiver, message, database, payloads)
                except AzureError as error:
                    # A message whose lock was lost is among these: it comes again.
                    _log.warning("consumer.lost_the_bus", extra={"error": type(error).__name__})
                    await asyncio.sleep(PAUSE)
    finally:
        database.close()


async def _settle(
    receiver: ServiceBusReceiver, message: ServiceBusReceivedMessage, database: Database, payloads: Payloads
) -> None:
    """Work on a message, and only then complete it, or dead-letter it; wait in between for what may pass."""
    while True:
        try:
            await take(_body(message), _traceparent(message), database, payloads)
        except Poison as poison:
            told = {"message_id": message.message_id, "reason": poison.reason}
            _log.warning("message.dead_lettered", extra=told)
            return await receiver.dead_letter_message(
                message, reason=poison.reason, error_description=poison.description
            )
        except (sqlite3.OperationalError, AzureError) as error:
            told = {"message_id": message.message_id, "error": type(error).__name__}
            _log.warning("message.waits", extra=told)
            await asyncio.sleep(PAUSE)
        else:
            return await receiver.complete_message(message)


def _body(message: ServiceBusReceivedMessage) -> bytes:
    if message.body_type is not AmqpMessageBodyType.DATA:
        raise Poison("not_an_event", "the body is no bytes")
    return b"".join(bytes(part) for part in message.body)


def _traceparent(message: ServiceBusReceivedMessage) -> str | None:
    """Read the caller's place in the trace. https://www.w3.org/TR/trace-context/"""
    value = (message.application_properties or {}).get(b"traceparent")
    return value.decode("ascii", "replace") if isinstance(value, bytes) else None


@asynccontextmanager
async def _service_bus(settings: Mapping[str, str]) -> AsyncIterator[ServiceBusClient]:
    if connection := settings.get("SERVICEBUS"):
        async with ServiceBusClient.from_connection_string(connection) as client:
            yield client
    else:
        namespace = settings["SERVICEBUS__fullyQualifiedNamespace"]
        async with DefaultAzureCredential() as credential, ServiceBusClient(namespace, credential) as client:
            yield client


def _settings(environment: Mapping[str, str]) -> Mapping[str, str]:
    """Read the environment, or what the local stack runs on; raises SystemExit that says what is wrong."""
    if not {"SERVICEBUS", "SERVICEBUS__fullyQualifiedNamespace"} & environment.keys():
        from dev.stack import LOCAL, Ports, read_settings

        local = read_settings(LOCAL, Ports.chosen(environment)) | {"DATABASE": str(LOCAL / "consumer.db")}
        return {**local, **environment}
    if missing := {"DATABASE", "PAYLOAD_STORE"} - environment.keys():
        raise SystemExit(f"set {' and '.join(sorted(missing))} in the environment")
    if connection := environment.get("SERVICEBUS"):
        try:
            parse_connection_string(connection)
        except ValueError:  # its words may show the key
            raise SystemExit("SERVICEBUS must be a connection string as Azure shows it") from None
    return environment


async def _until_stopped(settings: Mapping[str, str]) -> None:
    work = asyncio.create_task(consume(settings))
    # Ctrl-C cancels by itself, https://docs.python.org/3/library/asyncio-runner.html#handling-keyboard-interruption
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, work.cancel)
    with suppress(asyncio.CancelledError):
        await work
    _log.info("consumer.stopped")


def main() -> int:
    handler = logging.StreamHandler()
    handler.setFormatter(WithFields("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("azure").setLevel(logging.CRITICAL)  # it logs each reconnect; we log one line
    asyncio.run(_until_stopped(_settings(os.environ)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
