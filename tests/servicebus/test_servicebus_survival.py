"""What is left after a kill, and what many or broken clients do to the others."""

import asyncio
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from azure.servicebus import ServiceBusClient, ServiceBusMessage, ServiceBusSubQueue
from azure.servicebus.aio import ServiceBusClient as AioClient
from proton import ConnectionException, Message
from proton.utils import BlockingConnection

from dev.servicebus.amqp import Server
from dev.servicebus.broker import Broker, Changes
from dev.servicebus.config import read
from dev.servicebus.entities import Namespace
from dev.servicebus.process import Running, start
from dev.servicebus.store import Store

Fresh = Callable[[str], str]


def test_a_killed_emulator_has_everything_that_it_acknowledged(config_file: Path, tmp_path: Path) -> None:
    store = tmp_path / "store.db"
    first = start(config_file, store=store)
    with ServiceBusClient.from_connection_string(first.connection_string) as client:
        sender = client.get_queue_sender("once-0")
        sender.send_messages([ServiceBusMessage(b"%d" % n, message_id=str(n)) for n in range(3)])
        due = datetime.now(UTC) + timedelta(seconds=6)
        canceled, _ = sender.schedule_messages(
            [ServiceBusMessage(b"canceled", message_id="x"), ServiceBusMessage(b"tick", message_id="tick")],
            due,
        )
        sender.cancel_scheduled_messages(canceled)
        receiver = client.get_queue_receiver("once-0")
        done, dead, back = receiver.receive_messages(3, 10)
        receiver.complete_message(done)
        receiver.dead_letter_message(dead, reason="kept")
        receiver.abandon_message(back)
        first.kill()

    with (
        start(config_file, store=store) as second,
        ServiceBusClient.from_connection_string(second.connection_string) as client,
    ):
        sender, receiver = client.get_queue_sender("once-0"), client.get_queue_receiver("once-0")
        sender.send_messages(ServiceBusMessage(b"a duplicate", message_id="0"))
        sender.send_messages(ServiceBusMessage(b"new", message_id="new"))
        seen = {b"".join(one.body): one for one in receiver.peek_messages(10)}
        assert list(seen) == [b"2", b"tick", b"new"]
        assert seen[b"2"].delivery_count == 1
        assert seen[b"new"].sequence_number == 7, "numbers go on, even those of what was dropped"
        [letter] = client.get_queue_receiver(
            "once-0", sub_queue=ServiceBusSubQueue.DEAD_LETTER
        ).receive_messages(1, 10)
        assert (b"".join(letter.body), letter.dead_letter_reason) == (b"1", "kept")
        found: list[bytes] = []
        while len(found) < 3 and (got := receiver.receive_messages(3, 10)):
            found += [b"".join(one.body) for one in got]
        assert found == [b"2", b"new", b"tick"]


def test_without_a_store_nothing_is_kept(config_file: Path, tmp_path: Path) -> None:
    with start(config_file) as running:
        assert running.stop() == 0
    assert list(tmp_path.iterdir()) == []


async def test_a_hundred_connections_work_at_once(emulator: Running, fresh: Fresh) -> None:
    queue = fresh("plain")

    async def send(number: int) -> None:
        client = AioClient.from_connection_string(emulator.connection_string)
        async with client, client.get_queue_sender(queue) as sender:
            await sender.send_messages(ServiceBusMessage(b"%d" % number))
            await everybody.wait()

    async with asyncio.timeout(60):
        everybody = asyncio.Barrier(100)
        await asyncio.gather(*(send(number) for number in range(100)))
        client = AioClient.from_connection_string(emulator.connection_string)
        async with client, client.get_queue_receiver(queue) as receiver:
            found: list[int] = []
            while len(found) < 100:
                got = await receiver.receive_messages(100, 5)
                found += [int(b"".join(one.body)) for one in got]
    assert sorted(found) == list(range(100))


def test_two_hundred_silent_connections_take_nothing_from_the_others(emulator: Running, fresh: Fresh) -> None:
    sockets = [socket.create_connection(("127.0.0.1", emulator.port)) for _ in range(200)]
    for number, one in enumerate(sockets):
        one.sendall(b"AMQP\x03\x01\x00\x00"[: number % 9])
    with ServiceBusClient.from_connection_string(emulator.connection_string) as client:
        queue = fresh("plain")
        client.get_queue_sender(queue).send_messages(ServiceBusMessage(b"x"))
        assert len(client.get_queue_receiver(queue).receive_messages(1, 10)) == 1
    for one in sockets:
        one.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_it_stops_cleanly_with_clients_connected(config_file: Path, number: signal.Signals) -> None:
    with start(config_file) as running:
        client = ServiceBusClient.from_connection_string(running.connection_string)
        client.get_queue_sender("plain-0").send_messages(ServiceBusMessage(b"x"))
        os.kill(running.pid, number)
        assert running.wait() == 0


async def read_to_the_end(port: int, sent: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    async with asyncio.timeout(20):
        received = await reader.read()
    writer.close()
    return received


async def test_a_silent_client_gets_heartbeats_and_is_closed_in_the_end() -> None:
    server = Server(Broker(Namespace()), idle_seconds=0.6)
    port = await server.listen("127.0.0.1", 0)
    wants_a_heartbeat_each_200_ms = b"\xc0\x0c\x05\xa1\x01x\x40\x40\x40\x70\x00\x00\x00\xc8"
    opened = b"\x00\x00\x00\x19\x02\x00\x00\x00\x00\x53\x10" + wants_a_heartbeat_each_200_ms
    received = await read_to_the_end(port, b"AMQP\x00\x01\x00\x00" + opened)
    assert b"\x00\x00\x00\x08\x02\x00\x00\x00" in received
    assert b"amqp:resource-limit-exceeded" in received
    await server.close()


class FullDisk(Store):
    def write(self, changes: Changes, now: int) -> None:  # noqa: ARG002 - the parameters of a store
        raise sqlite3.OperationalError("database or disk is full")


async def test_what_cannot_be_stored_is_not_acknowledged(config_file: Path, tmp_path: Path) -> None:
    server = Server(Broker(read(config_file)), store=FullDisk(tmp_path / "store.db"))
    port = await server.listen("127.0.0.1", 0)

    def send() -> None:
        connection = BlockingConnection(f"amqp://127.0.0.1:{port}", timeout=10, allowed_mechs="ANONYMOUS")
        token = {"operation": "put-token", "type": "jwt", "name": "sb://localhost/"}
        connection.create_receiver("$cbs", name="replies")
        connection.create_sender("$cbs", name="requests").send(Message(body="token", properties=token))
        connection.create_sender("plain-0").send(Message(body=b"x"))

    with pytest.raises(ConnectionException):
        await asyncio.to_thread(send)
    with pytest.raises(sqlite3.OperationalError):
        await server.failed
    await server.close()


def test_a_wrong_file_is_told_and_nothing_starts(tmp_path: Path) -> None:
    path = tmp_path / "Config.json"
    path.write_text('{"UserConfig": {"Namespaces": [{"Name": "n", "Queue": []}]}}')
    command = [
        sys.executable,
        "-m",
        "dev.servicebus",
        "--config",
        str(path),
        "--port",
        "0",
        "--health-port",
        "0",
    ]
    told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert told.returncode == 2
    assert "UserConfig.Namespaces[0].Queue: is no property" in told.stderr
    with pytest.raises(RuntimeError, match="exit status 2"):
        start(path)


def test_a_port_that_is_taken_is_told(config_file: Path, emulator: Running) -> None:
    with pytest.raises(RuntimeError, match="exit status 1"):
        start(config_file, port=emulator.port)
