"""The example consumer on the local stack, through the Service Bus SDK: one row a job, whatever happens."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from azure.servicebus import ServiceBusMessage, ServiceBusSubQueue
from azure.servicebus.aio import ServiceBusClient
from azure.servicebus.amqp import AmqpAnnotatedMessage, AmqpMessageProperties
from azure.storage.blob.aio import BlobServiceClient

from dev import azurite
from dev.process import ROOT, start
from dev.stack import Stack
from examples.consumer.__main__ import _settings as settings_of
from tests.examples.conftest import Consumer, logged
from tests.stack.conftest import Client

PAYMENT = {"amount": 1999, "currency": "usd", "payment_method": "pm_usBankAccount_success"}
TRACE = "0af7651916cd43dd8448eb211c80319c"
TAKINGS = "SELECT currency, payments, amount FROM takings"


def outcome(**data: Any) -> dict[str, Any]:
    """Write the event of a payment's outcome."""
    known = {
        "job_id": "job_1",
        "provider": "stripe",
        "operation": "payment",
        "status": "succeeded",
        "metadata": {},
        "result": {"currency": "usd", "amount_received": 700},
        "failure": None,
        "settled_at": "2026-03-01T12:04:07+00:00",
    }
    event = {"specversion": "1.0", "id": "outcome-job_1", "source": "/hookbus/stripe", "subject": "job_1"}
    return {**event, "type": "job.succeeded", "data": {**known, **data}}


async def send(connection: str, bodies: Sequence[bytes], kind: str = "outcome") -> None:
    """Send messages to the topic, each with an id of its own."""
    async with (
        ServiceBusClient.from_connection_string(connection) as bus,
        bus.get_topic_sender("job-events") as sender,
    ):
        for number, body in enumerate(bodies):
            await sender.send_messages(
                ServiceBusMessage(
                    body, message_id=f"sent-{number}-{hash(body)}", application_properties={"kind": kind}
                )
            )


async def dead_letters(connection: str) -> list[tuple[str, str | None, str | None]]:
    async with (
        ServiceBusClient.from_connection_string(connection) as bus,
        bus.get_subscription_receiver(
            "job-events", "outcomes", sub_queue=ServiceBusSubQueue.DEAD_LETTER
        ) as receiver,
    ):
        found = await receiver.peek_messages(20)
        return [(str(one), one.dead_letter_reason, one.dead_letter_error_description) for one in found]


async def test_a_payment_becomes_one_row_with_its_metadata_result_and_trace(
    client: Client, consumer: Consumer
) -> None:
    await client.turn(provider="stripe", callback={"repeat": 2})
    answer = await client.http.post(
        f"{client.stack.functions_url}/api/jobs/stripe",
        json={"input": PAYMENT, "metadata": {"order": "7"}},
        headers={"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"},
    )
    [line] = await consumer.logged("outcome.recorded")
    assert f"job_id={answer.json()['id']}" in line
    assert f"traceparent=00-{TRACE}-" in line
    await client.taken("stripe", 3)
    [(job_id, status, metadata, result)] = consumer.rows(
        "SELECT job_id, status, metadata, result FROM outcomes"
    )
    assert (job_id, status, json.loads(metadata)) == (answer.json()["id"], "succeeded", {"order": "7"})
    assert json.loads(result)["amount_received"] == 1999
    assert consumer.rows(TAKINGS) == [("usd", 1, 1999)]
    assert consumer.end(signal.SIGINT) == 0
    assert consumer.log.splitlines()[-1].endswith("consumer.stopped")


async def test_a_consumer_killed_after_its_commit_gets_the_outcome_again_and_books_it_once(
    client: Client, consumer: Consumer
) -> None:
    faults = f"http://127.0.0.1:{client.stack.ports.servicebus_health}/faults"
    address = "job-events/Subscriptions/outcomes"
    stall = {"fault": "stall", "address": address, "on": ["settle"], "times": 1}
    (await client.http.put(faults, json=[stall])).raise_for_status()
    await client.start("stripe", PAYMENT)
    await consumer.logged("outcome.recorded")
    consumer.end(signal.SIGKILL)
    assert (await client.http.get(faults)).json()[0]["hits"] == 1, (
        "the row is there, the message not completed"
    )
    assert consumer.rows(TAKINGS) == [("usd", 1, 1999)]
    consumer.start()
    await consumer.logged("outcome.known")
    assert consumer.rows(TAKINGS) == [("usd", 1, 1999)]
    assert consumer.rows("SELECT count(*) FROM outcomes") == [(1,)]
    assert consumer.log.count("outcome.recorded") == 1


async def test_an_outcome_that_is_published_twice_is_booked_once(stack: Stack, consumer: Consumer) -> None:
    event = outcome()
    later = event | {"time": "2026-03-01T12:04:08+00:00"}
    await send(stack.connection, [json.dumps(event).encode(), json.dumps(later).encode()])
    await consumer.logged("outcome.known")
    assert consumer.rows(TAKINGS) == [("usd", 1, 700)]


async def test_poison_is_dead_lettered_with_its_reason_and_the_next_message_is_taken(
    stack: Stack, consumer: Consumer
) -> None:
    good = outcome()
    without_data = {name: value for name, value in good.items() if name != "data"}
    elsewhere = without_data | {"dataref": (ROOT / "README.md").as_uri()}
    missing = without_data | {"dataref": (stack.directory / "payloads" / "gone.json").as_uri()}
    poison = {
        b"not JSON": ("not_an_event", "the body: json_invalid"),
        b"[" * 100_000: ("not_an_event", "the body: json_invalid"),
        b'{"specversion":"1.0","type":"job.succeeded"}': ("not_an_event", "id: missing"),
        json.dumps(without_data).encode(): ("not_an_outcome", "the body: model_type"),
        json.dumps(outcome(status="lost")).encode(): ("not_an_outcome", "status: literal_error"),
        json.dumps(outcome(result={"currency": "usd"})).encode(): (
            "not_an_outcome",
            "amount_received: missing",
        ),
        json.dumps(outcome(result={"currency": "usd", "amount_received": -1})).encode(): (
            "not_an_outcome",
            "amount_received: greater_than_equal",
        ),
        json.dumps(outcome(result={"currency": "usd", "amount_received": 10**30})).encode(): (
            "not_an_outcome",
            "amount_received: less_than_equal",
        ),
        json.dumps(elsewhere).encode(): (
            "payload_elsewhere",
            "the payload is not in the app's payload store",
        ),
        json.dumps(missing).encode(): (
            "payload_missing",
            "the payload cannot be read: FileNotFoundError",
        ),
    }
    await send(stack.connection, [*poison, json.dumps(good).encode()])
    await consumer.logged("outcome.recorded")
    found = {body.encode(): (reason, why) for body, reason, why in await dead_letters(stack.connection)}
    assert found == poison
    assert consumer.rows("SELECT outcome_id FROM outcomes") == [("outcome-job_1",)]


async def test_a_body_that_is_no_bytes_is_poison_too(stack: Stack, consumer: Consumer) -> None:
    async with (
        ServiceBusClient.from_connection_string(stack.connection) as bus,
        bus.get_topic_sender("job-events") as sender,
    ):
        properties = AmqpMessageProperties(message_id="value-1")
        message = AmqpAnnotatedMessage(
            value_body="text", properties=properties, application_properties={"kind": "outcome"}
        )
        await sender.send_messages(message)
    await consumer.logged("message.dead_lettered")
    [(_, reason, why)] = await dead_letters(stack.connection)
    assert (reason, why) == ("not_an_event", "the body is no bytes")


async def test_a_result_that_is_too_large_for_a_message_arrives_whole(
    client: Client, consumer: Consumer
) -> None:
    words = [f"word{number}" for number in range(22_000)]
    given = {"model": "meta/llama", "input": {"prompt": " ".join(words)}}
    answer = await client.start("replicate", given)
    assert answer.status_code == 202
    await consumer.logged("outcome.recorded")
    assert [path.name for path in (client.stack.directory / "payloads").rglob("outcome-*")] != []
    [(result,)] = consumer.rows("SELECT result FROM outcomes")
    assert json.loads(result)["output"] == words


async def test_a_notice_is_logged_and_books_nothing(stack: Stack, consumer: Consumer) -> None:
    await consumer.logged("consumer.listening")
    assert consumer.end(signal.SIGTERM) == 0
    consumer.settings["SUBSCRIPTION"] = "everything"
    consumer.start()
    late = outcome() | {"id": "late_result-1", "type": "job.late_result"}
    await send(stack.connection, [json.dumps(late).encode()], kind="notice")
    [line] = await consumer.logged("notice.read")
    assert "type=job.late_result job_id=job_1" in line
    assert consumer.rows("SELECT * FROM outcomes") == []


async def test_a_locked_database_is_waited_for(stack: Stack, consumer: Consumer) -> None:
    await consumer.logged("consumer.listening")
    locking = sqlite3.connect(consumer.database, isolation_level=None)
    locking.execute("BEGIN IMMEDIATE")
    await send(stack.connection, [json.dumps(outcome()).encode()])
    [line] = await consumer.logged("message.waits")
    assert "error=OperationalError" in line
    locking.close()
    await consumer.logged("outcome.recorded")
    assert consumer.rows(TAKINGS) == [("usd", 1, 700)]


async def test_storage_that_is_away_is_waited_for(
    stack: Stack, consumer: Consumer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("azurite")
    event = outcome()
    with azurite.start(folder=folder) as storage:
        connection, ports = storage.connection_string, (storage.blob_port, storage.table_port)
        async with (
            BlobServiceClient.from_connection_string(connection) as service,
            await service.create_container("hookbus") as container,
        ):
            blob = await container.upload_blob("events/outcome-job_1.json", json.dumps(event.pop("data")))
    consumer.end(signal.SIGTERM)
    consumer.settings["PAYLOAD_STORE"] = connection
    consumer.start()
    await send(stack.connection, [json.dumps(event | {"dataref": blob.url}).encode()])
    await consumer.logged("message.waits")
    with azurite.start(folder=folder, blob_port=ports[0], table_port=ports[1]):
        await consumer.logged("outcome.recorded")
    assert consumer.rows(TAKINGS) == [("usd", 1, 700)]


async def test_the_consumer_comes_back_when_service_bus_was_away(stack: Stack, consumer: Consumer) -> None:
    await consumer.logged("consumer.listening")
    stack.running["servicebus"].kill()
    await consumer.logged("consumer.lost_the_bus")
    stack.start("servicebus")
    await consumer.logged("consumer.listening", times=2)
    await send(stack.connection, [json.dumps(outcome()).encode()])
    await consumer.logged("outcome.recorded")


async def test_the_function_books_a_payment_as_the_consumer_does(client: Client, consumer: Consumer) -> None:
    consumer.end(signal.SIGTERM)
    stack = client.stack
    app, settings = ROOT / "examples/consumer_function/function_app.py", ROOT / "local.settings.json.example"
    host = start(
        "dev.host",
        ["--app", str(app), "--settings", str(settings), "--port", "0"],
        log=stack.log("consumer"),
        environment=stack.settings | {"DATABASE": str(consumer.database)},
    )
    try:
        await client.start("stripe", PAYMENT, traceparent=f"00-{TRACE}-b7ad6b7169203331-01")
        [line] = await logged(host.log, "outcome.recorded")
        assert f"traceparent=00-{TRACE}-" in line
        await send(stack.connection, [b"not JSON"])
        # The first try and nine more, at once: what MaxDeliveryCount of dev/entities.json says.
        await logged(host.log, "Poison: not_an_event", times=10)
    finally:
        host.stop()
    assert consumer.rows(TAKINGS) == [("usd", 1, 1999)]
    assert [(body, reason) for body, reason, _ in await dead_letters(stack.connection)] == [
        ("not JSON", "MaxDeliveryCountExceeded")
    ]


def test_without_settings_the_consumer_takes_those_of_the_local_stack() -> None:
    found = settings_of({"PATH": "/bin", "SUBSCRIPTION": "everything"})
    assert found["SERVICEBUS"].startswith("Endpoint=sb://")
    assert found["PAYLOAD_STORE"] == f"file:{ROOT}/.local/payloads"
    assert found["DATABASE"] == f"{ROOT}/.local/consumer.db"
    assert found["SUBSCRIPTION"] == "everything"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (
            {"SERVICEBUS": "Endpoint=sb://bus.example;SharedAccessKeyName=a;SharedAccessKey=planted"},
            "set DATABASE and PAYLOAD_STORE in the environment\n",
        ),
        (
            {"SERVICEBUS": "SharedAccessKey=planted", "DATABASE": "unused", "PAYLOAD_STORE": "file:unused"},
            "SERVICEBUS must be a connection string as Azure shows it\n",
        ),
    ],
    ids=["missing", "malformed"],
)
def test_the_consumer_says_what_to_mend_and_shows_no_key(settings: dict[str, str], told: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "examples.consumer"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **settings},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (1, told)
