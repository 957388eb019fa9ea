"""The fake third party as a process, and a listener for its callbacks."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from dev.process import Running
from dev.provider.process import start

SECRETS = {
    "REPLICATE_API_KEY": "r8_test",
    "REPLICATE_SIGNING_SECRET": "whsec_cmVwbGljYXRlLXRlc3Qtc2VjcmV0LTEyMw==",
    "STRIPE_API_KEY": "sk_test_1",
    "STRIPE_SIGNING_SECRET": "whsec_stripe-test-secret",
    "STANDARD_API_KEY": "standard-test",
    "STANDARD_SIGNING_SECRET": "whsec_c3RhbmRhcmQtdGVzdC1zZWNyZXQtMTIzNA==",
}


@dataclass(slots=True)
class Listener:
    """Takes callbacks; answers with `answers` in order, then with 200."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    taken: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.taken.append((headers, await request.read()))
        return web.Response(status=self.answers.pop(0) if self.answers else 200)


class ThirdParty:
    """A client of the fake third party and of its control API."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.http = client

    async def set(self, **knobs: Any) -> None:
        answer = await self.http.post("/_control", json=knobs)
        assert answer.status_code == 204, answer.text

    async def state(self, provider: str) -> dict[str, Any]:
        state: dict[str, Any] = (await self.http.get("/_control/state")).json()["providers"][provider]
        return state

    async def until_called(self, provider: str, count: int, *, lost: bool = False) -> list[dict[str, Any]]:
        """Ask until so many attempts of callbacks are on record; pytest's timeout bounds it."""
        while True:
            found: list[dict[str, Any]] = (await self.state(provider))["lost" if lost else "callbacks"]
            if len(found) >= count:
                return found


@pytest.fixture(scope="session")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    log = tmp_path_factory.mktemp("provider") / "provider.log"
    running = start(env=SECRETS, seed=1, retry_for=1.0, log=log)
    yield running
    running.stop()


@pytest.fixture
async def third_party(process: Running) -> AsyncIterator[ThirdParty]:
    async with httpx.AsyncClient(base_url=process.url, timeout=5) as client:
        party = ThirdParty(client)
        await party.set(reset=True, seed=1)
        for provider in ("replicate", "stripe", "weather", "standard"):
            await party.set(provider=provider, latency=0.05)
        yield party


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    found = Listener()
    app = web.Application()
    app.add_routes([web.post("/hook", found.take)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield found
    await runner.cleanup()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "part.log"
