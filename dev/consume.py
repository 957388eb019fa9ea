"""Consumes a subscription of the topic job-events: `python -m dev.consume` prints each event as it comes."""

import argparse
import asyncio
import contextlib
import json
import logging
import os
from collections.abc import AsyncGenerator
from typing import Any

from azure.core.messaging import CloudEvent
from azure.servicebus import ServiceBusReceivedMessage
from azure.servicebus.aio import ServiceBusClient

from dev.stack import LOCAL, Ports, read_settings

TOPIC = "job-events"


async def events(
    connection: str, subscription: str
) -> AsyncGenerator[tuple[ServiceBusReceivedMessage, CloudEvent[Any]], None]:
    """Receive events for ever; each is completed when the next one is asked for."""
    async with (
        ServiceBusClient.from_connection_string(connection) as client,
        client.get_subscription_receiver(TOPIC, subscription) as receiver,
    ):
        async for message in receiver:
            yield message, CloudEvent.from_json(str(message))
            await receiver.complete_message(message)


async def _print_events(connection: str, subscription: str) -> None:
    async for message, event in events(connection, subscription):
        print(f"{message.subject}  {event.time:%H:%M:%S}  job {message.correlation_id}")
        print(json.dumps(event.data, indent=2, ensure_ascii=False), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m dev.consume", description=__doc__)
    parser.add_argument("--subscription", default="outcomes", help="outcomes (default) or everything")
    arguments = parser.parse_args()
    ports = Ports.chosen(os.environ)
    connection = os.environ.get("SERVICEBUS") or read_settings(LOCAL, ports)["SERVICEBUS"]
    logging.getLogger("azure").setLevel(logging.CRITICAL)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_print_events(connection, arguments.subscription))


if __name__ == "__main__":
    main()
