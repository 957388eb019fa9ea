"""Says what it got over HTTP, and answers in every way that a function can."""

import asyncio
import http
import json
import threading
from pathlib import Path
from typing import Any

import azure.functions as func

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)


@app.route("echo/{name?}")
async def echo(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(
        json.dumps(
            {
                "method": req.method,
                "url": req.url,
                "headers": dict(req.headers),
                "params": dict(req.params),
                "route": dict(req.route_params),
                "body": req.get_body().hex(),
            }
        ),
        mimetype="application/json",
    )


@app.route("context")
async def context_seen(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    seen = {
        "invocation": context.invocation_id,
        "name": context.function_name,
        "directory": context.function_directory,
        "parent": context.trace_context.trace_parent,
        "state": context.trace_context.trace_state,
        "retries": context.retry_context.retry_count,
    }
    return func.HttpResponse(json.dumps(seen), mimetype="application/json")


@app.route("answer/{kind}")
async def answer(req: func.HttpRequest) -> func.HttpResponse:
    kinds: Any = {
        "none": None,
        "text": "a str",
        "number": 7,
        "empty": func.HttpResponse(),
        "bytes": func.HttpResponse(b"\x00\xff", mimetype="application/octet-stream"),
        "status": func.HttpResponse(status_code=http.HTTPStatus.ACCEPTED, headers={"Location": "/x"}),
        "not modified": func.HttpResponse(status_code=304, headers={"ETag": '"1"'}),
        "typed": func.HttpResponse("{}", headers={"Content-Type": "application/problem+json"}),
        "latin": func.HttpResponse("ä", mimetype="text/plain", charset="latin-1"),
        "json": func.HttpResponse("{}", mimetype="application/json"),
    }
    kind = req.route_params["kind"]
    if kind == "raise":
        raise LookupError("a reason that nobody outside may read")
    if kind == "cancel":
        raise asyncio.CancelledError
    if kind == "split":
        return func.HttpResponse("", mimetype="text/plain\r\nX-Injected: 1")
    response = func.HttpResponse("cookies")
    response.headers.add("Set-Cookie", "a=1; Path=/")
    response.headers.add("Set-Cookie", "b=2; HttpOnly")
    chosen: func.HttpResponse = {**kinds, "cookies": response}[kind]
    return chosen


@app.route("thread")
def thread(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("loop" if threading.current_thread() is threading.main_thread() else "thread")


@app.route("posts", methods=["POST"])
async def posts(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("post")


@app.route("reads", methods=["GET"])
async def reads(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("get")


@app.route("order/literal")
async def second(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("literal")


@app.function_name("First")
@app.route("order/{anything}")
async def first(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("parameter")


@app.route("typed/{id:int}")
async def typed(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(req.route_params["id"])


@app.route("files/{*rest}")
async def files(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(req.route_params.get("rest", "-"))


@app.route("locked", auth_level=func.AuthLevel.FUNCTION)
async def locked(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("open")


@app.route("masters", auth_level=func.AuthLevel.ADMIN)
async def master(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("open")


@app.route("slow")
async def slow(req: func.HttpRequest) -> func.HttpResponse:
    """Write the file that the query names, and end when it is gone."""
    flag = Path(req.params["flag"])
    flag.touch()  # noqa: ASYNC240 - a tiny local file
    while flag.exists():  # noqa: ASYNC240 - the test takes the file away
        await asyncio.sleep(0.01)
    return func.HttpResponse("done")
