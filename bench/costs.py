"""Counts what a job takes of Azure, and says what a million of them cost: `python -m bench.costs`.

The app runs in this process as it is, on the local Service Bus and on Azurite: so that each execution of a
function, each request to storage (the SDKs' repeats too) and each call of the bus can be counted.
"""

import argparse
import asyncio
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import httpx
from azure.core.pipeline.transport import AioHttpTransport

from dev import azurite
from dev.host.serve import Arguments, serve
from dev.process import ROOT
from dev.stack import Ports, running
from services.adapters.servicebus import ServiceBusBus
from services.advance import AdvanceJob
from services.api import Api

JOBS: Mapping[str, Mapping[str, Any]] = {
    "replicate": {"input": {"model": "meta/llama", "input": {"prompt": "hello"}}},
    "stripe": {"input": {"amount": 1999, "currency": "usd", "payment_method": "pm_usBankAccount_success"}},
    "weather": {"input": {"latitude": 52.5, "longitude": 13.4}},
}
SERVED = {
    "start": (Api, "start_job"),
    "webhook": (Api, "receive_webhook"),
    "read": (Api, "read_job"),
    "advance": (AdvanceJob, "__call__"),
    "publish": (ServiceBusBus, "publish"),
    "schedule": (ServiceBusBus, "schedule"),
    "cancel": (ServiceBusBus, "cancel"),
}
EXECUTIONS = ("start", "webhook", "advance")
PATIENCE = 120.0
# List prices in US dollars, East US, November 2026: read the current ones before you quote them.
# https://azure.microsoft.com/pricing/details/functions/
EXECUTION, GB_SECOND, FREE_EXECUTIONS, FREE_GB_SECONDS = 0.40e-6, 0.000026, 250_000, 100_000
# https://azure.microsoft.com/pricing/details/service-bus/
BUS_MONTH, BUS_OPERATION, FREE_BUS_OPERATIONS = 9.86, 0.80e-6, 13_000_000
# https://azure.microsoft.com/pricing/details/storage/tables/ and .../blobs/
TABLE_TRANSACTION, BLOB_TRANSACTION = 0.036e-6, 5e-6
LEAST_SECONDS = 1.0
"""What an execution is billed at least: https://learn.microsoft.com/azure/azure-functions/flex-consumption-plan#billing"""


@dataclass(frozen=True, kw_only=True)
class Counted:
    """What jobs took, as Azure bills it; one consumer reads the outcomes."""

    jobs: int
    times: Counter[str]

    @property
    def executions(self) -> int:
        return sum(self.times[name] for name in EXECUTIONS)

    @property
    def bus_operations(self) -> int:
        """Sends, schedules, cancels, the forward of each callback, and receive and complete."""
        sent = self.times["publish"] + self.times["schedule"] + self.times["cancel"]
        received = self.times["advance"] + self.jobs
        return sent + self.times["webhook"] + 2 * received

    @property
    def table_transactions(self) -> int:
        return self.times["table"] - self.times["read"]  # we ask how the job stands, and nobody has to

    def a_month(self, jobs: int, memory_gb: float, sharing: float) -> Mapping[str, float]:
        """Return the dollars for so many jobs, by what they are for."""
        each = jobs / self.jobs
        executions = self.executions * each
        gb_seconds = executions * LEAST_SECONDS * memory_gb / sharing
        functions = max(0.0, executions - FREE_EXECUTIONS) * EXECUTION
        functions += max(0.0, gb_seconds - FREE_GB_SECONDS) * GB_SECOND
        bus = BUS_MONTH + max(0.0, self.bus_operations * each - FREE_BUS_OPERATIONS) * BUS_OPERATION
        storage = self.table_transactions * TABLE_TRANSACTION + self.times["blob"] * BLOB_TRANSACTION
        return {"functions": functions, "Service Bus": bus, "storage": storage * each}


def count(times: Counter[str], table_port: int) -> None:
    """Count every call from now on."""
    for name, (owner, method) in SERVED.items():
        setattr(owner, method, _counted(times, name, getattr(owner, method)))
    send = AioHttpTransport.send

    @wraps(send)
    async def counted(self: Any, request: Any, **options: Any) -> Any:  # noqa: ANN401 - any transport's
        times["table" if f":{table_port}/" in request.url else "blob"] += 1
        return await send(self, request, **options)

    AioHttpTransport.send = counted


def _counted(
    times: Counter[str], name: str, call: Callable[..., Awaitable[object]]
) -> Callable[..., Awaitable[object]]:
    @wraps(call)
    async def counted(*given: object, **named: object) -> object:
        times[name] += 1
        return await call(*given, **named)

    return counted


async def measure(jobs: int, directory: Path) -> Mapping[str, Counted]:
    """Do so many jobs at each provider, one after the other, and count what one of each takes."""
    ports = Ports.free()
    folder = directory / "azurite"
    folder.mkdir()
    with (
        azurite.start(folder=folder) as storage,
        running(directory, ports, ROOT / "local.settings.json.example", ("servicebus", "provider")) as stack,
    ):
        os.environ |= stack.settings | {
            "JOB_STORE": storage.connection_string,
            "PAYLOAD_STORE": storage.connection_string,
        }
        times = Counter[str]()
        count(times, storage.table_port)
        stopping = asyncio.Event()
        settings = ROOT / "local.settings.json.example"
        arguments = Arguments(
            app=ROOT / "function_app.py",
            host="127.0.0.1",
            port=ports.functions,
            settings=settings,
            key=None,
            grace=10,
        )
        serving = asyncio.create_task(serve(arguments, stopping))
        found = {}
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{ports.functions}", timeout=60) as http:
            await _until_ready(http)
            for provider, body in JOBS.items():
                await _do(http, provider, body, 1)  # the first makes tables and opens links
                before = Counter(times)
                await _do(http, provider, body, jobs)
                found[provider] = Counted(jobs=jobs, times=times - before)
        stopping.set()
        await serving
    return found


async def _until_ready(http: httpx.AsyncClient) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                if (await http.get("/api/health/ready")).status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.2)


async def _do(http: httpx.AsyncClient, provider: str, body: Mapping[str, Any], jobs: int) -> None:
    for _ in range(jobs):
        answer = await http.post(f"/api/jobs/{provider}", json=body)
        job = answer.raise_for_status().json()
        async with asyncio.timeout(PATIENCE):
            while job["status"] not in ("succeeded", "failed"):
                await asyncio.sleep(0.2)
                job = await _read(http, job["id"])
        if job["status"] != "succeeded":
            raise RuntimeError(f"a job at {provider} ended as {job['status']}")
    await asyncio.sleep(1)  # what is done after the outcome: the note that it is published, the tick's end


async def _read(http: httpx.AsyncClient, job_id: str) -> dict[str, Any]:
    found: dict[str, Any] = (await http.get(f"/api/jobs/{job_id}")).raise_for_status().json()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.costs", description=__doc__)
    parser.add_argument("--jobs", type=int, default=20, help="how many jobs to measure at each provider")
    parser.add_argument("--memory", type=float, default=2.0, help="an instance's memory in GB: 0.5, 2 or 4")
    parser.add_argument("--sharing", type=float, default=1.0, help="executions at once on an instance")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        found = asyncio.run(measure(given.jobs, Path(directory)))
    print("| a job at | executions | Service Bus operations | table transactions | blob operations |")
    print("|---|--:|--:|--:|--:|")
    for provider, counted in found.items():
        numbers = (
            counted.executions,
            counted.bus_operations,
            counted.table_transactions,
            counted.times["blob"],
        )
        print(f"| {provider} | {' | '.join(f'{number / counted.jobs:.1f}' for number in numbers)} |")
    print(f"\nA million a month, {given.memory:g} GB instances, {given.sharing:g} executions at once on one:")
    for provider, counted in found.items():
        parts = counted.a_month(1_000_000, given.memory, given.sharing)
        said = ", ".join(f"{name} ${dollars:,.2f}" for name, dollars in parts.items())
        print(f"  {provider}: ${sum(parts.values()):,.0f} ({said})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
