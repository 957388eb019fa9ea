"""Hookbus as Azure Functions sees it: each function turns a trigger into values, values into an answer."""

import os

import azure.functions as func

from services.api import Request, Response
from services.bootstrap import QUEUE, build
from services.models import Message

hookbus = build(os.environ)
app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)


@app.route("jobs/{provider}", methods=[func.HttpMethod.POST])
async def start_job(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    return _answer(await hookbus.api.start_job(_request(req, context), req.route_params["provider"]))


@app.route("jobs/{job_id}", methods=[func.HttpMethod.GET])
async def read_job(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    return _answer(await hookbus.api.read_job(_request(req, context), req.route_params["job_id"]))


@app.route("jobs/{job_id}", methods=[func.HttpMethod.DELETE])
async def cancel_job(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    return _answer(await hookbus.api.cancel_job(_request(req, context), req.route_params["job_id"]))


@app.route(
    "webhooks/{provider}/{token?}",
    methods=[func.HttpMethod.POST, func.HttpMethod.GET, func.HttpMethod.HEAD, func.HttpMethod.OPTIONS],
    auth_level=func.AuthLevel.ANONYMOUS,
)
async def receive_webhook(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    provider, token = req.route_params["provider"], req.route_params.get("token")
    return _answer(await hookbus.api.receive_webhook(_request(req, context), provider, token))


@app.route("health/{probe}", methods=[func.HttpMethod.GET], auth_level=func.AuthLevel.ANONYMOUS)
async def health(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    return _answer(await hookbus.api.health(_request(req, context), req.route_params["probe"]))


@app.route("openapi.json", methods=[func.HttpMethod.GET])
async def openapi(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    return _answer(await hookbus.api.openapi(_request(req, context)))


# BINARY: as text, the names in a JSON body would replace the message's own metadata.
@app.service_bus_queue_trigger(
    "message", connection="SERVICEBUS", queue_name=QUEUE, data_type=func.DataType.BINARY
)
async def advance_job(message: func.ServiceBusMessage) -> None:
    named = message.message_id or f"sequence-{message.sequence_number}"
    await hookbus.advance(
        Message(
            message_id=named,
            subject=message.subject or message.label or "",
            session_id=message.session_id or named,
            correlation_id=message.correlation_id or named,
            content_type=message.content_type or "",
            body=message.get_body(),
            properties=message.application_properties or {},
        )
    )


@app.timer_trigger("timer", schedule="0 * * * * *")
async def tidy(timer: func.TimerRequest) -> None:
    await hookbus.tidy()


@app.timer_trigger("timer", schedule="30 */5 * * * *")
async def audit(timer: func.TimerRequest) -> None:
    await hookbus.audit()


def _request(req: func.HttpRequest, context: func.Context) -> Request:
    return Request(
        method=req.method,
        url=req.url,
        headers={name.lower(): value for name, value in req.headers.items()},
        query=req.params,
        body=req.get_body(),
        traceparent=context.trace_context.trace_parent,
    )


def _answer(response: Response) -> func.HttpResponse:
    return func.HttpResponse(response.body, status_code=response.status, headers=dict(response.headers))
