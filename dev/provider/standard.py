"""A plain API that takes a callback address and signs by Standard Webhooks. https://www.standardwebhooks.com"""

import json
from urllib.parse import urlsplit

from aiohttp import web

from dev.provider.engine import Document, Engine, Job, News, Refusal, Vendor
from dev.provider.knobs import Knobs
from services.signatures.catalogue import STANDARD_WEBHOOKS


def error(status: int, message: str = "the request could not be served") -> Document:
    return {"error": {"code": status, "message": message}}


class Standard:
    """Jobs that give back what they were given; an Idempotency-Key makes one job however often it comes."""

    def __init__(self, engine: Engine, *, api_key: str, secret: str) -> None:
        self.engine = engine
        self.by_key: dict[str, Job] = {}
        self.vendor = Vendor(
            name="standard", error=error, api_key=api_key, scheme=STANDARD_WEBHOOKS, secret=secret
        )

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/jobs", self.create),
            web.get("/jobs/{id}", self.get),
            web.delete("/jobs/{id}", self.cancel),
            web.post("/jobs/{id}/cancel", self.cancel),
        ]

    def reset(self) -> None:
        self.by_key.clear()

    async def create(self, request: web.Request) -> web.StreamResponse:
        self._admit(request)
        text = await request.text()
        asked = _read(text)
        key = request.headers.get("Idempotency-Key")

        def act(knobs: Knobs) -> tuple[web.Response, Job]:
            job = self.by_key.get(key) if key else None
            if job is None:
                address = asked.pop("callback_url")
                job = self.engine.make_job(self.vendor, knobs, address, lambda job: f"job_{job.letters(20)}")
                job.document = {"id": job.id, "status": "queued", "input": asked}
                self.vendor.effects[key or address] += 1
                if key:
                    self.by_key[key] = job
                self.engine.work(self.vendor, job, lambda: None, lambda: _end(job))
            return web.json_response({"id": job.id, "status": "queued"}, status=202), job

        return await self.engine.take(self.vendor, request, text, act)

    async def get(self, request: web.Request) -> web.Response:
        return web.json_response(self._find(request).document)

    async def cancel(self, request: web.Request) -> web.Response:
        job = self._find(request)
        if not job.settled:
            job.settled = True
            self.engine.tell(self.vendor, job, _settle(job, "canceled"))
        return web.json_response({"id": job.id, "status": job.document["status"]}, status=202)

    def _admit(self, request: web.Request) -> None:
        if not self.vendor.admit(request):
            raise Refusal(401, error(401, "the key is missing or wrong"))

    def _find(self, request: web.Request) -> Job:
        self._admit(request)
        job = self.vendor.jobs.get(request.match_info["id"])
        if job is None:
            raise Refusal(404, error(404, "there is no such job"))
        return job


def _read(text: str) -> Document:
    try:
        asked = json.loads(text)
    except ValueError:
        asked = None
    if not isinstance(asked, dict):
        raise Refusal(400, error(400, "the body is not a JSON object"))
    address = asked.get("callback_url")
    if not isinstance(address, str) or urlsplit(address).scheme not in {"http", "https"}:
        raise Refusal(422, error(422, "callback_url must be an http(s) address"))
    return asked


def _end(job: Job) -> News:
    return _settle(
        job, {"succeeded": "done"}.get(outcome := job.knobs.callback.outcome or "succeeded", outcome)
    )


def _settle(job: Job, status: str) -> News:
    job.document = {**job.document, "status": status}
    kind = {"done": "job.completed"}.get(status, f"job.{status}")
    told: Document = {"type": kind, "id": job.id, "status": status}
    if status == "done":
        told["result"] = job.document["input"]
    if status == "failed":
        told["error"] = "the job could not be done"
    return News(id=f"msg_{job.letters(27)}", type=kind, document=told)
