"""Shows the whole round trip on real parts: `python -m dev.demo`.

Three jobs are started by HTTP; their outcomes are read from the topic with the Service Bus SDK. The exit
status is 0 only if each came exactly once and said what it should.
"""

import asyncio
import json
import logging
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from azure.core.messaging import CloudEvent
from azure.servicebus import ServiceBusReceivedMessage
from azure.servicebus.exceptions import ServiceBusError

from dev.consume import events
from dev.process import ROOT, NotStarted, tail
from dev.stack import PARTS, Ports, PortTaken, Stack, running

PATIENCE = 20.0
"""Seconds to wait for an outcome."""
QUIET = 2.0
"""Seconds to listen on after the last outcome, for one that should not come."""


class DemoFailed(Exception):
    """Something was not as promised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A job to start, and the field of its result that is worth printing."""

    title: str
    provider: str
    operation: str
    input: Mapping[str, Any]
    shown: str
    calls_back: bool = True


EXAMPLES = (
    Example(
        title="A prediction at Replicate: works for a second, then calls back",
        provider="replicate",
        operation="prediction",
        input={"model": "meta/llama", "input": {"prompt": "hello from the bus"}},
        shown="output",
    ),
    Example(
        title="A payment at Stripe, from a bank account: processing at first, paid when the webhook says so",
        provider="stripe",
        operation="payment",
        input={"amount": 1999, "currency": "usd", "payment_method": "pm_usBankAccount_success"},
        shown="amount_received",
    ),
    Example(
        title="The weather from Open-Meteo: the answer is the result",
        provider="weather",
        operation="forecast",
        input={"latitude": 52.52, "longitude": 13.41, "current": ["temperature_2m"], "hourly": []},
        shown="current",
        calls_back=False,
    ),
)


@dataclass(slots=True)
class Outcomes:
    """What has come from the topic, with the time at which it came."""

    received: list[tuple[float, ServiceBusReceivedMessage, CloudEvent[Any]]] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def listen(self, connection: str) -> None:
        async with aclosing(events(connection, "outcomes")) as found:
            async for message, event in found:
                async with self.changed:
                    self.received.append((time.time(), message, event))
                    self.changed.notify_all()

    async def first(self, job_id: str) -> tuple[float, ServiceBusReceivedMessage, CloudEvent[Any]]:
        """Wait for a job's outcome; raises DemoFailed if it does not come."""
        try:
            async with asyncio.timeout(PATIENCE), self.changed:
                await self.changed.wait_for(lambda: self.of(job_id))
        except TimeoutError:
            raise DemoFailed(f"no outcome of {job_id} came within {PATIENCE:.0f} s") from None
        return self.of(job_id)[0]

    def of(self, job_id: str) -> list[tuple[float, ServiceBusReceivedMessage, CloudEvent[Any]]]:
        return [one for one in self.received if one[1].correlation_id == job_id]


async def _show(stack: Stack) -> None:
    outcomes = Outcomes()
    listening = asyncio.create_task(outcomes.listen(stack.connection))
    try:
        async with httpx.AsyncClient(timeout=10) as client:
            jobs = [await _run(client, stack, example, outcomes, listening) for example in EXAMPLES]
        await asyncio.sleep(QUIET)
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    for job_id in jobs:
        if (count := len(outcomes.of(job_id))) != 1:
            raise DemoFailed(f"{count} outcomes of {job_id} came, not one")
    if len(outcomes.received) != len(jobs):
        raise DemoFailed(f"{len(outcomes.received)} outcomes came for {len(jobs)} jobs")


async def _run(
    client: httpx.AsyncClient,
    stack: Stack,
    example: Example,
    outcomes: Outcomes,
    listening: "asyncio.Task[None]",
) -> str:
    print(f"\n{example.title}", flush=True)
    begin = time.time()
    body = {"input": example.input, "metadata": {"shown_by": "demo"}}
    answer = await client.post(f"{stack.functions_url}/api/jobs/{example.provider}", json=body)
    answered = time.time()
    if answer.status_code != 202:
        raise DemoFailed(f"the start was answered {answer.status_code}, not 202: {answer.text[:500]}")
    job = answer.json()
    lacks_retry_after = "retry-after" not in answer.headers and job["status"] == "running"
    if "location" not in answer.headers or lacks_retry_after:
        raise DemoFailed("the start's answer lacks Location or Retry-After")
    waiting = asyncio.create_task(outcomes.first(job["id"]))
    await asyncio.wait({waiting, listening}, return_when=asyncio.FIRST_COMPLETED)
    if listening.done():
        waiting.cancel()
        raise DemoFailed("the consumer stopped") from listening.exception()
    arrived, message, event = await waiting
    data = _check(example, job["id"], message, event)
    steps = [
        (answered, f"POST /api/jobs/{example.provider}", f"202, job {job['status']}"),
        (
            arrived,
            f"topic job-events → {event.type}",
            f"{example.shown}: {_short(data['result'][example.shown])}",
        ),
    ]
    if example.calls_back:
        called, status = await _callback(client, stack, example.provider)
        steps.append((called, "third party → signed webhook", f"answered {status}"))
    print(f"  job {job['id']}")
    for moment, what, said in sorted(steps):
        print(f"  {(moment - begin) * 1000:6.0f} ms  {what:<34}{said}", flush=True)
    return str(job["id"])


def _check(
    example: Example, job_id: str, message: ServiceBusReceivedMessage, event: CloudEvent[Any]
) -> dict[str, Any]:
    """Hold an outcome against the contract; raises DemoFailed for whatever differs."""
    properties: Mapping[Any, Any] = message.application_properties or {}
    data = event.data if isinstance(event.data, dict) else {}
    result = data.get("result")
    checks = {
        "the message's subject": (message.subject, "job.succeeded"),
        "its session id": (message.session_id, job_id),
        "its kind": (properties.get(b"kind"), b"outcome"),
        "its provider": (properties.get(b"provider"), example.provider.encode()),
        "its operation": (properties.get(b"operation"), example.operation.encode()),
        "the event's type": (event.type, "job.succeeded"),
        "its subject": (event.subject, job_id),
        "the job's id": (data.get("job_id"), job_id),
        "its provider in the data": (data.get("provider"), example.provider),
        "its status": (data.get("status"), "succeeded"),
        "its metadata": (data.get("metadata"), {"shown_by": "demo"}),
        "its result": (isinstance(result, dict) and example.shown in result, True),
    }
    for what, (found, wanted) in checks.items():
        if found != wanted:
            raise DemoFailed(f"{what} is {found!r} in the outcome of {job_id}, not {wanted!r}")
    return data


async def _callback(client: httpx.AsyncClient, stack: Stack, provider: str) -> tuple[float, int]:
    """Wait until the third party's latest webhook was answered."""
    last = time.monotonic() + PATIENCE
    while time.monotonic() < last:
        state = (await client.get(f"{stack.provider_url}/_control/state")).json()
        sent = state["providers"][provider]["callbacks"]
        if sent and sent[-1]["answer"] == 200:
            return sent[-1]["at"], sent[-1]["answer"]
        await asyncio.sleep(0.05)
    raise DemoFailed(f"no webhook of {provider} was answered 200")


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 70 else f"{text[:67]}..."


def main() -> int:
    logging.getLogger("azure").setLevel(logging.CRITICAL)
    begin = time.monotonic()
    print("Starting Service Bus emulator, third party and functions ...", flush=True)
    with tempfile.TemporaryDirectory(prefix="hookbus-demo-") as name:
        directory = Path(name)
        try:
            with running(directory, Ports.free(), ROOT / "local.settings.json.example") as stack:
                print(f"  ready after {time.monotonic() - begin:.1f} s")
                asyncio.run(_show(stack))
        except (DemoFailed, NotStarted, PortTaken, ServiceBusError, httpx.HTTPError) as error:
            print(f"\nThe demo failed: {error}", file=sys.stderr)
            for part in PARTS:
                print(f"\n--- end of {part}.log\n{tail(directory / 'logs' / f'{part}.log')}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
    print(f"\nThree jobs, three outcomes, each exactly once ({time.monotonic() - begin:.1f} s).")
    return 0


if __name__ == "__main__":
    sys.exit(main())
