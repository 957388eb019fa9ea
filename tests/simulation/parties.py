"""The third parties: what they declare, what they do with a start, and how they call back. Also: forgers."""

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from services.api import Request
from services.errors import NotUnderstood
from services.jsons import parse_object
from services.models import Callback, Delivery, Failure, HttpAnswer, HttpRequest, Status
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
    declared,
)
from services.signatures.catalogue import STANDARD_WEBHOOKS

if TYPE_CHECKING:
    from tests.simulation.world import World

FORGED = "forged"
REMEMBERS = timedelta(minutes=1)
"""How long a provider says that it knows an idempotency key."""
REPEATS = (0, 5, 30, 120, 600, 1800, 3600)
"""How long a third party waits before each try to deliver a callback, in seconds."""
PATIENCE = 20.0
LARGE = 300_000
"""How long a result is that fits no message, in characters."""
SECRETS = tuple(f"whsec_c2ltdWxhdGVkLXNlY3JldC0wMDAwMDAwMDAwMDAw{letter}A==" for letter in "AQgw")
STATES = {
    "busy": Status.RUNNING,
    "done": Status.SUCCEEDED,
    "error": Status.FAILED,
    "stopped": Status.CANCELED,
    "changed": Status.UNKNOWN,
}


class Input(BaseModel):
    text: str


class Result(BaseModel):
    text: str


def request_start(start: Start) -> HttpRequest:
    body = {"ref": start.job_id, "callback": start.callback_url}
    return HttpRequest(method="POST", url=f"{start.api_url}/jobs", body=json.dumps(body).encode())


def request_about(ask: Ask) -> HttpRequest:
    return HttpRequest(method="GET", url=f"{ask.api_url}/jobs/{ask.external_id}")


def request_cancel(ask: Ask) -> HttpRequest:
    return replace(request_about(ask), method="DELETE")


def read_started(answer: HttpAnswer) -> Started:
    body = parse_object(answer.body)
    status = STATES.get(str(body.get("state")))
    if status is None:
        raise NotUnderstood("no state")
    result = declared(Result, body["result"]) if "result" in body else None
    failure = Failure(code="bad_text", message="told so") if status is Status.FAILED else None
    return Started(
        external_id=str(body["id"]), job_id=str(body["ref"]), status=status, result=result, failure=failure
    )


def read_callback(delivery: Delivery) -> tuple[Callback, ...]:
    body = parse_object(delivery.body)
    state = str(body.get("state"))
    if state not in STATES:
        raise NotUnderstood("no state")
    return (
        Callback(
            event_id=delivery.headers["webhook-id"],
            event_type=state,
            status=STATES[state],
            external_id=str(body["id"]),
            occurred_at=datetime.fromisoformat(str(body["at"])),
            result=declared(Result, body["result"]) if "result" in body else None,
            failure=Failure(code="bad_text", message="told so") if state == "error" else None,
            thin=state == "changed",
        ),
    )


def request_access(api_url: str, api_key: str, now: datetime) -> HttpRequest:
    return HttpRequest(method="POST", url=f"{api_url}/token")


def read_access(answer: HttpAnswer) -> AccessToken:
    return AccessToken(text=str(parse_object(answer.body)["token"]), lifetime=timedelta(minutes=5))


WORK = Operation(
    input=Input,
    result=Result,
    start=request_start,
    read_start=read_started,
    cancel=request_cancel,
    max_attempts=4,
    deadline=timedelta(hours=2),
)
POLLED = replace(WORK, poll=request_about, read_poll=read_started, poll_after=timedelta(minutes=2))
BASE = Provider(
    name="plain",
    documentation="https://plain.example/docs",
    completion=Completion.WEBHOOK,
    api_url="https://plain.example",
    operations={"work": WORK},
    default_operation="work",
    api_key="api-key",
    scheme=STANDARD_WEBHOOKS,
    signing_secret="signing-secret",
    read=read_callback,
    refusal=lambda _: Failure(code="refused", message="told so"),
)


def variant(name: str, operation: Operation, **changes: Any) -> Provider:
    return replace(
        BASE, name=name, api_url=f"https://{name}.example", operations={"work": operation}, **changes
    )


PROVIDERS = {
    one.name: one
    for one in (
        variant("plain", WORK),
        variant(
            "keyed",
            replace(WORK, idempotent=True, idempotent_for=REMEMBERS),
            callback_address=CallbackAddress.ACCOUNT,
        ),
        variant("asked", POLLED, access=Access(request=request_access, read=read_access)),
        variant("polled", POLLED, completion=Completion.POLL, scheme=None, signing_secret=None),
        variant("unsigned", WORK, scheme=None, signing_secret=None),
        variant(
            "quick",
            replace(WORK, cancel=None),
            completion=Completion.IMMEDIATE,
            scheme=None,
            signing_secret=None,
        ),
    )
}


@dataclass(kw_only=True)
class Order:
    """What a third party does with one job."""

    provider: Provider
    ref: str
    external_id: str
    callback: str
    began: float
    ends: float
    state: str
    result: str
    told: set[str] = field(default_factory=set)

    def state_at(self, now: float) -> str:
        return self.state if now >= self.ends else "busy"

    def body(self, state: str, now: datetime) -> dict[str, Any]:
        result = {"result": {"text": self.result}} if state == "done" else {}
        return {"id": self.external_id, "state": state, "at": now.isoformat(), **result}


class Vendor:
    """All third parties together."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.random = world.random
        self.orders: dict[str, Order] = {}
        self.acted: dict[str, int] = {}
        self.refused: set[str] = set()
        self.secret = SECRETS[0]
        self.trouble = self.random.choice((0.0, 0.2, 0.5, 0.8))

    def take(self, request: HttpRequest) -> HttpAnswer:
        """Answer a request; what it does is done when this returns, whoever hears the answer."""
        provider = PROVIDERS[request.url.split("/")[2].partition(".")[0]]
        trouble = self.trouble if self.world.stormy else 0.0
        if self.random.random() < trouble and not request.url.endswith("/jobs"):
            return self._refuse(self.random.choice((404, 429, 500, 503)))
        if request.url.endswith("/token"):
            return _answer({"token": "t"})
        if request.method == "POST":
            return self._start(provider, json.loads(request.body))
        order = self.orders.get(request.url.rpartition("/")[2])
        if order is None:
            return self._refuse(404)
        if request.method == "DELETE":
            if self.world.now() < order.ends:
                order.ends, order.state = self.world.now(), "stopped"
            return _answer({})
        if self.random.random() < trouble / 2 and len(self.orders) > 1:
            order = self.random.choice(list(self.orders.values()))  # mixes its answers up
        return self._tell(order)

    def _start(self, provider: Provider, body: dict[str, Any]) -> HttpAnswer:
        ref, operation = str(body["ref"]), provider.operations["work"]
        mood = self.random.choice(("busy", "lost", "lost")) if self.random.random() < self.trouble else "ok"
        known = next((one for one in self.orders.values() if one.ref == ref), None)
        forgets = REMEMBERS.total_seconds() + 150  # clocks differ
        if known and operation.idempotent and self.world.now() < known.began + forgets:
            return self._tell(known) if mood == "ok" else self._refuse(self.random.choice((409, 429, 500)))
        if ref in self.refused or (self.random.random() < 0.04 and known is None):
            self.refused.add(ref)
            return self._refuse(422)
        if mood == "busy" and self.world.stormy:
            return self._refuse(self.random.choice((401, 408, 429, 429, 500, 503, 503)))
        if mood == "lost" and self.random.random() < 0.3:
            return self._refuse(502)
        order = self._act(provider, ref, str(body["callback"]))
        if mood == "lost":
            return self._refuse(self.random.choice((500, 502) if operation.idempotent else (200, 502, 504)))
        return self._tell(order)

    def _act(self, provider: Provider, ref: str, callback: str) -> Order:
        self.acted[ref] = self.acted.get(ref, 0) + 1
        self.world.note(provider.name, f"acts for {ref[-6:]}")
        if self.acted[ref] > 1:
            self.world.fail(f"{provider.name} acted twice for {ref}")
        now = self.world.now()
        left = self.world.watch.left(ref)
        lasts = self.random.choice((0, 1, 30, 300, 1500, left - 200, left + self.random.uniform(-1, 1)))
        if provider.completion is Completion.IMMEDIATE:
            lasts = 0
        order = Order(
            provider=provider,
            ref=ref,
            external_id=f"x{len(self.orders)}",
            callback=callback,
            began=now,
            ends=now + max(lasts, 0),
            state=self.random.choice(("done", "done", "done", "error", "stopped")),
            result=f"{ref} is done" + "!" * (LARGE if self.random.random() < 0.03 else 0),
        )
        self.orders[order.external_id] = order
        if provider.completion is Completion.WEBHOOK:
            self._plan_callbacks(order)
        return order

    def _tell(self, order: Order) -> HttpAnswer:
        state = order.state_at(self.world.now())
        order.told.add(state)
        return _answer({"ref": order.ref, **order.body(state, self.world.at())})

    def _refuse(self, status: int) -> HttpAnswer:
        wait = self.random.choice((None, None, "0", "3", "40", "400"))
        return HttpAnswer(status=status, headers={"retry-after": wait} if wait else {}, body=b"<html>")

    def _plan_callbacks(self, order: Order) -> None:
        chance, span = self.random, order.ends - order.began
        states = [(order.began + span * chance.random(), "busy") for _ in range(chance.randrange(3))]
        if chance.random() > self.world.plan.lost:
            states.append((order.ends, order.state))
            if chance.random() < 0.2:  # and contradicts itself
                states.append((order.ends + chance.choice((0, 60)), chance.choice(("done", "error"))))
        for number, (at, state) in enumerate(states):
            thin = order.provider.name == "asked" and chance.random() < 0.5
            event = f"{order.external_id}-{number}"
            delays = [chance.choice((0, 0, 0.2, 20, 400))]
            delays += [chance.choice((1, 90, 3000)) for _ in range(chance.choice((0, 0, 1, 2)))]
            for delay in delays:
                self.world.spawn(self._call_back(order, event, at, "changed" if thin else state, delay))
            if chance.random() < 0.3:
                self.world.spawn(self._forge(order, event, at, state))

    async def _call_back(self, order: Order, event: str, at: float, state: str, delay: float) -> None:
        await self.world.sleep(at - self.world.now())
        order.told.add(state)
        body = order.body(state, self.world.at())
        await self.world.sleep(delay)
        for wait in REPEATS:
            await self.world.sleep(wait)
            status = await self.post(order.provider, order.callback, event, body)
            if status == 401:
                self.world.fail(f"callback {event} is signed rightly and was refused")
            if status == 200:
                self.world.watch.taken(order, event, state)
                return

    async def _forge(self, order: Order, event: str, at: float, state: str) -> None:
        """Try what an attacker can who sees addresses and deliveries, and has no secret."""
        await self.world.sleep(at - self.world.now())
        false = {**order.body("done", self.world.at()), "result": {"text": FORGED}}
        signed = order.provider.scheme is not None
        how = self.random.choice(("secret", "age", "token", "replay") if signed else ("token",))
        address, token = order.callback, order.callback.partition(f"{order.provider.name}/")[2]
        if how == "replay":
            others = [
                one
                for one in self.orders.values()
                if one.provider is order.provider
                and one.ref != order.ref
                and self.world.watch.external_id(one.ref)
            ]
            if others and token:
                address = self.random.choice(others).callback
                body = order.body(state, self.world.at())
                await self.post(order.provider, address, event, body)
            return
        if how == "token" and not token:
            return
        if how == "token":
            address = address.replace(token, token[:-2] + ("AA" if token[-2:] != "AA" else "QQ"))
        secret = SECRETS[-1] if how == "secret" else None
        age = 3600 if how == "age" else 0
        status = await self.post(order.provider, address, f"forged-{event}", false, secret=secret, age=age)
        if status not in (401, 503, None):
            self.world.fail(f"a forged delivery ({how}) was answered {status}")

    async def post(
        self,
        provider: Provider,
        address: str,
        event: str,
        body: dict[str, Any],
        *,
        secret: str | None = None,
        age: float = 0,
    ) -> int | None:
        raw = json.dumps(body).encode()
        now = self.world.at() - timedelta(seconds=age)
        headers = {"webhook-id": event, "content-length": str(len(raw))}
        delivery = Delivery(method="POST", url=address, headers=headers, body=raw, received_at=now)
        if provider.scheme:
            delivery = provider.scheme.sign(delivery, secret or self.secret, now)
        token = address.partition(f"/api/webhooks/{provider.name}")[2].lstrip("/")
        request = Request(method="POST", url=address, headers=delivery.headers, body=raw)
        answer = await self.world.http(
            f"callback {event} {body['state']}",
            lambda service: service.api.receive_webhook(request, provider.name, token or None),
            (200, 401, 503),
            PATIENCE,
        )
        return answer.status if answer else None


def _answer(body: dict[str, Any]) -> HttpAnswer:
    return HttpAnswer(status=200, body=json.dumps(body).encode(), elapsed=timedelta(seconds=0.1))


def moment(seconds: float) -> datetime:
    return datetime(2026, 3, 1, 12, 0, tzinfo=UTC) + timedelta(seconds=seconds)
