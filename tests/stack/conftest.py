"""The whole local stack as processes, and a consumer of its outcomes."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from azure.servicebus.exceptions import ServiceBusError

from dev.consume import events
from dev.process import ROOT
from dev.stack import Ports, Stack, running

CHECK_EVERY = 0.1


@dataclass
class Consumer:
    """Counts the outcomes that come, and comes back when the bus was away."""

    connection: str
    outcomes: Counter[str] = field(default_factory=Counter)
    types: dict[str, str] = field(default_factory=dict)

    async def listen(self) -> None:
        while True:
            try:
                async with aclosing(events(self.connection, "outcomes")) as found:
                    async for message, event in found:
                        self.outcomes[message.message_id or ""] += 1
                        self.types[str(event.subject)] = event.type
            except (ServiceBusError, OSError):
                await asyncio.sleep(CHECK_EVERY)

    async def has(self, jobs: list[str], *, patience: float = 60) -> None:
        """Wait until each of these jobs has an outcome."""
        async with asyncio.timeout(patience):
            while not set(jobs) <= self.types.keys():
                await asyncio.sleep(CHECK_EVERY)


@dataclass
class Client:
    """A caller, and whoever sets the third party's knobs."""

    http: httpx.AsyncClient
    stack: Stack

    async def start(self, provider: str, document: dict[str, Any], **headers: str) -> httpx.Response:
        return await self.http.post(
            f"{self.stack.functions_url}/api/jobs/{provider}",
            json={"input": document},
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        )

    async def job(self, job_id: str) -> dict[str, Any]:
        answer = await self.http.get(f"{self.stack.functions_url}/api/jobs/{job_id}")
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    async def turn(self, **knobs: Any) -> None:
        (await self.http.post(f"{self.stack.provider_url}/_control", json=knobs)).raise_for_status()

    async def seen(self, provider: str) -> dict[str, Any]:
        answer = await self.http.get(f"{self.stack.provider_url}/_control/state")
        found: dict[str, Any] = answer.json()["providers"][provider]
        return found

    async def taken(self, provider: str, count: int, *, patience: float = 30) -> None:
        """Wait until this many callbacks of a provider were answered 2xx."""
        async with asyncio.timeout(patience):
            while True:
                callbacks = (await self.seen(provider))["callbacks"]
                if len([one for one in callbacks if str(one["answer"]).startswith("2")]) >= count:
                    return
                await asyncio.sleep(CHECK_EVERY)


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with running(tmp_path, Ports.free(), ROOT / "local.settings.json.example") as one:
        yield one


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[Client]:
    async with httpx.AsyncClient(timeout=30, limits=httpx.Limits(max_connections=300)) as http:
        yield Client(http, stack)


@pytest.fixture
async def consumer(stack: Stack) -> AsyncIterator[Consumer]:
    one = Consumer(stack.connection)
    listening = asyncio.create_task(one.listen())
    yield one
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
