"""The consumer as a function: the same work, with the receiving left to Azure Functions.

The host completes the message after the function has returned, which is after the commit. It abandons it at
once when the function raises: what may pass has ten tries within seconds, and a poison message goes to the
dead letters after as many, with MaxDeliveryCountExceeded as the reason; the log has ours. Where outages of
your database are to be waited for, take the other consumer.

Deployed, it is an app of its own: this file with a host.json at the root, and examples/consumer beside it.
"""

import logging
import os
from functools import cache
from pathlib import Path

import azure.functions as func

from examples.consumer.database import Database
from examples.consumer.outcomes import take
from examples.consumer.payloads import Payloads

logging.getLogger("azure").setLevel(logging.WARNING)
app = func.FunctionApp()


@cache
def _database() -> Database:
    # Opened at the first message, in the thread in which all are worked on.
    return Database(Path(os.environ["DATABASE"]))


# BINARY: as text, the names in a JSON body would replace the message's own metadata.
@app.service_bus_topic_trigger(
    "message",
    topic_name="job-events",
    subscription_name="outcomes",
    connection="SERVICEBUS",
    data_type=func.DataType.BINARY,
)
async def record_outcome(message: func.ServiceBusMessage) -> None:
    properties = message.application_properties or {}
    async with Payloads(os.environ["PAYLOAD_STORE"]) as payloads:
        await take(message.get_body(), properties.get("traceparent"), _database(), payloads)
