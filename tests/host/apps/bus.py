"""Writes down each message that it gets, and does what its body says."""

import asyncio
import json
import os
from pathlib import Path

import azure.functions as func

app = func.FunctionApp()
RECORD = Path(os.environ["RECORD"])


@app.service_bus_queue_trigger(
    arg_name="message", queue_name="%QUEUE%", connection="BUS", data_type=func.DataType.BINARY
)
async def take(message: func.ServiceBusMessage, context: func.Context) -> str | None:
    words = message.get_body().split(b" ")
    seen = {
        "body": message.get_body().hex(),
        "parent": context.trace_context.trace_parent,
        "content_type": message.content_type,
        "correlation_id": message.correlation_id,
        "delivery_count": message.delivery_count,
        "enqueued": repr(message.enqueued_time_utc.tzinfo) if message.enqueued_time_utc else None,
        "expires": repr(message.expires_at_utc.tzinfo) if message.expires_at_utc else None,
        "label": message.label,
        "lock_token": message.lock_token,
        "locked_until": message.locked_until,
        "message_id": message.message_id,
        "reply_to": message.reply_to,
        "reply_to_session_id": message.reply_to_session_id,
        "scheduled": message.scheduled_enqueue_time_utc,
        "sequence_number": message.sequence_number,
        "session_id": message.session_id,
        "subject": message.subject,
        "to": message.to,
        "application_properties": message.application_properties,
        "user_properties": message.user_properties,
        "metadata": sorted(message.metadata or {}),
    }
    write(f"{message.message_id}-{message.delivery_count}", seen)
    if words[0] == b"raise":
        raise ValueError("as asked")
    if words[0] == b"return":
        return "a value that nothing takes"
    if words[0] == b"wait":
        while not (RECORD / words[1].decode()).exists():
            await asyncio.sleep(0.01)
    return None


@app.service_bus_topic_trigger(
    arg_name="news",
    topic_name="news",
    subscription_name="mine",
    connection="BUS",
    data_type=func.DataType.BINARY,
)
def hear(news: func.ServiceBusMessage) -> None:
    write(f"news-{news.message_id}", {"body": news.get_body().hex()})


def write(name: str, seen: object) -> None:
    unfinished = RECORD / f"{name}.part"
    unfinished.write_text(json.dumps(seen))
    unfinished.rename(RECORD / f"{name}.json")
