"""One fake vendor for all providers: it speaks the wire format of each one's samples in tests/vectors.

A `Sample` says which request starts a job, where the vendor finds our callback address and our job's id in
it, and what it signs with. Ids that stand in the samples are replaced by fresh ones of the same form.
"""

import json
import random
import re
import secrets
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from services.models import Delivery
from services.providers.base import Provider
from tests.stack.host import HERE
from tests.vectors.cases import HERE as VECTORS

CONTENT_TYPES = {
    "json": "application/json",
    "form": "application/x-www-form-urlencoded",
    "multipart": "multipart/form-data; boundary=sample",
}
"""By the suffix of a sample's file."""
OUR_JOB = "job_01JD8Z3W5V"
"""What stands in the samples where a vendor sends our job's id back."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request of ours as the vendor sees it: `place` is the method and the path."""

    place: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    json: Any
    form: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """Where an API key is exchanged for an access token, whether a request shows the key, and the answer."""

    place: str
    shows_key: Callable[[Asked], bool]
    token: str
    at_origin: bool = False


@dataclass(frozen=True, kw_only=True)
class End:
    """The samples that tell of a job's end, and what is to come of it: a result, or a failure.

    `refusal` is told in place of the answer to a start; `input` is asked for in place of the sample's.
    """

    callback: str | None = None
    poll: str | None = None
    refusal: str | None = None
    input: Mapping[str, Any] | None = None
    result: Mapping[str, Any] | None = None
    failure: tuple[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A job at a vendor.

    `ids` stand in the samples, the first in our external id too. `credential` is the header that a request of
    ours carries. `address` is None where the callback address is the account's. `job` finds in a start what
    takes the place of `our_job` in the samples. `polled` tells the external id that a request asks about,
    None for any other request; each end then names the answer to that as `poll`. `signs_with` is the secret
    that the vendor signs with, where that is not the one we are told. `proof` is what of a delivery proves
    it: its body, or where nothing covers that, a header or the address. `refuses` tells which starts end with
    the refusal in `failed`.
    """

    provider: str
    operation: str
    input: Mapping[str, Any]
    place: str
    answer: str = "start.json"
    status: int = 200
    ids: tuple[str, ...] = ()
    external_id: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    credential: tuple[str, str] | None = None
    exchange: Exchange | None = None
    address: Callable[[Asked], str] | None = None
    job: Callable[[Asked], str] | None = None
    our_job: str = OUR_JOB
    polled: Callable[[Asked], str | None] | None = None
    headers: Callable[[], Mapping[str, str]] = dict
    signs_with: str = ""
    proof: str = "body"
    thanks: bytes = b""
    refuses: Callable[[Asked], bool] = lambda _: False
    succeeded: End
    failed: End
    canceled: End | None = None

    @property
    def name(self) -> str:
        return f"{self.provider}.{self.operation}"


@dataclass(kw_only=True)
class Begun:
    """A job that was started here, or refused; `end` is what a poll tells, none while it runs."""

    sample: Sample
    asked: Asked
    replaced: Mapping[str, str]
    end: End | None = None

    def told(self, file: str) -> bytes:
        """Return a sample of this vendor with this job's ids in it."""
        text = (VECTORS / self.sample.provider / file).read_bytes()
        for old, new in self.replaced.items():
            text = text.replace(old.encode(), new.encode())
        return text

    def renamed(self, value: Any) -> Any:
        """Put this job's ids into what is expected."""
        text = json.dumps(value)
        for old, new in self.replaced.items():
            text = text.replace(old, new)
        return json.loads(text)

    @property
    def external_id(self) -> str | None:
        if not self.sample.ids or (self.end and self.end.refusal):
            return None
        return str(self.renamed(self.sample.external_id or self.sample.ids[0]))

    def delivery(self, provider: Provider, account: str) -> Delivery:
        """Return the callback that tells of this job's end, signed by the vendor now."""
        assert self.end is not None
        assert self.end.callback is not None
        address = self.sample.address(self.asked) if self.sample.address else account
        kind = CONTENT_TYPES[self.end.callback.rpartition(".")[2]]
        now = datetime.now(UTC)
        delivery = Delivery(
            method="POST",
            url=address,
            headers={"content-type": kind, **self.sample.headers()},
            body=self.told(self.end.callback),
            received_at=now,
        )
        return provider.scheme.sign(delivery, self.sample.signs_with, now) if provider.scheme else delivery

    def forged(self, delivery: Delivery) -> Delivery:
        """Change one byte of what proves a delivery."""
        proof = self.sample.proof
        if proof == "address":
            return replace(delivery, url=_changed(delivery.url))
        if proof != "body":
            return replace(delivery, headers={**delivery.headers, proof: _changed(delivery.headers[proof])})
        name = next(new.encode() for new in self.replaced.values() if new.encode() in delivery.body)
        before, _, after = delivery.body.partition(name)
        return replace(delivery, body=before + _changed(name.decode()).encode() + after)


@dataclass(kw_only=True)
class FakeVendor:
    """All vendors behind one address; each lies under its provider's name."""

    samples: Sequence[Sample]
    keys: Mapping[str, Callable[[Asked], Any]]
    """Public keys by the address, without `https://`, that they are fetched from: JSON, or bytes."""
    begun: dict[tuple[str, str | None], Begun] = field(default_factory=dict)
    not_understood: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def serving(self, tls: ssl.SSLContext) -> AsyncIterator[tuple[int, int]]:
        """Serve on two free ports: for our requests, and by TLS for public keys."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._take)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, HERE, 0).start()
            await web.TCPSite(runner, HERE, 0, ssl_context=tls).start()
            plain, secured = (address[1] for address in runner.addresses)
            yield plain, secured
        finally:
            await runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        asked = await _read(request)
        if request.secure:
            answer = self._give_key(f"{request.host}{request.path}", asked)
        else:
            answer = self._work(asked)
        if answer is None:
            self.not_understood.append(f"{request.host} {asked.place}")
            return web.json_response({"message": "this is not understood"}, status=400)
        return answer

    def _give_key(self, place: str, asked: Asked) -> web.Response | None:
        found = self.keys[place](asked) if place in self.keys else None
        if found is None:
            return None
        return web.Response(body=found) if isinstance(found, bytes) else web.json_response(found)

    def _work(self, asked: Asked) -> web.Response | None:
        method, _, path = asked.place.partition(" ")
        for sample in self.samples:
            exchange = sample.exchange
            if exchange and exchange.at_origin and asked.place == exchange.place:
                return _give_token(exchange, asked)
            if not path.startswith(f"/{sample.provider}/"):
                continue
            here = replace(asked, place=f"{method} {path.removeprefix(f'/{sample.provider}')}")
            if exchange and here.place == exchange.place:
                return _give_token(exchange, here)
            if sample.credential and here.headers.get(sample.credential[0]) != sample.credential[1]:
                continue
            polled = sample.polled(here) if sample.polled else None
            if polled:
                return self._tell(sample, polled)
            if here.place == sample.place:
                return self._begin(sample, here)
        return None

    def _begin(self, sample: Sample, asked: Asked) -> web.Response:
        replaced = {one: _fresh(one) for one in sample.ids}
        if sample.job:
            replaced[sample.our_job] = sample.job(asked)
        refused = sample.failed if sample.refuses(asked) else None
        begun = Begun(sample=sample, asked=asked, replaced=replaced, end=refused)
        self.begun[sample.name, begun.external_id] = begun
        if refused and refused.refusal:
            return web.Response(status=400, body=begun.told(refused.refusal), content_type="application/json")
        text = begun.told(sample.answer)
        if sample.answer.endswith(".head"):
            lines = (line.split(": ", 1) for line in text.decode().splitlines() if ": " in line)
            headers = {name: value for name, value in lines if name.startswith("x-")}
            return web.Response(status=sample.status, headers=headers)
        return web.Response(status=sample.status, body=text, content_type="application/json")

    def _tell(self, sample: Sample, external_id: str) -> web.Response | None:
        begun = self.begun.get((sample.name, external_id))
        if begun is None or begun.end is None or begun.end.poll is None:
            return None
        return web.Response(body=begun.told(begun.end.poll), content_type="application/json")


async def _read(request: web.Request) -> Asked:
    is_form = "form" in request.content_type
    form = {name: str(value) for name, value in (await request.post()).items()} if is_form else {}
    text = "" if is_form else await request.text()
    return Asked(
        place=f"{request.method} {request.path}",
        query=dict(request.query),
        headers={name.lower(): value for name, value in request.headers.items()},
        json=json.loads(text) if text else None,
        form=form,
    )


def _give_token(exchange: Exchange, asked: Asked) -> web.Response | None:
    if not exchange.shows_key(asked):
        return None
    return web.json_response({"access_token": exchange.token, "token_type": "Bearer", "expires_in": 3600})


def _fresh(sample: str) -> str:
    """Make another id of the same form."""

    def other(found: re.Match[str]) -> str:
        kind = "abcdef" if found[0].islower() else "ABCDEF" if found[0].isupper() else "0123456789"
        return random.choice(kind)

    return sample[:-8] + re.sub(r"[A-Za-z0-9]", other, sample[-8:])


def _changed(text: str) -> str:
    return text[:-2] + ("a" if text[-2] != "a" else "b") + text[-1]


def message_id() -> Mapping[str, str]:
    """Name a delivery as Standard Webhooks does."""
    return {"webhook-id": f"msg_{secrets.token_hex(12)}"}
