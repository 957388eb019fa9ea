"""Takes HTTP requests for the app's functions and answers them as the Functions host does.

HOST below is https://github.com/Azure/azure-functions-host/blob/dev/src
"""

import asyncio
import hmac
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl

from aiohttp import web
from azure.functions.decorators.core import AuthLevel
from azure.functions.meta import Datum
from multidict import CIMultiDict

from dev.host.configuration import HttpOptions
from dev.host.index import Function, Http, converter
from dev.host.invocation import TraceContext, invoke
from dev.host.routes import Template, split_path

log = logging.getLogger(__name__)

# HOST/WebJobs.Script/ScriptConstants.cs (DefaultMaxRequestBodySize), in bytes
BODY_LIMIT = 104_857_600


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    function: Function
    template: Template
    methods: frozenset[str] | None
    level: AuthLevel


class HttpListener:
    """Routes requests to functions; with a key they ask for it, without one not, as under `func start`."""

    def __init__(self, functions: Iterable[Function], options: HttpOptions, key: str | None) -> None:
        self._routes = [
            Route(
                function=function,
                template=Template.parse(f"{options.prefix}/{function.trigger.route}"),
                methods=function.trigger.methods,
                level=function.trigger.level,
            )
            for function in functions
            if isinstance(function.trigger, Http)
        ]
        self._key = key
        self._outstanding = 0
        self._most_outstanding = options.outstanding
        self._places = asyncio.Semaphore(options.concurrent) if options.concurrent > 0 else None

    def application(self) -> web.Application:
        """Return the aiohttp application that hands every request to this listener."""
        application = web.Application(client_max_size=BODY_LIMIT + 1)
        application.router.add_route("*", r"/{path:[\s\S]*}", self._answer)
        return application

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        # HOST/WebJobs.Script.WebHost/HttpRequestQueue.cs: running requests count as outstanding
        if 0 < self._most_outstanding <= self._outstanding:
            return web.Response(status=429, headers={"X-FUNCTION-SCALEOUT": "1"})
        self._outstanding += 1
        try:
            if self._places is None:
                return await self._dispatch(request)
            async with self._places:
                return await self._dispatch(request)
        finally:
            self._outstanding -= 1

    async def _dispatch(self, request: web.Request) -> web.StreamResponse:
        path, _, query = request.raw_path.partition("?")
        found = self._find(path, request.method)
        if found is None:
            return web.Response(status=404)
        route, parameters = found
        params = _params(query)
        try:
            headers = _headers(request.raw_headers)
        except UnicodeDecodeError:
            return web.Response(status=400)  # Kestrel reads header values as UTF-8 and refuses others
        if not self._allowed(route.level, headers, params):
            return web.Response(status=401)
        try:
            body = await _body(request)
            trigger = _trigger_datum(request, headers, params, parameters, body)
            argument = converter("httpTrigger").decode(trigger, trigger_metadata=None)
            trace = TraceContext.continuing(headers.get("traceparent", ""), headers.get("tracestate", ""))
            answer = await invoke(route.function, argument, trace)
            return _response(converter("http").encode(answer, expected_type=None))
        except Exception:
            # HOST/WebJobs.Script.WebHost/Middleware/ExceptionMiddleware.cs: 500 and no body. None, and
            # whatever else is neither str nor HttpResponse, cannot be encoded and ends here too.
            log.exception("invocation failed", extra={"function": route.function.name})
            return web.Response(status=500)

    def _find(self, path: str, method: str) -> tuple[Route, Mapping[str, str]] | None:
        """Return the first route in the order of function names that takes path and method.

        No literal is preferred, and a method that no route takes is a 404, not a 405.
        HOST/WebJobs.Script.WebHost/WebScriptHostHttpRoutesManager.cs (HttpMethodRouteConstraint)
        """
        segments = split_path(path)
        for route in self._routes:
            if route.methods is None or method.upper() in route.methods:
                parameters = route.template.match(segments)
                if parameters is not None:
                    return route, parameters
        return None

    def _allowed(self, level: AuthLevel, headers: Mapping[str, str], params: Mapping[str, str]) -> bool:
        """Check the key: the header counts before the query, even if it is the wrong one.

        HOST/WebJobs.Script.WebHost/Security/Authentication/Keys/AuthenticationLevelHandler.cs
        """
        if self._key is None or level is AuthLevel.ANONYMOUS:
            return True
        given = headers.get("x-functions-key", params.get("code", ""))
        return hmac.compare_digest(given.encode(), self._key.encode())


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> Mapping[str, str]:
    """Return lower-case names with their values, repeated ones joined by a comma.

    HOST/WebJobs.Script.Grpc/MessageExtensions/GrpcMessageConversionExtensions.cs (ToRpcHttp)
    """
    values: dict[str, list[str]] = {}
    for name, value in raw:
        values.setdefault(name.decode().lower(), []).append(value.decode())
    return {name: _joined(several) for name, several in values.items()}


def _params(query: str) -> Mapping[str, str]:
    """Return the query's values by name, names alike in any case, without those that are empty.

    HOST/WebJobs.Script.Grpc/MessageExtensions/GrpcMessageConversionExtensions.cs (ToRpcHttp)
    """
    values: dict[str, list[str]] = {}
    spelt: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True, errors="replace"):
        values.setdefault(spelt.setdefault(name.lower(), name), []).append(value)
    return {name: joined for name, several in values.items() if (joined := _joined(several))}


def _joined(values: Sequence[str]) -> str:
    """https://learn.microsoft.com/dotnet/api/microsoft.extensions.primitives.stringvalues.tostring"""
    return ",".join(value for value in values if value) if len(values) > 1 else values[0]


async def _body(request: web.Request) -> bytes:
    """Return the exact bytes; nothing if there is no Content-Length: chunked bodies reach no function.

    HOST/WebJobs.Script.Grpc/MessageExtensions/GrpcMessageConversionExtensions.cs (`request.ContentLength >
    0`) Raises ValueError if the body is over the limit; the host answers 500, not 413:
    https://github.com/Azure/azure-functions-host/issues/10519
    """
    length = request.content_length
    if not length:
        return b""
    if length > BODY_LIMIT:
        raise ValueError("request body too large")
    return await request.read()


def _trigger_datum(
    request: web.Request,
    headers: Mapping[str, str],
    params: Mapping[str, str],
    route: Mapping[str, str],
    body: bytes,
) -> Datum:
    # https://github.com/Azure/azure-functions-python-worker (azure_functions_runtime, bindings/datumdef.py)
    return Datum(
        type="http",
        value={
            "method": Datum(request.method, "string"),
            "url": Datum(f"{request.scheme}://{request.host}{request.raw_path}", "string"),
            "headers": {name: Datum(value, "string") for name, value in headers.items()},
            "query": {name: Datum(value, "string") for name, value in params.items()},
            "params": {name: Datum(value, "string") for name, value in route.items()},
            "body": Datum(body, "bytes"),
        },
    )


def _response(answer: Datum) -> web.Response:
    """Turn what azure-functions encoded into a response.

    HOST/WebJobs.Script/Binding/Http/RawScriptResult.cs; of a header set twice the worker keeps the last,
    cookies apart.
    """
    if answer.type == "string":
        return web.Response(text=answer.value, content_type="text/plain", charset="utf-8")
    headers = CIMultiDict((name, datum.value) for name, datum in answer.value["headers"].items())
    for cookie in answer.value["cookies"] or ():
        for morsel in cookie.values():
            headers.add("Set-Cookie", morsel.OutputString())
    return web.Response(
        status=int(answer.value["status_code"].value), headers=headers, body=answer.value["body"].value
    )
