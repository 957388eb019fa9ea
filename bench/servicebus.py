"""What the Service Bus emulator can carry, apart from what its client takes: `python -m bench.servicebus`.

Two emulators, one in memory and one with a store, do the same work in turns, case by case. The client in this
process is Microsoft's SDK, and proton's for what that does not do. What an emulator's process takes is read
from /proc, so this runs on Linux.
"""

import argparse
import asyncio
import json
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final, TypeAlias
from uuid import uuid4

from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver, ServiceBusSender
from proton import Message
from proton.utils import BlockingConnection

from dev.process import ROOT
from dev.servicebus.process import Running, start

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_LONGEST: Final = 60.0  # seconds to wait for a message that is there
_NUMBERED: Final = "SELECT sum(last) FROM sequences WHERE mailbox LIKE 'job-%'"
_HEAD: Final = """\
| | messages/s | to the first | with a store | client CPU | emulator CPU | with a store | busy |
|---|--:|--:|--:|--:|--:|--:|--:|"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bus:
    """An emulator by the number of its process, and open links to it."""

    pid: int
    proton: BlockingConnection
    senders: dict[str, ServiceBusSender]
    receivers: dict[str, list[ServiceBusReceiver]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One run of a case: its messages, and seconds in all, of the emulator's CPU and of the client's."""

    messages: int
    seconds: float
    emulator: float
    client: float


def message(size: int) -> ServiceBusMessage:
    """Make a message that the topic forwards, with an id of its own: it is no duplicate."""
    properties: dict[str | bytes, Any] = {"kind": "callback"}
    return ServiceBusMessage(b"x" * size, message_id=uuid4().hex, application_properties=properties)


async def send(bus: Bus, count: int, *, to: str = "plain", size: int = 256) -> None:
    """Send each message after the one before it was acknowledged."""
    for _ in range(count):
        await bus.senders[to].send_messages(message(size))


async def send_at_once(bus: Bus, count: int) -> None:
    """Send 100 messages over one link without waiting for any of them; then the next 100."""
    # The SDK's sender is not made for that, and proton's waits too, but for the link below it.
    sender: Any = bus.proton.create_sender("plain")
    for begin in range(0, count, 100):
        messages = [Message(id=uuid4().hex, body=b"x" * 256) for _ in range(min(100, count - begin))]
        sent: list[Any] = [sender.link.send(one) for one in messages]
        while not all(one.settled for one in sent):
            bus.proton.container.process()
        for one in sent:
            one.settle()
    sender.close()


async def send_batches(bus: Bus, count: int) -> None:
    """Send batches of 100."""
    for begin in range(0, count, 100):
        await bus.senders["plain"].send_messages([message(256) for _ in range(min(100, count - begin))])


async def receive(bus: Bus, count: int, *, by: str = "one") -> None:
    """Receive and complete this many, each receiver its share: so none is left with credit or a message."""
    receivers = bus.receivers[by]

    async def take(receiver: ServiceBusReceiver, left: int) -> None:
        while left > 0:
            if not (got := await receiver.receive_messages(min(left, 100), _LONGEST)):
                raise TimeoutError(f"{left} messages did not come")
            for one in got:
                await receiver.complete_message(one)
            left -= len(got)

    shares = [count // len(receivers) + (at < count % len(receivers)) for at in range(len(receivers))]
    await asyncio.gather(*map(take, receivers, shares))


async def schedule(bus: Bus, count: int) -> None:
    """Schedule a message for tomorrow and cancel it, this many times."""
    sender, tomorrow = bus.senders["plain"], datetime.now(UTC) + timedelta(days=1)
    for _ in range(count):
        await sender.cancel_scheduled_messages(await sender.schedule_messages(message(256), tomorrow))


Work: TypeAlias = Callable[[Bus, int], Awaitable[None]]

# Each with how many of the messages asked for it has to do with. What some send, the next ones receive.
CASES: Final[dict[str, tuple[float, Work]]] = {
    "send one at a time": (1, send),
    "send 100 at once over one link": (1, send_at_once),
    "send batches of 100": (1, send_batches),
    "receive and complete, 1 receiver": (2, receive),
    "receive and complete, 4 receivers": (1, partial(receive, by="four")),
    "send one at a time, 16 KB": (0.5, partial(send, size=16 * 1024)),
    "receive and complete, 16 KB": (0.5, receive),
    "send one at a time, 200 KB": (0.1, partial(send, size=200 * 1024)),
    "receive and complete, 200 KB": (0.1, receive),
    "schedule and cancel": (0.25, schedule),
    "send to the topic": (1, partial(send, to="topic")),
    "receive and complete what came of it": (2, partial(receive, by="topic")),
}


@asynccontextmanager
async def connected(running: Running) -> AsyncIterator[Bus]:
    """Open every link that the cases use, all at once: each takes the SDK half a second."""
    connection = BlockingConnection(f"amqp://127.0.0.1:{running.port}", allowed_mechs="ANONYMOUS")
    token = {"operation": "put-token", "type": "jwt", "name": "sb://localhost/"}
    connection.create_receiver("$cbs", name="replies")
    connection.create_sender("$cbs", name="requests").send(Message(body="token", properties=token))
    with closing(connection):
        async with ServiceBusClient.from_connection_string(running.connection_string) as client:
            senders = {
                "plain": client.get_queue_sender("plain"),
                "topic": client.get_topic_sender("job-events"),
            }
            four = [client.get_queue_receiver("plain") for _ in range(4)]
            # The topic's subscription `inbox` forwards to the queue.
            ends = [client.get_queue_receiver("job-inbox")]
            ends.append(client.get_subscription_receiver("job-events", "everything"))
            receivers = {"one": four[:1], "four": four, "topic": ends}
            links: list[ServiceBusSender | ServiceBusReceiver] = [*senders.values(), *four, *ends]
            await asyncio.gather(*(link.__aenter__() for link in links))
            yield Bus(pid=running.pid, proton=connection, senders=senders, receivers=receivers)
            await asyncio.gather(*(link.close() for link in links))


def cpu_seconds(pid: int) -> float:
    """Read how long a process has run, in user and in system mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


async def measure(work: Work, bus: Bus, count: int) -> Measured:
    """Do this work, and see who was busy with it for how long."""
    begin, emulator, client = time.perf_counter(), cpu_seconds(bus.pid), time.process_time()
    await work(bus, count)
    return Measured(
        messages=count,
        seconds=time.perf_counter() - begin,
        emulator=cpu_seconds(bus.pid) - emulator,
        client=time.process_time() - client,
    )


def row(name: str, memory: list[Measured], store: list[Measured], first: list[Measured]) -> str:
    """Tell a case: rates and ratios are medians over the rounds, CPU times are sums over them."""
    rates, firsts, kept = ([one.messages / one.seconds for one in each] for each in (memory, first, store))
    ratios = (median(map(float.__truediv__, *pair)) for pair in ((rates, firsts), (kept, rates)))
    client, emulator, seconds = (
        sum(each) for each in zip(*((one.client, one.emulator, one.seconds) for one in memory), strict=True)
    )
    each = sum(one.messages for one in memory) / 1000
    times = (client, emulator, sum(one.emulator for one in store))
    cells = [name, f"{median(rates):,.0f}", *(f"{ratio:.2f}" for ratio in ratios)]
    cells += [*(f"{cpu / each:.2f} ms" for cpu in times), f"{emulator / seconds:.0%}"]
    return f"| {' | '.join(cells)} |"


async def run(folder: Path, rounds: int, count: int) -> None:
    """Run every case on both emulators in every round, and print what came of it."""
    config = json.loads((ROOT / "dev" / "entities.json").read_text())
    plain = {"Name": "plain", "Properties": {"LockDuration": "PT5M"}}
    config["UserConfig"]["Namespaces"][0]["Queues"].append(plain)
    path, file = folder / "Config.json", folder / "store.db"
    path.write_text(json.dumps(config))
    found: dict[str, dict[Path | None, list[Measured]]] = {name: {None: [], file: []} for name in CASES}
    async with AsyncExitStack() as stack:
        buses = []
        for store in (None, file):
            running = stack.enter_context(start(path, store))
            buses.append((store, await stack.enter_async_context(connected(running))))
        for _ in range(rounds):
            for name, (share, work) in CASES.items():
                for store, bus in buses:
                    found[name][store].append(await measure(work, bus, int(count * share)))
                buses.reverse()
        (numbered,) = sqlite3.connect(file).execute(_NUMBERED).fetchone()
    print(f"{os.cpu_count()} processors, {rounds} rounds of {count} messages\n\n{_HEAD}")
    first = found["send one at a time"][None]
    for name, measured in found.items():
        print(row(name, measured[None], measured[file], first))
    print(f"\nA send to the topic makes {numbered / (rounds * count):g} messages for the broker.")


def main() -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.servicebus", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=500, help="in a round of most cases; 10 at least")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder), options.rounds, max(options.messages, 10)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
