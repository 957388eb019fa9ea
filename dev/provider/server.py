"""All vendors behind one address, and the control API that sets the knobs and tells what happened."""

import os
from collections.abc import Mapping
from typing import Literal, Protocol

from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import Field, ValidationError

from dev.provider.engine import Engine, Refusal, Vendor
from dev.provider.knobs import Rule
from dev.provider.open_meteo import OpenMeteo
from dev.provider.replicate import Replicate
from dev.provider.standard import Standard
from dev.provider.stripe import Stripe

SECRETS = (
    "REPLICATE_API_KEY",
    "REPLICATE_SIGNING_SECRET",
    "STRIPE_API_KEY",
    "STRIPE_SIGNING_SECRET",
    "STANDARD_API_KEY",
    "STANDARD_SIGNING_SECRET",
)


class Service(Protocol):
    """One vendor's wire format."""

    vendor: Vendor

    def routes(self) -> list[web.RouteDef]: ...


class Control(Rule):
    """What POST /_control takes: a rule for a provider, Stripe's webhook address, or a new beginning."""

    provider: Literal["replicate", "stripe", "weather", "standard"] | None = None
    webhook_url: str | None = None
    reset: bool = False
    seed: int | None = Field(default=None, description="with reset: what chance follows from now on")


class ThirdParty:
    """The vendors, their engine and their routes."""

    def __init__(self, environment: Mapping[str, str], *, seed: int | str, retry_for: float) -> None:
        secret = {name: environment[name] for name in SECRETS}
        self.engine = Engine(seed=seed, retry_for=retry_for)
        self.stripe = Stripe(
            self.engine,
            api_key=secret["STRIPE_API_KEY"],
            secret=secret["STRIPE_SIGNING_SECRET"],
            address=environment.get("STRIPE_WEBHOOK_URL"),
        )
        self.standard = Standard(
            self.engine, api_key=secret["STANDARD_API_KEY"], secret=secret["STANDARD_SIGNING_SECRET"]
        )
        replicate = Replicate(
            self.engine, api_key=secret["REPLICATE_API_KEY"], secret=secret["REPLICATE_SIGNING_SECRET"]
        )
        weather = OpenMeteo(self.engine)
        self.services: dict[str, Service] = {
            one.vendor.name: one for one in (replicate, self.stripe, weather, self.standard)
        }

    def application(self) -> web.Application:
        app = web.Application(middlewares=[_word_refusals], client_max_size=4 * 1024 * 1024)
        for service in self.services.values():
            app.add_routes(service.routes())
        app.add_routes([web.post("/_control", self.control), web.get("/_control/state", self.state)])
        app.on_startup.append(lambda _: self.engine.open())
        app.on_shutdown.append(lambda _: self.engine.close())
        return app

    async def control(self, request: web.Request) -> web.Response:
        try:
            asked = Control.model_validate_json(await request.text())
        except ValidationError as error:
            return web.json_response({"problems": error.errors(include_url=False)}, status=400)
        if asked.reset:
            await self.engine.forget()
            for service in self.services.values():
                service.vendor.reset()
            self.stripe.reset()
            self.standard.reset()
            if asked.seed is not None:
                self.engine.seed = asked.seed
        if asked.webhook_url is not None:
            self.stripe.address = asked.webhook_url
        if asked.provider is not None:
            self.services[asked.provider].vendor.rules.add(asked)
        return web.Response(status=204)

    async def state(self, _: web.Request) -> web.Response:
        states = {name: service.vendor.state() for name, service in self.services.items()}
        return web.json_response({"seed": self.engine.seed, "providers": states})


@web.middleware
async def _word_refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Refusal as refusal:
        return web.json_response(refusal.body, status=refusal.status, headers=refusal.headers)


def environment() -> dict[str, str]:
    """Read the environment; raises SystemExit that names every secret that is missing."""
    missing = [name for name in SECRETS if not os.environ.get(name)]
    if missing:
        raise SystemExit(f"set {', '.join(missing)} in the environment")
    return dict(os.environ)
