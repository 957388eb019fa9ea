"""The HTTP surface, without a web framework: a request in, a response out, and every error in one place.

https://www.rfc-editor.org/rfc/rfc9457 is how errors are told; a problem's `type` is stable.
"""

import asyncio
import hashlib
import hmac
import json
import logging
import math
import re
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from pydantic import ValidationError

from services import tokens
from services.errors import (
    CallerError,
    HookbusError,
    NotUnderstood,
    NotVerified,
    OperatorError,
    Unavailable,
    stack_of,
)
from services.jsons import parse_object
from services.lifecycle import CancelRequested
from services.models import Delivery, Job, JsonObject, Status, Stored, is_id, is_traceparent
from services.openapi import document
from services.receive import ReceiveWebhook
from services.start import JobRequest, StartJob, explain

PROBLEM = "urn:hookbus:problem:"
MAX_KEY_LENGTH = 255
CHECK_TIMEOUT = 5
READY_FOR = timedelta(seconds=5)
_ADDRESS = re.compile(r"([^/?#]*//[^/?#]*)([^#]*)")
_ORIGIN = re.compile(r"https?://([A-Za-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?", re.ASCII)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as it arrived: header names in lower case, the body's exact bytes."""

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    traceparent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What to answer."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)


@dataclass(slots=True, kw_only=True)
class Api:
    """Everything that is served over HTTP."""

    start: StartJob
    receive: ReceiveWebhook
    public_url: str
    max_request_bytes: int
    health_key: str = field(default="", repr=False)
    _checked: tuple[datetime, Mapping[str, str]] | None = None
    _checking: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)

    async def start_job(self, request: Request, provider: str) -> Response:
        """POST /api/jobs/{provider}"""
        return await _answered(self._start_job(request, provider))

    async def read_job(self, request: Request, job_id: str) -> Response:
        """GET /api/jobs/{job_id}"""
        return await _answered(self._read_job(request, job_id))

    async def cancel_job(self, request: Request, job_id: str) -> Response:
        """DELETE /api/jobs/{job_id}"""
        return await _answered(self._cancel_job(request, job_id))

    async def receive_webhook(self, request: Request, provider: str, token: str | None) -> Response:
        """POST /api/webhooks/{provider} and /api/webhooks/{provider}/{token}; GET, HEAD, OPTIONS to set up"""
        return await _answered(self._receive_webhook(request, provider, token))

    async def health(self, request: Request, probe: str) -> Response:
        """GET /api/health/live and /api/health/ready"""
        return await _answered(self._health(request, probe))

    async def openapi(self, request: Request) -> Response:
        """GET /api/openapi.json"""
        return await _answered(self._openapi(request))

    async def _start_job(self, request: Request, provider: str) -> Response:
        asked = self._read_request(request)
        respond_async = "respond-async" in _preferences(request.headers.get("prefer", ""))
        job, made = await self.start(
            provider,
            asked,
            idempotency_key=_idempotency_key(request),
            respond_async=respond_async,
            traceparent=_traceparent(request),
        )
        if made and job.status is Status.FAILED and job.failure:
            raise CallerError(422, "provider-refused", job.failure.message, job_id=job.id)
        headers = {"Location": f"{self._origin(request)}/api/jobs/{job.id}"} | self._retry_after(job)
        if respond_async:
            headers["Preference-Applied"] = "respond-async"
        return _json(202 if made else 200, represent(job), headers)

    async def _read_job(self, request: Request, job_id: str) -> Response:
        stored = await self._load(job_id)
        etag = f'"{hashlib.sha256(stored.version.encode()).hexdigest()[:16]}"'
        headers = {"ETag": etag, "Cache-Control": "private, no-cache"} | self._retry_after(stored.job)
        if _names_etag(request.headers.get("if-none-match", ""), etag):
            return Response(status=304, headers=headers)
        return _json(200, represent(stored.job), headers)

    async def _cancel_job(self, _: Request, job_id: str) -> Response:
        stored = await self._load(job_id)
        unsaid = stored.job.status is Status.CANCELED and not stored.job.published
        if unsaid or not stored.job.status.settled:
            job = await self.start.jobs.move(stored, CancelRequested())
            if job.status is Status.CANCELED:
                return _json(202, represent(job))
            stored = replace(stored, job=job)
        raise CallerError(
            409, "already-settled", f"the job has ended already: {stored.job.status}", job_id=job_id
        )

    async def _receive_webhook(self, request: Request, provider: str, token: str | None) -> Response:
        _, path = _split(request.url)
        delivery = Delivery(
            method=request.method,
            url=self.public_url + path,
            headers=request.headers,
            body=request.body,
            received_at=self.start.jobs.clock.now(),
        )
        answer = await self.receive(provider, token, delivery, traceparent=_traceparent(request))
        headers = {"Content-Type": answer.content_type, **answer.headers}
        return Response(status=answer.status, headers=headers, body=answer.body)

    async def _health(self, request: Request, probe: str) -> Response:
        if probe == "live":
            return _json(200, {"status": "ok"})
        if probe != "ready":
            raise CallerError(404, "unknown-probe", "there are /api/health/live and /api/health/ready")
        parts = await self._check()
        well = all(state == "ok" for state in parts.values())
        said: JsonObject = {"status": "ok" if well else "unavailable"}
        key = request.headers.get("x-functions-key") or request.query.get("code", "")
        if self.health_key and hmac.compare_digest(key.encode("utf-8", "replace"), self.health_key.encode()):
            said["parts"] = dict(parts)
        return _json(200 if well else 503, said, {} if well else {"Retry-After": "5"})

    def _origin(self, request: Request) -> str:
        return _split(request.url)[0] or self.public_url

    async def _openapi(self, request: Request) -> Response:
        providers = self.start.jobs.attempt.providers
        return _json(200, document(providers, server=self._origin(request)))

    async def _check(self) -> Mapping[str, str]:
        async with self._checking:
            now = self.start.jobs.clock.now()
            if self._checked is None or now - self._checked[0] >= READY_FOR:
                jobs = self.start.jobs
                parts = {
                    "job_store": jobs.store.load("readiness"),
                    "payload_store": jobs.payloads.names("spool/", 1),
                    "service_bus": jobs.bus.check(),
                    "secrets": jobs.attempt.secrets.newest(tokens.KEY_NAME),
                }
                states = await asyncio.gather(*map(_state, parts.values()))
                self._checked = (now, dict(zip(parts, states, strict=True)))
            return self._checked[1]

    async def _load(self, job_id: str) -> Stored:
        stored = await self.start.jobs.store.load(job_id) if is_id(job_id) else None
        if stored is None:
            raise CallerError(404, "unknown-job", "there is no job with this id")
        return stored

    def _read_request(self, request: Request) -> JobRequest:
        if len(request.body) > self.max_request_bytes:
            raise CallerError(413, "body-too-large", f"a request has at most {self.max_request_bytes} bytes")
        if not request.body and "content-length" not in request.headers:
            raise CallerError(411, "length-required", "send the body with its Content-Length, not in chunks")
        try:
            return JobRequest.model_validate(parse_object(request.body))
        except NotUnderstood as error:
            raise CallerError(400, "invalid-json", str(error)) from None
        except ValidationError as error:
            raise CallerError(400, "invalid-request", explain(error, "body")) from None

    def _retry_after(self, job: Job) -> dict[str, str]:
        if job.status.settled:
            return {}
        age = (self.start.jobs.clock.now() - job.created_at).total_seconds()
        return {"Retry-After": str(min(max(math.ceil(age / 10), 1), 60))}


def represent(job: Job) -> JsonObject:
    """Show a job to its caller."""
    return {
        "id": job.id,
        "provider": job.provider,
        "operation": job.operation,
        "status": job.status,
        "external_id": job.external_id,
        "metadata": dict(job.metadata),
        "created_at": job.created_at.isoformat(),
        "updated_at": job.updated_at.isoformat(),
        "deadline_at": job.deadline_at.isoformat(),
        "settled_at": job.settled_at.isoformat() if job.settled_at else None,
        "attempts": job.attempts,
        "result": job.result,
        "result_url": job.result_ref,
        "error": {"code": job.failure.code, "message": job.failure.message} if job.failure else None,
        "history": [
            {
                "at": entry.at.isoformat(),
                "event": entry.event,
                "detail": entry.detail,
                "elapsed_ms": entry.elapsed_ms,
            }
            for entry in job.history
        ],
    }


def problem(error: HookbusError) -> Response:
    """Tell of an error: who must act, and how; nothing that only the operator should see."""
    headers: dict[str, str] = {}
    extra: JsonObject = {}
    match error:
        case CallerError():
            status, name, detail = error.status, error.problem, error.detail
            if error.allow:
                headers["Allow"] = error.allow
            if error.job_id:
                extra["job_id"] = error.job_id
        case NotVerified():
            status, name = 401, "not-verified"
            detail = (
                "the delivery is not signed as this endpoint needs: check the secret, the bytes and the clock"
            )
        case Unavailable():
            status, name, detail = (
                503,
                "unavailable",
                "try again later; a start with the same Idempotency-Key is not made twice",
            )
            headers["Retry-After"] = str(max(math.ceil(error.retry_after.total_seconds()), 1))
        case _:
            status, name, detail = (
                503,
                "not-set-up",
                "this deployment is not set up rightly; its log says what to mend",
            )
            headers["Retry-After"] = "60"
    said: JsonObject = {
        "type": PROBLEM + name,
        "title": name.replace("-", " "),
        "status": status,
        "detail": detail,
    }
    headers["Content-Type"] = "application/problem+json"
    return Response(status=status, headers=headers, body=json.dumps(said | extra).encode())


async def _answered(work: Awaitable[Response]) -> Response:
    try:
        return await work
    except OperatorError as error:
        _log.error("request.not_set_up", extra={"error": str(error)})
        return problem(error)
    except HookbusError as error:
        return problem(error)
    except Exception as error:  # noqa: BLE001 - logged below
        # A bug of ours must not make a sender give up: it is told as "later".
        _log.error("request.failed", extra={"error": type(error).__name__, "stack": stack_of(error)})
        return problem(Unavailable("unexpected"))


async def _state(check: Awaitable[object]) -> str:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            await check
    except (HookbusError, TimeoutError) as error:
        return type(error).__name__
    return "ok"


def _json(status: int, value: JsonObject, headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        status=status,
        headers={"Content-Type": "application/json", **(headers or {})},
        body=json.dumps(value).encode(),
    )


def _split(url: str) -> tuple[str, str]:
    """Take an address apart: its origin ("" if the caller's Host makes none), and its path with the query."""
    found = _ADDRESS.match(url)
    return (found[1] if _ORIGIN.fullmatch(found[1]) else "", found[2]) if found else ("", "")


def _preferences(header: str) -> set[str]:
    """Read Prefer, https://www.rfc-editor.org/rfc/rfc7240#section-2."""
    return {one.partition(";")[0].strip().lower() for one in header.split(",")}


def _names_etag(header: str, etag: str) -> bool:
    """Compare weakly, https://www.rfc-editor.org/rfc/rfc9110#field.if-none-match."""
    named = {tag.strip().removeprefix("W/") for tag in header.split(",")}
    return etag in named or "*" in named


def _idempotency_key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not (1 <= len(key) <= MAX_KEY_LENGTH and key.isascii() and key.isprintable()):
        raise CallerError(
            400,
            "invalid-idempotency-key",
            f"an Idempotency-Key has 1 to {MAX_KEY_LENGTH} printable characters",
        )
    return key


def _traceparent(request: Request) -> str | None:
    """Take the host's own span, which continues the caller's trace; the caller's where there is none."""
    found = (request.traceparent, request.headers.get("traceparent"))
    return next((one for one in found if is_traceparent(one)), None)
