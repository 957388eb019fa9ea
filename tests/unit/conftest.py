"""A whole service on memory adapters, with a provider of its own and a clock that tests move."""

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, JsonValue, RootModel

from services.access import Credentials
from services.adapters.memory import (
    ManualClock,
    MemoryBus,
    MemoryJobStore,
    MemoryPayloads,
    MemorySecrets,
    MemorySender,
)
from services.advance import AdvanceJob
from services.api import Api, Request, Response
from services.attempt import Attempt
from services.errors import NotUnderstood
from services.jobs import Jobs
from services.jsons import parse_object
from services.keys import Keys
from services.models import (
    Callback,
    Delivery,
    Failure,
    HttpAnswer,
    HttpRequest,
    Job,
    Message,
    Status,
)
from services.outbox import Outbox
from services.pace import Paces
from services.providers.base import (
    Access,
    AccessToken,
    Ask,
    CallbackAddress,
    Completion,
    Operation,
    Provider,
    Start,
    Started,
    WebhookAnswer,
    declared,
)
from services.receive import ReceiveWebhook
from services.secrets import Secrets
from services.signatures.catalogue import STANDARD_WEBHOOKS
from services.start import StartJob
from services.tokens import KEY_NAME

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SECRET = "whsec_dGVzdC1zZWNyZXQtdGVzdC1zZWNyZXQtMDAwMQ=="
PREVIOUS_SECRET = "whsec_dGVzdC1zZWNyZXQtdGVzdC1zZWNyZXQtMDAwMA=="
KEY = "k" * 32
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

type_of = {
    "done": Status.SUCCEEDED,
    "error": Status.FAILED,
    "busy": Status.RUNNING,
    "stopped": Status.CANCELED,
}


class WorkInput(BaseModel):
    model_config = ConfigDict(extra="forbid")

    text: str


class WorkResult(BaseModel):
    words: int
    text: str | None = None


def start_work(start: Start) -> HttpRequest:
    body = {"callback": start.callback_url, "input": start.input.model_dump()}
    return HttpRequest(
        method="POST",
        url=f"{start.api_url}/work",
        headers={"authorization": f"Bearer {start.api_key}"},
        body=json.dumps(body).encode(),
    )


def read_work_start(answer: HttpAnswer) -> Started:
    body = parse_object(answer.body)
    if not isinstance(body.get("id"), str):
        raise NotUnderstood("no id")
    if "result" in body:
        return Started(status=Status.SUCCEEDED, result=declared(WorkResult, body["result"]))
    return Started(external_id=str(body["id"]))


def read_work(delivery: Delivery) -> tuple[Callback, ...]:
    body = parse_object(delivery.body)
    state = body.get("state")
    if not isinstance(state, str):
        raise NotUnderstood("no state")
    status = type_of.get(state, Status.UNKNOWN)
    job_id, external_id = body.get("job"), body.get("id")
    return (
        Callback(
            event_id=delivery.headers["webhook-id"],
            event_type=f"work.{state}",
            status=status,
            operation="work",
            thin=state == "changed",
            job_id=job_id if isinstance(job_id, str) else None,
            external_id=external_id if isinstance(external_id, str) else None,
            result=declared(WorkResult, body["result"]) if "result" in body else None,
            failure=Failure(code="bad_text", message="too many words") if state == "error" else None,
        ),
    )


def poll_work(ask: Ask) -> HttpRequest:
    headers = {"authorization": f"Bearer {ask.api_key}"}
    return HttpRequest(method="GET", url=f"{ask.api_url}/work/{ask.external_id}", headers=headers)


def find_work(ask: Ask) -> HttpRequest:
    assert ask.external_id == ""
    return replace(poll_work(ask), url=f"{ask.api_url}/work?job={ask.job_id}")


WORK = Operation(
    input=WorkInput,
    result=WorkResult,
    start=start_work,
    read_start=read_work_start,
    cancel=lambda ask: replace(poll_work(ask), method="DELETE"),
    max_attempts=3,
    deadline=timedelta(hours=1),
)


def read_work_poll(answer: HttpAnswer) -> Started:
    body = parse_object(answer.body)
    status = type_of.get(str(body.get("state")))
    if status is None:
        raise NotUnderstood("no state that we know")
    result = declared(WorkResult, body["result"]) if "result" in body else None
    return Started(external_id="x_1", status=status, result=result)


def ask_for_access(api_url: str, api_key: str, now: datetime) -> HttpRequest:
    body = f"grant_type=client_credentials&secret={api_key}&at={now:%H:%M:%S}".encode()
    return HttpRequest(method="POST", url=f"{api_url}/token", body=body)


def read_access(answer: HttpAnswer) -> AccessToken:
    body = parse_object(answer.body)
    text, lifetime = body.get("access_token"), body.get("expires_in")
    if not isinstance(text, str) or not isinstance(lifetime, int):
        raise NotUnderstood("no access token")
    return AccessToken(text=text, lifetime=timedelta(seconds=lifetime))


def read_work_found(answer: HttpAnswer) -> Started:
    body = parse_object(answer.body)
    return replace(read_work_poll(answer), external_id=str(body["id"]), job_id=str(body.get("job")))


POLLABLE = replace(WORK, poll=poll_work, read_poll=read_work_poll)
ACME = Provider(
    name="acme",
    documentation="https://acme.example/docs",
    completion=Completion.WEBHOOK,
    api_url="https://acme.example",
    operations={"work": WORK},
    default_operation="work",
    api_key="acme-api-key",
    scheme=STANDARD_WEBHOOKS,
    signing_secret="acme-signing-secret",
    read=read_work,
    refusal=lambda _: Failure(code="too_long", message="the text is too long"),
    answer=WebhookAnswer(status=202, body=b"thanks"),
)
ACCOUNT = replace(
    ACME,
    name="account",
    callback_address=CallbackAddress.ACCOUNT,
    operations={"work": replace(WORK, idempotent=True)},
)
OPEN = replace(ACME, name="open", operations={"work": replace(WORK, input=RootModel[dict[str, JsonValue]])})
ASKED = replace(ACME, name="asked", operations={"work": POLLABLE})
SEARCHED = replace(
    ASKED,
    name="searched",
    operations={"work": replace(POLLABLE, find=find_work, read_find=read_work_found)},
)
POLLED = replace(ASKED, name="polled", completion=Completion.POLL, scheme=None, signing_secret=None)
GUARDED = replace(ASKED, name="guarded", access=Access(request=ask_for_access, read=read_access))
UNSIGNED = replace(ACME, name="unsigned", scheme=None, signing_secret=None)
QUICK = replace(ACME, name="quick", completion=Completion.IMMEDIATE, scheme=None, signing_secret=None)


@dataclass
class World:
    """The service and everything around it."""

    answers: list[HttpAnswer | Exception] = field(default_factory=list)
    clock: ManualClock = field(default_factory=lambda: ManualClock(NOW))
    bus: MemoryBus = field(default_factory=MemoryBus)
    store: MemoryJobStore = field(default_factory=MemoryJobStore)
    payloads: MemoryPayloads = field(default_factory=MemoryPayloads)
    vault: MemorySecrets = field(
        default_factory=lambda: MemorySecrets(
            {
                KEY_NAME: (KEY,),
                "acme-api-key": ("acme-key",),
                "acme-signing-secret": (SECRET, PREVIOUS_SECRET),
            }
        )
    )

    def __post_init__(self) -> None:
        self.sender = MemorySender(
            lambda request: self.answers.pop(0) if self.answers else answer_by_itself(request)
        )
        providers = {
            p.name: p for p in (ACME, ACCOUNT, OPEN, UNSIGNED, QUICK, ASKED, SEARCHED, POLLED, GUARDED)
        }
        ids = itertools.cycle(range(256))
        secrets = Secrets(source=self.vault, clock=self.clock)
        self.outbox = Outbox(bus=self.bus, payloads=self.payloads, clock=self.clock)
        self.jobs = Jobs(
            store=self.store,
            bus=self.bus,
            payloads=self.payloads,
            outbox=self.outbox,
            attempt=Attempt(
                providers=providers,
                secrets=secrets,
                credentials=Credentials(secrets=secrets, sender=self.sender, clock=self.clock),
                sender=self.sender,
                clock=self.clock,
                public_url="https://hooks.example",
            ),
            paces=Paces(store=self.store, clock=self.clock, chance=lambda: 0.5),
            clock=self.clock,
            chance=lambda: 0.5,
            new_id=lambda: next(ids).to_bytes(1) * 20,
        )
        self.receive = ReceiveWebhook(
            providers=providers,
            secrets=secrets,
            keys=Keys(secrets=secrets, sender=self.sender, clock=self.clock),
            outbox=self.outbox,
            payloads=self.payloads,
            sender=self.sender,
            clock=self.clock,
            max_bytes=1000,
        )
        self.api = Api(
            start=StartJob(jobs=self.jobs),
            receive=self.receive,
            public_url="https://hooks.example",
            max_request_bytes=2000,
            health_key="health",
        )
        self.advance = AdvanceJob(jobs=self.jobs, payloads=self.payloads)

    async def start(self, body: object | None = None, *, provider: str = "acme", **headers: str) -> Response:
        document = json.dumps({"input": {"text": "hello"}} if body is None else body).encode()
        return await self.api.start_job(request("POST", f"jobs/{provider}", document, **headers), provider)

    async def job(self, job_id: str) -> Job:
        stored = await self.store.load(job_id)
        assert stored is not None
        return stored.job

    def callback_address(self) -> str:
        """Where the provider was told to call back by the latest start."""
        address = json.loads(self.sender.requests[-1].body)["callback"]
        assert isinstance(address, str)
        return address

    async def deliver(
        self,
        body: object,
        *,
        address: str | None = None,
        event: str = "evt_1",
        secret: str = SECRET,
        change: Callable[[Delivery], Delivery] = lambda delivery: delivery,
    ) -> Response:
        """Send a delivery as the provider would, to where it was told to."""
        url = address or self.callback_address()
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        bare = Delivery(
            method="POST",
            url=url,
            headers={"webhook-id": event, "content-length": str(len(raw))},
            body=raw,
            received_at=self.clock.now(),
        )
        sent = change(STANDARD_WEBHOOKS.sign(bare, secret, self.clock.now()))
        provider, _, token = url.partition("?")[0].partition("/api/webhooks/")[2].partition("/")
        return await self.api.receive_webhook(
            Request(method=sent.method, url=url, headers=sent.headers, body=sent.body),
            provider,
            token or None,
        )

    async def forward(self) -> None:
        """Do what the subscription `inbox` does, and what the queue's trigger then does."""
        for message in [m for m in self.bus.published if m.properties["kind"] == "callback"]:
            await self.advance(message)

    async def run_until(self, moment: datetime) -> None:
        """Let time pass, and every message that comes due on the way be handled."""
        while due := [at for at, _ in self.bus.scheduled.values() if at <= moment]:
            self.clock.advance(max(min(due) - self.clock.now(), timedelta(0)))
            for message in self.bus.take_due(self.clock.now()):
                await self.advance(message)
        self.clock.advance(moment - self.clock.now())

    def events(self, kind: str) -> list[Message]:
        return [m for m in self.bus.published if m.properties["kind"] == kind]

    def outcomes(self) -> list[tuple[str, dict[str, Any]]]:
        return [(m.subject, json.loads(m.body)["data"]) for m in self.events("outcome")]


def request(method: str, path: str, body: bytes = b"", **headers: str) -> Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request(
        method=method,
        url=f"https://hooks.example/api/{path}",
        headers={"content-length": str(len(body)), **named},
        body=body,
        traceparent=TRACE,
    )


def answer(body: object, status: int = 200, **headers: str) -> HttpAnswer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpAnswer(
        status=status, headers=named, body=json.dumps(body).encode(), elapsed=timedelta(milliseconds=80)
    )


def answer_by_itself(request: HttpRequest) -> HttpAnswer:
    if request.method == "GET":
        return answer({"id": "x_1", "state": "busy"})
    if request.url.endswith("/token"):
        return answer({"access_token": "token-1", "expires_in": 3600})
    return answer({"id": "x_1"}, 201)


def said(response: Response) -> Any:
    return json.loads(response.body)


@pytest.fixture
def world() -> World:
    return World()
