"""The OpenAPI document of what is served, made from the providers that are set up."""

from collections.abc import Mapping
from typing import Any

from services.models import Status
from services.providers.base import Provider
from services.start import JobRequest

VERSION = "0.1.0"
_STATUSES = [status.value for status in Status if status is not Status.UNKNOWN]
_TIME = {"type": "string", "format": "date-time"}
_TIME_OR_NULL = {"type": ["string", "null"], "format": "date-time"}
_TEXT_OR_NULL = {"type": ["string", "null"]}


def document(providers: Mapping[str, Provider], *, server: str) -> dict[str, Any]:
    """Describe the API, https://spec.openapis.org/oas/v3.1.0."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Hookbus",
            "version": VERSION,
            "description": "Starts third-party jobs, takes their callbacks, settles one outcome a job.",
        },
        "servers": [{"url": server}],
        "security": [{"key": []}],
        "paths": {
            # One path, for OpenAPI takes templates that differ by name only as the same:
            # https://spec.openapis.org/oas/v3.1.0#path-templating
            "/api/jobs/{name}": {"post": _start(sorted(providers)), "get": _read(), "delete": _cancel()},
            "/api/webhooks/{provider}": _webhook(token=False),
            "/api/webhooks/{provider}/{token}": _webhook(token=True),
            "/api/health/{probe}": {"get": _health()},
            "/api/openapi.json": {
                "get": {
                    "operationId": "readOpenApi",
                    "responses": {"200": _answer("This document.", {"type": "object"})} | _NO_KEY,
                }
            },
        },
        "components": {
            "schemas": {
                "JobRequest": JobRequest.model_json_schema(
                    ref_template="#/components/schemas/JobRequest/$defs/{model}"
                ),
                "Job": _JOB,
                "Problem": _PROBLEM,
                **_models(providers),
            },
            "securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "x-functions-key"}},
        },
    }


def _models(providers: Mapping[str, Provider]) -> dict[str, Any]:
    found = {}
    for provider in providers.values():
        for operation_name, operation in provider.operations.items():
            for role, model in (("input", operation.input), ("result", operation.result)):
                name = f"{role}.{provider.name}.{operation_name}"
                reference = f"#/components/schemas/{name}/$defs/{{model}}"
                found[name] = model.model_json_schema(ref_template=reference)
    return found


def _start(providers: list[str]) -> dict[str, Any]:
    return {
        "operationId": "startJob",
        "summary": "Start a job at a provider and return at once",
        "description": "The schema of `input` is `input.{provider}.{operation}` among the components; "
        "that of the job's `result` is `result.{provider}.{operation}`.",
        "parameters": [
            _in_path("name", {"type": "string", "enum": providers}, "The provider's name."),
            _header("Idempotency-Key", {"type": "string", "minLength": 1, "maxLength": 255}),
            _header("Prefer", {"type": "string", "examples": ["respond-async"]}),
            _header("traceparent", {"type": "string"}),
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": _ref("JobRequest")}}},
        "responses": {
            "202": _answer("Accepted.", _ref("Job"), "Location", "Retry-After", "Preference-Applied"),
            "200": _answer(
                "The job that this Idempotency-Key made before.", _ref("Job"), "Location", "Retry-After"
            ),
        }
        | _refusals(400, 404, 411, 413, 422, 503)
        | _NO_KEY,
    }


def _read() -> dict[str, Any]:
    return {
        "operationId": "readJob",
        "summary": "Ask how a job stands",
        "parameters": [_JOB_ID, _header("If-None-Match", {"type": "string"})],
        "responses": {
            "200": _answer("The job.", _ref("Job"), "ETag", "Retry-After", "Cache-Control"),
            "304": {"description": "Unchanged.", "headers": _headers("ETag", "Retry-After", "Cache-Control")},
        }
        | _refusals(404, 503)
        | _NO_KEY,
    }


def _cancel() -> dict[str, Any]:
    return {
        "operationId": "cancelJob",
        "summary": "Cancel a job here, and at the provider where it can be",
        "parameters": [_JOB_ID],
        "responses": {"202": _answer("Canceled.", _ref("Job"))} | _refusals(404, 409, 503) | _NO_KEY,
    }


def _webhook(*, token: bool) -> dict[str, Any]:
    parts = {"provider": "The provider's name."}
    if token:
        parts["token"] = "The token that the callback's address was given with."  # noqa: S105 - a description
    at = "At" if token else ""
    taken = {"2XX": {"description": "Taken; the answer is what this provider wants."}}
    path: dict[str, Any] = {
        "parameters": [_in_path(name, {"type": "string"}, meaning) for name, meaning in parts.items()],
        "post": {
            "operationId": f"receiveWebhook{at}",
            "summary": "Take a callback; its signature is its authentication",
            "security": [],
            "requestBody": {"required": True, "content": {"*/*": {"schema": {}}}},
            "responses": taken | _refusals(401, 404, 411, 413, 503),
        },
    }
    for method in ("get", "head", "options"):
        path[method] = {
            "operationId": f"shakeHands{at}By{method.capitalize()}",
            "summary": "Answer a provider that makes sure whose address this is, before it sends callbacks",
            "security": [],
            "responses": taken | _refusals(400, 401, 404, 405, 503),
        }
    return path


def _health() -> dict[str, Any]:
    state = {
        "type": "object",
        "required": ["status"],
        "properties": {"status": {"enum": ["ok", "unavailable"]}, "parts": {"type": "object"}},
    }
    return {
        "operationId": "health",
        "security": [],
        "parameters": [_in_path("probe", {"type": "string", "enum": ["live", "ready"]}, "What to ask.")],
        "responses": {"200": _answer("Well.", state), "503": _answer("Not well.", state, "Retry-After")}
        | _refusals(404),
    }


def _refusals(*statuses: int) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": _ref("Problem")}}
    return {
        str(status): {
            "description": "See the problem's type and detail.",
            "headers": _headers(*{405: ("Allow",), 503: ("Retry-After",)}.get(status, ())),
            "content": content,
        }
        for status in statuses
    }


def _answer(description: str, schema: dict[str, Any], *headers: str) -> dict[str, Any]:
    return {
        "description": description,
        "headers": _headers(*headers),
        "content": {"application/json": {"schema": schema}},
    }


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"schema": {"type": "string"}} for name in names}


def _in_path(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": schema, "description": description}


def _header(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "header", "schema": schema}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


_JOB_ID = _in_path("name", {"type": "string"}, "The job's id.")
_NO_KEY = {"401": {"description": "The function key is missing or wrong."}}
_JOB: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "id": {"type": "string"},
        "provider": {"type": "string"},
        "operation": {"type": "string"},
        "status": {"enum": _STATUSES},
        "external_id": _TEXT_OR_NULL,
        "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
        "created_at": _TIME,
        "updated_at": _TIME,
        "deadline_at": _TIME,
        "settled_at": _TIME_OR_NULL,
        "attempts": {"type": "integer", "minimum": 0},
        "result": {"type": ["object", "null"]},
        "result_url": _TEXT_OR_NULL | {"description": "Where the outcome's data lies if it is over 192 KiB."},
        "error": {
            "type": ["object", "null"],
            "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
            "required": ["code", "message"],
            "additionalProperties": False,
        },
        "history": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["at", "event", "detail", "elapsed_ms"],
                "properties": {
                    "at": _TIME,
                    "event": {"type": "string"},
                    "detail": _TEXT_OR_NULL,
                    "elapsed_ms": {"type": ["integer", "null"]},
                },
            },
        },
    },
}
_JOB["required"] = list(_JOB["properties"])
_PROBLEM: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "additionalProperties": False,
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "job_id": {"type": "string"},
    },
}
