"""The emulator under load: nothing is lost, nothing comes twice, and nothing stays behind.

Where messages are many, the client is Microsoft's SDK: what it completes is what counts. Where connections
and links are many, proton's client joins it or is alone: it opens a link in a millisecond, the SDK in half a
second.
"""

import asyncio
import gc
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace
from typing import Any

import pytest
from azure.servicebus import ServiceBusMessage, ServiceBusSubQueue
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver
from proton import Delivery, Endpoint, Message, symbol

from dev.servicebus import amqp, links
from dev.servicebus.broker import Broker
from dev.servicebus.config import read
from dev.servicebus.process import Running, start
from tests.servicebus.test_servicebus_wire import Client

ROOT = Path(__file__).parents[2]
Fresh = Callable[[str], str]

RECEIVERS = 4
MESSAGES = 2_500  # in a round: few, so that memory which one round gave back cannot hide what another keeps
ROUNDS = 10

reads_proc = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="what a process takes is read from /proc"
)


def resident(running: Running) -> int:
    """Say how many kilobytes of memory the emulator has."""
    [size] = re.findall(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{running.pid}/status").read_text())
    return int(size)


def a_queue(path: Path) -> Path:
    """Configure a queue whose locks outlast the test."""
    queue = {"Name": "many", "Properties": {"LockDuration": "PT5M"}}
    namespace = {"Name": "sbemulatorns", "Queues": [queue]}
    path.write_text(json.dumps({"UserConfig": {"Namespaces": [namespace], "Logging": {"Type": "Console"}}}))
    return path


async def take(receiver: ServiceBusReceiver, count: int) -> list[str]:
    """Receive and complete just so many messages; return their ids."""
    found: list[str] = []
    while len(found) < count:
        got = await receiver.receive_messages(min(count - len(found), 100), 10)
        assert got, f"{count - len(found)} messages do not come"
        for one in got:
            await receiver.complete_message(one)
        found += [str(one.message_id) for one in got]
    return found


@reads_proc
@pytest.mark.parametrize("kept", [False, True], ids=["in memory", "with a store"])
async def test_many_messages_are_each_completed_once_and_leave_nothing(tmp_path: Path, kept: bool) -> None:
    """After 10,000 messages memory has its size; what 15,000 more may add is 100 bytes for each."""
    file = tmp_path / "store.db" if kept else None
    sizes: list[int] = []
    with start(a_queue(tmp_path / "Config.json"), store=file) as running:
        client = ServiceBusClient.from_connection_string(running.connection_string, retry_total=0)
        async with asyncio.timeout(110), client, client.get_queue_sender("many") as sender:
            receivers = [client.get_queue_receiver("many") for _ in range(RECEIVERS)]
            dead = client.get_queue_receiver("many", sub_queue=ServiceBusSubQueue.DEAD_LETTER)
            for number in range(ROUNDS):
                ids = [f"{number}-{one}" for one in range(MESSAGES)]
                for at in range(0, MESSAGES, 100):
                    await sender.send_messages(
                        [ServiceBusMessage(b"x" * 256, message_id=one) for one in ids[at : at + 100]]
                    )
                done = await asyncio.gather(*(take(one, MESSAGES // RECEIVERS) for one in receivers))
                assert Counter(one for each in done for one in each) == dict.fromkeys(ids, 1)
                assert await receivers[0].peek_messages(10, sequence_number=1) == []
                sizes.append(resident(running))
            assert await dead.peek_messages(10) == []
            await asyncio.gather(*(one.close() for one in (*receivers, dead)))
    assert sizes[-1] - sizes[3] < 1_500, sizes


async def test_a_hundred_connections_share_a_queue(emulator: Running, fresh: Fresh) -> None:
    """Half of them are the SDK's; nobody sends before all have their links."""
    queue, each, quarter = fresh("plain"), 20, 25
    client = ServiceBusClient.from_connection_string(emulator.connection_string, retry_total=0)
    everybody = Barrier(4 * quarter, timeout=60)

    def proton_sends(number: int) -> list[str]:
        one = Client(emulator)
        with closing(one.connection):
            sender = one.connection.create_sender(queue)
            everybody.wait()
            for message in range(each):
                sender.send(Message(id=f"proton-{number}-{message}", body=b"x"))
        return []

    def proton_receives(_: int) -> list[str]:
        one = Client(emulator)
        with closing(one.connection):
            receiver = one.connection.create_receiver(queue)
            everybody.wait()
            found = []
            for _ in range(each):
                found.append(str(receiver.receive(30).id))
                receiver.accept()
        return found

    async def sdk_sends(number: int) -> list[str]:
        async with client.get_queue_sender(queue) as sender:
            await wait()
            for message in range(each):
                await sender.send_messages(ServiceBusMessage(b"x", message_id=f"sdk-{number}-{message}"))
        return []

    async def sdk_receives(_: int) -> list[str]:
        async with client.get_queue_receiver(queue) as receiver:
            await wait()
            return await take(receiver, each)

    loop, pool = asyncio.get_running_loop(), ThreadPoolExecutor(4 * quarter)

    async def wait() -> None:
        await loop.run_in_executor(pool, everybody.wait)

    numbers = range(quarter)
    work: list[Awaitable[list[str]]] = [
        loop.run_in_executor(pool, one, number)
        for one in (proton_sends, proton_receives)
        for number in numbers
    ]
    work += [one(number) for one in (sdk_sends, sdk_receives) for number in numbers]
    with pool:
        async with asyncio.timeout(110), client:
            found = await asyncio.gather(*work)
            async with client.get_queue_receiver(queue) as receiver:
                assert await receiver.peek_messages(10) == []
    sent = [
        f"{by}-{number}-{message}"
        for by in ("proton", "sdk")
        for number in numbers
        for message in range(each)
    ]
    assert Counter(one for ids in found for one in ids) == dict.fromkeys(sent, 1)


OURS = (amqp.Connection, links.Producer, links.Consumer, links.Seeker, links.Requests, links.Replies)


def ours() -> list[object]:
    """Find the connections, and the ends of links, that an emulator in this process holds."""
    gc.collect()
    return [one for one in gc.get_objects() if type(one) in OURS]


def open_links(client: Client, count: int) -> list[Any]:
    """Open links on a session of their own: senders, receivers that hold a message, seekers of a session."""
    session = client.connection.conn.session()
    session.open()
    links: list[Any] = []
    for number in range(count):
        link = session.sender(f"{number}") if number % 3 == 0 else session.receiver(f"{number}")
        link.target.address = link.source.address = "talk-0" if number % 3 == 2 else "plain-0"
        if number % 3 == 2:
            link.source.filter.put_dict({symbol("com.microsoft:session-filter"): None})
        link.open()
        links.append(link)
    client.connection.wait(lambda: all(link.credit > 0 for link in links[::3]))
    for link in links[::3]:
        link.send(Message(body=b"x"))
    for link in links[1::3]:
        link.flow(1)
    client.connection.wait(lambda: all(link.queued > 0 for link in links[1::3]))
    return links


def close(client: Client, links: list[Any]) -> None:
    for link in links:
        link.close()
    client.connection.wait(lambda: all(link.state & Endpoint.REMOTE_CLOSED for link in links))


def detach(client: Client, links: list[Any]) -> None:
    for link in links:
        link.detach()
    client.put_token()  # is answered after them


def end(client: Client, links: list[Any]) -> None:
    session = links[0].session
    session.close()
    client.connection.wait(lambda: session.state & Endpoint.REMOTE_CLOSED)


def leave(client: Client, links: list[Any]) -> None:
    """Let the links go with their connection."""


def cut(server: amqp.Server) -> None:
    """Lose every connection without a word."""
    for connection in server.connections:
        connection.drop()


@pytest.mark.parametrize("broken", [False, True], ids=["closed", "broken"])
@pytest.mark.parametrize("go", [close, detach, end, leave])
async def test_nobody_holds_links_and_connections_that_are_gone(
    config_file: Path, go: Callable[[Client, list[Any]], None], broken: bool
) -> None:
    known = ours()
    server = amqp.Server(Broker(read(config_file)))
    here: Any = SimpleNamespace(port=await server.listen("127.0.0.1", 0))
    clients = [await asyncio.to_thread(Client, here) for _ in range(4)]
    for client in clients:
        await asyncio.to_thread(lambda one: go(one, open_links(one, 30)), client)
    left = [one for one in ours() if all(one is not other for other in known)]
    assert sum(type(one) is amqp.Connection for one in left) == 4
    if go is not leave:
        assert len(left) == 4
        assert [one._engine.link_head(0) for one in server.connections] == [None] * 4
    del left
    if broken:
        cut(server)
    else:
        for client in clients:
            await asyncio.to_thread(client.connection.close)
    async with asyncio.timeout(10):
        while server.connections:
            await asyncio.sleep(0.01)
    assert [one for one in ours() if all(one is not other for other in known)] == []
    await server.close()


@reads_proc
def test_a_thousand_links_leave_nothing(config_file: Path) -> None:
    """After 1,000 links memory has its size; what 3,000 more may add is 500 bytes for each."""
    sizes: list[int] = []
    with start(config_file) as running:
        for _ in range(4):
            for _ in range(10):
                client = Client(running)
                with closing(client.connection):
                    links = open_links(client, 100)
                    for link in links[1::3]:
                        link.current.update(Delivery.ACCEPTED)
                        link.current.settle()
                    close(client, links)
            sizes.append(resident(running))
    assert sizes[-1] - sizes[0] < 1_500, sizes


@reads_proc
def test_the_benchmark_runs() -> None:
    command = [sys.executable, "-m", "bench.servicebus", "--rounds", "2", "--messages", "20"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)
    assert told.returncode == 0, told.stderr
    assert re.findall(r"^\| (\w.*?) \|", told.stdout, re.MULTILINE) == [
        "send one at a time",
        "send 100 at once over one link",
        "send batches of 100",
        "receive and complete, 1 receiver",
        "receive and complete, 4 receivers",
        "send one at a time, 16 KB",
        "receive and complete, 16 KB",
        "send one at a time, 200 KB",
        "receive and complete, 200 KB",
        "schedule and cancel",
        "send to the topic",
        "receive and complete what came of it",
    ]
    assert told.stdout.endswith("\nA send to the topic makes 4 messages for the broker.\n")
