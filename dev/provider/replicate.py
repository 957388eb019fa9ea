"""Replicate's predictions. https://replicate.com/docs/reference/http

A model here repeats its prompt, word by word as language models do; without a prompt it makes an image.
"""

import json
import string
from datetime import UTC, datetime
from urllib.parse import urlsplit

from aiohttp import web

from dev.provider.engine import Document, Engine, Job, News, Refusal, Vendor
from dev.provider.knobs import Knobs
from services.signatures.catalogue import STANDARD_WEBHOOKS

EVENTS = {"start", "output", "logs", "completed"}
# https://replicate.com/docs/topics/webhooks/setup-webhook: without a filter, new outputs and the end.
DEFAULT_EVENTS = ["output", "completed"]
TITLES = {
    400: "Bad request",
    401: "Unauthenticated",
    404: "Not found",
    422: "Invalid input",
    429: "Too many requests",
}


def error(status: int, detail: str = "The request could not be served.", **more: object) -> Document:
    return {"title": TITLES.get(status, "Error"), "detail": detail, "status": status, **more}


class Replicate:
    """Predictions, told of to the address that came with each."""

    def __init__(self, engine: Engine, *, api_key: str, secret: str) -> None:
        self.engine = engine
        self.vendor = Vendor(
            name="replicate", error=error, api_key=api_key, scheme=STANDARD_WEBHOOKS, secret=secret
        )

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/predictions", self.create),
            web.post("/v1/models/{owner}/{name}/predictions", self.create),
            web.get("/v1/predictions/{id}", self.get),
            web.post("/v1/predictions/{id}/cancel", self.cancel),
        ]

    async def create(self, request: web.Request) -> web.StreamResponse:
        self._admit(request)
        text = await request.text()
        model = "/".join(request.match_info[name] for name in ("owner", "name") if name in request.match_info)
        asked = _read(text, needs_version=not model)

        def act(knobs: Knobs) -> tuple[web.Response, Job]:
            job = self.engine.make_job(self.vendor, knobs, asked.get("webhook"), _new_id)
            base = f"{request.url.origin()}/v1/predictions/{job.id}"
            job.document = {
                "id": job.id,
                "model": model or "hookbus/echo",
                "version": asked.get("version", "hidden"),
                "input": asked["input"],
                "logs": "",
                "output": None,
                "data_removed": False,
                "error": None,
                "status": "starting",
                "created_at": _now(),
                "urls": {"get": base, "cancel": f"{base}/cancel"},
            }
            self.vendor.effects[job.address or job.id] += 1
            events = asked.get("webhook_events_filter", DEFAULT_EVENTS)
            answer = web.json_response(job.document, status=201)
            self.engine.work(self.vendor, job, lambda: _begin(job, events), lambda: _end(job))
            return answer, job

        return await self.engine.take(self.vendor, request, text, act)

    async def get(self, request: web.Request) -> web.Response:
        return web.json_response(self._find(request).document)

    async def cancel(self, request: web.Request) -> web.Response:
        job = self._find(request)
        if not job.settled:
            job.settled = True
            self.engine.tell(self.vendor, job, _settle(job, "canceled"))
        return web.json_response(job.document)

    def _admit(self, request: web.Request) -> None:
        if not self.vendor.admit(request):
            raise Refusal(401, error(401, "You did not pass a valid authentication token"))

    def _find(self, request: web.Request) -> Job:
        self._admit(request)
        job = self.vendor.jobs.get(request.match_info["id"])
        if job is None:
            raise Refusal(404, error(404, "The requested resource could not be found."))
        return job


def _read(text: str, *, needs_version: bool) -> Document:
    """Check a body as the vendor does.

    https://replicate.com/changelog/2024-05-01-improved-validation-for-api-prediction-payloads
    """
    try:
        asked = json.loads(text)
    except ValueError:
        asked = None
    if not isinstance(asked, dict):
        raise Refusal(400, error(400, "The request body is not a JSON object."))
    allowed = {"input", "stream", "webhook", "webhook_events_filter"} | (
        {"version"} if needs_version else set()
    )
    required = ["input", "version"] if needs_version else ["input"]
    wrong = [("required", "", f"{name} is required") for name in required if name not in asked]
    wrong += [
        ("additional_property_not_allowed", "", f"Additional property {name} is not allowed")
        for name in asked
        if name not in allowed
    ]
    if "input" in asked and not isinstance(asked["input"], dict):
        wrong.append(("invalid_type", "input", "Invalid type. Expected: object"))
    # The vendor takes https:// only; here http:// to this machine must do.
    webhook = asked.get("webhook", "https://unused.example")
    if not isinstance(webhook, str) or urlsplit(webhook).scheme not in {"http", "https"}:
        wrong.append(("format", "webhook", "Does not match format 'uri'"))
    events = asked.get("webhook_events_filter", [])
    if not isinstance(events, list) or not all(isinstance(one, str) and one in EVENTS for one in events):
        wrong.append(("enum", "webhook_events_filter", f"must be one of the following: {sorted(EVENTS)}"))
    if wrong:
        fields = [{"type": kind, "field": name, "description": what} for kind, name, what in wrong]
        detail = "".join(f"- {name or '(root)'}: {what}\n" for _, name, what in wrong)
        raise Refusal(422, error(422, detail, invalid_fields=fields))
    return asked


def _begin(job: Job, events: list[str]) -> News | None:
    job.document = {**job.document, "status": "processing", "started_at": _now()}
    # https://replicate.com/docs/topics/webhooks/receive-webhook: intermediate states are not sent again.
    return _news(job, "start", last=False) if "start" in events else None


def _end(job: Job) -> News:
    return _settle(job, job.knobs.callback.outcome or "succeeded")


def _settle(job: Job, status: str) -> News:
    changes: Document = {"status": status, "completed_at": _now()}
    if status == "succeeded":
        prompt = job.document["input"].get("prompt")
        output = (
            prompt.split() if isinstance(prompt, str) else [f"https://replicate.delivery/{job.id}/out-0.webp"]
        )
        changes |= {"output": output, "metrics": {"predict_time": round(job.knobs.latency, 6)}}
    if status == "failed":
        changes["error"] = "the model ran out of memory"
    job.document = {**job.document, **changes}
    return _news(job, "completed", last=True)


def _news(job: Job, kind: str, *, last: bool) -> News:
    return News(id=f"msg_{job.letters(27)}", type=kind, document=job.document, last=last, retried=last)


def _new_id(job: Job) -> str:
    return job.letters(26, string.ascii_lowercase + "234567")


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
