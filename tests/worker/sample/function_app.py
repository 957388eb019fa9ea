"""A small app that says what Microsoft's worker library gave it."""

import json
import sys
from pathlib import Path
from typing import Any

import azure.functions as func

app = func.FunctionApp()


@app.route("echo")
async def echo(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    seen = {
        "method": req.method,
        "url": req.url,
        "headers": dict(req.headers),
        "params": dict(req.params),
        "route": dict(req.route_params),
        "body": req.get_body().hex(),
        "context": [
            context.invocation_id,
            context.function_name,
            context.function_directory,
            context.trace_context.trace_parent,
            context.retry_context.retry_count,
        ],
        "last place": sys.path[-1],
        "working directory": str(Path.cwd()),
    }
    response = func.HttpResponse(json.dumps(seen), headers={"X-Two": "1"}, mimetype="application/json")
    response.headers.add("X-Two", "2")
    response.headers.add("Set-Cookie", "a=1")
    response.headers.add("Set-Cookie", "b=2")
    return response


@app.route("empty")
async def empty(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(f"{len(req.get_body())} bytes")


@app.route("nothing")
async def nothing(req: func.HttpRequest) -> func.HttpResponse:
    return None  # type: ignore[return-value]  # on purpose


@app.route("text")
async def text(req: func.HttpRequest) -> str:
    return '{"a": 1}'


@app.route("failure")
async def failure(req: func.HttpRequest) -> func.HttpResponse:
    raise LookupError("a reason")


@app.service_bus_queue_trigger(
    arg_name="message", queue_name="q", connection="BUS", data_type=func.DataType.BINARY
)
async def take(message: func.ServiceBusMessage) -> None:
    seen = {
        "body": message.get_body().hex(),
        "message_id": message.message_id,
        "delivery_count": message.delivery_count,
        "sequence_number": message.sequence_number,
        "label": message.label,
        "subject": message.subject,
        "session_id": message.session_id,
        "correlation_id": message.correlation_id,
        "content_type": message.content_type,
        "application_properties": message.application_properties,
        "user_properties": message.user_properties,
        "enqueued": message.enqueued_time_utc and [message.enqueued_time_utc.isoformat()],
        "locked_until": message.locked_until,
        "scheduled": message.scheduled_enqueue_time_utc,
    }
    raise ValueError(json.dumps(seen))  # the worker hands on nothing else that a queue's function says


@app.service_bus_queue_trigger(
    arg_name="message", queue_name="q", connection="BUS", data_type=func.DataType.BINARY
)
async def talk(message: func.ServiceBusMessage) -> str:
    return "to nobody"


@app.timer_trigger(arg_name="timer", schedule="0 * * * * *")
def tick(timer: func.TimerRequest) -> None:
    told: Any = timer  # its class in azure-functions is not the one that it is declared to be
    raise ValueError(json.dumps([told.past_due, told.schedule_status, told.schedule]))
